"""Is the collection what the job says, and has its index taken in all that was written?"""

from collections.abc import Iterator
from typing import Any

from jobs.examine.findings import Findings, planned_collection
from jobs.verify.findings import Check
from schemas.collection import property_name
from schemas.errors import JobError
from schemas.objects import shorten

IGNORED = frozenset({"class", "indexInverted"})  # the job names the collection; an old word for two new ones
BY_NAME = ("properties", "nestedProperties", "references")


def look_at_schema(found: Findings) -> Check:
    """Compare the definition in `target.create` with the live class: a collection is never altered. Raises JobError."""
    assert found.collection
    if found.job.target.create is None:
        vectors = ", ".join(f"{v.name} ({v.distance}, {v.index})" for v in found.collection.vectors.values())
        return Check("schema", True, f"the collection has what the job names; vectors: {vectors}")
    planned = planned_collection(found.job).definition
    differences = list(differences_of(planned, found.collection.definition))
    if not differences:
        return Check("schema", True, f"the collection is as {found.job.target.create} defines it", {"differences": []})
    said = f"{'; '.join(differences[:3])}{f' and {len(differences) - 3} more' if len(differences) > 3 else ''}; a run never alters a collection"
    return Check("schema", False, said, {"differences": differences})


def differences_of(wanted: Any, live: Any, path: str = "") -> Iterator[str]:
    """What of `wanted` (Weaviate's JSON, as far as a person wrote it) the `live` class says otherwise; the server's defaults are no difference."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            where = f"{path}.{key}" if path else key
            if key in IGNORED and not path:
                continue
            there = live.get(key) if isinstance(live, dict) else None
            yield from _named(value, there, where) if key in BY_NAME else differences_of(value, there, where)
    elif path.endswith("dataType"):
        if [_word(w) for w in wanted] != [_word(w) for w in live or []]:
            yield f"{path} is {shorten(live)}, not {shorten(wanted)}"
    elif wanted != live and (wanted or live):
        yield f"{path} is {shorten(live)}, not {shorten(wanted)}"


def _named(wanted: Any, live: Any, path: str) -> Iterator[str]:
    """Lists whose elements have a name, in whatever order."""
    there = {property_name(p["name"]): p for p in live or []}
    for part in wanted or []:
        name = property_name(part["name"])
        if name not in there:
            yield f"{path}.{name} is missing"
            continue
        yield from differences_of({k: v for k, v in part.items() if k != "name"}, there[name], f"{path}.{name}")


def _word(word: str) -> str:
    return word.replace("string", "text") if word in ("string", "string[]") else word


def look_at_index(found: Findings) -> Check:
    """Whether all vectors are indexed, as the nodes say. Raises WorldError."""
    assert found.target and found.collection
    try:
        nodes = found.target.connection.get(f"/v1/nodes/{found.collection.name}?output=verbose")["nodes"]
    except JobError as error:  # a key that may not look at nodes
        return Check("index", None, f"the server does not tell: {error}")
    return index_check(nodes)


def index_check(nodes: list[dict[str, Any]]) -> Check:
    """What `nodes` (Weaviate's own JSON) say of queues and states."""
    shards = [s for n in nodes for s in n.get("shards") or []]
    queue = sum(int(s.get("vectorQueueLength") or 0) for s in shards)
    states = sorted({str(s.get("vectorIndexingStatus")) for s in shards if s.get("vectorIndexingStatus")} - {"READY"})
    ill = [f"{n.get('name')} is {n.get('status')}" for n in nodes if n.get("status") != "HEALTHY"]
    figures = {"shards": len(shards), "queue": queue, "states": states, "nodes": ill}
    if ill or set(states) - {"INDEXING"}:
        return Check("index", False, f"not healthy: {', '.join([*ill, *states])}", figures)
    if queue or states:
        return Check("index", False, f"{queue:,} vectors wait to be indexed; verify again when the server is done", figures)
    return Check("index", True, f"nothing waits to be indexed ({len(shards):,} shards)", figures)
