"""Batches for a model: sorted by length and cut by padded tokens, so that little is computed on padding."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from encoders.base import Progress

TOKENS = 4096  # padded tokens a batch: the CPU's caches are full and a GPU is not yet empty
ROWS = 256

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


def run_batches(
    batches: Sequence[Positions],
    forward: Callable[[Positions], npt.NDArray[np.float32]],
    out: npt.NDArray[np.float32],
    progress: Progress | None,
) -> None:
    """Put `forward` of each batch into the rows of `out`; a batch that runs out of memory is halved."""
    waiting = list(reversed(batches))
    while waiting:
        batch = waiting.pop()
        try:
            out[batch] = forward(batch)
        except (RuntimeError, MemoryError) as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
            waiting += [batch[len(batch) // 2 :], batch[: len(batch) // 2]]
            continue
        if progress:
            progress(len(batch))
