"""The report of a run whose launcher has gone: made again from what the pipeline stored."""

from dataclasses import dataclass
from datetime import datetime, timezone

from jobs.report.figures import Report, stored_tables
from pipelines.summaries import SUMMARIES, stored_summary
from schemas.errors import JobError
from schemas.job import Job
from schemas.report import Summary


@dataclass(frozen=True)
class Past:
    """A run of the past: its job, and the folder of its failures."""

    job: Job
    failures: str

    @property
    def notes(self) -> str:
        """The folder of what else is to be said about rows."""
        return f"{self.failures}/notes"


def past_report(job: Job, run: str) -> Report:
    """The report of `run`, the name of its folder in `failures.path`. Raises JobError where that run has no summaries.

    What only the launcher did, such as deletes, is not in it.
    """
    past = Past(job, f"{job.resolve(job.failures.path).rstrip('/')}/{run}")
    summary = stored_summary(f"{past.failures}/{SUMMARIES}", job.failures.storage_options)
    if summary is None:
        raise JobError(f"{past.failures}/{SUMMARIES} has no files: there is no such run, or it did not come to its end")
    counters = summary.counters | {"rows/failed": failed_rows(past)}
    return Report(past, _started(run, summary), counters, ended=_moment(summary.last_ms))


def failed_rows(past: Past) -> int:
    """The distinct rows in the rejections of a run, one file a shard."""
    return sum(len(table.column("row").unique()) for table in stored_tables(past.failures, ["row"], past.job.failures.storage_options))


def _started(run: str, summary: Summary) -> datetime:
    """When the run began: its name says so, else its first figure."""
    try:
        return datetime.strptime(run[:15], "%Y%m%dT%H%M%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return _moment(summary.first_ms)


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, timezone.utc)
