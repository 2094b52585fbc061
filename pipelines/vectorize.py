"""Vectorize, the heart: per named vector compose, encode, combine, in columns."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from encoders.sharing import shared_encoder
from pipelines.compose import MEDIA
from pipelines.failures import NOTES_TAG, REJECTED_TAG, rejected_output
from pipelines.metrics import count, phase, tick, waited
from pipelines.one_vector import Outcome, encode_or_halve, vectorize_objects
from pipelines.overlap import Beside
from schemas.columns import CHUNK, UNCHANGED, VECTOR, Rejection, bounded, concat, reject, set_column, without
from schemas.errors import RowError
from schemas.job import VectorSpec
from schemas.objects import Reasons

WINDOW_ROWS = 4096  # objects sorted by length together: small windows pad badly
WINDOW_BYTES = 48 << 20
IDLE_SHARE = 0.25  # of a window, for which a model that has nothing to do need not wait


class VectorizeObjects(beam.PTransform):
    """Objects to objects with their vectors; precomputed ones are there already."""

    def __init__(
        self,
        vectors: Mapping[str, VectorSpec],
        chunked: str | None = None,
        drop: frozenset[str] = frozenset(),
        zero_allowed: frozenset[str] = frozenset(),
    ) -> None:
        """`vectors` by name; `chunked`: the property that chunks replace; `drop`: properties that are encoded but not stored."""
        super().__init__()
        self.vectors, self.chunked, self.drop, self.zero_allowed = dict(vectors), chunked, drop, zero_allowed

    def expand(self, objects: beam.PCollection[pa.RecordBatch]) -> Any:
        """Objects as the main output; rejected rows and notes beside it."""
        do = beam.ParDo(_Vectorize(self.vectors, self.chunked, self.drop, self.zero_allowed)).with_output_types(pa.RecordBatch)
        return objects | "Vectorize" >> do.with_outputs(REJECTED_TAG, NOTES_TAG, main="objects")


class _Vectorize(beam.DoFn):
    """Coalesces batches into windows within the bundle, since sorting by length needs many rows.

    A window is encoded in a thread of its own, while this one reads the next window and writes the one before.
    """

    def __init__(self, vectors: dict[str, VectorSpec], chunked: str | None, drop: frozenset[str], zero_allowed: frozenset[str]) -> None:
        self.vectors, self.chunked, self.drop, self.zero_allowed = vectors, chunked, drop, zero_allowed
        self.window: list[pa.RecordBatch] = []
        self.beside = Beside()
        self.loading_us = 0

    def setup(self) -> None:
        start = time.perf_counter()
        for spec in self.encoded.values():
            with shared_encoder(spec) as encoder:
                _ = encoder.dim  # the model is loaded before the first row is read
        self.loading_us = round(1e6 * (time.perf_counter() - start))

    @property
    def encoded(self) -> dict[str, VectorSpec]:
        return {name: spec for name, spec in self.vectors.items() if spec.model}

    def teardown(self) -> None:
        self.beside.close()

    def start_bundle(self) -> None:
        self.window = []
        self.beside.drop()

    def process(self, batch: pa.RecordBatch) -> Iterator[Any]:
        count("us/load_model", self.loading_us)  # here, since nothing that `setup` counts is kept
        self.loading_us = 0
        if UNCHANGED in batch.schema.names:
            yield batch
            return
        if not self.encoded:
            yield from self._finished(batch)
            return
        self.window.append(batch)
        filled = max(sum(b.num_rows for b in self.window) / WINDOW_ROWS, sum(b.nbytes for b in self.window) / WINDOW_BYTES)
        ready = self.beside.take(wait=filled >= 1)
        if filled >= (IDLE_SHARE if self.beside.idle else 1):
            self._begin()
        yield from ready

    def finish_bundle(self) -> Iterator[Any]:
        from apache_beam.transforms.window import GlobalWindows

        for _ in range(2):  # what ran, and then the last window
            ready = self.beside.take()
            self._begin()
            for output in ready:
                if isinstance(output, beam.pvalue.TaggedOutput):
                    yield beam.pvalue.TaggedOutput(output.tag, GlobalWindows.windowed_value(output.value))
                else:
                    yield GlobalWindows.windowed_value(output)

    def _begin(self) -> None:
        """Begin to encode the window."""
        window, self.window = self.window, []
        if window:
            self.beside.start(lambda: self._vectorized(concat(window)))

    def _vectorized(self, batch: pa.RecordBatch) -> Iterator[Any]:
        for name, spec in self.encoded.items():
            batch, rejections, notes = self._one(batch, name, spec)
            yield from rejected_output(rejections)
            yield from rejected_output(notes, NOTES_TAG)
        yield from self._finished(batch)

    def _one(self, batch: pa.RecordBatch, name: str, spec: VectorSpec) -> tuple[pa.RecordBatch, list[Rejection], list[Rejection]]:
        """`batch` with the vector `name`, the rows that cannot have it, and notes on the others; vectors that are there stay."""
        kept: list[pa.RecordBatch] = []
        if VECTOR + name in batch.schema.names:
            there = batch.column(VECTOR + name).is_valid()
            kept.append(batch.filter(there))
            batch = batch.filter(pa.compute.invert(there))
        rejections: list[Rejection] = []
        notes: list[Rejection] = []
        with waited("wait/model", batch, shared_encoder(spec)) as encoder, phase(f"encode/{name}", batch):

            def progress(n: int) -> None:
                tick(f"encoded/{name}", n)
                self.beside.go_on()

            def run(rows: pa.RecordBatch) -> Outcome:
                return vectorize_objects(rows, spec, encoder, self.chunked, name in self.zero_allowed, progress)

            for rows, outcome in encode_or_halve(batch, run):
                if isinstance(outcome, RowError):
                    rejections += reject(rows, {0: (outcome.code, f"vector {name!r}: {outcome.reason}")}, "vectorize")
                    continue
                _count(name, outcome)
                notes += reject(
                    rows,
                    {i: ("truncated", f"vector {name!r}: the model saw only the beginning of the text") for i in outcome.truncated},
                    "vectorize",
                )
                rejections += reject(rows, {i: (c, f"vector {name!r}: {m}") for i, (c, m) in outcome.reasons.items()}, "vectorize")
                kept.append(without(set_column(rows, VECTOR + name, outcome.column), outcome.reasons))
        return concat(kept) if kept else batch.slice(0, 0), rejections, notes

    def _finished(self, batch: pa.RecordBatch) -> Iterator[Any]:
        """Cut to size again; an object without any vector is rejected, one without some is noted."""
        batch = _only_first_chunk(batch, self.vectors, self.chunked)
        batch = batch.drop_columns([c for c in batch.schema.names if c.startswith(MEDIA) or c in self.drop])
        names = [n for n in self.vectors if VECTOR + n in batch.schema.names]
        missing = {n: batch.column(VECTOR + n).is_null().to_numpy(zero_copy_only=False) for n in names}
        none = np.logical_and.reduce(list(missing.values())) if missing else np.zeros(batch.num_rows, bool)
        if any(spec.module for spec in self.vectors.values()):
            none[:] = False  # Weaviate itself stores an object without a vector where its module finds no text
        reasons = {
            int(i): ("no_vector", f"nothing to make a vector from: {self._reads()} null, empty or blank") for i in np.flatnonzero(none)
        }
        notes = [n for name in names for n in reject(batch, self._absent(batch, name, missing[name] & ~none), "vectorize")]
        yield from rejected_output(reject(batch, reasons, "vectorize"))
        yield from rejected_output(notes, NOTES_TAG)
        yield from bounded(without(batch, reasons))

    def _absent(self, batch: pa.RecordBatch, name: str, rows: Any) -> Reasons:
        """Rows that lack one vector while they have others; a later chunk lacks the vectors that stay with chunk 0."""
        if CHUNK in batch.schema.names:
            rows = rows & (batch.column(CHUNK).to_numpy() == 0)
        return {
            int(i): ("without_vector", f"stored without vector {name!r}: what it reads is null, empty or blank")
            for i in np.flatnonzero(rows)
        }

    def _reads(self) -> str:
        fields = [f for spec in self.vectors.values() for f in (spec.fields or (spec.column or "",))]
        return ", ".join(dict.fromkeys(fields)) + (" is" if len(set(fields)) == 1 else " are")


def _only_first_chunk(batch: pa.RecordBatch, vectors: Mapping[str, VectorSpec], chunked: str | None) -> pa.RecordBatch:
    """Precomputed vectors stay with chunk 0."""
    if chunked is None or CHUNK not in batch.schema.names:
        return batch
    first = pa.compute.equal(batch.column(CHUNK), 0)
    for name, spec in vectors.items():
        if spec.column and VECTOR + name in batch.schema.names:
            column = batch.column(VECTOR + name)
            batch = set_column(batch, VECTOR + name, pa.compute.if_else(first, column, pa.nulls(len(column), column.type)))
    return batch


def _count(name: str, outcome: Outcome) -> None:
    count(f"tokens/{name}", outcome.tokens)
    count(f"padded/{name}", outcome.padded)
    count(f"truncated/{name}", len(outcome.truncated))
    for edge, texts in outcome.lengths.items():
        count(f"lengths/{name}/{edge}", texts)
