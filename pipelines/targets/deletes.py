"""Objects deleted by id, a request at a time."""

from collections.abc import Sequence

from pipelines.targets.connection import Connection
from pipelines.targets.stored import IDS, by_ids
from schemas.collection import Collection
from schemas.errors import WorldError


def delete_objects(connection: Connection, collection: Collection, uuids: Sequence[bytes], tenant: str = "") -> int:
    """Delete those of `uuids` that are there, and give how many these were. Raises WorldError where the server could not."""
    from weaviate.proto.v1 import batch_delete_pb2

    deleted = 0
    for start in range(0, len(uuids), IDS):
        request = batch_delete_pb2.BatchDeleteRequest(
            collection=collection.name, tenant=tenant or None, filters=by_ids(uuids[start : start + IDS])["filters"]
        )
        reply = connection.call("BatchDelete", request)
        if reply.failed:
            raise WorldError(
                f"Weaviate deleted {reply.successful} objects of {collection.name} and could not delete {reply.failed}; run again"
            )
        deleted += reply.successful
    return deleted
