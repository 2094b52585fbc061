"""The tables of docs/billion.md, from benchmarks/results/billion.json and planning.json.

python -m benchmarks.billion_table
"""

import json
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.figures import RESULTS

Rows = list[list[str]]


def result(name: str) -> dict[str, Any]:
    """What lies in benchmarks/results/NAME.json."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """The rows of a table, without its head."""
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def shards(planned: dict[str, Any]) -> Rows:
    """Both data sets: shards, seconds, bytes, memory, and pyarrow's seconds."""
    rows = []
    for name, found in planned["layouts"].items():
        ours, threads, dataset = ([statistics.median(r[k] for r in runs) for k in ("seconds", "mb")] for runs in found["runs"].values())
        size = found["median"]["bytes"] / 1e6
        others = (f"{s:.2f} s, {mb:.0f} MB" for s, mb in (threads, dataset))
        rows.append([name, f"{found['shards']:,.0f}", f"{ours[0]:.2f}", f"{size:.1f} MB", f"{ours[1]:.0f} MB", *others])
    return rows


def tails(simulated: dict[str, Any]) -> Rows:
    """What the size of a shard does."""
    chosen = [r for n, r in simulated.items() if n == "as planned" or n.startswith("shards of")]
    rows = sorted((r["load"]["shard_rows"], r) for r in chosen)
    return [[f"{n:,}", f"{r['load']['objects'] // n:,}", f"{r['hours']:.2f} h", f"{r['tail_s']:,.0f} s"] for n, r in rows]


def runs(simulated: dict[str, Any]) -> Rows:
    """The scenarios but those of the size of shards."""
    return [
        [
            name,
            f"{r['hours']:.2f}",
            f"{r['objects_per_s']:,.0f}",
            f"{r['gpus_busy']:.0%}",
            f"{r['nodes_busy']:.0%}",
            f"{r['gpu_dollars_a_million']:.3f} + {r['node_dollars_a_million']:.3f}",
        ]
        for name, r in simulated.items()
        if not name.startswith("shards of")
    ]


def prices(found: list[dict[str, Any]]) -> Rows:
    """What a million values cost."""
    return [
        [r["what"], f"{r['machine']}, ${r['dollars_an_hour']:.2f}/h", f"{r['rate']:,.0f}", f"{r['dollars_a_million']:.3f}"] for r in found
    ]


def nodes(found: dict[str, Any]) -> Rows:
    """What the index of a billion needs."""
    return [[n, f"{r['gb']:,.0f} GB", f"{r['nodes']}", f"{r['dollars_a_month']:,.0f}"] for n, r in found.items()]


def scales(found: list[dict[str, float]]) -> Rows:
    """What is done or held in one place; the first four are small files and shards, the next four large ones."""
    small, large = found[:4], found[4:]
    kinds: list[tuple[str, list[dict[str, float]], str, float]] = [
        ("mending all of it, launcher", small, "mend_h", 1),
        ("footers on an object store, files of 5,000 rows", small, "footers_far_s", 3600),
        ("the same, files of 1,000,000", large, "footers_far_s", 3600),
        ("job graph, shards of 2,000 rows", small, "graph_mb", 1),
        ("the same, shards of 100,000", large, "graph_mb", 1),
        ("report, shards of 2,000 rows", small, "report_mb", 1),
        ("`verify`: memory at its peak", small, "verify_peak_gb", 1),
        ("`verify`: the cursor over all", small, "cursor_h", 1),
        ("ids shuffled", small, "ids_shuffled_gb", 1),
        ("pairs of ids that meet by chance", small, "hashes_that_meet", 1),
    ]
    return [[what, *(shown(row[key] / by, key) for row in rows)] for what, rows, key, by in kinds]


def shown(value: float, key: str) -> str:
    """A number with its unit, to two digits."""
    if key.endswith(("_h", "_s")):
        return duration(value)
    if key.endswith("_gb") and value < 1:
        return f"{value * 1000:,.0f} MB"
    if key.endswith("_mb") and value < 0.1:
        return "below 0.1 MB"
    unit = {"_mb": " MB", "_gb": " GB"}.get(key[-3:], "")
    return f"{value:,.0f}{unit}" if value >= 10 or not unit else f"{value:.1f}{unit}"


def duration(hours: float) -> str:
    """Days, hours, minutes or seconds."""
    for unit, size in (("days", 24.0), ("h", 1.0), ("min", 1 / 60)):
        if hours >= 2 * size:
            return f"{hours / size:,.0f} {unit}" if hours >= 10 * size else f"{hours / size:.1f} {unit}"
    return f"{hours * 3600:,.0f} s" if hours * 3600 >= 1 else "below 1 s"


def tables() -> dict[str, str]:
    """The rows of every table, by its name."""
    found = result("billion")
    return {
        "SHARDS": markdown(shards(result("planning"))),
        "TAILS": markdown(tails(found["simulated"])),
        "SIMULATED": markdown(runs(found["simulated"])),
        "PRICES": markdown(prices(found["prices"])),
        "NODES": markdown(nodes(found["nodes"])),
        "SCALES": markdown(scales(found["scales"])),
    }


if __name__ == "__main__":
    print("\n\n".join(tables().values()))
