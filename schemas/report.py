"""What a run counts, and that the counts add up."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """Rows of the source and objects of the collection; a row may be several objects (chunks)."""

    read: int = 0
    loaded: int = 0
    unchanged: int = 0
    failed: int = 0
    duplicate: int = 0
    objects_written: int = 0

    @classmethod
    def of(cls, counters: Mapping[str, int]) -> "Counts":
        """From the counters of a run."""
        rows = {name: counters.get(f"rows/{name}", 0) for name in ("read", "loaded", "unchanged", "failed", "duplicate")}
        return cls(**rows, objects_written=counters.get("objects/written", 0))

    @property
    def add_up(self) -> bool:
        """Whether every row that was read is accounted for: read = loaded + unchanged + failed + duplicate."""
        return self.read == self.loaded + self.unchanged + self.failed + self.duplicate

    @property
    def failed_share(self) -> float:
        """The share of rows that failed."""
        return self.failed / self.read if self.read else 0.0
