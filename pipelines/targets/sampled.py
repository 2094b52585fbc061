"""A few objects that a collection holds, to compare them with what the job would make of them."""

import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.targets.connection import Connection
from pipelines.targets.stored import Kept, search_by_ids, search_request, uuid_of, values_of, vectors_of
from schemas.collection import Collection, Property
from schemas.objects import coerce

STARTS = 8  # places in the collection from which objects are taken


@dataclass(frozen=True)
class StoredSample:
    """Some stored objects: their ids, their properties as a batch (n rows), and their vectors by name, None where there is none."""

    uuids: list[str]
    objects: pa.RecordBatch
    vectors: dict[str, list[npt.NDArray[np.float32] | None]]


def read_sample(connection: Connection, collection: Collection, n: int, tenant: str = "") -> StoredSample:
    """About `n` stored objects from all over the collection. Raises WorldError."""
    single = [v for v in collection.vectors.values() if not v.multi]
    wanted = Kept.of(collection.properties.values(), single)
    found: dict[str, Any] = {}
    each = -(-n // STARTS)
    for start in ["", *(str(uuid.UUID(bytes=secrets.token_bytes(16))) for _ in range(STARTS - 1))]:
        cursor = {"after": start} if start else {}
        reply = connection.call("Search", search_request(collection, wanted, tenant, limit=each, **cursor))
        found |= {result.metadata.id: result for result in reply.results}
    results = list(found.values())[:n]
    values = [dict(values_of(r.properties.non_ref_props, collection.properties)) for r in results]
    vectors = [vectors_of(r) for r in results]
    names = [v.name for v in single]
    return StoredSample(
        [r.metadata.id for r in results], _batch(values, collection.properties), {n: [v.get(n) for v in vectors] for n in names}
    )


def read_objects(
    connection: Connection, collection: Collection, uuids: Sequence[bytes], tenant: str = ""
) -> tuple[list[bytes], pa.RecordBatch]:
    """Those of `uuids` that are there, and their properties as `read` would have made them, a row each. Raises WorldError."""
    results = list(search_by_ids(connection, collection, Kept.of(collection.properties.values()), uuids, tenant))
    values = [dict(values_of(r.properties.non_ref_props, collection.properties)) for r in results]
    return [uuid_of(r) for r in results], _batch(values, collection.properties)


def _batch(values: Sequence[Mapping[str, Any]], properties: Mapping[str, Property]) -> pa.RecordBatch:
    """Stored values in the columns that `read` would have made; a property that none of them has is left out."""
    columns = {}
    for name, prop in properties.items():
        if any(name in v for v in values):
            columns[name] = coerce(pa.array([v.get(name) for v in values]), prop)[0]
    if not columns:
        return pa.RecordBatch.from_pydict({"@none": pa.nulls(len(values))})
    return pa.RecordBatch.from_pydict(columns)


def present(connection: Connection, collection: Collection, uuids: Sequence[bytes], tenant: str = "") -> set[bytes]:
    """Those of these ids that the collection has. Raises WorldError."""
    return {uuid_of(result) for result in search_by_ids(connection, collection, Kept.of(), uuids, tenant)}
