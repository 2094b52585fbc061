"""Objects that the server may have stored and not indexed, sent again so that it indexes them whole.

When a server is killed, or a client goes away, in the middle of a request, objects can be stored and be in no index, or
not in that of their vectors. When the server gets the same object again it sees no change, and leaves the indexes as they
are: no search ever finds it (seen with Weaviate 1.38). An object whose vector is another one is indexed from the
beginning, so these go out with vectors a trifle apart, and then as they are.

They are read by the cursor, which reads the objects themselves: a filter finds only what is indexed.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from pipelines.targets.cursor import Range, results
from pipelines.targets.stored import Kept, everything, stored_message, uuid_of
from pipelines.targets.weaviate import WeaviateTarget
from schemas.collection import Collection
from schemas.errors import WorldError
from schemas.fingerprints import STORED_JOB

AT_ONCE = 500  # objects that are read with their vectors
Doubtful = Callable[[int], bool]  # of a time in milliseconds since 1970, by the server's clock
TRIES = AT_ONCE.bit_length()  # the last one sends each object alone


def reindex(target: WeaviateTarget, collection: Collection, job: str, tenant: str, ids: Range, doubtful: Doubtful) -> int:
    """Send again the objects of `job` in a range of ids that were written at a `doubtful` time; gives how many.

    What the collection does not say of an object (which job wrote it) is taken as said. Raises WorldError.
    """
    kept, sent = everything(collection), 0
    for after, count in _runs(target, collection, tenant, ids, doubtful):
        found = list(results(target.connection, collection, kept, tenant, after, count))
        own = [stored_message(r, collection, kept, tenant) for r in found if _wrote(r) in (job, None)]
        with_vectors = [m.SerializeToString() for m in own if m.vectors or m.vector_bytes]
        _send(target, with_vectors)
        sent += len(with_vectors)
    return sent


def _send(target: WeaviateTarget, messages: Sequence[bytes]) -> None:
    """Send them apart and as they are; if a request is lost on the way, from the beginning and in smaller ones.

    What a lost request left may not be indexed either.
    """
    for size in (AT_ONCE >> n for n in range(TRIES)):
        target.delivery.deliver(apart(messages), size)
        if target.delivery.deliver(messages, size):
            return
    raise WorldError(f"Weaviate lost requests {TRIES} times while {len(messages)} objects were sent again; try when it is less busy")


def _runs(target: WeaviateTarget, collection: Collection, tenant: str, ids: Range, doubtful: Doubtful) -> Iterator[tuple[int, int]]:
    """Neighbours in the order of ids that were written at a `doubtful` time: (the id before the first, as a number; how many)."""
    before, start, count = ids.first - 1, 0, 0
    for result in ids.results(target.connection, collection, Kept.of(times=True), tenant):
        meant = doubtful(result.metadata.last_update_time_unix)
        if meant:
            start, count = (start, count + 1) if count else (before, 1)
        if count and (not meant or count == AT_ONCE):
            yield start, count
            count = 0
        before = int.from_bytes(uuid_of(result))
    if count:
        yield start, count


def _wrote(result: Any) -> str | None:
    """The job that an object names."""
    value = result.properties.non_ref_props.fields.get(STORED_JOB)
    return str(value.text_value) if value is not None and value.WhichOneof("kind") == "text_value" else None


def apart(group: Sequence[bytes]) -> list[bytes]:
    """Copies of the serialised messages; the last bit of each vector is another one."""
    return [_apart(message) for message in group]


def _apart(message: bytes) -> bytes:
    from weaviate.proto.v1 import batch_pb2

    copy = batch_pb2.BatchObject.FromString(message)
    if copy.vector_bytes:
        copy.vector_bytes = _nudged(copy.vector_bytes)
    for vector in copy.vectors:
        vector.vector_bytes = _nudged(vector.vector_bytes)
    return bytes(copy.SerializeToString())


def _nudged(data: bytes) -> bytes:
    """The last number's last bit flipped: doing it again, after a stop in between, leads back and never further away."""
    last = np.frombuffer(data[-4:], "<u4") ^ np.uint32(1)
    return data[:-4] + bytes(last.astype("<u4").tobytes())
