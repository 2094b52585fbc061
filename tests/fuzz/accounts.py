"""What becomes of every row of a source, by the run's own code: an object, or a rejection. Runs in the child process."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
from weaviate.proto.v1 import batch_pb2

from pipelines.compose import compose
from pipelines.compose_weaviate import compose_weaviate
from pipelines.failures import REJECTED_TAG
from pipelines.layout import Layout, layout_of
from pipelines.read import _Read
from pipelines.sources import Shard, ShardError, Source, source_of
from pipelines.targets.messages import messages
from schemas.collection import Collection, Property, VectorConfig, parse_collection
from schemas.columns import ROW, Rejection
from schemas.errors import JobError, WorldError
from schemas.job import Job, VectorSpec
from schemas.modules import TextModule

NESTED = [{"name": "name", "dataType": ["text"]}, {"name": "tags", "dataType": ["int[]"]}]
TYPES = "text int number boolean date uuid blob geoCoordinates phoneNumber object text[] int[] number[] boolean[] date[] uuid[] object[]".split()


def name_of(data_type: str) -> str:
    """The property of this type: `text[]` is `texts`."""
    return data_type.replace("[]", "s")


def collection() -> Collection:
    """A collection with a property of each type, and two vectors."""
    properties = [{"name": name_of(t), "dataType": [t]} | ({"nestedProperties": NESTED} if "object" in t else {}) for t in TYPES]
    return parse_collection({"class": "Fuzz", "properties": properties, "vectorConfig": {"v": {}, "t": {}}})


@dataclass
class Account:
    """What became of a source: refused as a whole, or what became of each shard's rows."""

    refused: str = ""
    faults: list[str] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)  # of each shard
    failed: list[int] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    raw: list[int] = field(default_factory=list)  # rows that the source gave, before anything is made of them
    broken: list[str] = field(default_factory=list)  # "" for a shard that was read to its end

    @property
    def rows(self) -> int:
        """All rows that are accounted for."""
        return sum(self.objects) + sum(self.failed)


def account(kind: str, location: str, swap: str = "", key: str = "id") -> Account:
    """What becomes of each row; `swap` is a file that takes the place of `location` once its shards are known.

    Raises AssertionError where a row is lost or double, and whatever is raised besides JobError and WorldError.
    """
    try:
        job = job_for(kind, location, key)
        source = source_of(job)
        schema, shards = source.schema(), source.shards()
    except (JobError, WorldError) as error:
        assert str(error)
        return Account(refused=str(error))
    vectors = {"v": {"column": "vector"}} if "vector" in schema.names else {}
    job = job.model_copy(update={"vectors": job.vectors | {n: VectorSpec.model_validate(v) for n, v in vectors.items()}})
    layout, faults = layout_of(schema, job, collection())
    found, readable = Account(faults=faults), layout.readable(schema)
    if swap:
        os.replace(swap, location)
    for shard in shards:
        count_shard(source, shard, schema.names, readable, found)
    return found


def job_for(kind: str, location: str, key: str) -> Job:
    """A job that reads `location`."""
    vectors = {"t": {"model": {"fake": 4}, "text_fields": {"text": 1, "texts": 2, "object": 1, "phoneNumber": 1}}}
    source = {kind: location, "key": key}
    return Job.model_validate(
        {"source": source, "target": {"weaviate": "http://x", "collection": "Fuzz"}, "vectors": vectors, "base": Path("/")}
    )


def count_shard(source: Source, shard: Shard, columns: list[str], layout: Layout | None, found: Account) -> None:
    """Read a shard twice, as it is and as objects, and compare."""
    rows, broken = raw_rows(source, shard, columns)
    assert sorted(rows) == list(range(len(rows))), f"{shard}: rows {rows}"
    assert broken or shard.rows in (None, len(rows)), f"{shard}: {len(rows)} rows"
    found.raw.append(len(rows))
    found.broken.append(broken)
    if layout is None:
        return
    good, failed, codes = object_rows(source, shard, layout)
    assert sorted(good + failed) == list(range(len(good) + len(failed))), f"{shard}: objects {good}, failed {failed}"
    if not broken:
        assert len(good) + len(failed) == len(rows), f"{shard}: {len(rows)} rows, but {len(good)} objects and {len(failed)} failed"
    elif "unreadable" in codes:
        assert len(good) + len(failed) >= (shard.rows or 1)
    found.objects.append(len(good))
    found.failed.append(len(failed))
    found.codes += codes


def raw_rows(source: Source, shard: Shard, columns: list[str]) -> tuple[list[int], str]:
    """The numbers of the rows, and why the shard breaks off."""
    rows: list[int] = []
    try:
        for item in source.read(shard, columns):
            if isinstance(item, Rejection):
                assert item.message and item.shard == shard.name
                rows.append(item.row)
            else:
                item.validate(full=True)
                assert item.schema.names == [*columns, ROW]
                rows += item.column(ROW).to_pylist()
    except (ShardError, WorldError) as error:
        return rows, str(error) or "?"
    return rows, ""


def object_rows(
    source: Source, shard: Shard, layout: Layout, only: dict[str, bytes] | None = None
) -> tuple[list[int], list[int], list[str]]:
    """The numbers of the rows that became objects (and messages), those that failed, and why."""
    good: list[int] = []
    failed: list[int] = []
    codes: list[str] = []
    read = _Read(source, layout, only)
    read.start_bundle()
    for out in read.process(shard, {}):
        if isinstance(out, beam.pvalue.TaggedOutput):
            assert out.tag == REJECTED_TAG and all(out.value.column("message").to_pylist())
            failed += out.value.column("row").to_pylist()
            codes += out.value.column("code").to_pylist()
        else:
            out.validate(full=True)
            assert send(out, layout) == out.num_rows
            good += out.column(ROW).to_pylist()
    list(read.finish_bundle())
    return good, failed, codes


def send(batch: pa.RecordBatch, layout: Layout) -> int:
    """Compose the objects both ways and make their messages: how many."""
    properties = {name: prop for name, (_, prop) in layout.properties.items()}
    check_parts(compose(batch, VectorSpec.model_validate({"model": {"fake": 4}, "text_fields": sorted(properties) or ["none"]})), batch)
    check_parts(
        compose(batch, VectorSpec.model_validate({"model": {"fake": 4}, "text_fields": dict.fromkeys(properties, 1.0) or ["none"]})), batch
    )
    check_parts(compose_weaviate(batch, text_module(properties)), batch)
    configs = {name: VectorConfig(name, "none", multi=vector.multi) for name, vector in layout.vectors.items()}
    made = messages(batch, "Fuzz", layout.stored, configs)
    assert all(batch_pb2.BatchObject.FromString(message).uuid for message in made)
    return len(made)


def check_parts(found: list[Any], batch: pa.RecordBatch) -> None:
    """Every part is a text of one of the batch's rows."""
    for parts in found:
        assert len(parts.values) == len(parts.owner) == len(parts.weights)
        assert all(isinstance(v, str) for v in parts.values)
        assert all(0 <= owner < batch.num_rows for owner in parts.owner)


def text_module(properties: dict[str, Property]) -> TextModule:
    """A text2vec module that reads every property with its name."""
    names = tuple(sorted(properties, key=str.encode))
    return TextModule("text2vec-transformers", "Fuzz", names, source=True, named=frozenset(names), properties=properties)
