"""Image files to vectors: decoding and preparing run beside the model, never more than a few batches ahead.

On a CPU each core takes a few files, decodes and prepares them and computes their vectors, so that no core waits for
another. For another device as many threads decode the next batches, and two batches are in flight.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, Protocol

import numpy as np

from encoders.backends.cores import cores, one_core_each
from encoders.backends.flight import in_flight
from encoders.base import Progress, Vectors
from encoders.batching import Positions, run_batches
from encoders.images import Treatment, open_image, upright_rgb
from encoders.threads import usable_cores
from encoders.timing import share
from schemas.errors import RowError

AHEAD = 2  # batches that are decoded before the device asks for them


class PictureModel(Protocol):
    """A model for pictures; `images` is the size of a batch that suits it, `device` torch's word for where it runs."""

    images: int

    @property
    def device(self) -> str:
        """Such as `cpu`."""
        ...

    def prepare(self, image: Any) -> Any:
        """What `pictures` takes; called in threads."""
        ...

    def pictures(self, images: Sequence[Any]) -> Vectors:
        """Vectors (n, dim) float32 of prepared pictures."""
        ...


def encode_pictures(
    values: Sequence[bytes], model: PictureModel, out: Vectors, progress: Progress, treat: Treatment = upright_rgb
) -> dict[int, RowError]:
    """Put the vectors of image files into the rows of `out` (n, dim or fewer); why files cannot be read, by position."""
    on_cpu = model.device == "cpu"
    workers = min(cores(), len(values)) if on_cpu else 1
    pool = (one_core_each(cores()) if on_cpu else in_flight(model.device)) if values else None
    batches = plan_pictures(len(values), model.images, workers)
    start = time.perf_counter()
    with nullcontext() if on_cpu else ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode") as decoders:
        work = _Work(values, model, out.shape[1], treat, decoders)
        run_batches(batches, work.forward, out, progress, pool=pool)
    share("decode", time.perf_counter() - start, *np.sum(work.spent or [(0, 0)], axis=0))
    return work.errors


def plan_pictures(n: int, most: int, workers: int) -> list[Positions]:
    """Batches of at most `most` of `n` pictures; towards the end they get smaller, so that all workers end together."""
    batches, start = [], 0
    while start < n:
        size = max(1, min(most, -(-(n - start) // (2 * workers)) if workers > 1 else most))
        batches.append(np.arange(start, min(n, start + size)))
        start += size
    return batches


class _Work:
    """What one call of `encode_pictures` has under way."""

    def __init__(
        self, values: Sequence[bytes], model: PictureModel, dim: int, treat: Treatment, decoders: ThreadPoolExecutor | None
    ) -> None:
        self.values, self.model, self.dim, self.treat, self.decoders = values, model, dim, treat, decoders
        self.errors: dict[int, RowError] = {}
        self.spent: list[tuple[float, float]] = []  # by batch: seconds of decoding, and of the model
        self._ahead: dict[int, Future[Any]] = {}
        self._next = 0  # the first file that no decoder was asked for
        self._asking = threading.Lock()

    def forward(self, positions: Positions) -> Vectors:
        """Vectors (n, dim) of the files at `positions`; NaN for those that cannot be read."""
        start = time.perf_counter()
        opened = self._opened([int(i) for i in positions])
        good = [i for i, found in enumerate(opened) if not isinstance(found, RowError)]
        self.errors |= {int(positions[i]): found for i, found in enumerate(opened) if isinstance(found, RowError)}
        middle = time.perf_counter()
        vectors = np.full((len(positions), self.dim), np.nan, np.float32)
        if good:
            vectors[good] = self.model.pictures([opened[i] for i in good])[:, : self.dim]
        self.spent.append((middle - start, time.perf_counter() - middle))
        return vectors

    def _opened(self, positions: list[int]) -> list[Any]:
        if self.decoders is None:
            return [self._open(i) for i in positions]
        with self._asking:
            for i in positions:  # those of a batch that was halved are decoded again
                if i not in self._ahead:
                    self._ahead[i] = self.decoders.submit(self._open, i)
            wanted = [self._ahead.pop(i) for i in positions]
            self._next = max(self._next, positions[-1] + 1)
            end = min(len(self.values), positions[-1] + 1 + AHEAD * self.model.images)
            for i in range(self._next, end):
                self._ahead[i] = self.decoders.submit(self._open, i)
            self._next = max(self._next, end)
        return [future.result() for future in wanted]

    def _open(self, position: int) -> Any:
        """The prepared picture, or why there is none."""
        try:
            return self.model.prepare(open_image(self.values[position], treat=self.treat))
        except RowError as error:
            return error
