"""When a run wrote what is in doubt: spans of time in which requests were lost, and all since it was last seen; by the server's clock."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from itertools import pairwise

EVER = datetime(1970, 1, 1, tzinfo=timezone.utc)
CLOCK = timedelta(seconds=2)  # the server tells its time to the second
MOST = 20  # spans: with more, the gaps between them are short, and every object is compared with each span
Span = tuple[datetime, datetime]


@dataclass(frozen=True)
class Doubt:
    """What was written in one of `spans`, or at `since` and later; None: nothing later is in doubt."""

    since: datetime | None
    spans: tuple[Span, ...] = ()

    def covers(self, ms: int) -> bool:
        """Whether what was written at `ms` (milliseconds since 1970) is in doubt."""
        at = EVER + timedelta(milliseconds=ms)
        return (self.since is not None and at >= self.since) or any(begin <= at <= end for begin, end in self.spans)

    def moved_on(self, now: datetime, patience: timedelta, troubled: bool, until: datetime | None = None) -> "Doubt":
        """As it is at `now`, with requests that may be `patience` old on their way.

        `troubled`: some were lost since it was moved last, or the server was started anew, at the latest at `until`.
        """
        assert self.since is not None
        spans = joined([*self.spans, (self.since, (until or now) + 2 * CLOCK)]) if troubled else self.spans
        return Doubt(max(self.since, now - patience), spans)

    def ended(self) -> "Doubt":
        """As it is when everything else was acknowledged."""
        return replace(self, since=None)

    def __str__(self) -> str:
        """As ISO 8601 has it: `begin/end` for each span, then since when, between commas."""
        spans = [f"{_text(begin)}/{_text(end)}" for begin, end in self.spans]
        return ",".join(spans + ([_text(self.since)] if self.since else []))

    @classmethod
    def parse(cls, text: str) -> "Doubt":
        """What `str` gave. Raises ValueError for anything else."""
        parts = [[datetime.fromisoformat(time) for time in part.split("/")] for part in text.split(",")]
        spans, single = [p for p in parts if len(p) == 2], [p[0] for p in parts if len(p) == 1]
        if len(spans) + len(single) != len(parts) or len(single) > 1:
            raise ValueError(f"{text!r} is no list of spans")
        return cls(single[0] if single else None, tuple((begin, end) for begin, end in spans))


def joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """What covers all of `spans`, in order, without overlaps and at most MOST; where there are more, the shortest gaps are covered too."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    while len(found) > MOST:
        gaps = [later[0] - earlier[1] for earlier, later in pairwise(found)]
        i = gaps.index(min(gaps))
        found[i : i + 2] = [(found[i][0], found[i + 1][1])]
    return tuple(found)


def _text(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
