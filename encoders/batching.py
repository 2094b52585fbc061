"""Batches for a model: sorted by length and cut by padded tokens, so that little is computed on padding."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from encoders.base import Progress

TOKENS = 4096  # padded tokens a batch: the CPU's caches are full and a GPU is not yet empty
ROWS = 256
CORE = 2048  # tokens a batch of one CPU core: with more, the kernel gives and takes the memory of every layer anew
SMALL = 512  # with fewer, the cost of starting each operation is felt

Lengths = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int64]


def plan_batches(lengths: Sequence[int] | Lengths, tokens: int = TOKENS, rows: int = ROWS) -> list[Positions]:
    """Positions in batches of like length: in each, rows times longest <= `tokens` and at most `rows`; a longer value stands alone.

    The batch with the longest values comes first, so that a device runs out of memory at once or not at all; the
    others follow in an order that is mixed, but always the same, so that the pace at any time tells of the whole.
    """
    lengths = np.asarray(lengths, np.int64)
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        stop = start + max(1, min(rows, tokens // longest))
        batches.append(order[start:stop])
        start = stop
    mixed = np.random.default_rng(0).permutation(max(0, len(batches) - 1)) + 1
    return batches[:1] + [batches[i] for i in mixed]


def padded_tokens(lengths: Sequence[int] | Lengths, batches: Sequence[Positions]) -> int:
    """The tokens a model computes for `batches`, padding included."""
    lengths = np.asarray(lengths, np.int64)
    return int(sum(len(b) * lengths[b].max() for b in batches if len(b)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine ran out of memory; torch has several words for it."""
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower() or "OutOfMemory" in type(error).__name__


class Budget:
    """The padded tokens that a batch may have; it shrinks for good where a device runs out of memory."""

    def __init__(self, tokens: int = TOKENS) -> None:
        """Start with `tokens`."""
        self.tokens = tokens

    def shared(self, tokens: int, workers: int) -> int:
        """The tokens a batch when CPU cores compute `tokens` side by side: each is to have several batches, so that all end together."""
        return min(self.tokens, CORE, max(SMALL, tokens // (4 * workers)))

    def ran_out(self, tokens: int) -> None:
        """A batch of so many tokens had no room."""
        self.tokens = max(1, min(self.tokens, tokens // 2))


class Pool(NamedTuple):
    """Threads that compute batches side by side, and how many they are."""

    threads: ThreadPoolExecutor
    workers: int


Forward = Callable[[Positions], npt.NDArray[np.float32]]


def run_batches(
    batches: Sequence[Positions],
    forward: Forward,
    out: npt.NDArray[np.float32],
    progress: Progress | None,
    pool: Pool | None = None,
    budget: Budget | None = None,
    lengths: Lengths | None = None,
) -> None:
    """Put `forward` of each batch into the rows of `out`; a batch that runs out of memory is halved.

    With a `pool`, its threads compute side by side. With `budget` and the `lengths` (n,) of the values, what did not
    fit is remembered: later batches, of this call and of others, are cut to half of it beforehand.
    """
    waiting = list(reversed(batches))

    def next_batch() -> Positions:
        batch = waiting.pop()
        while budget and lengths is not None and len(batch) > 1 and padded_tokens(lengths, [batch]) > budget.tokens:
            waiting.append(batch[len(batch) // 2 :])
            batch = batch[: len(batch) // 2]
        return batch

    for batch, found in _computed(waiting, next_batch, forward, pool):
        try:
            out[batch] = found()
        except (RuntimeError, MemoryError) as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
            if budget and lengths is not None:
                budget.ran_out(padded_tokens(lengths, [batch]))
            waiting += [batch[len(batch) // 2 :], batch[: len(batch) // 2]]
            continue
        if progress:
            progress(len(batch))


def _computed(
    waiting: list[Positions], next_batch: Callable[[], Positions], forward: Forward, pool: Pool | None
) -> Iterator[tuple[Positions, Callable[[], npt.NDArray[np.float32]]]]:
    """Each batch and what gives its vectors, as they are done; whoever takes them may put more into `waiting`."""
    running: dict[Future[npt.NDArray[np.float32]], Positions] = {}
    try:
        while waiting or running:
            if pool is None:
                batch = next_batch()
                yield batch, partial(forward, batch)
                continue
            while waiting and len(running) <= pool.workers:  # one more than is computed, so that no thread waits for us
                batch = next_batch()
                running[pool.threads.submit(forward, batch)] = batch
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result
    finally:
        for future in running:
            future.cancel()
        wait(running)
