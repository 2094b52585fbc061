"""Read: rows of the source become objects: columns renamed, coerced as Weaviate does, with their ids."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import apache_beam as beam
import numpy as np
import pyarrow as pa

from encoders.threads import limit_arrow
from pipelines.failures import MARKED_TAG, NOTES_TAG, REJECTED_TAG, rejected_output
from pipelines.identity import add_reasons, ids
from pipelines.layout import Layout
from pipelines.metrics import count, phase, take_figures
from pipelines.overlap import ReadAhead
from pipelines.precomputed import as_multi_vectors, as_vectors
from pipelines.sources import Shard, ShardError, Source
from pipelines.summaries import SUMMARY_TAG, summary_output
from schemas.columns import KEY, ROW, SHARD, TENANT, UUID, VECTOR, Rejection, reject, without
from schemas.objects import Reasons, coerce

T = TypeVar("T")
BROKEN_ROWS = 10_000  # rejections a batch, where the rest of a shard cannot be read


def read_objects(raw: pa.RecordBatch, layout: Layout, shard: str) -> tuple[pa.RecordBatch, list[Rejection]]:
    """Objects from a batch of source rows (its columns and `@row`), and the rows that cannot be objects, with the reasons."""
    reasons: Reasons = {}
    columns: dict[str, pa.Array] = dict(ids(raw, layout, reasons))
    columns[SHARD] = pa.DictionaryArray.from_arrays(pa.array(np.zeros(raw.num_rows, np.int32)), pa.array([shard]))
    columns[ROW] = raw.column(ROW)
    for name, (column, prop) in layout.properties.items():
        columns[name], bad = coerce(raw.column(column), prop)
        add_reasons(reasons, bad)
    for name, vector in layout.vectors.items():
        convert = as_multi_vectors if vector.multi else as_vectors
        extra = () if vector.multi else (vector.zero_allowed,)
        columns[VECTOR + name], bad = convert(raw.column(vector.column), vector.dim or 1, *extra)
        add_reasons(reasons, {i: (code, f"column {vector.column!r}: {message}") for i, (code, message) in bad.items()})
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return without(batch, reasons), reject(batch, reasons, "read")


def without_losers(raw: pa.RecordBatch, lost: Any, layout: Layout, shard: str) -> tuple[pa.RecordBatch, list[Rejection]]:
    """`raw` without the rows numbered in `lost`, and a note for each of these: an earlier row has its id."""
    positions = np.flatnonzero(np.isin(raw.column(ROW).to_numpy(), lost))
    if not len(positions):
        return raw, []
    keys = raw.column(layout.key).take(pa.array(positions)).to_pylist()
    message = "an earlier row has the same key; that one is loaded"
    notes = [
        Rejection(str(key), None, "ids", "duplicate", message, shard, raw.column(ROW)[int(i)].as_py())
        for key, i in zip(keys, positions, strict=True)
    ]
    return without(raw, positions), notes


def without_marked(raw: pa.RecordBatch, layout: Layout, shard: str) -> tuple[pa.RecordBatch, list[Rejection]]:
    """`raw` without the rows that the source marks as deleted, and these: `message` is the tenant. One without an id stays, to be rejected."""
    if layout.deleted is None:
        return raw, []
    marked = np.flatnonzero(pa.compute.fill_null(raw.column(layout.deleted), False).to_numpy(zero_copy_only=False))
    reasons: Reasons = {}
    found = dict(ids(raw.take(pa.array(marked)), layout, reasons))
    chosen = [int(p) for i, p in enumerate(marked) if i not in reasons]
    columns = (found[name].to_pylist() if name in found else [""] * len(marked) for name in (KEY, UUID, TENANT))
    rows = raw.column(ROW).take(pa.array(marked)).to_pylist()
    rejections = [
        Rejection(key, uuid, "read", "marked", tenant, shard, row)
        for i, (key, uuid, tenant, row) in enumerate(zip(*columns, rows, strict=True))
        if i not in reasons
    ]
    return without(raw, chosen), rejections


def only_rows(raw: pa.RecordBatch, wanted: Any) -> pa.RecordBatch:
    """The rows of `raw` whose numbers are in `wanted`."""
    return raw.filter(pa.array(np.isin(raw.column(ROW).to_numpy(), wanted)))


def prefetched(make: Callable[[], Iterator[T]], shard: str = "") -> Iterator[T]:
    """The items of `make()`, the next ones being made in another thread while this one is used; waiting for them is reading `shard`."""
    with ReadAhead(make) as ahead:
        while True:
            with phase("read", shard):
                item = ahead.next()
            if item is None:
                return
            yield item


class ReadObjects(beam.PTransform):
    """Shards to objects; rows that occur twice (`losers`: shard -> row numbers) are left out and counted."""

    def __init__(self, source: Source, layout: Layout, losers: Any, only: Mapping[str, bytes] | None = None) -> None:
        """Keep what workers need; nothing is opened. `only`: shard -> the row numbers to read (int64), where not all are wanted."""
        super().__init__()
        self.source, self.layout, self.losers, self.only = source, layout, losers, only

    def expand(self, shards: beam.PCollection[Shard]) -> Any:
        """Objects as the main output, rejected rows and notes beside it."""
        do = beam.ParDo(_Read(self.source, self.layout, self.only), self.losers).with_output_types(pa.RecordBatch)
        return shards | "Read" >> do.with_outputs(REJECTED_TAG, NOTES_TAG, MARKED_TAG, SUMMARY_TAG, main="objects")


class _Read(beam.DoFn):
    def __init__(self, source: Source, layout: Layout, only: Mapping[str, bytes] | None) -> None:
        self.source, self.layout, self.only = source, layout, only

    def setup(self) -> None:
        limit_arrow()

    def start_bundle(self) -> None:
        take_figures()  # of a bundle that broke off in this thread

    def finish_bundle(self) -> Iterator[Any]:
        yield from summary_output()

    def process(self, shard: Shard, losers: dict[str, bytes]) -> Iterator[Any]:
        lost = np.frombuffer(losers.get(shard.name, b""), np.int64)
        if self.only is not None:
            yield from self._chosen(shard, lost, np.frombuffer(self.only.get(shard.name, b""), np.int64))
            return
        done = 0
        try:
            for item in prefetched(lambda: self.source.read(shard, self.layout.columns), shard.name):
                done += 1 if isinstance(item, Rejection) else item.num_rows
                yield from self._objects(item, shard, lost)
        except ShardError as error:
            yield from _broken(shard, done, error)

    def _chosen(self, shard: Shard, lost: Any, wanted: Any) -> Iterator[Any]:
        """The objects of the rows in `wanted` alone; those that cannot be read are rejected by name."""
        seen: set[int] = set()
        try:
            for item in prefetched(lambda: self.source.read(shard, self.layout.columns), shard.name):
                if isinstance(item, Rejection):
                    chosen = item if item.row in wanted else None
                else:
                    chosen = only_rows(item, wanted)
                if chosen is not None and (isinstance(chosen, Rejection) or chosen.num_rows):
                    seen |= {chosen.row} if isinstance(chosen, Rejection) else set(chosen.column(ROW).to_pylist())
                    yield from self._objects(chosen, shard, lost)
            why = "the source has no such row any more"
        except ShardError as error:
            why = str(error)
        missing = [int(row) for row in wanted if int(row) not in seen]
        count("rows/read", len(missing), shard.name)
        yield from rejected_output([Rejection(None, None, "read", "unreadable", why, shard.name, row) for row in missing])

    def _objects(self, item: pa.RecordBatch | Rejection, shard: Shard, lost: Any) -> Iterator[Any]:
        if isinstance(item, Rejection):
            count("rows/read", 1, shard.name)
            yield from rejected_output([item])
            return
        count("rows/read", item.num_rows, shard.name)
        count("bytes/read", item.nbytes, shard.name)
        with phase("read", shard.name):
            kept, notes = without_losers(item, lost, self.layout, shard.name)
            kept, marked = without_marked(kept, self.layout, shard.name)
            batch, rejections = read_objects(kept, self.layout, shard.name)
        count("rows/duplicate", len(notes), shard.name)
        if batch.num_rows:
            yield batch
        yield from rejected_output(rejections)
        yield from rejected_output(notes, NOTES_TAG)
        yield from rejected_output(marked, MARKED_TAG)


def _broken(shard: Shard, done: int, error: ShardError) -> Iterator[Any]:
    """Every row of `shard` after the first `done` is rejected: nothing is lost without a word."""
    total = max(done + 1, min(shard.rows or 0, shard.limit or 2**62))
    for start in range(done, total, BROKEN_ROWS):
        rows = range(start, min(start + BROKEN_ROWS, total))
        count("rows/read", len(rows), shard.name)
        yield from rejected_output([Rejection(None, None, "read", "unreadable", str(error), shard.name, row) for row in rows])
