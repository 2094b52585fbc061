"""What the collection knows of each object: its fingerprints, and vectors that need not be made again."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.targets.connection import Connection
from pipelines.targets.stored import IDS, Kept, by_ids, search_request
from schemas.collection import LEGACY, Collection
from schemas.fingerprints import STORED

Known = dict[bytes, list[bytes]]  # uuid -> fingerprints; an object without fingerprints has an empty list


def read_fingerprints(connection: Connection, collection: Collection, uuids: Sequence[bytes], tenant: str) -> Known:
    """The fingerprints of those of `uuids` that are there. Raises WorldError."""
    wanted = Kept((collection.properties[STORED],), (), ())
    found: Known = {}
    for result in _results(connection, collection, wanted, uuids, tenant):
        values = result.properties.non_ref_props.fields.get(STORED)
        texts = values.list_value.uuid_values.values if values is not None else ()
        found[_uuid(result)] = [bytes.fromhex(t.replace("-", "")) for t in texts]
    return found


def read_vectors(
    connection: Connection, collection: Collection, names: Sequence[str], uuids: Sequence[bytes], tenant: str
) -> dict[bytes, dict[str, npt.NDArray[np.float32]]]:
    """The vectors `names` of those of `uuids` that are there: uuid -> name -> (dim,) float32. Raises WorldError."""
    unnamed = any(collection.vectors[n].unnamed for n in names)
    wanted = Kept((), (), tuple(n for n in names if not collection.vectors[n].unnamed), unnamed)
    found = {}
    for result in _results(connection, collection, wanted, uuids, tenant):
        vectors = {v.name: np.frombuffer(v.vector_bytes, "<f4") for v in result.metadata.vectors if v.vector_bytes}
        if result.metadata.vector_bytes:
            vectors[LEGACY] = np.frombuffer(result.metadata.vector_bytes, "<f4")
        found[_uuid(result)] = vectors
    return found


def _results(connection: Connection, collection: Collection, wanted: Kept, uuids: Sequence[bytes], tenant: str) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(uuids), IDS):
        found += connection.call("Search", search_request(collection, wanted, tenant, **by_ids(uuids[start : start + IDS]))).results
    return found


def _uuid(result: Any) -> bytes:
    return bytes(result.metadata.id_as_bytes) or bytes.fromhex(result.metadata.id.replace("-", ""))
