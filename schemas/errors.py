"""The error tree: three kinds of wrong, and what each one leads to.

WarpbeamError
├── JobError     the job is wrong: raised before anything runs, names every fault; exit code 2
├── RowError     a row is wrong: the row is rejected with the reason, the others go on; exit code 1 beyond the allowed share
└── WorldError   the world is wrong: retried with an end, then raised; exit code 3
"""

from collections.abc import Iterable


class WarpbeamError(Exception):
    """The root of every error that Warpbeam raises on purpose."""


class JobError(WarpbeamError):
    """The job does not fit its data, its models or its server; `faults` has one sentence for each thing to mend."""

    def __init__(self, *faults: str) -> None:
        """Keep the sentences apart, so that `check` can list them."""
        self.faults = tuple(faults)
        super().__init__("\n".join(faults))

    def __reduce__(self) -> tuple[type["JobError"], tuple[str, ...]]:
        """Survive pickling: workers send exceptions home."""
        return JobError, self.faults


class RowError(WarpbeamError):
    """One row or value cannot be loaded; `code` is a short word to count by, `reason` the whole sentence."""

    def __init__(self, code: str, reason: str) -> None:
        """Keep code and reason apart, so that the report can group failures."""
        self.code, self.reason = code, reason
        super().__init__(f"{code}: {reason}")

    def __reduce__(self) -> tuple[type["RowError"], tuple[str, str]]:
        """Survive pickling: workers send exceptions home."""
        return RowError, (self.code, self.reason)


class WorldError(WarpbeamError):
    """A server, a file system or a network did not do its part, also after the retries."""


def raise_faults(faults: Iterable[str]) -> None:
    """Raise one JobError that names all `faults`, or nothing if there are none."""
    found = tuple(faults)
    if found:
        raise JobError(*found)
