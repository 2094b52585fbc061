"""What the sample tells of each vector: tokens, time, and what a run will meet."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa

from encoders.base import Encoder
from encoders.sharing import shared_encoder
from jobs.examine.findings import Findings
from jobs.examine.foresight import failing_values, foresee
from jobs.examine.sample import Sample, Texts
from pipelines.chunk import chunk_objects, cut_texts, splitter_of
from pipelines.compose import Parts
from pipelines.media import FETCHERS, fetch_media
from pipelines.one_vector import parts_of
from schemas.columns import concat
from schemas.errors import RowError
from schemas.job import VectorSpec

FETCHED = 64  # rows whose media are fetched


@dataclass
class _Timed:
    """What was encoded within the time."""

    seconds: float = 0.0  # that all values would take
    rows: list[int] = field(default_factory=list)  # whose values were encoded
    errors: dict[int, RowError] = field(default_factory=dict)  # by row


def measure(found: Findings, sample: Sample, seconds: float = 5.0) -> None:
    """Count the sample's tokens, time its encoding for about `seconds` a vector, and keep what would fail or surprise in `sample.foreseen`."""
    vectors = {name: spec for name, spec in found.job.vectors.items() if spec.model and name in found.dims}
    if sample.objects is None or not vectors:
        return
    objects = in_chunks(found, sample.objects)
    encoded = _with_media(found, sample, objects)
    for name, spec in vectors.items():
        _measure_vector(found, sample, name, spec, objects, encoded, seconds)


def _measure_vector(
    found: Findings, sample: Sample, name: str, spec: VectorSpec, objects: pa.RecordBatch, encoded: pa.RecordBatch, seconds: float
) -> None:
    chunked = found.job.chunk.property if found.job.chunk else None
    parts = parts_of(objects, spec, chunked)
    with shared_encoder(spec) as encoder:
        tokens = _counted(encoder, parts)
        foreseen = foresee(objects, name, spec, encoder, parts, tokens)
        few = parts if encoded is objects else parts_of(encoded, spec, chunked)
        timed = _timed(encoder, few, seconds)
        texts = Texts(_objects(parts), tokens or [], getattr(encoder, "max_tokens", None))
        texts.refused = getattr(encoder, "refuses_long", spec.long_text == "fail")
    if timed.rows:
        texts.seconds, texts.timed = timed.seconds, _objects(few)
    sample.texts[name] = texts
    counted = {f.code for f in foreseen}
    more = failing_values(encoded, name, spec.module, timed.errors, timed.rows)
    sample.foreseen += [*foreseen, *(f for f in more if f.code not in counted)]


def _objects(parts: Sequence[Parts]) -> int:
    """How many objects have a value."""
    return len({int(i) for p in parts for i in p.owner})


def _counted(encoder: Encoder, parts: Sequence[Parts]) -> list[int] | None:
    """The tokens of each text; None where the model cannot be asked."""
    count = getattr(encoder, "count_tokens", None)
    return [n for p in parts if p.modality == "text" for n in count(p.values)] if count else None


def _timed(encoder: Encoder, parts: Sequence[Parts], seconds: float) -> _Timed:
    """Encode for about `seconds` a modality, and keep what cannot be encoded."""
    timed = _Timed()
    for part in parts:
        start, done, step = time.perf_counter(), 0, 8
        while done < len(part.values) and time.perf_counter() - start < seconds:
            owner = part.owner[done : done + step]
            try:
                errors = encoder.encode(part.values[done : done + step], part.modality, groups=owner).errors
            except (RowError, ValueError, RuntimeError):
                break  # the run will name the row
            for i, error in errors.items():
                timed.errors.setdefault(int(owner[i]), error)
            timed.rows += owner.tolist()
            done, step = done + step, 128
        timed.seconds += (time.perf_counter() - start) * len(part.values) / max(1, done)
    return timed


def in_chunks(found: Findings, objects: pa.RecordBatch) -> pa.RecordBatch:
    """`objects` in chunks, if the job says so."""
    chunk = found.job.chunk
    if chunk is None:
        return objects
    splitter = splitter_of(chunk, found.job.vectors[chunk.model])
    return concat(list(chunk_objects(objects, chunk, cut_texts(objects, chunk, splitter))))


def _with_media(found: Findings, sample: Sample, objects: pa.RecordBatch) -> pa.RecordBatch:
    """`objects`, or the first of them with the bytes of their media where the job fetches any; what cannot be fetched fails."""
    assert found.layout
    media = {name: found.job.media[name].fetch for name in found.layout.media}
    if not media:
        return objects
    with ThreadPoolExecutor(FETCHERS) as pool:
        fetched, rejected = fetch_media(objects.slice(0, FETCHED), media, found.job.source.storage_options, pool)
    sample.rejections += rejected
    return fetched
