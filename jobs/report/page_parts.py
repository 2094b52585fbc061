"""The parts of the report's page: each gives HTML in which every value is escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from jobs.report.verdict import duration


def text(value: Any) -> str:
    """Any value, escaped; numbers with thousands apart."""
    return escape(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value), quote=True)


def section(title: str, body: str, remark: str = "") -> str:
    """A titled part of the page; nothing where `body` is empty."""
    note = f'<p class="remark">{text(remark)}</p>' if remark else ""
    return f"<section><h2>{text(title)}</h2>{note}{body}</section>" if body else ""


def share(n: int, total: int) -> str:
    """A part of a whole in percent; never 0 for something or 100 for less than all."""
    if n in (0, total):
        return "100%" if n else "0%"
    if 0.001 <= n / total <= 0.999:
        return f"{n / total:.1%}"
    return "under 0.1%" if n / total < 0.5 else "over 99.9%"


def stacked(parts: Sequence[tuple[str, str, int]]) -> str:
    """One bar of (kind, label, count), and below it what each colour is."""
    total = max(1, sum(n for _, _, n in parts))
    segments = "".join(f'<i class="{kind}" style="flex-grow:{n}" title="{text(n)} {text(label)}"></i>' for kind, label, n in parts if n)
    legend = "".join(
        f'<li class="{"" if n else "none"}"><b class="dot {kind}"></b><strong>{text(n)}</strong> {text(label)} <small>{text(share(n, total))}</small></li>'
        for kind, label, n in parts
    )
    return f'<div class="stack" role="img" aria-label="{text(sentence(parts))}">{segments}</div><ul class="legend">{legend}</ul>'


def sentence(parts: Sequence[tuple[str, str, int]]) -> str:
    """`100 read = 90 loaded + 10 failed`, of all parts."""
    return f"{sum(n for _, _, n in parts):,} read = " + " + ".join(f"{n:,} {label}" for _, label, n in parts)


def bars(rows: Iterable[tuple[str, float, str, str]]) -> str:
    """Horizontal bars: (label, number, what the number says, remark)."""
    found = list(rows)
    most = max((n for _, n, _, _ in found), default=0) or 1
    lines = "".join(
        f'<tr><th scope="row">{text(label)}{f"<small>{text(remark)}</small>" if remark else ""}</th>'
        f'<td class="bar"><i style="width:{100 * n / most:.2f}%"></i></td><td class="n">{text(said)}</td></tr>'
        for label, n, said, remark in found
    )
    return f'<table class="bars">{lines}</table>' if found else ""


def over_time(step_s: float, counts: Sequence[int]) -> str:
    """Counts as columns over time, as a rate a second; the axes say the highest rate and how long it took."""
    if not any(counts):
        return ""
    most = max(counts)
    columns = "".join(
        f'<rect x="{i + 0.08}" y="{100 - 100 * n / most:.2f}" width=".84" height="{100 * n / most:.2f}">'
        f"<title>{text(duration(i * step_s))}: {n / step_s:,.0f} rows/s</title></rect>"
        for i, n in enumerate(counts)
        if n
    )
    svg = (
        f'<svg viewBox="0 0 {len(counts)} 100" preserveAspectRatio="none" role="img" aria-label="rows per second over time">{columns}</svg>'
    )
    high = f'<div class="y"><span>{most / step_s:,.0f}</span><span>{most / step_s / 2:,.0f}</span><span>0</span></div>'
    end = len(counts) * step_s
    axis = f'<div class="x"><span>0 s</span><span>{text(duration(end / 2))}</span><span>{text(duration(end))}</span></div>'
    return f'<div class="chart">{high}<div class="plot">{svg}</div>{axis}</div>'


def columns(counts: Sequence[tuple[str, int]]) -> str:
    """A histogram: (label, count) from left to right."""
    most = max((n for _, n in counts), default=0) or 1
    found = "".join(
        f'<li title="up to {text(label)}: {text(n)}"><span><i style="height:{100 * n / most:.1f}%"></i></span><small>{text(label)}</small></li>'
        for label, n in counts
    )
    return f'<ul class="histogram">{found}</ul>'


def facts(rows: Iterable[tuple[str, Any]]) -> str:
    """Names and values, one below the other."""
    found = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in rows)
    return f"<dl>{found}</dl>" if found else ""


def tiles(rows: Iterable[tuple[str, str, str]]) -> str:
    """Large numbers: (number, unit, what it is)."""
    found = "".join(f"<li><strong>{text(n)}</strong> <span>{text(unit)}</span><small>{text(what)}</small></li>" for n, unit, what in rows)
    return f'<ul class="tiles">{found}</ul>'


def reasons(groups: dict[str, list[dict[str, Any]]], path: str | None) -> str:
    """Rows by code, with the first few of each as a table that can be folded."""
    found = "".join(_reason(code, *rows) for code, rows in sorted(groups.items(), key=lambda item: -item[1][0]["count"]))
    return f'{found}<p class="remark">All of them, as Parquet: <code>{text(path)}</code></p>' if found else ""


def _reason(code: str, count: dict[str, Any], *rows: dict[str, Any]) -> str:
    places: dict[str, list[str]] = {}  # rows that say the same share a line
    for row in rows:
        places.setdefault(row["message"], []).append(f"<small>{_where(row)}</small>")
    lines = "".join(f'<li><bdi class="message">{text(message)}</bdi>{"".join(where)}</li>' for message, where in places.items())
    more = count["count"] - len(rows)
    rest = f"<li><small>and {text(more)} more</small></li>" if more > 0 else ""
    return f"<details open><summary><code>{text(code)}</code> <strong>{text(count['count'])}</strong></summary><ul>{lines}{rest}</ul></details>"


def _where(row: dict[str, Any]) -> str:
    key = f"key <bdi><code>{text(row['key'])}</code></bdi> · " if row.get("key") else ""
    chunk = f" · chunk {text(row['chunk'])}" if row.get("chunk") else ""
    return f"{key}row {text(row['row'])} of <bdi>{text(row['shard'])}</bdi>{chunk} · {text(row['stage'])}"
