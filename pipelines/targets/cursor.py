"""The ids of a collection, all of them: by Weaviate's cursor, in ranges that can be read at the same time."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.targets.connection import Connection
from pipelines.targets.stored import Kept, search_by_ids, search_request, uuid_of
from schemas.collection import Collection
from schemas.fingerprints import STORED_JOB

Ids = npt.NDArray[np.bytes_]  # (n,) of 16 bytes; `tobytes` and `view("V16")` keep the zeros at the end, a single element does not
PAGE = 10_000
LAST = 256**16


def as_ids(uuids: Sequence[bytes]) -> Ids:
    """16 bytes each as an array."""
    return np.frombuffer(b"".join(uuids), "S16")


@dataclass(frozen=True)
class Range:
    """The ids from `first` up to but not `end`, as numbers."""

    first: int
    end: int

    def results(self, connection: Connection, collection: Collection, kept: Kept, tenant: str) -> Iterator[Any]:
        """The search result of each object in the range, in ascending order of ids, with what is `kept`. Raises WorldError."""
        after = self.first - 1
        while after < self.end - 1:
            found = results(connection, collection, kept, tenant, after, PAGE)
            inside = [r for r in found if int.from_bytes(uuid_of(r)) < self.end]
            yield from inside
            if len(found) < PAGE or len(inside) < len(found):
                return
            after = int.from_bytes(uuid_of(found[-1]))


def id_ranges(count: int) -> list[Range]:
    """`count` ranges that together are all ids."""
    edges = [LAST * i // count for i in range(count + 1)]
    return [Range(*edge) for edge in pairwise(edges)]


def results(connection: Connection, collection: Collection, kept: Kept, tenant: str, after: int, limit: int) -> Sequence[Any]:
    """The search results of the next `limit` objects after the id `after`, a number; -1: from the beginning. Raises WorldError."""
    cursor = {"after": str(uuid.UUID(int=after))} if after >= 0 else {}
    found: Sequence[Any] = connection.call("Search", search_request(collection, kept, tenant, limit=limit, **cursor)).results
    return found


def read_ids(connection: Connection, collection: Collection, tenant: str, ids: Range) -> Iterator[Ids]:
    """The ids in a range, in ascending order, in pages. Raises WorldError."""
    found = (uuid_of(result) for result in ids.results(connection, collection, Kept.of(), tenant))
    while page := list(islice(found, PAGE)):
        yield as_ids(page)


def read_jobs(connection: Connection, collection: Collection, uuids: Sequence[bytes], tenant: str) -> dict[bytes, str]:
    """Which job wrote each of those of `uuids` that are there; "" where the object does not say. Raises WorldError."""
    found = {}
    for result in search_by_ids(connection, collection, Kept.of([collection.properties[STORED_JOB]]), uuids, tenant):
        value = result.properties.non_ref_props.fields.get(STORED_JOB)
        found[uuid_of(result)] = value.text_value if value is not None else ""
    return found
