"""The report of a verification: a table for a person, JSON for a program, and verify.json beside the run's report."""

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jobs.report import stored_rejections
from jobs.verify.findings import Check, Wrong
from pipelines.storage import opened
from schemas.job import Job
from schemas.report import Counts

MARKS = {True: "[green]✓[/]", False: "[bold red]✗[/]", None: "[dim]?[/]"}
REPAIRED = {"missing", "unindexed", "stale", "untracked", "property", "vector", "recall"}
SHOWN = 5  # wrong objects of each kind on the screen


@dataclass(frozen=True)
class Verification:
    """What was found of one collection; `repaired` has what a repair before it loaded."""

    collection: str
    started: datetime
    checks: list[Check]
    wrong: Wrong
    repaired: Counts | None = None
    ended: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    @property
    def exit_code(self) -> int:
        """0 all good, 1 something is wrong."""
        return 1 if any(c.good is False for c in self.checks) else 0


def report_folder(job: Job) -> str:
    """Where reports lie."""
    return job.resolve(job.report).rstrip("/")


def stored_report(job: Job, name: str) -> dict[str, Any]:
    """The report `name` (report.json, verify.json) that an earlier command wrote; empty if there is none."""
    try:
        with opened(f"{report_folder(job)}/{name}", "rb", job.report_options, "report") as file:
            found: dict[str, Any] = json.load(file)
            return found
    except (OSError, ValueError):
        return {}


def last_failures(job: Job) -> dict[tuple[str, int], str]:
    """(shard, row) -> why, of the rows that failed in the last run."""
    folder = stored_report(job, "report.json").get("failures_path")
    return (
        {(r["shard"], r["row"]): f"{r['code']}: {r['message']}" for r in stored_rejections(folder, job.failures.storage_options)}
        if folder
        else {}
    )


def as_data(found: Verification) -> dict[str, Any]:
    """The verification as JSON."""
    return {
        "exit_code": found.exit_code,
        "collection": found.collection,
        "started": found.started.isoformat(),
        "ended": found.ended.isoformat(),
        "seconds": round((found.ended - found.started).total_seconds(), 2),
        "checks": [asdict(check) for check in found.checks],
        "wrong": {kind: {"count": n, "first": found.wrong.named.get(kind, [])} for kind, n in found.wrong.counts.items()},
        "wrong_path": found.wrong.path if found.wrong.counts else None,
        "repaired": found.repaired and asdict(found.repaired),
    }


def store(job: Job, found: Verification) -> None:
    """Write verify.json."""
    with opened(f"{report_folder(job)}/verify.json", "wb", job.report_options, "report") as file:
        file.write(json.dumps(as_data(found), indent=2, ensure_ascii=False).encode("utf-8"))


def tell(console: Console, found: Verification, as_json: bool) -> None:
    """The checks as a table, then the wrong objects by name."""
    if as_json:
        console.print_json(data=as_data(found))
        return
    if found.repaired is not None:
        console.print(f"Repaired: {found.repaired.loaded:,} loaded again, {found.repaired.failed:,} failed.", highlight=False)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for check in found.checks:
        table.add_row(MARKS[check.good], escape(check.name), escape(check.said))
    console.print(table)
    for kind, rows in found.wrong.named.items():
        for row in rows[:SHOWN]:
            words = " ".join(str(row[k]) for k in ("key", "tenant", "where", "message") if row.get(k))
            console.print(f"  [dim]{kind}[/] {row['uuid']} {escape(words)}", highlight=False, soft_wrap=True)
    if found.wrong.counts:
        console.print(f"All of them: {found.wrong.path}", highlight=False, soft_wrap=True, markup=False)
    console.print(_headline(found), highlight=False, soft_wrap=True)


def _headline(found: Verification) -> str:
    bad = [c.name for c in found.checks if c.good is False]
    if not bad:
        return f"[bold green]Everything is right[/] in {found.collection}, as far as can be told: {sum(c.good is True for c in found.checks)} checks."
    hint = "; `warpbeam verify --repair` loads what is missing, stale or different again" if set(found.wrong.counts) & REPAIRED else ""
    return f"[bold red]Not right in {found.collection}:[/] {', '.join(bad)}{hint}."
