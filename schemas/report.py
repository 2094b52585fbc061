"""What a run counts, and that the counts add up."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Counts:
    """Rows of the source and objects of the collection; a row may be several objects (chunks)."""

    read: int = 0
    loaded: int = 0
    unchanged: int = 0
    failed: int = 0
    duplicate: int = 0
    objects_written: int = 0
    objects_deleted: int = 0

    @classmethod
    def of(cls, counters: Mapping[str, int]) -> "Counts":
        """From the counters of a run."""
        rows = {name: counters.get(f"rows/{name}", 0) for name in ("read", "loaded", "unchanged", "failed", "duplicate")}
        return cls(**rows, objects_written=counters.get("objects/written", 0), objects_deleted=counters.get("objects/deleted", 0))

    @property
    def add_up(self) -> bool:
        """Whether every row that was read is accounted for: read = loaded + unchanged + failed + duplicate."""
        return self.read == self.loaded + self.unchanged + self.failed + self.duplicate

    @property
    def failed_share(self) -> float:
        """The share of rows that failed."""
        return self.failed / self.read if self.read else 0.0


EDGES = (0, *(1 << n for n in range(22)))  # characters; the last stands for all that is longer than the one before
COLUMNS = 720  # the most points of a timeline
TICK_MS = 250  # the shortest step of a timeline


def histogram(lengths: Iterable[int]) -> dict[int, int]:
    """How many of `lengths` (characters) are at most each of `EDGES` and above the one before: {edge: count}, those that occur."""
    found = np.searchsorted(EDGES[:-1], np.fromiter(lengths, np.int64), side="left")
    places, counts = np.unique(found, return_counts=True)
    return {EDGES[place]: int(count) for place, count in zip(places, counts, strict=True)}


class Timeline:
    """Counts over time at no more than `COLUMNS` points: the step doubles when they do not suffice."""

    def __init__(self) -> None:
        """Nothing counted yet."""
        self.step_ms = TICK_MS
        self.counts: dict[int, float] = {}  # number of the step since 1970 -> count

    def add(self, at_ms: int, n: float) -> None:
        """Count `n` at a moment, in milliseconds since 1970."""
        step = at_ms // self.step_ms
        self.counts[step] = self.counts.get(step, 0) + n
        while max(self.counts) - min(self.counts) >= COLUMNS:
            self.step_ms *= 2
            folded: dict[int, float] = {}
            for old, count in self.counts.items():
                folded[old // 2] = folded.get(old // 2, 0) + count
            self.counts = folded

    def columns(self, start_ms: int, end_ms: int, most: int) -> tuple[float, list[float]]:
        """(seconds a column, counts): at most `most` columns from `start_ms` on; what lies outside goes to the first or last."""
        step_ms = max(self.step_ms, -(-max(1, end_ms - start_ms) // most))
        counts = [0.0] * max(1, -(-(end_ms - start_ms) // step_ms))
        for step, count in self.counts.items():
            counts[min(max(0, (step * self.step_ms - start_ms) // step_ms), len(counts) - 1)] += count
        return step_ms / 1000, counts


DONE = ("rows/loaded", "rows/unchanged")  # what the timeline shows


class Summary:
    """What the figures of all bundles add up to: in total, for each shard, and rows done over time."""

    def __init__(self) -> None:
        """Nothing added yet."""
        self.totals: Counter[str] = Counter()
        self.shards: dict[str, Counter[str]] = {}
        self.done = Timeline()
        self.first_ms = self.last_ms = 0  # the moments of the first and the last figure, since 1970

    def add(self, shard: str, name: str, at_ms: int, n: float) -> None:
        """One figure; `shard` is empty where the figure belongs to none."""
        self.totals[name] += n  # type: ignore[assignment]  # microseconds shared among shards are no whole numbers
        self.place(shard, name, at_ms, n)

    def place(self, shard: str, name: str, at_ms: int, n: float) -> None:
        """One figure where it belongs, when the totals have it."""
        self.first_ms = min(self.first_ms or at_ms, at_ms)
        self.last_ms = max(self.last_ms, at_ms)
        if shard:
            self.shards.setdefault(shard, Counter())["us" if name.startswith("us/") else name] += n  # type: ignore[assignment]
        if name in DONE:
            self.done.add(at_ms, n)

    @property
    def counters(self) -> dict[str, int]:
        """The totals as whole numbers."""
        return {name: round(n) for name, n in self.totals.items()}

    def slowest(self, most: int = 10) -> list[tuple[str, Counter[str]]]:
        """The shards that took the most time, with their figures; `us` is the sum of their microseconds."""
        return sorted(self.shards.items(), key=lambda item: (-item[1]["us"], item[0]))[:most]
