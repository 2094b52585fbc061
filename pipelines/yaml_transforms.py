"""The transforms as Beam YAML takes them: outputs by name, and rejected rows with a schema."""

from typing import Any

import apache_beam as beam

from pipelines.rows.vectorize import VectorizeObjects as Vectorize
from pipelines.rows.write import WriteToWeaviate as Write


class VectorizeObjects(beam.PTransform):
    """Rows with their vectors, as the output `objects`, for WriteToWeaviate; `rejected` and `notes` beside it."""

    def __init__(self, vectors: dict[str, Any], key: str | None = None, uuid: str | None = None, namespace: str = "") -> None:
        """As `warpbeam.VectorizeObjects`."""
        super().__init__()
        self.vectorize = Vectorize(vectors, key=key, uuid=uuid, namespace=namespace)

    def expand(self, rows: beam.PCollection[Any]) -> Any:
        """The outputs by name."""
        done = rows | self.vectorize
        return {"objects": done.objects, "rejected": _shown(done.rejected, "Rejected"), "notes": _shown(done.notes, "Notes")}


class WriteToWeaviate(beam.PTransform):
    """Rows to objects; the output `written` has one row with the number `written`, `rejected` the rows that were not."""

    def __init__(self, url: str, collection: str, **more: Any) -> None:
        """As `warpbeam.WriteToWeaviate`."""
        super().__init__()
        self.write = Write(url, collection, **more)

    def expand(self, rows: beam.PCollection[Any]) -> Any:
        """The outputs by name."""
        done = rows | self.write
        return {"written": done.written | beam.Map(lambda n: beam.Row(written=int(n))), "rejected": _shown(done.rejected, "Rejected")}


def _shown(rejected: beam.PCollection[dict[str, Any]], label: str) -> beam.PCollection[Any]:
    return rejected | label >> beam.Map(
        lambda row: beam.Row(key=str(row["key"]), stage=str(row["stage"]), code=str(row["code"]), message=str(row["message"]))
    )
