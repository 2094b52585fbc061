"""What a run counts: Beam counters, the same figures live in this process, and those of a bundle by shard and time.

The last are what the stages of one bundle leave in their thread, until the bundle's end sends them on as an element
(`pipelines/summaries.py`): so they come from every worker, and only once from a bundle that was repeated.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from copy import deepcopy
from typing import NamedTuple, TypeAlias, TypeVar

import pyarrow as pa
from apache_beam.metrics import Metrics

from encoders.timing import timings
from schemas.columns import SHARD
from schemas.report import TICK_MS, Summary

NAMESPACE = "warpbeam"
T = TypeVar("T")
Of: TypeAlias = "str | pa.RecordBatch | None"  # a shard, or objects whose shards share the figure by their rows
Figures = Mapping[tuple[str, str, int], float]  # (shard, name, milliseconds since 1970) -> n


class Told(NamedTuple):
    """What `count` was told, and when (milliseconds since 1970)."""

    name: str
    n: int
    of: Of
    at: int


Counted: TypeAlias = list[Told]

_live = Summary()
_lock = threading.Lock()
_bundle = threading.local()


def count(name: str, n: int = 1, of: Of = None) -> None:
    """Add `n` to the counter `name`, such as `rows/read`."""
    if n:
        told = Told(name, n, of, time.time_ns() // (TICK_MS * 1_000_000) * TICK_MS)
        aside: Counted | None = getattr(_bundle, "aside", None)
        count_again([told]) if aside is None else aside.append(told)


def count_again(counted: Counted) -> None:
    """Count in this thread, which must be the bundle's, what another one was told."""
    figures = _figures()
    for name, n, of, at in counted:
        Metrics.counter(NAMESPACE, name).inc(n)
        tick(name, n)
        for shard, share in _shares(of).items():
            figures[shard, name, at] += n * share  # type: ignore[assignment]
            with _lock:
                _live.place(shard, name, at, n * share)


def tick(name: str, n: int = 1) -> None:
    """Add `n` to a figure that only the progress bar needs."""
    with _lock:
        _live.totals[name] += n


@contextmanager
def counted_aside() -> Iterator[Counted]:
    """What `count` is told in this thread while the block lasts: Beam's counters and a bundle's figures know the bundle's thread only."""
    _bundle.aside = []
    try:
        yield _bundle.aside
    finally:
        _bundle.aside = None


@contextmanager
def phase(name: str, of: Of = None) -> Iterator[None]:
    """Count the microseconds that the block takes, as `us/<name>`; parts that an encoder names are counted apart."""
    start = time.perf_counter()
    with timings() as parts:
        try:
            yield
        finally:
            count(f"us/{name}", max(0, round(1e6 * (time.perf_counter() - start)) - parts.total()), of)
            for part, microseconds in parts.items():
                count(f"us/{part}", microseconds, of)


@contextmanager
def waited(name: str, of: Of, context: AbstractContextManager[T]) -> Iterator[T]:
    """`context`, where entering it may mean waiting: that time is counted as `us/<name>`."""
    with ExitStack() as stack:
        with phase(name, of):
            entered = stack.enter_context(context)
        yield entered


def _figures() -> Counter[tuple[str, str, int]]:
    if not hasattr(_bundle, "figures"):
        _bundle.figures = Counter()
    found: Counter[tuple[str, str, int]] = _bundle.figures
    return found


def _shares(of: Of) -> dict[str, float]:
    if isinstance(of, pa.RecordBatch):
        if not of.num_rows or SHARD not in of.schema.names:
            return {"": 1.0}
        return {found["values"]: found["counts"] / of.num_rows for found in of.column(SHARD).value_counts().to_pylist()}
    return {of or "": 1.0}


def take_figures() -> Figures:
    """The figures of this thread since they were last taken: a bundle runs in one thread from start to end."""
    figures = _figures()
    _bundle.figures = Counter()
    return figures


def live() -> dict[str, int]:
    """The totals of this process so far."""
    with _lock:
        return _live.counters


def live_summary() -> Summary:
    """All figures of this process so far: a copy, since a pipeline that was stopped may still have threads that count."""
    with _lock:
        return deepcopy(_live)


def reset() -> None:
    """Forget the live figures: a new run starts."""
    global _live
    with _lock:
        _live = Summary()
