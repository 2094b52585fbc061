"""What a run did: counts that add up, failures by reason, where they lie; as JSON for programs and as lines for people."""

import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import fsspec
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape

from pipelines.load import Plan
from schemas.columns import REJECTED
from schemas.errors import JobError, WarpbeamError
from schemas.report import Counts

EXAMPLES = 5
PACKAGES = ("warpbeam", "apache-beam", "pyarrow", "weaviate-client", "torch", "transformers", "sentence-transformers")


@dataclass
class Report:
    """One run: its plan, when it started, its counters, and what stopped it, if anything."""

    plan: Plan
    started: datetime
    counters: dict[str, int]
    problem: WarpbeamError | None = None
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
        """0 done, 1 too many rows failed or the counts do not add up, 2 the job was wrong, 3 the world was."""
        if self.problem is not None:
            return 2 if isinstance(self.problem, JobError) else 3
        return 1 if self.counts.failed_share > self.plan.job.failures.allowed_share or not self.counts.add_up else 0

    @cached_property
    def failures(self) -> dict[str, list[dict[str, Any]]]:
        """Failed rows by code, a few of each."""
        return examples(self.plan.failures)

    @cached_property
    def notes(self) -> dict[str, list[dict[str, Any]]]:
        """Loaded or left-out rows with something to say, by code."""
        return examples(self.plan.notes)


def stored_rejections(folder: str) -> Iterator[dict[str, Any]]:
    """The rejections in the Parquet files of `folder`, in file order; none where there is no folder."""
    files, root = fsspec.core.url_to_fs(folder)
    for path in sorted(files.glob(f"{root}/*.parquet")):
        with files.open(path, "rb") as file:
            yield from pq.read_table(file, schema=REJECTED).to_pylist()


def examples(folder: str) -> dict[str, list[dict[str, Any]]]:
    """Counts by code with the first few rows of each: {code: [{"count": n}, row, ...]}."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in stored_rejections(folder):
        group = found.setdefault(row["code"], [{"count": 0}])
        group[0]["count"] += 1
        if len(group) <= EXAMPLES:
            group.append({k: v for k, v in row.items() if k in ("key", "stage", "message", "shard", "row", "chunk")})
    return found


def as_data(report: Report) -> dict[str, Any]:
    """The report as JSON. Secrets are references in the job, and stay so."""
    counts = report.counts
    prefixes = ("tokens/", "padded/", "truncated/", "reused/")
    return {
        "exit_code": report.exit_code,
        "problem": str(report.problem) if report.problem else None,
        "started": report.started.isoformat(),
        "seconds": round(report.seconds, 2),
        "counts": {**counts.__dict__, "add_up": counts.add_up},
        "vectors": {n: {p[:-1]: report.counters.get(p + n, 0) for p in prefixes} for n in report.plan.job.vectors},
        "phases_ms": {k.removeprefix("ms/"): v for k, v in sorted(report.counters.items()) if k.startswith("ms/")},
        "failures": report.failures,
        "failures_path": report.plan.failures if report.failures else None,
        "notes": report.notes,
        "notes_path": report.plan.notes if report.notes else None,
        "job": report.plan.job.model_dump(mode="json", exclude_none=True),
        "versions": {"python": platform.python_version(), **dict(_versions())},
    }


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def report_path(report: Report) -> str:
    """Where the report lies."""
    return f"{report.plan.job.resolve(report.plan.job.report).rstrip('/')}/report.json"


def finish(report: Report) -> Report:
    """Write the report; gives it back."""
    with fsspec.open(report_path(report), "w", auto_mkdir=True, encoding="utf-8") as file:
        json.dump(as_data(report), file, indent=2, ensure_ascii=False)
    return report


def tell_report(console: Console, report: Report, as_json: bool = False) -> None:
    """The report for a person: what was asked of it is answered in the first line."""
    if as_json:
        console.print_json(data=as_data(report))
        return
    counts = report.counts
    console.print(_headline(report), highlight=False)
    sums = f"{counts.read:,} = {counts.loaded:,} loaded + {counts.unchanged:,} unchanged + {counts.failed:,} failed + {counts.duplicate:,} duplicate"
    written = f"{counts.objects_written:,} written, {counts.objects_written / max(report.seconds, 1e-9):,.0f} a second"
    tell_lines(console, [("rows read", sums), ("objects", written), *_details(report), ("report", report_path(report))])


def tell_lines(console: Console, lines: Sequence[tuple[str, str]]) -> None:
    """Names and what there is to say of them, in two columns; a path is never cut, since people copy it."""
    width = max(len(name) for name, _ in lines) + 2
    for name, value in lines:
        console.print(f"[bold]{name.ljust(width)}[/]{escape(value)}", highlight=False, soft_wrap=True)


def _headline(report: Report) -> str:
    counts = report.counts
    if report.problem is not None:
        return f"[bold red]Stopped after {report.seconds:.1f} s:[/] {escape(str(report.problem))}\nWhat was written stays; run the job again to go on."
    if not counts.add_up:
        return "[bold red]The counts do not add up: rows are missing from the account. Please report this as a fault of Warpbeam.[/]"
    if report.exit_code:
        return f"[bold red]{counts.failed:,} of {counts.read:,} rows failed[/] ({counts.failed_share:.2%}; the job allows {report.plan.job.failures.allowed_share:.2%})."
    return f"[bold green]Everything is in[/]: {counts.loaded + counts.unchanged:,} of {counts.read:,} rows in {report.seconds:.1f} s."


def _details(report: Report) -> Iterator[tuple[str, str]]:
    for name in report.plan.job.vectors:
        tokens, padded = (report.counters.get(f"{k}/{name}", 0) for k in ("tokens", "padded"))
        if padded:
            yield f"vector {name}", f"{tokens:,} tokens, {1 - tokens / padded:.1%} of the computing on padding"
    for kind, groups in (("failed", report.failures), ("note", report.notes)):
        for code, (count, *rows) in groups.items():
            first = f"{rows[0]['key']}: " if rows and rows[0]["key"] else ""
            yield f"{kind}: {code}", f"{count['count']:,}, such as {first}{rows[0]['message']}"
    if report.failures:
        yield "failed rows", report.plan.failures
    if report.notes:
        yield "notes", report.plan.notes
