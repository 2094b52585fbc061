"""Files in, the model's input out: decoded in parallel, in order, and never more than a few ahead of the model."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from encoders.imagebind import motion, pictures, streams
from encoders.imagebind.processes import shared_decoders
from encoders.threads import usable_cores
from schemas.errors import JobError, RowError

Array = npt.NDArray[np.float32]
Prepared = tuple[int, Array | RowError]

SHAPES: dict[str, tuple[int, ...]] = {
    "image": (3, 224, 224),
    "audio": (3, 1, 128, 204),
    "video": (15, 3, 2, 224, 224),
    "depth": (1, 224, 224),
    "thermal": (1, 224, 224),
    "imu": (6, 2000),
}
PRESETS = ("upstream", "container")
IN_PROCESS: dict[str, Callable[[bytes, str], Array]] = {
    "image": pictures.image,
    "thermal": pictures.thermal,
    "depth": pictures.depth,
    "imu": motion.motion,
}
MAX_BYTES = 1 << 30  # of one file
AHEAD = 2  # files for each decoder that are decoded, or being decoded, before the caller takes them


def prepare(values: Sequence[bytes], modality: str, preset: str = "upstream") -> Iterator[Prepared]:
    """(position, float32 array of the modality's shape in `SHAPES`) for each of `values`, in order, or its RowError.

    Lazy: at most `AHEAD` values for each core (of at most four) are decoded ahead of the caller. Pictures and motion are
    decoded in threads, sound and video in processes of their own, so that a crash in FFmpeg is one value's RowError.
    Raises JobError for a modality or preset that is unknown, and where PyAV is missing for sound and video.
    """
    if modality not in SHAPES:
        raise JobError(f"modality {modality!r}: ImageBind prepares {', '.join(SHAPES)}")
    if preset not in PRESETS:
        raise JobError(f"preset {preset!r}: expected one of {', '.join(PRESETS)}")
    if modality not in IN_PROCESS and find_spec("av") is None:
        raise JobError(streams.MISSING)
    return _in_order(values, lambda data: prepared(data, modality, preset))


def prepared(data: bytes, modality: str, preset: str) -> Array | RowError:
    """The model's input for one file of `modality`, or why there is none."""
    if len(data) > MAX_BYTES:
        return RowError("media_too_large", f"{len(data)} bytes; at most {MAX_BYTES} bytes of one file are decoded")
    if modality not in IN_PROCESS:
        return shared_decoders().decode(data, modality, preset, SHAPES[modality])
    try:
        return IN_PROCESS[modality](data, preset)
    except RowError as error:
        return error


def _in_order(values: Sequence[bytes], work: Callable[[bytes], Array | RowError]) -> Iterator[Prepared]:
    """`work` on each of `values` in threads, its results in order; the caller's pace bounds how far it runs ahead."""
    threads = min(4, usable_cores())
    waiting: deque[Future[Array | RowError]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="imagebind-media")
    try:
        for position in range(len(values)):
            if len(waiting) == threads * AHEAD:
                yield position - len(waiting), waiting.popleft().result()
            waiting.append(pool.submit(work, values[position]))
        for position in range(len(values) - len(waiting), len(values)):
            yield position, waiting.popleft().result()
    finally:  # the caller may stop early: what has not begun is not begun
        pool.shutdown(wait=False, cancel_futures=True)
