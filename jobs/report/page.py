"""The report as one page of HTML: everything in it, nothing loaded from anywhere, no script."""

from typing import Any

import yaml

from jobs.report.page_parts import bars, columns, facts, over_time, reasons, section, sentence, stacked, text, tiles
from jobs.report.page_style import STYLE
from jobs.report.verdict import duration, headline, meaning, next_steps, verdict

NOTHING_IS_LOADED = "default-src 'none'; style-src 'unsafe-inline'"
PHASES = {
    "load_model": ("load the model", "once for each process"),
    "read": ("read", "waiting for the source, making objects"),
    "compare": ("compare", "with what the collection has"),
    "chunk": ("chunk", "cutting long texts"),
    "fetch": ("fetch", "media behind URIs"),
    "decode": ("decode", "pictures and other media"),
    "tokenise": ("tokenise", "texts to tokens"),
    "encode": ("forward", "the model itself"),
    "write": ("write", "sending objects"),
    "wait": ("wait", "for the model, the server, or max_objects_per_s"),
}


def page(data: dict[str, Any]) -> str:
    """The whole page of a report's figures."""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{NOTHING_IS_LOADED}"><title>{text(headline(data))}</title>'
        f'<style>{STYLE}</style></head><body class="{verdict(data)}"><main>{_head(data)}{_body(data)}{_foot(data)}</main></body></html>\n'
    )


def _head(data: dict[str, Any]) -> str:
    where = f"{data['started'][:16].replace('T', ' ')} UTC · {data['source']} → {data['collection']} at {data['server']}"
    wrong = data["problem"] or data["refused"]
    problem = f'<section class="problem">{text(wrong)}</section>' if wrong else ""
    steps = "".join(f"<li>{text(said)}{f'<code>{text(command)}</code>' if command else ''}</li>" for said, command in next_steps(data))
    return (
        f"<header><p>Warpbeam · {text(where)}</p><h1>{text(headline(data))}</h1></header>{problem}"
        f"<section><h2>Rows</h2>{_rows(data)}{_tiles(data)}</section>{section('What to do now', f'<ul class=next>{steps}</ul>')}"
    )


def _rows(data: dict[str, Any]) -> str:
    counts = data["counts"]
    parts = [(name, name, counts[name]) for name in ("loaded", "unchanged", "failed", "duplicate")]
    rest = counts["read"] - sum(n for _, _, n in parts)
    if rest > 0:
        parts.append(("unfinished", "not finished" if data["problem"] else "missing from the account", rest))
    return f'{stacked(parts)}<p class="sum">{text(sentence(parts))}</p>'


def _tiles(data: dict[str, Any]) -> str:
    seconds = max(data["seconds"], 1e-9)
    done = data["counts"]["loaded"] + data["counts"]["unchanged"]
    found = [(duration(seconds), "", "the whole run"), (f"{done / seconds:,.0f}", "rows/s", "loaded or unchanged, on average")]
    found += [(f"{n:,}", "objects", name) for name, n in data["objects"].items() if n or name == "written"]
    return tiles([*found, (f"exit {data['exit_code']}", "", meaning(data))])


def _body(data: dict[str, Any]) -> str:
    failures = section("Failed rows by reason", reasons(data["failures"], data["failures_path"]))
    notes = section(
        "Notes", reasons(data["notes"], data["notes_path"]), "These rows did not fail, but there is something to say about them."
    )
    chart = section("Rows done per second", over_time(**_renamed(data["rows_over_time"])), "from the start of the run; loaded or unchanged")
    return failures + chart + f'<div class="pair">{_phases(data)}{_shards(data)}</div>' + _vectors(data) + notes


def _renamed(timeline: dict[str, Any]) -> dict[str, Any]:
    return {"step_s": timeline["step_s"], "counts": timeline["rows"]}


def _phases(data: dict[str, Any]) -> str:
    found = [(PHASES.get(name, (name, "")), seconds) for name, seconds in data["phases_s"].items()]
    said = bars((label, seconds, duration(seconds), remark) for (label, remark), seconds in found)
    return section("Where the time went", said, "seconds of all threads together, so their sum may be more than the run's own time")


def _shards(data: dict[str, Any]) -> str:
    shards = data["shards"]
    said = bars(
        (s["shard"], s["seconds"], duration(s["seconds"]), f"{s['rows']:,} rows, {s['bytes'] / 1e6:,.1f} MB") for s in shards["slowest"]
    )
    title = "Slowest shards" if shards["read"] > len(shards["slowest"]) else "Shards"
    return section(title, said and f'<div class="shards">{said}</div>', f"of {shards['read']:,}; the time that work on their rows took")


def _vectors(data: dict[str, Any]) -> str:
    return "".join(section(f"Vector {name}", _vector(v)) for name, v in data["vectors"].items())


def _vector(vector: dict[str, Any]) -> str:
    rows = [
        (name, vector[key])
        for key, name in (("tokens", "tokens"), ("truncated", "texts cut off by the model"), ("reused", "read back, not encoded"))
    ]
    found = facts([(name, n) for name, n in rows if n] + _padding(vector))
    lengths = {int(edge): n for edge, n in vector["lengths"].items()}
    if not lengths:
        return found
    shown = [(_short(edge), lengths.get(edge, 0)) for edge in _edges(min(lengths), max(lengths))]
    return f"{found}<h3>Lengths of the encoded texts, up to so many characters</h3>{columns(shown)}"


def _padding(vector: dict[str, Any]) -> list[tuple[str, Any]]:
    return [("of the computing on padding", f"{1 - vector['tokens'] / vector['padded']:.1%}")] if vector["padded"] else []


def _edges(first: int, last: int) -> list[int]:
    """The powers of two from `first` to `last`; 0 stands before 1."""
    found = [first]
    while found[-1] < last:
        found.append(found[-1] * 2 or 1)
    return found


def _short(n: int) -> str:
    for unit, size in (("M", 1 << 20), ("k", 1 << 10)):
        if n >= size:
            return f"{n // size}{unit}"
    return str(n)


def _foot(data: dict[str, Any]) -> str:
    job = yaml.safe_dump(data["job_as_written"], sort_keys=False, allow_unicode=True, width=100)
    written = section(
        "The job",
        f"<pre>{text(job)}</pre>",
        "Without what is left at its default; report.json has it all. Secrets are references, never values.",
    )
    versions = section("Versions", facts(data["versions"].items()))
    return f"{written}{versions}<footer>Run {text(data['run'])} · ended {text(data['ended'][:19].replace('T', ' '))} UTC</footer>"
