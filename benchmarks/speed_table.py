"""The table of the speed benchmark, from its result file: `python -m benchmarks.speed_table speed-docstrings`."""

import json
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.figures import RESULTS, ratio, spread

BASE, BACKEND, LIMIT = "encode", "backend", "matrix"
Rows = dict[str, dict[str, Any]]


def limit_of(rows: Rows) -> tuple[float, float] | None:
    """(GFLOP/s of the matrix products, floating-point operations a token), where they were measured."""
    row = rows.get(LIMIT)
    if not row or not row["seconds"]["steady"]:
        return None
    attention = rows.get(BACKEND, {}).get("figures", {}).get("attention_flop_a_token", 0)  # it depends on the texts
    return row["figures"]["gflop"] / spread(row["seconds"]["steady"])["median"], row["figures"]["flop_a_token"] + attention


def line(key: str, rows: Rows, texts: int) -> dict[str, Any]:
    """The figures of one row: seconds (median, min, max), rates, times as fast as plain encode, padding, and useful arithmetic."""
    row = rows[key]
    figures, steady = row["figures"], row["seconds"]["steady"]
    found: dict[str, Any] = {"name": row["name"], "variant": row["variant"], "failed": row["failed"]}
    if not steady:
        return found
    found |= {"steady": spread(steady), "whole": spread(row["seconds"]["whole"]), "precision": figures["precision"]}
    limit = limit_of(rows)
    if key == LIMIT and limit:
        return found | {"gflops": limit[0]}
    base = rows.get(BASE, {}).get("seconds", {}).get("steady", [])
    found |= {"texts_per_s": texts / found["steady"]["median"], "times_encode": ratio(steady, base)}
    found["worst_cosine"] = figures.get("worst_cosine")
    if figures.get("tokens"):
        found["tokens_per_s"] = figures["tokens"] / found["steady"]["median"]
        found["padding"] = figures["padded"] / figures["tokens"] - 1
        if limit:
            found["gflops"] = found["tokens_per_s"] * limit[1] / 1e9
            found["share"] = found["gflops"] / limit[0]
    return found


def lines(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The figures of each row of a result."""
    return (line(key, result["rows"], result["texts"]) for key in result["rows"])


HEADINGS = (
    "",
    "without start, s",
    "whole, s",
    "texts/s",
    "tokens/s",
    "times encode",
    "padding",
    "useful GFLOP/s",
    "worst cosine",
    "precision",
)


def cells(found: dict[str, Any]) -> list[str]:
    """A row of the table, as text."""
    name = found["name"] + (f" ({found['variant']})" if found["variant"] is not None else "")
    if "steady" not in found:
        return [name, f"failed: {found['failed']}"]

    def shown(key: str, form: str) -> str:
        return format(found[key], form) if found.get(key) is not None else "-"

    steady, whole = ("{median:.2f} ({min:.2f}-{max:.2f})".format(**found[key]) for key in ("steady", "whole"))
    share = f"{shown('gflops', '.0f')}" + (f" ({found['share']:.0%})" if "share" in found else "")
    rates = [shown("texts_per_s", ".0f"), shown("tokens_per_s", ",.0f"), shown("times_encode", ".2f"), shown("padding", ".0%")]
    after = f", then failed: {found['failed']}" if found["failed"] else ""
    return [name, steady + after, whole, *rates, share, shown("worst_cosine", ".6f"), found["precision"]]


def show(name: str) -> None:
    """Print the table of a result file."""
    from rich.console import Console
    from rich.table import Table

    result = json.loads((RESULTS / f"{name}.json").read_text())
    made = machine_line(result["machine"])
    table = Table(title=f"{result['texts']:,} texts ({result['set']}), all-MiniLM-L6-v2. Median (smallest-largest). {made}")
    for i, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if not i else "right", overflow="fold")
    for found in lines(result):
        table.add_row(*cells(found))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def machine_line(machine: dict[str, Any]) -> str:
    """The machine in a few words."""
    return f"{machine['processor']}, {machine['cores']} cores, load {machine['load_at_start']:.1f} at the start"


if __name__ == "__main__":
    show(sys.argv[1])
