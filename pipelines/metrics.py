"""What a run counts: Beam counters, and the same figures live in this process for the progress bar."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from apache_beam.metrics import Metrics

NAMESPACE = "warpbeam"

_live: Counter[str] = Counter()
_lock = threading.Lock()


def count(name: str, n: int = 1) -> None:
    """Add `n` to the counter `name`, such as `rows/read`."""
    if n:
        Metrics.counter(NAMESPACE, name).inc(n)
        tick(name, n)


def tick(name: str, n: int = 1) -> None:
    """Add `n` to a figure that only the progress bar needs."""
    with _lock:
        _live[name] += n


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Count the milliseconds that the block takes, as `ms/<name>`."""
    start = time.perf_counter()
    try:
        yield
    finally:
        count(f"ms/{name}", round(1000 * (time.perf_counter() - start)))


def live() -> dict[str, int]:
    """The figures of this process so far."""
    with _lock:
        return dict(_live)


def reset() -> None:
    """Forget the live figures: a new run starts."""
    with _lock:
        _live.clear()
