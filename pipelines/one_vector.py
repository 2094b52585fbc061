"""One named vector of a batch of objects: compose, encode, combine, in columns."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from encoders.base import Encoder, Encoding, Progress
from encoders.distinct import encode_distinct
from pipelines.combine import combine
from pipelines.combine_weaviate import combine_weaviate
from pipelines.compose import Parts, compose
from pipelines.compose_weaviate import compose_weaviate
from pipelines.precomputed import fixed, value_faults
from schemas.errors import RowError
from schemas.job import VectorSpec
from schemas.modules import MultiModule
from schemas.objects import Reasons
from schemas.report import histogram


@dataclass
class Outcome:
    """What `vectorize_objects` gives for one vector."""

    column: pa.Array  # fixed_size_list<float32>[dim], null where an object has no such vector
    reasons: Reasons = field(default_factory=dict)
    truncated: list[int] = field(default_factory=list)  # rows of which the model saw only the beginning
    tokens: int = 0
    padded: int = 0
    lengths: dict[int, int] = field(default_factory=dict)  # of texts, in characters: see `histogram`


def vectorize_objects(
    batch: pa.RecordBatch,
    spec: VectorSpec,
    encoder: Encoder,
    chunked: str | None = None,
    zero_allowed: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """The vector that `spec` describes for each row of `batch`; rows that cannot have it are in `reasons`."""
    parts = parts_of(batch, spec, chunked)
    encodings = [encode_distinct(encoder, p.values, p.modality, progress, p.owner) for p in parts]
    vectors, owner, weights = _stacked(parts, encodings, encoder.dim)
    combined, present, reasons = _combined(spec, vectors, owner, weights, batch.num_rows)
    for part, encoding in zip(parts, encodings, strict=True):
        for i, error in encoding.errors.items():
            reasons.setdefault(int(part.owner[i]), (error.code, error.reason))
    rows = np.flatnonzero(present)
    for i, reason in value_faults(combined[rows], zero_allowed).items():
        reasons.setdefault(int(rows[i]), reason)
    truncated = [int(p.owner[i]) for p, e in zip(parts, encodings, strict=True) for i in e.truncated]
    totals = sum(e.tokens for e in encodings), sum(e.padded for e in encodings)
    valid = present & ~np.isin(np.arange(batch.num_rows), list(reasons))
    lengths = histogram(len(text) for p in parts if p.modality == "text" for text in p.values)
    return Outcome(fixed(np.where(valid[:, None], combined, 0), valid), reasons, sorted(set(truncated)), *totals, lengths)


def parts_of(batch: pa.RecordBatch, spec: VectorSpec, chunked: str | None = None) -> list[Parts]:
    """What is encoded for each row of `batch`: the module's way or the native one.

    A module makes its vector for every object, so that each chunk of a text has one; a native vector that does not
    read the chunked property stays with chunk 0.
    """
    return compose_weaviate(batch, spec.module) if spec.module else compose(batch, spec, chunked)


def _combined(spec: VectorSpec, vectors: Any, owner: Any, weights: Any, n: int) -> tuple[Any, Any, Reasons]:
    """One vector a row, which rows have one, and why others cannot."""
    if isinstance(spec.module, MultiModule):
        return _combined_by_module(spec.module, vectors, owner, n)
    return *combine(vectors, owner, weights, n), {}


def _combined_by_module(module: MultiModule, vectors: Any, owner: Any, n: int) -> tuple[Any, Any, Reasons]:
    combined, present, reasons = combine_weaviate(vectors, owner, module.weights, n)
    if not module.unnamed:  # the server would give such an object a vector of length 0, and its index refuses that
        fields = ", ".join(module.fields)
        reasons |= {int(i): ("no_fields", f"has none of {fields}; {module.name} refuses such an object") for i in np.flatnonzero(~present)}
    return combined, present, reasons


def _stacked(parts: list[Parts], encodings: list[Encoding], dim: int) -> tuple[Any, Any, Any]:
    """The parts of all modalities below one another: vectors (m, dim), owners (m,), weights (m,)."""
    if not parts:
        return np.zeros((0, dim), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32)
    return (
        np.concatenate([e.vectors for e in encodings]),
        np.concatenate([p.owner for p in parts]),
        np.concatenate([p.weights for p in parts]),
    )


def encode_or_halve(batch: pa.RecordBatch, run: Any) -> Iterator[tuple[pa.RecordBatch, Outcome | RowError]]:
    """`run(batch)`, and where it raises for a reason that may lie in one row, each half, until that row is alone."""
    try:
        yield batch, run(batch)
    except (ValueError, IndexError, TypeError, RuntimeError) as error:
        if batch.num_rows == 1:
            yield batch, RowError("cannot_encode", f"{type(error).__name__}: {error}")
            return
        half = batch.num_rows // 2
        yield from encode_or_halve(batch.slice(0, half), run)
        yield from encode_or_halve(batch.slice(half), run)
