"""Batches for a model: sorted by length and cut by padded tokens, so that little is computed on padding."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from traceback import clear_frames
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from encoders.base import Progress

TOKENS = 4096  # padded tokens a batch: the CPU's caches are full and a GPU is not yet empty
ROWS = 256
SHORT = 16  # tokens: a batch with a larger budget has more rows than ROWS, so that short texts fill it too
CORE = 2048  # tokens a batch of one CPU core: with more, the kernel gives and takes the memory of every layer anew
DEVICE = 1 << 17  # what is tried at most on a GPU
WORTH = 1.05  # times as fast: what larger batches must be, since they are padded more and lose more when something fails
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
    """The padded tokens that a batch may have: given, or found by measuring; it shrinks for good where a device runs out of memory."""

    def __init__(self, tokens: int = TOKENS, most: int = 0, given: int | None = None) -> None:
        """Start with `tokens`, and try more, up to `most`, as long as that is faster; or keep what the job has `given`."""
        self.tokens, self.core = given or tokens, given or CORE
        self._most = 0 if given else most
        self._rate = 0.0  # tokens a second in batches half as large

    def shared(self, tokens: int, workers: int) -> int:
        """The tokens a batch when CPU cores compute `tokens` side by side: each is to have several batches, so that all end together."""
        return min(self.tokens, self.core, max(SMALL, tokens // (4 * workers)))

    def ran_out(self, tokens: int) -> None:
        """A batch of so many tokens had no room."""
        self.tokens, self._most = max(1, min(self.tokens, tokens // 2)), 0

    def measured(self, used: int, tokens: int, seconds: float) -> None:
        """Batches of `used` padded tokens took `seconds` for `tokens` real ones: try twice as large ones, or settle."""
        if used != self.tokens or used > self._most or tokens < 2 * used:
            return  # settled, meant for another size, or too few to tell
        rate = tokens / seconds
        if rate < WORTH * self._rate:
            self.tokens, self._most = used // 2, 0
        elif 2 * used <= self._most:
            self.tokens, self._rate = 2 * used, rate
        else:
            self._most = 0


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
    last: Callable[[], None] | None = None,
) -> None:
    """Put `forward` of each batch into the rows of `out`; a batch that runs out of memory is halved.

    With a `pool`, its threads compute side by side; `last` is called when they have the last batches, before these are
    done. With `budget` and the `lengths` (n,) of the values, what did not fit is remembered: later batches, of this call
    and of others, are cut to half of it beforehand.
    """
    waiting = list(reversed(batches))

    def next_batch() -> Positions:
        batch = waiting.pop()
        while budget and lengths is not None and len(batch) > 1 and padded_tokens(lengths, [batch]) > budget.tokens:
            waiting.append(batch[len(batch) // 2 :])
            batch = batch[: len(batch) // 2]
        return batch

    for batch, found in _computed(waiting, next_batch, forward, pool, last):
        try:
            out[batch] = found()
        except (RuntimeError, MemoryError) as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
            clear_frames(error.__traceback__)  # its frames hold the tensors that had no room
            if budget and lengths is not None:
                budget.ran_out(padded_tokens(lengths, [batch]))
            waiting += [batch[len(batch) // 2 :], batch[: len(batch) // 2]]
            continue
        if progress:
            progress(len(batch))


@contextmanager
def given_on(turn: AbstractContextManager[Any] | None) -> Iterator[Callable[[], None]]:
    """Within the block `turn` is held, until what this gives is called."""
    with ExitStack() as held:
        if turn:
            held.enter_context(turn)
        yield held.close


def run_padded(
    lengths: Lengths,
    forward: Forward,
    out: npt.NDArray[np.float32],
    progress: Progress | None,
    budget: Budget,
    pool: Pool | None = None,
    turn: AbstractContextManager[Any] | None = None,
) -> int:
    """Plan batches of values of these lengths (n,), and put `forward` of each into its rows of `out`; the tokens with padding.

    How fast it was decides the size of later batches. With a `pool`, several are under way; `turn` is held until the last
    ones are, so that whoever waits for it goes on without a gap.
    """
    with given_on(turn) as last:
        used, start = budget.tokens, time.perf_counter()
        batches = plan_batches(lengths, used, max(ROWS, used // SHORT))
        run_batches(batches, forward, out, progress, pool, budget, lengths, last)
        budget.measured(used, int(lengths.sum()), time.perf_counter() - start)
    return padded_tokens(lengths, batches)


def _computed(
    waiting: list[Positions],
    next_batch: Callable[[], Positions],
    forward: Forward,
    pool: Pool | None,
    last: Callable[[], None] | None,
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
            if last and not waiting:
                last()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result
    finally:
        for future in running:
            future.cancel()
        wait(running)
