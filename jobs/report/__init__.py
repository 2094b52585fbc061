"""The report of a run: written as JSON for programs and as a page for people, and told in a few lines."""

import json
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape

from jobs.report.figures import Report, as_data, stored_rejections
from jobs.report.page import page
from jobs.report.verdict import duration, headline, verdict
from jobs.telling import tell_lines
from pipelines.storage import opened

__all__ = ["Report", "as_data", "finish", "report_path", "stored_rejections", "tell_lines", "tell_report"]

COLOURS = {"done": "bold green", "failed": "bold red", "stopped": "bold red", "broken": "bold red"}


def report_path(report: Report, name: str = "report.json") -> str:
    """Where the report lies; `name` may be `report.html` too."""
    return f"{report.plan.job.resolve(report.plan.job.report).rstrip('/')}/{name}"


def finish(report: Report) -> Report:
    """Write the report; gives it back."""
    data = as_data(report)
    texts = {"report.json": json.dumps(data, indent=2, ensure_ascii=False), "report.html": page(data)}
    for name, text in texts.items():
        with opened(report_path(report, name), "wb", report.plan.job.report_options, "report") as file:
            file.write(text.encode("utf-8", "backslashreplace"))
    return report


def tell_report(console: Console, report: Report, as_json: bool = False) -> None:
    """The report for a person: what was asked of it is answered in the first line."""
    data = as_data(report)
    if as_json:
        console.print_json(data=data)
        return
    counts = report.counts
    console.print(f"[{COLOURS[verdict(data)]}]{escape(headline(data))}[/] ({duration(report.seconds)})", highlight=False)
    if report.problem is not None:
        console.print(f"{escape(data['problem'])}\nWhat was written stays; run the job again to go on.", highlight=False)
    sums = f"{counts.read:,} = {counts.loaded:,} loaded + {counts.unchanged:,} unchanged + {counts.failed:,} failed + {counts.duplicate:,} duplicate"
    written = f"{counts.objects_written:,} written, {counts.objects_written / max(report.seconds, 1e-9):,.0f} a second"
    where = report_path(report, "report.html")
    tell_lines(console, [("rows read", sums), ("objects", written), *_details(data), ("report", where)])


def _details(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, vector in data["vectors"].items():
        if vector["padded"]:
            share = 1 - vector["tokens"] / vector["padded"]
            yield f"vector {name}", f"{vector['tokens']:,} tokens, {share:.1%} of the computing on padding"
    for kind, groups in (("failed", data["failures"]), ("note", data["notes"])):
        for code, (count, *rows) in groups.items():
            first = f"{rows[0]['key']}: " if rows and rows[0]["key"] else ""
            yield f"{kind}: {code}", f"{count['count']:,}, such as {first}{rows[0]['message']}"
    if data["failures"]:
        yield "failed rows", data["failures_path"]
    if data["notes"]:
        yield "notes", data["notes_path"]
