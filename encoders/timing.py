"""What part of an encoder's time goes where: encoders name the parts, whoever calls them may listen."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_heard: ContextVar[Counter[str] | None] = ContextVar("timings", default=None)


@contextmanager
def timings() -> Iterator[Counter[str]]:
    """Microseconds by part, of this thread while the block lasts; filled as the parts end."""
    heard: Counter[str] = Counter()
    token = _heard.set(heard)
    try:
        yield heard
    finally:
        _heard.reset(token)


@contextmanager
def timed(part: str) -> Iterator[None]:
    """Tell the caller, if it listens, how long the block takes; `part` is `tokenise` or `decode`. A part inside a part is its own."""
    heard = _heard.get()
    if heard is None:
        yield
        return
    start, inner = time.perf_counter(), heard.total()
    try:
        yield
    finally:
        heard[part] += round(1e6 * (time.perf_counter() - start)) - (heard.total() - inner)


def share(part: str, waited_s: float, part_s: float, rest_s: float) -> None:
    """Tell the caller, if it listens, of its wait for threads that spent `part_s` on `part` and `rest_s` on the rest: the share of `part`."""
    heard = _heard.get()
    if heard is not None and part_s:
        heard[part] += round(1e6 * waited_s * part_s / (part_s + rest_s))


def timed_calls(part: str, function: Callable[P, T]) -> Callable[P, T]:
    """`function`, each call of which is timed as `part`."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with timed(part):
            return function(*args, **kwargs)

    return call
