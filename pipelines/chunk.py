"""Chunk: an object per chunk of a long text, if the job says so."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from encoders.chunking import Splitter
from encoders.sharing import shared_encoder
from pipelines.metrics import phase
from schemas.columns import CHUNK, CHUNKS, KEY, UUID, bounded, set_column
from schemas.job import ChunkSpec, VectorSpec
from schemas.objects import uuid5


def chunk_objects(batch: pa.RecordBatch, spec: ChunkSpec, chunks: list[list[str]], namespace: str = "") -> Iterator[pa.RecordBatch]:
    """The objects of `batch` with an object per chunk: the chunk in place of the property, an id and a number of its own.

    `chunks` has the pieces of each row's text; a row without text has one object, as it is.
    """
    texts = batch.column(spec.property).to_pylist()
    pieces = [c if t else [t] for c, t in zip(chunks, texts, strict=True)]
    lengths = np.array([len(p) for p in pieces], np.int64)
    owner = np.repeat(np.arange(batch.num_rows), lengths)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    light = batch.drop_columns([spec.property])  # or a long text would be copied for each of its chunks
    flat = pa.array([p for row in pieces for p in row], pa.string())
    for part in bounded(pa.RecordBatch.from_arrays([flat, pa.array(owner), pa.array(number)], names=["text", "owner", "number"])):
        yield _objects(light, part, spec, lengths, namespace)


def _objects(light: pa.RecordBatch, part: pa.RecordBatch, spec: ChunkSpec, lengths: Any, namespace: str) -> pa.RecordBatch:
    owner, number = part.column("owner"), part.column("number")
    objects = light.take(owner)
    keys = objects.column(KEY).to_pylist()
    uuids = [uuid5(f"{key}#{n}", namespace) for key, n in zip(keys, number.to_pylist(), strict=True)]
    columns = {
        spec.property: part.column("text"),
        UUID: pa.array(uuids, pa.binary(16)),
        CHUNK: number.cast(pa.int32()),
        CHUNKS: pa.array(lengths[owner.to_numpy()], pa.int32()),
    }
    columns |= {spec.number: number} if spec.number else {}
    columns |= {spec.parent: objects.column(KEY)} if spec.parent else {}
    for name, values in columns.items():
        objects = set_column(objects, name, values)
    return objects


def splitter_of(spec: ChunkSpec, vector: VectorSpec) -> Splitter:
    """What cuts texts by the tokens of `vector`'s model; made once, since it takes the tokenizer apart. Raises JobError."""
    with shared_encoder(vector) as encoder:
        return Splitter(encoder, spec.tokens, spec.overlap)


def cut_texts(batch: pa.RecordBatch, spec: ChunkSpec, splitter: Splitter) -> list[list[str]]:
    """The pieces of each row's text, as `chunk_objects` takes them."""
    return splitter.split([text or "" for text in batch.column(spec.property).to_pylist()])


class ChunkObjects(beam.PTransform):
    """Objects to objects, one per chunk."""

    def __init__(self, spec: ChunkSpec, vector: VectorSpec, namespace: str = "") -> None:
        """`vector` names the model whose tokens are counted."""
        super().__init__()
        self.spec, self.vector, self.namespace = spec, vector, namespace

    def expand(self, objects: beam.PCollection[pa.RecordBatch]) -> Any:
        """Stays in the worker that read the objects."""
        return objects | "Chunk" >> beam.ParDo(_Chunk(self.spec, self.vector, self.namespace)).with_output_types(pa.RecordBatch)


class _Chunk(beam.DoFn):
    def __init__(self, spec: ChunkSpec, vector: VectorSpec, namespace: str) -> None:
        self.spec, self.vector, self.namespace = spec, vector, namespace
        self.splitter: Splitter | None = None

    def setup(self) -> None:
        self.splitter = splitter_of(self.spec, self.vector)

    def process(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        assert self.splitter is not None
        with phase("chunk", batch):
            chunks = cut_texts(batch, self.spec, self.splitter)
        yield from chunk_objects(batch, self.spec, chunks, self.namespace)
