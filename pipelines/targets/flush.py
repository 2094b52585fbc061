"""What the server has acknowledged, and still holds in the buffers of its indexes' logs, written out.

Weaviate empties these buffers at each request that writes, but before the objects of this very request are in their
vector indexes. So the last of them outlive a `kill -9` of the server as objects, and not in the index (1.38: up to 4 KB
of vectors of a flat index, 32 KB of links of an HNSW graph), until something is written to the same shard again.

A dry run of a delete empties them in all shards, and can change nothing. See docs/decisions/0008-after-a-kill.md.
"""

from collections.abc import Sequence
from urllib.parse import quote
from uuid import uuid4

from pipelines.targets.connection import Connection
from schemas.collection import Collection
from schemas.errors import JobError


def flush_indexes(connection: Connection, collection: Collection, tenant: str = "") -> None:
    """Have every shard of `collection` (of one `tenant`, where it has any) empty its buffers.

    Raises JobError where this login may not ask for deletes, WorldError.
    """
    nothing = {"path": ["id"], "operator": "Equal", "valueText": str(uuid4())}
    path = "/v1/batch/objects" + (f"?tenant={quote(tenant)}" if tenant else "")
    connection.delete(path, {"match": {"class": collection.name, "where": nothing}, "dryRun": True, "output": "minimal"})


def buffered_tenants(connection: Connection, collection: Collection, awake: Sequence[str]) -> list[str]:
    """Those of the `awake` tenants that a node has loaded: others have no buffers, and to ask would load them. Raises WorldError."""
    try:
        nodes = connection.get(f"/v1/nodes/{collection.name}?output=verbose")["nodes"]
    except JobError:  # a login that may not look at nodes
        return list(awake)
    loaded = {shard["name"] for node in nodes for shard in node.get("shards") or () if shard.get("loaded", True)}
    return [tenant for tenant in awake if tenant in loaded]
