"""The ids of a collection, all of them: by Weaviate's cursor, in ranges that can be read at the same time."""

import uuid
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pipelines.targets.connection import Connection
from pipelines.targets.stored import Kept, search_by_ids, search_request, uuid_of
from schemas.collection import Collection
from schemas.fingerprints import STORED_JOB

Ids = npt.NDArray[np.bytes_]  # (n,) of 16 bytes; `tobytes` and `view("V16")` keep the zeros at the end, a single element does not
PAGE = 10_000
LAST = 256**16


def id_ranges(count: int) -> list[tuple[int, int]]:
    """`count` ranges of uuids, as numbers, that together are all of them: [(first, end), ...], the end not included."""
    edges = [LAST * i // count for i in range(count + 1)]
    return list(pairwise(edges))


def read_ids(connection: Connection, collection: Collection, tenant: str, first: int, end: int) -> Iterator[Ids]:
    """The ids from `first` up to but not `end`, in ascending order, in pages. Raises WorldError."""
    after = first - 1
    while after < end - 1:
        cursor = {"after": str(uuid.UUID(int=after))} if after >= 0 else {}
        reply = connection.call("Search", search_request(collection, Kept.of(), tenant, limit=PAGE, **cursor))
        found = [uuid_of(result) for result in reply.results]
        inside = [u for u in found if int.from_bytes(u) < end]
        if inside:
            yield np.frombuffer(b"".join(inside), "S16")
        if len(found) < PAGE or len(inside) < len(found):
            return
        after = int.from_bytes(found[-1])


def read_jobs(connection: Connection, collection: Collection, uuids: Sequence[bytes], tenant: str) -> dict[bytes, str]:
    """Which job wrote each of those of `uuids` that are there; "" where the object does not say. Raises WorldError."""
    found = {}
    for result in search_by_ids(connection, collection, Kept.of([collection.properties[STORED_JOB]]), uuids, tenant):
        value = result.properties.non_ref_props.fields.get(STORED_JOB)
        found[uuid_of(result)] = value.text_value if value is not None else ""
    return found
