"""A lock that all processes of this machine share, as a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone on this machine while the block lasts; the lock goes with its process. Raises OSError where `path` cannot be written."""
    import fcntl  # absent on Windows

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
