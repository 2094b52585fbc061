"""Decoder processes seen from here: a few that live long, lent one file at a time, replaced when they crash or hang."""

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

import encoders
from encoders.imagebind.decoder import ANSWER, READY, REQUEST
from encoders.threads import usable_cores
from schemas.errors import RowError, WorldError

TIME_LIMIT_S = 300.0  # for one file
PIPE_BYTES = 1 << 20  # a video's answer has 18 MB
TRIES = 2  # a process may be killed from outside (out of memory) while it decodes a good file

Array = npt.NDArray[np.float32]


class DecoderGone(Exception):
    """The process ended without an answer."""


class Decoder:
    """One decoder process. Raises WorldError where it cannot be started."""

    def __init__(self) -> None:
        """Start the process and wait until it is ready."""
        folders = [str(Path(encoders.__file__).parents[1]), *filter(None, sys.path)]
        settings = {"PYTHONPATH": os.pathsep.join(folders), "PYTHONSAFEPATH": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "encoders.imagebind.decoder", str(os.getpid())]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | settings)
        self._requests = cast(BufferedWriter, self.process.stdin)
        self._answers = cast(BufferedReader, self.process.stdout)
        for pipe in (self._requests, self._answers):
            _widen(pipe.fileno())
        if self._answers.read(1) != READY:
            self.end()
            raise WorldError(f"a decoder process ended at its start with code {self.process.returncode}; its standard error says why")

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def ask(self, data: bytes, modality: str, preset: str, shape: tuple[int, ...]) -> Array | RowError:
        """The answer to one request. Raises DecoderGone."""
        try:
            self._requests.write(REQUEST.pack(modality.encode(), preset.encode(), len(data)))
            self._requests.write(data)
            self._requests.flush()
        except (BrokenPipeError, ValueError) as error:
            raise DecoderGone from error
        ok, size = ANSWER.unpack(self._read(ANSWER.size))
        return self._array(shape) if ok else RowError(*json.loads(self._read(size)))

    def _array(self, shape: tuple[int, ...]) -> Array:
        array = np.empty(shape, np.float32)
        if self._answers.readinto(array.reshape(-1).view(np.uint8).data) < array.nbytes:
            raise DecoderGone
        return array

    def _read(self, size: int) -> bytes:
        got = self._answers.read(size)
        if len(got) < size:
            raise DecoderGone
        return got

    def end(self) -> None:
        """Kill the process and leave nothing of it."""
        self.process.kill()
        self.process.wait()
        for pipe in (self._requests, self._answers):
            with suppress(OSError):  # bytes that it never took
                pipe.close()


def _widen(pipe: int) -> None:
    """Fewer turns between the two processes; where the system does not let us, it is only slower."""
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


class Decoders:
    """At most `size` decoder processes, started when they are needed; safe in threads."""

    def __init__(self, size: int, limit_s: float = TIME_LIMIT_S) -> None:
        """Start nothing yet."""
        self.limit_s = limit_s
        self._slots = threading.BoundedSemaphore(size)
        self._idle: list[Decoder] = []

    def decode(self, data: bytes, modality: str, preset: str, shape: tuple[int, ...]) -> Array | RowError:
        """The array of `shape` for one file, or why there is none: `decoder_timeout`, `decoder_crashed`, or the decoder's own reason."""
        for _ in range(TRIES):
            with self._lent() as decoder:
                late = threading.Event()
                try:
                    return self._within_limit(decoder, late, lambda lent: lent.ask(data, modality, preset, shape))
                except DecoderGone:
                    code = decoder.process.wait()
                    if late.is_set():
                        return RowError("decoder_timeout", f"{len(data)} bytes of {modality} took over {self.limit_s:g} s to decode")
        return RowError("decoder_crashed", f"the decoder ended with code {code} on {len(data)} bytes of {modality}, {TRIES} times")

    def _within_limit(self, decoder: Decoder, late: threading.Event, ask: Callable[[Decoder], Array | RowError]) -> Array | RowError:
        def stop() -> None:
            late.set()
            decoder.process.kill()

        timer = threading.Timer(self.limit_s, stop)
        timer.daemon = True
        timer.start()
        try:
            return ask(decoder)
        finally:
            timer.cancel()

    @contextmanager
    def _lent(self) -> Iterator[Decoder]:
        with self._slots:
            decoder = self._taken()
            try:
                yield decoder
            except BaseException:  # in the middle of a request: its pipes hold what nobody will read
                decoder.end()
                raise
            if decoder.alive:
                self._idle.append(decoder)
            else:
                decoder.end()

    def _taken(self) -> Decoder:
        while True:
            try:
                decoder = self._idle.pop()
            except IndexError:
                return Decoder()
            if decoder.alive:
                return decoder
            decoder.end()

    def close(self) -> None:
        """End the processes that wait for work."""
        while self._idle:
            self._idle.pop().end()


_shared: list[Decoders] = []
_inherited: list[Decoders] = []  # of a process that forked: not ours to end
_lock = threading.Lock()


def shared_decoders() -> Decoders:
    """The process's own decoders: one for each core, at most four."""
    with _lock:
        if not _shared:
            _shared.append(Decoders(min(4, usable_cores())))
        return _shared[0]


def _forget() -> None:
    global _lock
    _lock = threading.Lock()
    _inherited.extend(_shared)
    _shared.clear()


def _close() -> None:
    for decoders in _shared:
        decoders.close()


atexit.register(_close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
