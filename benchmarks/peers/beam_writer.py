"""What a Beam user writes today to get rows into Weaviate: weaviate-client's batches in a DoFn. Workers import it."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam


class WriteToWeaviate(beam.DoFn):
    """Rows with key, text and vector to objects, a batch context for each bundle."""

    def __init__(self, http_port: int, grpc_port: int, collection: str) -> None:
        self.http_port, self.grpc_port, self.collection = http_port, grpc_port, collection

    def setup(self) -> None:
        import weaviate

        self.client = weaviate.connect_to_local(port=self.http_port, grpc_port=self.grpc_port)

    def teardown(self) -> None:
        self.client.close()

    def start_bundle(self) -> None:
        self.rows: list[Any] = []

    def process(self, row: Any) -> Iterator[Any]:
        self.rows.append(row)
        if len(self.rows) >= 200:
            self.flush()
        yield from ()

    def finish_bundle(self) -> None:
        self.flush()

    def flush(self) -> None:
        from weaviate.util import generate_uuid5

        collection = self.client.collections.use(self.collection)
        with collection.batch.fixed_size(batch_size=200) as batch:
            for row in self.rows:
                vector = {"text": [float(x) for x in row["vector"]]}
                batch.add_object({"key": row["key"], "text": row["text"]}, uuid=generate_uuid5(row["key"]), vector=vector)
        assert not collection.batch.failed_objects, collection.batch.failed_objects[0]
        self.rows = []


def with_vector(row: dict[str, Any]) -> dict[str, Any]:
    """MLTransform puts the vector in the text's place, so the text goes in twice."""
    return {"key": row["key"], "text": row["text"], "vector": row["text"]}
