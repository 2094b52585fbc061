"""What a run did, as figures: counts that add up, failures by reason, where the time went; what report.json holds."""

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePosixPath
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.report.masking import masked
from pipelines.metrics import live_summary
from pipelines.storage import NO_OPTIONS, matching, opened
from pipelines.summaries import SUMMARIES, stored_summary
from schemas.columns import REJECTED
from schemas.errors import JobError, WarpbeamError
from schemas.job import Job
from schemas.report import Counts, Summary

EXAMPLES = 5
COLUMNS = 48  # of the chart of rows over time
PACKAGES = ("warpbeam", "apache-beam", "pyarrow", "weaviate-client", "torch", "transformers", "sentence-transformers", "openvino", "nncf")
PHASES = ("load_model", "read", "compare", "chunk", "fetch", "decode", "tokenise", "encode", "write", "wait")


class Ran(Protocol):
    """What was run, and where its failures and notes lie: a Plan has these."""

    @property
    def job(self) -> Job:
        """The job."""
        ...

    @property
    def failures(self) -> str:
        """The folder of this run's rejected rows; its name is the run's."""
        ...

    @property
    def notes(self) -> str:
        """The folder of what else is to be said about rows."""
        ...


@dataclass
class Report:
    """One run: its plan, when it started, its counters, and what stopped it, if anything."""

    plan: Ran
    started: datetime
    counters: dict[str, int]
    problem: WarpbeamError | None = None
    refused: str | None = None  # why what should be deleted was not
    losses: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of int8 vectors, on the sample
    ended: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    @cached_property
    def counts(self) -> Counts:
        """The rows and objects."""
        return Counts.of(self.counters)

    @property
    def seconds(self) -> float:
        """How long the run took."""
        return (self.ended - self.started).total_seconds()

    @property
    def exit_code(self) -> int:
        """0 done, 1 too many rows failed, deletes were refused or the counts do not add up, 2 the job was wrong, 3 the world was."""
        if self.problem is not None:
            return 2 if isinstance(self.problem, JobError) else 3
        too_many = self.counts.failed_share > self.plan.job.failures.allowed_share
        return 1 if too_many or self.refused or not self.counts.add_up else 0

    @property
    def _options(self) -> Mapping[str, Any]:
        return self.plan.job.failures.storage_options

    @cached_property
    def summary(self) -> Summary:
        """The figures by shard and time: those that the pipeline stored, else those of this process, of a run that did not end."""
        return stored_summary(f"{self.plan.failures}/{SUMMARIES}", self._options) or live_summary()

    @cached_property
    def failures(self) -> dict[str, list[dict[str, Any]]]:
        """Failed rows by code, a few of each."""
        return examples(self.plan.failures, self._options)

    @cached_property
    def notes(self) -> dict[str, list[dict[str, Any]]]:
        """Loaded or left-out rows with something to say, by code."""
        return examples(self.plan.notes, self._options)


def stored_tables(folder: str, columns: list[str] | None = None, storage_options: Mapping[str, Any] = NO_OPTIONS) -> Iterator[pa.Table]:
    """The rejections in the Parquet files of `folder`, one file a shard, in file order; none where there is no folder."""
    for path in matching(folder, "*.parquet", storage_options, "failures.path"):
        with opened(path, "rb", storage_options, "failures.path") as file:
            yield pq.read_table(file, schema=REJECTED, columns=columns)


def stored_rejections(folder: str, storage_options: Mapping[str, Any] = NO_OPTIONS) -> Iterator[dict[str, Any]]:
    """The same, row by row."""
    for table in stored_tables(folder, None, storage_options):
        yield from table.to_pylist()


def examples(folder: str, storage_options: Mapping[str, Any] = NO_OPTIONS) -> dict[str, list[dict[str, Any]]]:
    """Counts by code with the first few rows of each: {code: [{"count": n}, row, ...]}."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in stored_rejections(folder, storage_options):
        group = found.setdefault(row["code"], [{"count": 0}])
        group[0]["count"] += 1
        if len(group) <= EXAMPLES:
            group.append({k: v for k, v in row.items() if k in ("key", "stage", "message", "shard", "row", "chunk")})
    return found


def as_data(report: Report) -> dict[str, Any]:
    """The report as JSON. Secrets are references in the job, and stay so; their values are masked wherever they turn up."""
    job = report.plan.job
    data = {
        "run": PurePosixPath(report.plan.failures).name,
        "collection": job.target.collection,
        "server": job.target.weaviate.url,
        "source": job.source.location,
        "exit_code": report.exit_code,
        "problem": str(report.problem) if report.problem else None,
        "refused": report.refused,
        "started": report.started.isoformat(),
        "ended": report.ended.isoformat(),
        "seconds": round(report.seconds, 2),
        "counts": {**report.counts.__dict__, "add_up": report.counts.add_up},
        "allowed_share": job.failures.allowed_share,
        "objects": _named(report.counters, "objects/"),
        **_times(report),
        "vectors": {name: _vector(report.counters, name, report.losses.get(name)) for name in job.vectors},
        "shards": _shards(report.summary),
        **_rows(report),
        "job": job.model_dump(mode="json", exclude_none=True),
        "job_as_written": job.model_dump(mode="json", exclude_unset=True, exclude_none=True, exclude_defaults=True),
        "versions": {"python": platform.python_version(), **dict(_versions())},
    }
    return dict(masked(data, data["job"]))


def _named(counters: dict[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): n for name, n in sorted(counters.items()) if name.startswith(prefix)}


def _times(report: Report) -> dict[str, Any]:
    """Milliseconds by phase, seconds by kind of phase, and rows done over time."""
    found = _named(report.counters, "us/")
    kinds = dict.fromkeys((*PHASES, *(name.partition("/")[0] for name in found)), 0)
    for name, microseconds in found.items():
        kinds[name.partition("/")[0]] += microseconds
    start, end = (round(1000 * moment.timestamp()) for moment in (report.started, report.ended))
    step_s, rows = report.summary.done.columns(start, end, COLUMNS)
    return {
        "phases_ms": {name: round(n / 1000) for name, n in found.items()},
        "phases_s": {name: round(n / 1e6, 3) for name, n in kinds.items() if n},
        "rows_over_time": {"step_s": step_s, "rows": [round(n) for n in rows]},
    }


def _vector(counters: dict[str, int], name: str, loss: Mapping[str, Any] | None) -> dict[str, Any]:
    figures: dict[str, Any] = {key: counters.get(f"{key}/{name}", 0) for key in ("tokens", "padded", "truncated", "reused")}
    lengths = {int(edge): n for edge, n in _named(counters, f"lengths/{name}/").items()}
    return figures | {"lengths": {str(edge): lengths[edge] for edge in sorted(lengths)}} | ({"int8": dict(loss)} if loss else {})


def _shards(summary: Summary) -> dict[str, Any]:
    """How many there were, and the slowest."""
    slowest = [
        {"shard": shard, "rows": round(f["rows/read"]), "bytes": round(f["bytes/read"]), "seconds": round(f["us"] / 1e6, 3)}
        for shard, f in summary.slowest()
    ]
    return {"read": sum(1 for figures in summary.shards.values() if figures["rows/read"]), "slowest": slowest}


def _rows(report: Report) -> dict[str, Any]:
    return {
        "failures": report.failures,
        "failures_path": report.plan.failures if report.failures else None,
        "notes": report.notes,
        "notes_path": report.plan.notes if report.notes else None,
    }


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
