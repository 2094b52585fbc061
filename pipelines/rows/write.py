"""WriteToWeaviate: rows of anybody's pipeline into a collection."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.display import DisplayDataItem

from pipelines.failures import REJECTED_TAG
from pipelines.rows.incoming import RowSpec, RowsToObjects, rows_of
from pipelines.rows.options import WeaviateOptions
from pipelines.summaries import SUMMARY_TAG
from pipelines.targets.weaviate import WeaviateTarget
from pipelines.write import WriteObjects
from schemas.collection import Collection
from schemas.errors import JobError
from schemas.job import TargetSpec


@dataclass(frozen=True)
class WriteResult:
    """What became of the rows: `rejected` (dicts with key, uuid, stage, code, message), `written` (one int: the objects acknowledged)."""

    rejected: beam.PCollection[dict[str, Any]]
    written: beam.PCollection[int]


@dataclass
class LiveCollection:
    """The collection of a target, asked for once in each process."""

    spec: TargetSpec
    _found: Collection | None = field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """What the server says stays here."""
        return {"spec": self.spec, "_found": None}

    def __call__(self) -> Collection:
        """The collection as the server has it. Raises JobError if it is missing, WorldError."""
        if self._found is None:
            with closing(WeaviateTarget(self.spec)) as target:
                self._found = target.needed
        return self._found


class WriteToWeaviate(beam.PTransform):
    """Rows (dicts, named tuples, `beam.Row`, or pyarrow RecordBatches) to objects of a collection that exists.

    A row's id is `generate_uuid5(key, namespace)`, so a repeated bundle writes the same objects again. The columns that
    `vectors` names hold vectors, and so do those of `VectorizeObjects`; all others are properties.
    """

    def __init__(
        self,
        url: str,
        collection: str,
        *,
        grpc: str | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        uuid: str | None = None,
        namespace: str = "",
        properties: Mapping[str, str] | None = None,
        vectors: Mapping[str, str] | None = None,
        tenant: str | None = None,
        tenant_column: str | None = None,
        batch_rows: int = 1024,
        **target: Any,
    ) -> None:
        """Keep the names; nothing is opened. Secrets (`api_key`, `headers`) are `${NAME}` references, looked up on the worker.

        `key` (absent: the column `id`) or `uuid`: the column that names a row; `properties`: property -> column;
        `vectors`: vector -> column; `target`: further keys of a job's `target`, such as `max_objects_per_s`. Raises
        JobError or ValueError for what cannot be.
        """
        super().__init__()
        weaviate = {"url": url, "grpc": grpc, "api_key": api_key, "headers": dict(headers or {})}
        tenants = {"column": tenant_column} if tenant_column else tenant
        self.target = TargetSpec.model_validate({"weaviate": weaviate, "collection": collection, "tenant": tenants} | target)
        self.rows = RowSpec(key, uuid, namespace, properties, dict(vectors or {}), tenant_column)
        self.batch_rows = batch_rows

    @classmethod
    def of_options(cls, options: PipelineOptions, **more: Any) -> "WriteToWeaviate":
        """The same by the flags of WeaviateOptions; `more` as above. Raises JobError where a flag is missing."""
        asked = options.view_as(WeaviateOptions)
        for flag in ("weaviate_url", "weaviate_collection"):
            if not getattr(asked, flag):
                raise JobError(f"--{flag} is missing; WriteToWeaviate.of_options needs --weaviate_url and --weaviate_collection")
        return cls(asked.weaviate_url, asked.weaviate_collection, grpc=asked.weaviate_grpc, api_key=asked.weaviate_api_key, **more)

    def display_data(self) -> dict[str, Any]:
        """What a runner shows of this step; no secret is in it."""
        shown = {"url": self.target.weaviate.url.rpartition("@")[2], "collection": self.target.collection, "key": self.rows.layout.key}
        return {name: DisplayDataItem(value, label=name) for name, value in (shown | {"batch_rows": self.batch_rows}).items()}

    def expand(self, rows: beam.PCollection[Any]) -> Any:
        """A WriteResult: batches, ids and types first, then byte-capped requests; only acknowledged objects count."""
        objects = rows | "RowsToObjects" >> RowsToObjects(self.rows, LiveCollection(self.target), self.batch_rows)
        written = objects["objects"] | "WriteObjects" >> WriteObjects(WeaviateTarget(self.target), self.target.max_objects_per_s)
        rejected = (objects[REJECTED_TAG], written[REJECTED_TAG]) | "Flatten" >> beam.Flatten().with_output_types(pa.RecordBatch)
        return WriteResult(
            rejected | "AsRows" >> beam.FlatMap(rows_of).with_output_types(dict[str, Any]),
            written[SUMMARY_TAG]
            | "Written" >> beam.FlatMap(written_in).with_output_types(int)
            | "Sum" >> beam.CombineGlobally(sum).with_output_types(int),
        )


def written_in(summary: pa.RecordBatch) -> Iterator[int]:
    """The objects that a bundle's figures count as written."""
    for row in summary.to_pylist():
        if row["name"] == "objects/written":
            yield round(row["n"])
