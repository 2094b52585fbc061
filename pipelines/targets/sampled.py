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
from pipelines.targets.stored import IDS, Kept, by_ids, search_request, values_of
from schemas.collection import LEGACY, Collection, Property
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
    wanted = Kept(
        tuple(collection.properties.values()),
        (),
        tuple(v.name for v in single if not v.unnamed),
        unnamed=any(v.unnamed for v in single),
    )
    found: dict[str, Any] = {}
    each = -(-n // STARTS)
    for start in ["", *(str(uuid.UUID(bytes=secrets.token_bytes(16))) for _ in range(STARTS - 1))]:
        cursor = {"after": start} if start else {}
        reply = connection.call("Search", search_request(collection, wanted, tenant, limit=each, **cursor))
        found |= {result.metadata.id: result for result in reply.results}
    results = list(found.values())[:n]
    values = [dict(values_of(r.properties.non_ref_props, collection.properties)) for r in results]
    vectors = [_vectors(r.metadata) for r in results]
    names = [v.name for v in single]
    return StoredSample(
        [r.metadata.id for r in results], _batch(values, collection.properties), {n: [v.get(n) for v in vectors] for n in names}
    )


def read_objects(
    connection: Connection, collection: Collection, uuids: Sequence[bytes], tenant: str = ""
) -> tuple[list[bytes], pa.RecordBatch]:
    """Those of `uuids` that are there, and their properties as `read` would have made them, a row each. Raises WorldError."""
    wanted = Kept(tuple(collection.properties.values()), (), ())
    results: list[Any] = []
    for i in range(0, len(uuids), IDS):
        results += connection.call("Search", search_request(collection, wanted, tenant, **by_ids(uuids[i : i + IDS]))).results
    values = [dict(values_of(r.properties.non_ref_props, collection.properties)) for r in results]
    return [uuid.UUID(r.metadata.id).bytes for r in results], _batch(values, collection.properties)


def _vectors(metadata: Any) -> dict[str, npt.NDArray[np.float32]]:
    found = {v.name: np.frombuffer(v.vector_bytes, "<f4") for v in metadata.vectors if v.vector_bytes}
    if metadata.vector_bytes:
        found[LEGACY] = np.frombuffer(metadata.vector_bytes, "<f4")
    return found


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
    nothing = Kept((), (), ())
    found: set[bytes] = set()
    for i in range(0, len(uuids), IDS):
        reply = connection.call("Search", search_request(collection, nothing, tenant, **by_ids(uuids[i : i + IDS])))
        found |= {uuid.UUID(result.metadata.id).bytes for result in reply.results}
    return found


def count_present(connection: Connection, collection: Collection, uuids: Sequence[bytes], tenant: str = "") -> int:
    """How many of these ids the collection has. Raises WorldError."""
    return len(present(connection, collection, uuids, tenant))
