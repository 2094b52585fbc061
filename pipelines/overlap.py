"""Work beside the bundle's thread: the next batches are read, and a window is encoded, while others are written.

Beam may give a worker one thread only. So the reader and the encoder have threads of their own, with a bounded amount
of work; errors are raised in the bundle's thread, and nothing goes on when a bundle has ended.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from pipelines.metrics import Counted, count_again, counted_aside

T = TypeVar("T")
AHEAD_ROWS = 4096  # a window of rows is ready when the one before is encoded
AHEAD_BYTES = 48 << 20


class ReadAhead(Generic[T]):
    """The items of `make()`, read in a thread of their own until `AHEAD_ROWS` or `AHEAD_BYTES` wait; a context manager."""

    def __init__(self, make: Callable[[], Iterator[T]], rows: int = AHEAD_ROWS, size: int = AHEAD_BYTES) -> None:
        """Nothing is read before the block is entered. An item's `num_rows` and `nbytes` count; without them it is one row."""
        self._make, self._rows, self._size = make, rows, size
        self._items: deque[T] = deque()
        self._error: BaseException | None = None
        self._ended = self._stopped = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="read", daemon=True)

    def __enter__(self) -> "ReadAhead[T]":
        """Begin to read."""
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop, and wait for the item that is being read."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    def next(self) -> T | None:
        """The next item; None at the end. Raises what reading raised, after the items before it."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended)
            if self._items:
                self._changed.notify_all()
                return self._items.popleft()
        if self._error is not None:
            raise self._error
        return None

    def _read(self) -> None:
        try:
            items = self._make()
            while self._has_room() and (item := next(items, None)) is not None:
                with self._changed:
                    self._items.append(item)
                    self._changed.notify_all()
            getattr(items, "close", lambda: None)()
        except BaseException as error:
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _has_room(self) -> bool:
        """Wait until there is room for an item; False where nobody wants it any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not self._is_full())
            return not self._stopped

    def _is_full(self) -> bool:
        rows = sum(getattr(item, "num_rows", 1) for item in self._items)
        return rows >= self._rows or sum(getattr(item, "nbytes", 0) for item in self._items) >= self._size


class BrokenOff(Exception):
    """Nobody wants the outputs any more."""


class Beside:
    """One piece of work at a time, in a thread of its own; what it counts is counted in the thread that takes its result."""

    def __init__(self) -> None:
        """No thread yet: this travels to workers."""
        self._pool: ThreadPoolExecutor | None = None
        self._running: Future[tuple[list[Any], Counted]] | None = None
        self._unwanted = False

    @property
    def idle(self) -> bool:
        """Whether nothing runs, and no result waits to be taken."""
        return self._running is None

    def start(self, make: Callable[[], Iterator[Any]]) -> None:
        """Begin to make outputs. Whatever ran before must have been taken."""
        assert self._running is None
        self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._running = self._pool.submit(_counted, make)

    def take(self, wait: bool = True) -> list[Any]:
        """The outputs of what ran, none if nothing did; without `wait`, only if they are there. Raises what the work raised."""
        if self._running is None or not (wait or self._running.done()):
            return []
        running, self._running = self._running, None
        outputs, counted = running.result()
        count_again(counted)
        return outputs

    def go_on(self) -> None:
        """To be called by the work now and then. Raises BrokenOff where its outputs are not wanted any more."""
        if self._unwanted:
            raise BrokenOff

    def drop(self) -> None:
        """End what runs, and forget it: its bundle broke off."""
        if self._running is not None:
            self._unwanted = True
            self._running.exception()
        self._running, self._unwanted = None, False

    def close(self) -> None:
        """End the thread."""
        self.drop()
        if self._pool:
            self._pool.shutdown()
        self._pool = None


def _counted(make: Callable[[], Iterator[Any]]) -> tuple[list[Any], Counted]:
    with counted_aside() as counted:
        return list(make()), counted
