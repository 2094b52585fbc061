"""Rejected rows: one output of every stage, stored as Parquet, one file a shard, so that a repeated bundle overwrites its own."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.metrics import count
from pipelines.storage import NO_OPTIONS, opened
from schemas.columns import REJECTED, Rejection, rejected_batch

REJECTED_TAG = "rejected"
MARKED_TAG = "marked"  # rows that the source marks as deleted
NOTES_TAG = "notes"  # rows that are loaded, but with something to say: truncated, a vector missing


def rejected_output(rejections: Sequence[Rejection], tag: str = REJECTED_TAG) -> Iterator[Any]:
    """The rejections as one tagged output, or nothing."""
    if rejections:
        yield beam.pvalue.TaggedOutput(tag, rejected_batch(rejections))


def by_shard(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    """`batch` cut by its column `shard`."""
    shards = batch.column("shard")
    for shard in shards.unique().to_pylist():
        yield shard, batch.filter(pa.compute.equal(shards, shard))


def store_rejected(shard: str, batches: Iterable[pa.RecordBatch], folder: str, storage_options: Mapping[str, Any]) -> int:
    """Write one shard's rejections to `folder`; the number of distinct rows in them."""
    table = pa.Table.from_batches(list(batches), REJECTED).sort_by([("row", "ascending"), ("chunk", "ascending")])
    name = hashlib.sha256(shard.encode()).hexdigest()[:16]
    with opened(f"{folder}/{name}.parquet", "wb", storage_options, "failures.path") as file:
        pq.write_table(table, file)
    return len(table.column("row").unique())


class StoreRejected(beam.PTransform):
    """Writes rejections to a folder, and counts their rows as `counter`."""

    def __init__(self, folder: str, counter: str, storage_options: Mapping[str, Any] = NO_OPTIONS) -> None:
        """Keep the folder; it is made by the first file."""
        super().__init__()
        self.folder, self.counter, self.storage_options = folder, counter, dict(storage_options)

    def expand(self, rejected: beam.PCollection[pa.RecordBatch]) -> Any:
        """Group by shard, so that a row with several bad chunks counts once."""
        return (
            rejected
            | "ByShard" >> beam.FlatMap(by_shard).with_output_types(tuple[str, pa.RecordBatch])
            | "Group" >> beam.GroupByKey()
            | "Store" >> beam.ParDo(_Store(self.folder, self.counter, self.storage_options))
        )


class _Store(beam.DoFn):
    def __init__(self, folder: str, counter: str, storage_options: dict[str, Any]) -> None:
        self.folder, self.counter, self.storage_options = folder, counter, storage_options

    def process(self, element: tuple[str, Iterable[pa.RecordBatch]]) -> None:
        count(self.counter, store_rejected(*element, self.folder, self.storage_options))
