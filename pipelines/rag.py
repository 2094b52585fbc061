"""Weaviate as a vector database of `apache_beam.ml.rag`: a config for its VectorDatabaseWriteTransform."""

from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.ml.rag.ingestion.base import VectorDatabaseWriteConfig
from apache_beam.ml.rag.types import EmbeddableItem

from pipelines.rows.write import WriteToWeaviate
from schemas.errors import JobError

ID, EMBEDDING = "@item id", "@item embedding"  # columns that no metadata can be named as: @ is no letter of a property


class WeaviateVectorWriterConfig(VectorDatabaseWriteConfig):
    """How chunks become objects: the id is the object's key, the content a text property, metadata the others."""

    def __init__(
        self,
        url: str,
        collection: str,
        *,
        vector: str = "default",
        content_property: str | None = "content",
        index_property: str | None = None,
        metadata_properties: Sequence[str] | None = None,
        ids_are_uuids: bool = False,
        **writer: Any,
    ) -> None:
        """`vector`: which vector the embedding is (`default`: the one unnamed one); a property that is None is not written.

        `metadata_properties`: which of the metadata (None: all); `ids_are_uuids`: the id is the object's own, else it is
        made from it as weaviate-client does; `writer`: what WriteToWeaviate takes besides (`grpc`, `api_key`, `tenant`, ...).
        """
        self.content_property, self.index_property, self.vector = content_property, index_property, vector
        self.metadata_properties = None if metadata_properties is None else tuple(metadata_properties)
        named = {"uuid": ID} if ids_are_uuids else {"key": ID}
        self.writer = {**writer, **named, "url": url, "collection": collection, "vectors": {vector: EMBEDDING}}

    def create_write_transform(self) -> beam.PTransform:
        """The transform that VectorDatabaseWriteTransform applies; it gives a WriteResult."""
        return WriteItems(self)


class WriteItems(beam.PTransform):
    """EmbeddableItems with their embeddings into a collection."""

    def __init__(self, config: WeaviateVectorWriterConfig) -> None:
        """Keep the config, and check it."""
        super().__init__()
        self.config, self.write = config, WriteToWeaviate(**config.writer)

    def display_data(self) -> dict[str, Any]:
        """That of the write."""
        return self.write.display_data()

    def expand(self, items: beam.PCollection[EmbeddableItem]) -> Any:
        """A WriteResult: items to rows, rows to objects."""
        written = items | "ToRows" >> beam.Map(row_of, self.config).with_output_types(dict[str, Any]) | "Write" >> self.write
        return written


def row_of(item: EmbeddableItem, config: WeaviateVectorWriterConfig) -> dict[str, Any]:
    """The row of one item. Raises JobError for a sparse embedding alone, which Weaviate has no place for."""
    if item.dense_embedding is None and item.sparse_embedding is not None:
        raise JobError(f"item {item.id}: it has a sparse embedding only; Weaviate stores dense ones")
    wanted = config.metadata_properties
    row: dict[str, Any] = {name: value for name, value in item.metadata.items() if wanted is None or name in wanted}
    if config.content_property:
        row[config.content_property] = item.content_string
    if config.index_property:
        row[config.index_property] = item.index
    return row | {ID: item.id, EMBEDDING: item.dense_embedding}
