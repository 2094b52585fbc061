"""Summaries: the figures of each bundle by shard and time, grouped by shard, and stored beside the run's failures.

They are elements, and not files that a worker writes as it goes: a bundle that is repeated sends its figures once,
and the files of a repeated last step overwrite themselves. They exist only when every row was dealt with.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.transforms.window import GlobalWindows

from pipelines.metrics import Figures, take_figures
from pipelines.storage import NO_OPTIONS, matching, opened
from schemas.report import Summary

SUMMARY_TAG = "summary"
SUMMARIES = "summaries"  # the folder in that of the run's failures
FILES = 64  # at most; a shard is in one of them
SUMMARY = pa.schema([("shard", pa.string()), ("name", pa.string()), ("at", pa.int64()), ("n", pa.float64())])  # at: ms since 1970


def summary_batch(figures: Figures) -> pa.RecordBatch:
    """Figures as one record batch with the schema `SUMMARY`."""
    columns = list(zip(*((*key, n) for key, n in figures.items()), strict=True)) or [()] * len(SUMMARY)
    return pa.RecordBatch.from_arrays([pa.array(c, f.type) for c, f in zip(columns, SUMMARY, strict=True)], schema=SUMMARY)


def summary_output() -> Iterator[Any]:
    """What this bundle counted, as one tagged output of `finish_bundle`, or nothing."""
    figures = take_figures()
    if figures:
        yield beam.pvalue.TaggedOutput(SUMMARY_TAG, GlobalWindows.windowed_value(summary_batch(figures)))


def by_file(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """`batch` cut by the file that its shards belong to."""
    shards = batch.column("shard").dictionary_encode()
    numbers = pa.array([file_of(shard) for shard in shards.dictionary.to_pylist()], pa.int32()).take(shards.indices)
    for number in numbers.unique().to_pylist():
        yield number, batch.filter(pa.compute.equal(numbers, number))


def file_of(shard: str) -> int:
    """The number of the file that has the figures of `shard`."""
    return hashlib.sha256(shard.encode()).digest()[0] % FILES


def store_summaries(number: int, batches: Iterable[pa.RecordBatch], folder: str, storage_options: Mapping[str, Any] = NO_OPTIONS) -> None:
    """Write the figures of one file's shards to `folder`, each sum once."""
    table = pa.Table.from_batches(list(batches), SUMMARY).group_by(["shard", "name", "at"]).aggregate([("n", "sum")])
    table = table.rename_columns({"n_sum": "n"}).select(SUMMARY.names).sort_by([(name, "ascending") for name in ("shard", "name", "at")])
    with opened(f"{folder}/{number:02d}.parquet", "wb", storage_options, "failures.path") as file:
        pq.write_table(table, file)


def stored_summary(folder: str, storage_options: Mapping[str, Any] = NO_OPTIONS) -> Summary | None:
    """What the files of `folder` add up to; None where there are none, as of a run that did not end."""
    found = matching(folder, "*.parquet", storage_options, "failures.path")
    summary = Summary()
    for path in found:
        with opened(path, "rb", storage_options) as file:
            for row in pq.read_table(file, schema=SUMMARY).to_pylist():
                summary.add(row["shard"], row["name"], row["at"], row["n"])
    return summary if found else None


class StoreSummaries(beam.PTransform):
    """Writes what the bundles counted to a folder, at most `FILES` files."""

    def __init__(self, folder: str, storage_options: Mapping[str, Any] = NO_OPTIONS) -> None:
        """Keep the folder; it is made by the first file."""
        super().__init__()
        self.folder, self.storage_options = folder, dict(storage_options)

    def expand(self, summaries: beam.PCollection[pa.RecordBatch]) -> Any:
        """Group by shard, so that no two workers write one file."""
        return (
            summaries
            | "ByFile" >> beam.FlatMap(by_file).with_output_types(tuple[int, pa.RecordBatch])
            | "Group" >> beam.GroupByKey()
            | "Store" >> beam.ParDo(_Store(self.folder, self.storage_options))
        )


class _Store(beam.DoFn):
    def __init__(self, folder: str, storage_options: dict[str, Any]) -> None:
        self.folder, self.storage_options = folder, storage_options

    def process(self, element: tuple[int, Iterable[pa.RecordBatch]]) -> None:
        store_summaries(*element, self.folder, self.storage_options)
