"""Whether objects remember what made them: two properties of the collection, and the recipe of each vector."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from encoders.content import content_of
from schemas.collection import Collection
from schemas.fingerprints import STORED, STORED_JOB, recipe
from schemas.job import Job

JOB_DESCRIPTION = "Warpbeam: the job that wrote this object"


def modules_of(definition: dict[str, Any]) -> list[str]:
    """The modules that make a vector of the class."""
    named = [next(iter(config.get("vectorizer") or {"none": {}})) for config in (definition.get("vectorConfig") or {}).values()]
    return sorted({m for m in [*named, definition.get("vectorizer") or "none"] if m != "none"})


def tracking_properties(definition: dict[str, Any]) -> list[dict[str, Any]]:
    """The two properties in Weaviate's JSON, those that the class lacks; every module of the class is told to skip them.

    Without `skip` a later PATCH would put them into the text that a module embeds.
    """
    skip = {module: {"skip": True, "vectorizePropertyName": False} for module in modules_of(definition)}
    wanted = [
        {
            "name": STORED,
            "dataType": ["uuid[]"],
            "indexFilterable": False,
            "indexSearchable": False,
            "description": "Warpbeam: what made this object",
        },
        {
            "name": STORED_JOB,
            "dataType": ["text"],
            "tokenization": "field",
            "indexFilterable": True,
            "indexSearchable": False,
            "description": JOB_DESCRIPTION,
        },
    ]
    there = {p.get("name") for p in definition.get("properties") or []}
    return [p | ({"moduleConfig": skip} if skip else {}) for p in wanted if p["name"] not in there]


def tracked(definition: dict[str, Any]) -> dict[str, Any]:
    """The class with both properties."""
    return definition | {"properties": [*(definition.get("properties") or []), *tracking_properties(definition)]}


def is_tracked(collection: Collection) -> bool:
    """Whether its objects can remember what made them."""
    return STORED in collection.properties and STORED_JOB in collection.properties


def recipes_of(job: Job, collection: Collection) -> dict[str, bytes]:
    """The recipe of each vector, where objects remember what made them; otherwise nothing. Raises JobError."""
    if not is_tracked(collection) or job.target.incremental is False:
        return {}
    return {name: recipe(name, spec, content_of(spec.model)) for name, spec in job.vectors.items()}


def delete_faults(job: Job, schema: pa.Schema, tracked: bool) -> Iterator[str]:
    """What the job says about deletes that cannot be."""
    source, target = job.source, job.target
    if source.deleted is not None and source.deleted not in schema.names:
        yield f"source.deleted: there is no column {source.deleted!r}; the source has {', '.join(schema.names)}"
    elif source.deleted is not None and not pa.types.is_boolean(schema.field(source.deleted).type):
        yield f"source.deleted: column {source.deleted!r} has the type {schema.field(source.deleted).type}; it must be boolean"
    if (target.delete == "marked") != (source.deleted is not None):
        yield "target.delete: marked and source.deleted go together: the column that marks rows, and the wish to delete them"
    if target.delete == "missing" and not tracked:
        yield "target.delete: missing needs objects that remember which job wrote them; say target.incremental: true"
