"""Says how many examples were made, and lets a full run fail that made too few."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.amounts import FULL, made, shortfalls
from tests.fuzz.child import child

SHORT = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session", autouse=True)
def child_process() -> Iterator[None]:
    yield
    child.end()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the files of examples."""
    return tmp_path_factory.mktemp("fuzz")


def whole_folder(session: pytest.Session) -> bool:
    """Whether all files of this folder were run."""
    files = {item.path.name for item in session.items if item.path.parent == Path(__file__).parent}
    return files >= {path.name for path in Path(__file__).parent.glob("test_*.py")}


def pytest_sessionfinish(session: pytest.Session) -> None:
    short = shortfalls() if FULL and whole_folder(session) else []
    session.stash[SHORT] = short
    if short and session.exitstatus == 0:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if made:
        terminalreporter.write_line(f"fuzzed: {made.total()} ({', '.join(f'{s} {n}' for s, n in sorted(made.items()))})")
    for line in terminalreporter._session.stash.get(SHORT, []):
        terminalreporter.write_line(f"too few: {line}")
