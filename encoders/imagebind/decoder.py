"""The program of a decoder process: `python -m encoders.imagebind.decoder PARENT` answers requests on its pipes.

A request is `REQUEST` (modality, preset, bytes) and the file's bytes; an answer is `ANSWER` (whether it is an array, bytes)
and either float32 values of the modality's shape, or JSON [code, reason]. One `READY` byte says that the imports went well.
FFmpeg runs here and nowhere else, so that a crash, a hang or a flood of memory ends one process and not the run.
"""

import json
import os
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from schemas.errors import RowError

REQUEST = struct.Struct("<8s12sQ")
ANSWER = struct.Struct("<?Q")
READY = b"\x06"
MEMORY_BYTES = 6 << 30  # address space; a frame of 36 million pixels with FFmpeg's reference frames fits
CODES = {"audio": "audio_unreadable", "video": "video_unreadable"}

Answer = memoryview | bytes
Decode = Callable[[bytes, str], npt.NDArray[np.float32]]


def main(parent: int) -> None:
    """Answer until standard input ends, or the process `parent` is gone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get into the answers
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _limit_memory()
    decoders = _decoders()
    answers.write(READY)
    answers.flush()
    with suppress(BrokenPipeError):
        while serve_one(sys.stdin.buffer, answers, decoders):
            pass


def serve_one(requests: BinaryIO, answers: BinaryIO, decoders: dict[str, Decode]) -> bool:
    """Answer one request; False where there is none any more."""
    head = requests.read(REQUEST.size)
    if len(head) < REQUEST.size:
        return False
    modality, preset, size = REQUEST.unpack(head)
    ok, answer = _answer(modality.rstrip(b"\0").decode(), preset.rstrip(b"\0").decode(), requests.read(size), decoders)
    answers.write(ANSWER.pack(ok, memoryview(answer).nbytes))
    answers.write(answer)
    answers.flush()
    return True


def _answer(modality: str, preset: str, data: bytes, decoders: dict[str, Decode]) -> tuple[bool, Answer]:
    try:
        return True, np.ascontiguousarray(decoders[modality](data, preset), np.float32).data
    except RowError as error:
        return False, json.dumps([error.code, error.reason]).encode()
    except Exception as error:  # a broken file must not end the process; FFmpeg and numpy raise many kinds
        return False, json.dumps([CODES[modality], f"{len(data)} bytes do not decode: {type(error).__name__}: {error}"]).encode()


def _decoders() -> dict[str, Decode]:
    import av  # noqa: F401  # before the first request, so that its time limit is for decoding

    from encoders.imagebind.sound import audio
    from encoders.imagebind.video import video

    return {"audio": audio, "video": video}


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(hard, MEMORY_BYTES)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _end_with(parent: int) -> None:
    """End this process when its parent has gone, also in the middle of a file."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
