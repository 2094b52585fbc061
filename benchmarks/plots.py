"""Draws the figures of docs/ from benchmarks/results: `python -m benchmarks.plots`. Plain SVG, nothing to install.

docs/speed-TEXTS.svg (texts a second, from speed-TEXTS.json) and docs/speed-writing.svg (objects a second, from writing.json).
"""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.figures import RESULTS, ROOT, spread
from benchmarks.speed_table import lines, machine_line
from benchmarks.writing import WAYS

DOCS = ROOT / "docs"
WIDTH, LABELS, BAR, GAP, TOP = 860, 300, 20, 10, 64
OURS, OTHERS, LIMITS = "#2f7d4f", "#8a94a6", "#c9a227"


class Bar(NamedTuple):
    """One bar: its name, its length, the smallest and largest value (a thin line), and its colour."""

    name: str
    value: float
    low: float
    high: float
    colour: str


def chart(title: str, below: str, bars: Sequence[Bar]) -> str:
    """A horizontal bar chart as SVG, from 0."""
    height = TOP + len(bars) * (BAR + GAP) + 12
    scale = (WIDTH - LABELS - 90) / max(max(b.value, b.high) for b in bars)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="24" font-size="16" font-weight="bold">{escape(title)}</text>',
        f'<text x="12" y="44" fill="#555555">{escape(below)}</text>',
    ]
    for i, bar in enumerate(bars):
        parts += drawn(bar, TOP + i * (BAR + GAP), scale)
    return "\n".join([*parts, "</svg>"]) + "\n"


def drawn(bar: Bar, y: int, scale: float) -> list[str]:
    """The elements of one bar at height `y`."""
    middle, base = y + BAR / 2, y + 15
    low, high = LABELS + bar.low * scale, LABELS + bar.high * scale
    return [
        f'<text x="{LABELS - 8}" y="{base}" text-anchor="end">{escape(bar.name)}</text>',
        f'<rect x="{LABELS}" y="{y}" width="{bar.value * scale:.1f}" height="{BAR}" fill="{bar.colour}"/>',
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="#222222"/>',
        f'<text x="{max(high, LABELS + bar.value * scale) + 6:.1f}" y="{base}">{bar.value:,.0f}</text>',
    ]


def rate_bar(name: str, n: int, seconds: dict[str, float], colour: str) -> Bar:
    """A bar of `n` things by their median, smallest and largest seconds."""
    return Bar(name, n / seconds["median"], n / seconds["max"], n / seconds["min"], colour)


def speed(result: dict[str, Any]) -> str:
    """Texts a second of every row that has them; the time without the start."""
    bars = []
    for found in lines(result):
        if "texts_per_s" in found:
            colour = OURS if found["name"].startswith("warpbeam") else LIMITS if found["name"].startswith("forward") else OTHERS
            bars.append(rate_bar(found["name"], result["texts"], found["steady"], colour))
    title = f"Texts a second, without start: {result['texts']:,} {result['set']}, all-MiniLM-L6-v2, float32"
    return chart(title, machine_line(result["machine"]), bars)


def writing(result: dict[str, Any]) -> str:
    """Objects a second of every way, length and index."""
    bars = []
    for key, row in result["rows"].items():
        place, _, way = key.rpartition("/")
        if way != "messages":
            colour = OURS if way in ("run", "target") else LIMITS if way == "prebuilt" else OTHERS
            bars.append(rate_bar(f"{place} {WAYS[way][0]}", result["objects"], spread(row["seconds"]), colour))
    return chart(f"Objects a second: {result['objects']:,} objects with their vectors", machine_line(result["machine"]), bars)


def drawings() -> dict[Path, str]:
    """Every figure for which there is a result."""
    made = {DOCS / f"{p.stem}.svg": speed(json.loads(p.read_text())) for p in sorted(RESULTS.glob("speed-*.json"))}
    if (RESULTS / "writing.json").exists():
        made[DOCS / "speed-writing.svg"] = writing(json.loads((RESULTS / "writing.json").read_text()))
    return made


if __name__ == "__main__":
    for path, text in drawings().items():
        path.write_text(text)
        print(path.relative_to(ROOT))
