"""What the collection has: objects read back by id, as far as the job does not name them, to be sent again with the rest."""

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.targets.connection import Connection
from pipelines.targets.messages import uuid_text
from pipelines.targets.values import fill, setters
from schemas.collection import LEGACY, Collection, Property, VectorConfig
from schemas.fingerprints import STORED, STORED_JOB

IDS = 2048  # a request; the server answers at most 10,000


@dataclass(frozen=True)
class Kept:
    """What of a stored object the job does not name, and a merge therefore keeps."""

    properties: tuple[Property, ...]
    references: tuple[tuple[str, str], ...]  # (property, target collection)
    vectors: tuple[str, ...]
    unnamed: bool = False  # the class's one unnamed vector
    times: bool = False  # when the object was written last

    @classmethod
    def of(
        cls,
        properties: Iterable[Property] = (),
        vectors: Iterable[VectorConfig] = (),
        references: Iterable[tuple[str, str]] = (),
        times: bool = False,
    ) -> "Kept":
        """These properties, vectors and references."""
        chosen = list(vectors)
        named = tuple(v.name for v in chosen if not v.unnamed)
        return cls(tuple(properties), tuple(references), named, len(named) < len(chosen), times)

    @property
    def nothing(self) -> bool:
        """Whether a merge is the same as a replacement."""
        return not (self.properties or self.references or self.vectors or self.unnamed)

    @property
    def names(self) -> list[str]:
        """In words, for a message."""
        vectors = [*self.vectors, *(["default"] if self.unnamed else [])]
        groups = {"properties": [p.name for p in self.properties], "references": [r for r, _ in self.references], "vectors": vectors}
        return [f"{kind} {', '.join(dict.fromkeys(found))}" for kind, found in groups.items() if found]


def kept_by_merge(collection: Collection, properties: Sequence[str], vectors: Sequence[str]) -> Kept:
    """What `collection` has besides the `properties` and `vectors` that a job names."""
    return Kept.of(
        (p for name, p in collection.properties.items() if name not in properties and name not in (STORED, STORED_JOB)),
        (v for name, v in collection.vectors.items() if name not in vectors),
        _references(collection),
    )


def everything(collection: Collection) -> Kept:
    """All that an object of `collection` consists of."""
    return Kept.of(collection.properties.values(), collection.vectors.values(), _references(collection))


def _references(collection: Collection) -> Iterator[tuple[str, str]]:
    return ((name, target) for name, targets in collection.references.items() for target in targets)


def read_kept(connection: Connection, collection: Collection, kept: Kept, uuids: Sequence[bytes], tenant: str) -> dict[str, Any]:
    """For each of `uuids` that is there, by uuid text, a BatchObject with only what is `kept`. Raises WorldError."""
    return dict(_partial(result, collection, kept) for result in search_by_ids(connection, collection, kept, uuids, tenant))


def search_by_ids(connection: Connection, collection: Collection, kept: Kept, uuids: Sequence[bytes], tenant: str) -> Iterator[Any]:
    """The search result of each of `uuids` that is there, with what is `kept`; in no order. Raises WorldError."""
    for start in range(0, len(uuids), IDS):
        yield from connection.call("Search", search_request(collection, kept, tenant, **by_ids(uuids[start : start + IDS]))).results


def uuid_of(result: Any) -> bytes:
    """The 16 bytes of a search result's id."""
    return bytes(result.metadata.id_as_bytes) or bytes.fromhex(result.metadata.id.replace("-", ""))


def vectors_of(result: Any) -> dict[str, npt.NDArray[np.float32]]:
    """The single vectors in a search result: name -> (dim,) float32; the unnamed one as `default`."""
    found = {v.name: np.frombuffer(v.vector_bytes, "<f4") for v in result.metadata.vectors if v.vector_bytes}
    if result.metadata.vector_bytes:
        found[LEGACY] = np.frombuffer(result.metadata.vector_bytes, "<f4")
    return found


def by_ids(uuids: Sequence[bytes]) -> dict[str, Any]:
    """The part of a SearchRequest that asks for these objects."""
    from weaviate.proto.v1 import base_pb2

    return {
        "limit": len(uuids),  # without it the server answers with 20
        "filters": base_pb2.Filters(
            operator=base_pb2.Filters.OPERATOR_CONTAINS_ANY,
            target=base_pb2.FilterTarget(property="_id"),
            value_text_array=base_pb2.TextArray(values=[uuid_text(u) for u in uuids]),
        ),
    }


def search_request(collection: Collection, kept: Kept, tenant: str, **which: Any) -> Any:
    """A SearchRequest for what is `kept` of the objects that `which` names."""
    from weaviate.proto.v1 import search_get_pb2

    flat = [p.name for p in kept.properties if p.scalar != "object"]
    return search_get_pb2.SearchRequest(
        collection=collection.name,
        tenant=tenant,
        **which,
        properties=search_get_pb2.PropertiesRequest(
            non_ref_properties=flat,
            object_properties=[_nested_request(p) for p in kept.properties if p.scalar == "object"],
            ref_properties=[
                search_get_pb2.RefPropertiesRequest(
                    reference_property=name, target_collection=target, metadata=search_get_pb2.MetadataRequest(uuid=True)
                )
                for name, target in kept.references
            ],
        ),
        metadata=search_get_pb2.MetadataRequest(uuid=True, vector=kept.unnamed, vectors=kept.vectors, last_update_time_unix=kept.times),
        uses_123_api=True,
        uses_125_api=True,
        uses_127_api=True,
    )


def _nested_request(prop: Property) -> Any:
    from weaviate.proto.v1 import search_get_pb2

    return search_get_pb2.ObjectPropertiesRequest(
        prop_name=prop.name,
        primitive_properties=[p.name for p in prop.nested if p.scalar != "object"],
        object_properties=[_nested_request(p) for p in prop.nested if p.scalar == "object"],
    )


def stored_message(result: Any, collection: Collection, kept: Kept, tenant: str) -> Any:
    """The BatchObject that writes a stored object again as it is, as far as it is `kept`."""
    uuid, message = _partial(result, collection, kept)
    message.uuid, message.collection, message.tenant = uuid, collection.name, tenant
    return message


def _partial(result: Any, collection: Collection, kept: Kept) -> tuple[str, Any]:
    from weaviate.proto.v1 import batch_pb2

    message = batch_pb2.BatchObject()
    known = {p.name: p for p in kept.properties}
    values = dict(values_of(result.properties.non_ref_props, known))
    fill(message.properties, setters(kept.properties), values)
    for reference in result.properties.ref_props:
        _put_references(message.properties, reference, dict.fromkeys(collection.references[reference.prop_name]))
    for vector in result.metadata.vectors:
        message.vectors.add(name=vector.name, vector_bytes=vector.vector_bytes, type=vector.type or 1)
    if kept.unnamed and result.metadata.vector_bytes:
        message.vector_bytes = result.metadata.vector_bytes
    return result.metadata.id, message


def _put_references(message: Any, reference: Any, targets: dict[str, None]) -> None:
    by_target: dict[str, list[str]] = {}
    for found in reference.properties:
        by_target.setdefault(found.target_collection or next(iter(targets)), []).append(found.metadata.id)
    for target, uuids in by_target.items():
        if len(targets) > 1:
            message.multi_target_ref_props.add(prop_name=reference.prop_name, uuids=uuids, target_collection=target)
        else:
            message.single_target_ref_props.add(prop_name=reference.prop_name, uuids=uuids)


def values_of(properties: Any, known: dict[str, Property]) -> Iterator[tuple[str, Any]]:
    """The values of a search result as `coerce` would make them; null and unknown ones left out."""
    for name, value in properties.fields.items():
        kind = value.WhichOneof("kind")
        if name in known and kind not in (None, "null_value"):
            yield name, _value(getattr(value, kind), kind, known[name])


def _value(value: Any, kind: str, prop: Property) -> Any:
    if kind == "list_value":
        return _list(value, prop)
    if kind == "object_value":
        return dict(values_of(value, {p.name: p for p in prop.nested}))
    if kind == "blob_value":
        return base64.b64decode(value)
    if kind == "geo_value":
        return {"latitude": value.latitude, "longitude": value.longitude}
    if kind == "phone_value":
        return {"input": value.input, "defaultCountry": value.default_country or None}
    return value


def _list(value: Any, prop: Property) -> list[Any]:
    kind = value.WhichOneof("kind")
    if kind is None:
        return []
    inner = getattr(value, kind).values
    if kind == "object_values":
        return [dict(values_of(v, {p.name: p for p in prop.nested})) for v in inner]
    if isinstance(inner, bytes):
        return [v.item() for v in np.frombuffer(inner, "<i8" if kind == "int_values" else "<f8")]
    return list(inner)
