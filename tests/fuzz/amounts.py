"""How many examples a test makes, and how many were made: a share of them by default, all with WARPBEAM_FUZZ=full."""

import os
from collections import Counter

from hypothesis import HealthCheck, settings

FULL = os.environ.get("WARPBEAM_FUZZ") == "full"
SHARE = 1 if FULL else 16
LEAST, LEAST_IN_ALL = 500, 10_000  # of each subject, and in all: what a full run must reach
SUBJECTS = (
    "parquet",
    "jsonl",
    "csv",
    "files",
    "image",
    "job file",
    *(f"imagebind {m}" for m in ("image", "thermal", "depth", "imu", "audio", "video")),
)
made: Counter[str] = Counter()


def few_or(all_of_them: int) -> int:
    """`all_of_them` in a full run, else a share."""
    return max(5, all_of_them // SHARE)


def fuzz(all_of_them: int) -> settings:
    """Hypothesis' settings; who hangs is found by the process that waits, not by a deadline."""
    return settings(max_examples=few_or(all_of_them), deadline=None, suppress_health_check=list(HealthCheck), database=None)


def tally(subject: str, n: int = 1) -> None:
    """Count `n` examples of `subject`."""
    made[subject] += n


def shortfalls() -> list[str]:
    """Of which subjects a full run made too few."""
    found = [f"{s}: {made[s]} examples; expected at least {LEAST}" for s in SUBJECTS if made[s] < LEAST]
    return found + ([f"{made.total()} in all; expected at least {LEAST_IN_ALL}"] if made.total() < LEAST_IN_ALL else [])
