"""The stages in order; the only file that knows them all.

Objects are read, chunked, vectorized and written. Beside them runs the narrow branch of bare ids, which finds rows
that occur twice, and the rejected rows of every stage come together in one place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import pyarrow as pa

import pipelines.coders  # noqa: F401  (registers the coder of what travels)
from pipelines.chunk import ChunkObjects
from pipelines.failures import MARKED_TAG, NOTES_TAG, REJECTED_TAG, StoreRejected
from pipelines.ids import FindDuplicates, merge_losers
from pipelines.layout import Layout
from pipelines.media import FetchMedia
from pipelines.read import ReadObjects
from pipelines.sources import Shard, Source
from pipelines.summaries import SUMMARIES, SUMMARY_TAG, StoreSummaries
from pipelines.targets import Target
from pipelines.unchanged import SkipUnchanged
from pipelines.vectorize import VectorizeObjects
from pipelines.write import WriteObjects
from schemas.job import Job


@dataclass(frozen=True)
class Plan:
    """A job that was found to be right, and what was found out about it."""

    job: Job
    source: Source
    target: Target
    layout: Layout
    shards: Sequence[Shard]
    failures: str  # the folder of this run's rejected rows
    notes: str  # the folder of what else is to be said about rows
    marked: str = ""  # the folder of the rows that are marked as deleted
    reshuffle: bool = False  # too few shards for the workers: batches are spread after they are read
    zero_allowed: frozenset[str] = frozenset()  # vectors for which all zeros is a value: every distance but cosine
    # the recipe of each vector, where objects remember what made them; empty, nothing is skipped
    recipes: Mapping[str, bytes] = field(default_factory=dict)
    dims: Mapping[str, int] = field(default_factory=dict)  # of the vectors that have a model
    only: Mapping[str, bytes] | None = None  # shard -> row numbers (int64), where not all rows are wanted
    adopt: bool = False  # objects that others loaded are taken over: what their properties say need not be encoded
    fresh: bool = False  # the collection was made by this run, and only its own process writes: there is nothing to compare with
    unique_keys: bool = False  # the source's own keys cannot repeat (paths)


def build(root: Any, plan: Plan) -> None:
    """Append a whole load to the pipeline `root`."""
    job, layout = plan.job, plan.layout
    shards = root | "Shards" >> beam.Create(list(plan.shards)).with_output_types(Shard) | "SpreadShards" >> beam.Reshuffle()
    losers = _duplicates(shards, plan)
    read = shards | "ReadObjects" >> ReadObjects(plan.source, layout, losers, plan.only)
    objects, rejected = _split(read, "objects")
    if plan.reshuffle:
        objects = objects | "SpreadBatches" >> beam.Reshuffle()
    if job.chunk:
        objects = objects | "ChunkObjects" >> ChunkObjects(job.chunk, job.vectors[job.chunk.model], layout.namespace)
    if plan.recipes:
        objects = objects | "SkipUnchanged" >> SkipUnchanged(
            plan.target, job.vectors, plan.recipes, plan.dims, job.target.fixed_tenant, plan.adopt, plan.fresh
        )
    if layout.media:
        media = {name: job.media[name].fetch for name in layout.media}
        stored = frozenset(name for name in media if job.media[name].store)
        objects, more = _split(objects | "FetchMedia" >> FetchMedia(media, job.source.storage_options, stored), "objects")
        rejected += more
    vectorized = objects | "VectorizeObjects" >> VectorizeObjects(
        job.vectors, job.chunk.property if job.chunk else None, layout.unstored, plan.zero_allowed
    )
    written = vectorized.objects | "WriteObjects" >> WriteObjects(plan.target, job.target.max_objects_per_s)
    rejected += [vectorized[REJECTED_TAG], written[REJECTED_TAG]]
    outputs = job.failures.storage_options
    _store("Rejected", rejected, plan.failures, "rows/failed", outputs)
    summaries = (read[SUMMARY_TAG], written[SUMMARY_TAG]) | "Summaries" >> beam.Flatten().with_output_types(pa.RecordBatch)
    _ = summaries | "StoreSummaries" >> StoreSummaries(f"{plan.failures}/{SUMMARIES}", outputs)
    if layout.deleted:
        _store("Marked", [read[MARKED_TAG]], plan.marked, "rows/marked", outputs)
    _store("Notes", [read[NOTES_TAG], vectorized[NOTES_TAG]], plan.notes, "rows/noted", outputs)


def _duplicates(shards: Any, plan: Plan) -> Any:
    """The rows to leave out, as a side input."""
    if plan.unique_keys or plan.only is not None:  # a row that lost to another one is not among the failures
        return {}
    found = shards | "FindDuplicates" >> FindDuplicates(plan.source, plan.layout)
    return beam.pvalue.AsSingleton(found | "Merge" >> beam.CombineGlobally(_MergeLosers()))


class _MergeLosers(beam.CombineFn):
    """(shard, row numbers) to {shard: row numbers}."""

    def create_accumulator(self) -> dict[str, bytes]:
        return {}

    def add_input(self, accumulator: dict[str, bytes], element: tuple[str, bytes]) -> dict[str, bytes]:
        return merge_losers([*accumulator.items(), element])

    def merge_accumulators(self, accumulators: Any) -> dict[str, bytes]:
        return merge_losers(item for accumulator in accumulators for item in accumulator.items())

    def extract_output(self, accumulator: dict[str, bytes]) -> dict[str, bytes]:
        return accumulator


def _split(outputs: Any, main: str) -> tuple[Any, list[Any]]:
    return outputs[main], [outputs[REJECTED_TAG]]


def _store(label: str, batches: list[Any], folder: str, counter: str, storage_options: Mapping[str, Any]) -> None:
    merged = tuple(batches) | f"{label}All" >> beam.Flatten().with_output_types(pa.RecordBatch)
    _ = merged | f"Store{label}" >> StoreRejected(folder, counter, storage_options)
