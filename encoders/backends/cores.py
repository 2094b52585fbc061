"""One batch a core: on a CPU, cores that each compute a batch of their own do not wait for one another."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from threading import Barrier
from typing import Any

from encoders.base import Progress, Vectors
from encoders.batching import Budget, Forward, Lengths, Pool, given_on, padded_tokens, plan_batches, run_batches


def cores() -> int:
    """The threads that torch may use, as the environment or the user has set them."""
    import torch

    return int(torch.get_num_threads())


def one_core_each(workers: int) -> Pool:
    """Threads, shared by the whole process, in each of which torch uses one core."""
    return Pool(_pool(os.getpid(), workers), workers)  # a forked process has none of its parent's threads


def run_on_cores(
    lengths: Lengths,
    forward: Forward,
    out: Vectors,
    progress: Progress | None,
    budget: Budget,
    workers: int | None = None,
    turn: AbstractContextManager[Any] | None = None,
) -> int:
    """Plan batches of values of these lengths (n,), and put `forward` of each into its rows of `out`, several side by side.

    `turn` is held until the last batches are being computed: whoever waits for it has the cores that become free.
    Gives the tokens that are computed where a batch is padded to its longest value.
    """
    workers = workers or cores()
    batches = plan_batches(lengths, budget.shared(int(lengths.sum()), workers))
    pool = one_core_each(workers) if workers > 1 and len(batches) > 1 else None
    with given_on(turn) as last:
        run_batches(batches, forward, out, progress, pool, budget, lengths, last)
    return padded_tokens(lengths, batches)


@cache
def _pool(process: int, workers: int) -> ThreadPoolExecutor:
    import torch

    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="core", initializer=_take_one_core)
    together = Barrier(workers)  # so that each of these tasks starts a thread of its own
    for future in [pool.submit(together.wait) for _ in range(workers)]:
        future.result()
    torch.set_num_threads(before)  # torch's number for threads yet to come was changed too; those of the pool keep theirs
    return pool


def _take_one_core() -> None:
    """Have torch use one core in this thread."""
    import torch

    torch.set_num_threads(1)
    torch.get_num_threads()  # a thread takes the process's number when it first needs one: now, while it is 1
