"""`warpbeam check`: all faults at once, and the plan of a run; writes nothing."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from rich.console import Console

from encoders import clip_modes, container_mode, family
from encoders.fetched import with_local_files
from encoders.threads import usable_cores
from jobs.examine.findings import Findings, examined
from jobs.examine.loss import measure_losses
from jobs.examine.measure import measure
from jobs.examine.proof import prove
from jobs.examine.sample import Sample, failing, take_sample
from jobs.telling import counted, size, tell_faults, tell_lines
from jobs.verify.objects import sample_staleness
from jobs.verify.stale import stale_line
from schemas.job import Job, VectorSpec
from schemas.modules import TextModule

LINKS = 64 * 10  # bytes of HNSW links an object: 64 neighbours of about 10 bytes at Weaviate's defaults
SPARE = 1.25  # what a garbage-collected server needs on top


@dataclass
class Forecast:
    """What a run will do, as far as footers and a sample can tell."""

    rows: int | None  # None: cannot be known without reading everything
    shards: int
    tokens: dict[str, int]  # per vector, for all rows
    over_limit: dict[str, float]  # per vector, the share of texts
    seconds: float | None
    index_bytes: int | None


def forecast(found: Findings, sample: Sample) -> Forecast:
    """Scale the sample up to the whole source."""
    rows = sum(s.rows for s in found.shards if s.rows is not None) if all(s.rows is not None for s in found.shards) else None
    scale = rows / sample.rows if rows is not None and sample.rows else None
    tokens = {n: int(sum(min(t, x.limit or t) for t in x.tokens) * (scale or 1)) for n, x in sample.texts.items()}
    over = {n: x.over_limit / len(x.tokens) for n, x in sample.texts.items() if x.tokens}
    seconds = sum(x.seconds / x.timed * x.objects for x in sample.texts.values() if x.timed)
    return Forecast(rows, len(found.shards), tokens, over, seconds * scale if scale is not None else None, index_bytes(found, rows))


def index_bytes(found: Findings, rows: int | None) -> int | None:
    """The memory of the vector indexes: numbers and links of each HNSW vector; a flat index stays on disk."""
    if rows is None or found.collection is None or found.layout is None:
        return None
    dims = found.dims | {n: v.dim for n, v in found.layout.vectors.items() if v.dim and not v.multi}
    hnsw = [d for n, d in dims.items() if n in found.collection.vectors and found.collection.vectors[n].index == "hnsw"]
    return int(sum(rows * (4 * d + LINKS) * SPARE for d in hnsw))


def check(job: Job | None, faults: list[str], console: Console, as_json: bool = False, append: bool = False) -> int:
    """Print faults or the plan; the exit code: 0 nothing wrong, 2 the job, 3 the world."""
    if job is None:
        tell_faults(console, faults, [], as_json)
        return 2
    with examined(job) as found:
        found.faults = faults + [f for f in found.faults if f not in faults]
        sample = found.attempt(lambda: take_sample(found)) if found.layout is not None and not found.away else None
        if sample is not None and not found.faults:
            found.attempt(lambda: measure_losses(found, sample))
            found.attempt(lambda: prove(found, sample, append))
        if found.faults or found.away or sample is None:
            tell_faults(console, found.faults, found.away, as_json)
            return found.exit_code
        measure(found, sample)
        if sample.objects is not None:
            sample.staleness = sample_staleness(found, sample.objects)
        _tell_plan(console, found, sample, forecast(found, sample), as_json)
        return 0


def _tell_plan(console: Console, found: Findings, sample: Sample, plan: Forecast, as_json: bool) -> None:
    if as_json:
        console.print_json(
            data={
                "faults": [],
                "away": [],
                "remarks": found.remarks,
                "plan": plan.__dict__,
                "int8": found.losses,
                "sample": {
                    "rows": sample.rows,
                    "failed": failing(sample),
                    "foreseen": [asdict(f) for f in sample.foreseen],
                    "compared": sample.staleness and asdict(sample.staleness),
                },
            }
        )
        return
    tell_lines(console, _lines(found, sample, plan))
    console.print("[green]Nothing is wrong with this job; nothing was written.[/]")


def _lines(found: Findings, sample: Sample, plan: Forecast) -> list[tuple[str, str]]:
    assert found.collection and found.layout
    verb = "will be made from " + str(found.job.target.create) if found.creates else "exists"
    lines = [
        ("source", f"{found.job.source.kind}: {found.job.source.location}"),
        (
            "rows",
            f"{plan.rows:,} in {counted(plan.shards, 'shard')}"
            if plan.rows is not None
            else f"unknown before reading; {counted(plan.shards, 'shard')}",
        ),
        ("collection", f"{found.collection.name} ({verb})"),
        ("properties", ", ".join(p.name for p in found.layout.stored)),
    ]
    lines += [(f"vector {name}", _vector_line(found, name, sample, plan)) for name in found.job.vectors]
    lines.append(("sample", f"{sample.rows:,} rows read" + "".join(f"; {n} would fail: {code}" for code, n in failing(sample).items())))
    if sample.staleness is not None:
        lines.append(("", stale_line(sample.staleness, list(found.dims))))
    lines += [("", str(finding)) for finding in sample.foreseen]
    if plan.seconds is not None:
        lines.append(("time", f"about {duration(plan.seconds)} of encoding on this machine, with {counted(usable_cores(), 'core')}"))
    if plan.index_bytes:
        lines.append(("index", f"about {size(plan.index_bytes)} of the server's memory"))
    return lines + [("note", remark) for remark in found.remarks]


def _vector_line(found: Findings, name: str, sample: Sample, plan: Forecast) -> str:
    spec = found.job.vectors[name]
    if spec.column:
        precomputed = found.layout.vectors[name] if found.layout else None
        return f"precomputed, column {spec.column}, {precomputed.dim if precomputed else '?'} numbers"
    line = f"{found.dims[name]} numbers{_made_of(spec, found)}"
    if name in plan.over_limit:
        texts = sample.texts[name]
        line += f"; about {plan.tokens[name]:,} tokens"
        over = "refused" if texts.refused else "cut" if spec.module else spec.long_text
        line += f"; {plan.over_limit[name]:.1%} of texts over the model's {texts.limit} tokens ({over})" if texts.limit else ""
    return line + (f"; {how}" if (how := found.backends.get(name)) else "")


def _made_of(spec: VectorSpec, found: Findings) -> str:
    """Who makes a vector, how, and of what."""
    module = spec.module
    if module is None:
        return f" from {', '.join(spec.fields)}"
    have = found.layout.properties if found.layout else spec.fields
    if isinstance(module, TextModule):
        own = ["the collection's name"] * module.class_name
        parts = own + [f"{f} with its name" if f in module.named else f for f in module.fields if f in have]
    else:
        parts = [f"{kind} {f}" for kind, fields in module.by_modality.items() for f in sorted(fields, key=str.encode) if f in have]
    weights = f", weights {', '.join(f'{w:g}' for w in module.weights)}" if not isinstance(module, TextModule) and module.weights else ""
    return f", {module.name} ({', '.join(_ways(spec))}) of {', '.join(parts) or 'nothing'}{weights}"


def _ways(spec: VectorSpec) -> Iterator[str]:
    """How the module's model is run."""
    assert spec.model and spec.module
    kind = family(spec)
    if kind == "text2vec-transformers":
        mode = container_mode.mode_of(with_local_files(spec.model))
        yield mode
        if mode == "huggingface":
            yield from ["direct"] if spec.model.direct else ["sentence splitting"]
            yield str(spec.module.settings.get("poolingStrategy") or "masked_mean")
        yield from ["prefixes"] * spec.model.prefixes
    elif kind == "multi2vec-clip":
        yield clip_modes.mode_of(with_local_files(spec.model))
    elif kind == "multi2vec-bind":
        yield f"preset {spec.model.preset or 'container'}"
    else:
        yield {"remote": "a running container", "nvidia": "NVIDIA's service", "fake": "made-up vectors"}.get(kind, "the model's own way")


def duration(seconds: float) -> str:
    """As a person says it: 45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
