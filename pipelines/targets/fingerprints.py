"""What the collection knows of each object: its fingerprints, and vectors that need not be made again."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.targets.connection import Connection
from pipelines.targets.stored import Kept, search_by_ids, uuid_of, vectors_of
from schemas.collection import Collection
from schemas.fingerprints import SIZE, STORED

Known = dict[bytes, list[bytes]]  # uuid -> fingerprints; an object without fingerprints has an empty list


def read_fingerprints(connection: Connection, collection: Collection, uuids: Sequence[bytes], tenant: str) -> Known:
    """The fingerprints of those of `uuids` that are there. Raises WorldError."""
    found: Known = {}
    for result in search_by_ids(connection, collection, Kept.of([collection.properties[STORED]]), uuids, tenant):
        values = result.properties.non_ref_props.fields.get(STORED)
        whole = bytes.fromhex("".join(values.list_value.uuid_values.values).replace("-", "")) if values is not None else b""
        found[uuid_of(result)] = [whole[i : i + SIZE] for i in range(0, len(whole), SIZE)]
    return found


def read_vectors(
    connection: Connection, collection: Collection, names: Sequence[str], uuids: Sequence[bytes], tenant: str
) -> dict[bytes, dict[str, npt.NDArray[np.float32]]]:
    """The vectors `names` of those of `uuids` that are there: uuid -> name -> (dim,) float32. Raises WorldError."""
    wanted = Kept.of(vectors=[collection.vectors[n] for n in names])
    return {uuid_of(result): vectors_of(result) for result in search_by_ids(connection, collection, wanted, uuids, tenant)}
