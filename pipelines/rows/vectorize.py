"""VectorizeObjects: rows of anybody's pipeline, with the vectors that a model makes of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.display import DisplayDataItem

from pipelines.failures import NOTES_TAG, REJECTED_TAG
from pipelines.rows.incoming import RowSpec, RowsToObjects, rows_of
from pipelines.vectorize import VectorizeObjects as VectorizeBatches
from schemas.columns import VECTOR, is_reserved
from schemas.job import VectorSpec


@dataclass(frozen=True)
class VectorizeResult:
    """The `objects` (record batches, for WriteToWeaviate), the `rejected` rows, and `notes` on rows, such as truncated texts (dicts)."""

    objects: beam.PCollection[pa.RecordBatch]
    rejected: beam.PCollection[dict[str, Any]]
    notes: beam.PCollection[dict[str, Any]]

    @property
    def rows(self) -> beam.PCollection[dict[str, Any]]:
        """The objects as dicts: the columns that came in, and each vector (a list of floats) under its name."""
        rows: beam.PCollection[dict[str, Any]] = self.objects | "Rows" >> beam.FlatMap(as_rows).with_output_types(dict[str, Any])
        return rows


class VectorizeObjects(beam.PTransform):
    """Rows (dicts, named tuples, `beam.Row`, or pyarrow RecordBatches) to the same rows with their vectors."""

    def __init__(
        self,
        vectors: Mapping[str, Any],
        *,
        key: str | None = None,
        uuid: str | None = None,
        namespace: str = "",
        batch_rows: int = 1024,
    ) -> None:
        """`vectors`: name -> what a job says below `vectors` (`{"model": "./minilm", "text_fields": ["title"]}`), as dicts or VectorSpecs.

        `key` (absent: the column `id`) or `uuid`: the column that names a row. Raises ValueError (pydantic's) for what
        cannot be, JobError where both are named.
        """
        super().__init__()
        self.vectors = {name: VectorSpec.model_validate(spec) for name, spec in vectors.items()}
        columns = {name: spec.column for name, spec in self.vectors.items() if spec.column}
        self.rows = RowSpec(key, uuid, namespace, None, columns)
        self.batch_rows = batch_rows

    def display_data(self) -> dict[str, Any]:
        """What a runner shows of this step: the vectors and what each reads, never how a service is paid for."""
        fields = {name: ", ".join(spec.fields) or spec.column or "" for name, spec in self.vectors.items()}
        return {f"vector {name}": DisplayDataItem(read, label=f"vector {name} reads") for name, read in fields.items()}

    def expand(self, rows: beam.PCollection[Any]) -> Any:
        """A VectorizeResult: batches and ids first, then per vector: compose, encode, combine."""
        objects = rows | "RowsToObjects" >> RowsToObjects(self.rows, None, self.batch_rows)
        done = objects["objects"] | "Vectorize" >> VectorizeBatches(self.vectors)
        rejected = (objects[REJECTED_TAG], done[REJECTED_TAG]) | "Flatten" >> beam.Flatten().with_output_types(pa.RecordBatch)
        return VectorizeResult(
            done.objects,
            rejected | "Rejected" >> beam.FlatMap(rows_of).with_output_types(dict[str, Any]),
            done[NOTES_TAG] | "Notes" >> beam.FlatMap(rows_of).with_output_types(dict[str, Any]),
        )


def as_rows(batch: pa.RecordBatch) -> Iterable[dict[str, Any]]:
    """The objects of a batch as dicts, each vector under its name."""
    names = {name: name.removeprefix(VECTOR) for name in batch.schema.names if name.startswith(VECTOR) or not is_reserved(name)}
    for row in batch.select(list(names)).to_pylist():
        yield {names[name]: value for name, value in row.items()}
