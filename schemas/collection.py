"""Weaviate's class definition as types: a collection's properties, vectors and tenancy, read from Weaviate's own JSON."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from schemas.errors import JobError, raise_faults

DATA_TYPES = frozenset(
    "text text[] string string[] int int[] number number[] boolean boolean[] date date[] uuid uuid[] "
    "geoCoordinates phoneNumber blob blobHash object object[]".split()
)
WORDS: dict[type[Any], str] = {dict: "mapping", list: "list", str: "text"}
INDEX = {"multivector": {}, "distance": ""}
FIELDS = {f"{modality}Fields": [""] for modality in ("text", "image", "audio", "video", "imu", "IMU", "thermal", "depth")}
SETTINGS = {"properties": [""], "weights": {"*": []}, **FIELDS}
SHAPE = {  # of a class definition, where it is read: `*` stands for any key, and null is nothing
    "properties": [{"moduleConfig": {"*": {}}}],
    "vectorizer": "",
    "moduleConfig": {"*": SETTINGS},
    "multiTenancyConfig": {},
    "vectorIndexType": "",
    "vectorIndexConfig": INDEX,
    "vectorConfig": {"*": {"vectorizer": {"*": SETTINGS}, "vectorIndexType": "", "vectorIndexConfig": INDEX}},
}
LEGACY = "default"  # the name by which a job calls the one unnamed vector of an old class


@dataclass(frozen=True)
class Property:
    """A property of a collection, or of an object inside one; `data_type` is Weaviate's word (`text`, `int[]`, ...)."""

    name: str
    data_type: str
    nested: tuple["Property", ...] = ()

    @property
    def is_list(self) -> bool:
        """Whether values are lists."""
        return self.data_type.endswith("[]")

    @property
    def scalar(self) -> str:
        """The data type of one element; `string` is an old word for `text`."""
        word = self.data_type.removesuffix("[]")
        return "text" if word == "string" else word


@dataclass(frozen=True)
class VectorConfig:
    """One vector of a collection: who makes it (`none`: whoever writes the object), and how it is indexed."""

    name: str
    module: str
    multi: bool = False
    index: str = "hnsw"
    distance: str = "cosine"
    unnamed: bool = False


@dataclass(frozen=True)
class Collection:
    """A collection as the server, or a definition file, describes it; `definition` is that JSON, verbatim."""

    name: str
    properties: dict[str, Property]
    references: dict[str, tuple[str, ...]]
    vectors: dict[str, VectorConfig]
    multi_tenant: bool
    auto_tenant_creation: bool
    auto_tenant_activation: bool
    definition: dict[str, Any] = field(repr=False, compare=False)


def parse_collection(definition: dict[str, Any]) -> Collection:
    """The collection that `definition` (one class, in Weaviate's JSON) describes. Raises JobError where it is none."""
    if not isinstance(definition.get("class"), str):
        raise JobError(
            f"a class definition needs the key 'class' with the collection's name; it has the keys {', '.join(definition) or 'none'}"
        )
    properties = _checked(definition.get("properties") or [], "properties")
    tenancy = definition.get("multiTenancyConfig") or {}
    return Collection(
        name=class_name(definition["class"]),
        properties={p.name: p for p in map(_property, properties) if p.data_type in DATA_TYPES},
        references={property_name(p["name"]): tuple(p["dataType"]) for p in properties if p["dataType"][0] not in DATA_TYPES},
        vectors={v.name: v for v in _vectors(definition)},
        multi_tenant=bool(tenancy.get("enabled")),
        auto_tenant_creation=bool(tenancy.get("autoTenantCreation")),
        auto_tenant_activation=bool(tenancy.get("autoTenantActivation")),
        definition=definition,
    )


def class_name(name: str) -> str:
    """`name` as Weaviate stores it: the first letter in upper case."""
    return name[:1].upper() + name[1:]


def property_name(name: str) -> str:
    """`name` as Weaviate stores it: the first letter in lower case."""
    return name[:1].lower() + name[1:]


def _checked(properties: Any, where: str) -> list[dict[str, Any]]:
    """`properties` as it is, if each has a name and a list of data types. Raises JobError."""
    for i, p in enumerate(properties if isinstance(properties, list) else [properties]):
        types = p.get("dataType") if isinstance(p, dict) else None
        if not (types and isinstance(types, list) and isinstance(p.get("name"), str) and all(isinstance(t, str) for t in types)):
            raise JobError(
                f'class definition: {where}[{i}] is {p}; a property needs a name and its type, as in {{"name": "title", "dataType": ["text"]}}'
            )
    return list(properties)


def _property(definition: dict[str, Any]) -> Property:
    return replace(_nested(definition), name=property_name(definition["name"]))


def _nested(definition: dict[str, Any]) -> Property:
    """A property with its name as it is written: Weaviate changes the first letter of no name inside an object."""
    inner = _checked(definition.get("nestedProperties") or [], f"{definition['name']}.nestedProperties")
    return Property(definition["name"], definition["dataType"][0], tuple(map(_nested, inner)))


def _vectors(definition: dict[str, Any]) -> Iterator[VectorConfig]:
    """The named vectors, or the one unnamed vector of a class that has no `vectorConfig`."""
    named = definition.get("vectorConfig")
    if not named:
        module = definition.get("vectorizer") or "none"
        yield _vector(LEGACY, module, definition, unnamed=True)
        return
    for name, config in named.items():
        yield _vector(name, next(iter((config or {}).get("vectorizer") or {"none": {}})), config or {})


def _vector(name: str, module: str, config: dict[str, Any], unnamed: bool = False) -> VectorConfig:
    index = config.get("vectorIndexConfig") or {}
    multi = bool((index.get("multivector") or {}).get("enabled"))
    return VectorConfig(name, module, multi, config.get("vectorIndexType") or "hnsw", index.get("distance") or "cosine", unnamed)


def _misshapen(value: Any, shape: Any, where: str) -> Iterator[str]:
    """What in a definition is no mapping, list or text where Warpbeam reads one; the rest is the server's to judge."""
    if not isinstance(value, type(shape)):
        yield f"{where} is {value!r}; expected a {WORDS[type(shape)]}"
    elif isinstance(value, list):
        for i, inner in enumerate(value if shape else ()):
            yield from _misshapen(inner, shape[0], f"{where}[{i}]")
    elif isinstance(value, dict):
        for key, inner in value.items():
            below = shape.get(key, shape.get("*"))
            if below is not None and inner is not None:
                yield from _misshapen(inner, below, f"{where}.{key}")


def definition_in(text: str, collection: str, path: str) -> dict[str, Any]:
    """The definition of `collection` in the JSON `text` of file `path`: a class, or {"classes": [...]}. Raises JobError."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise JobError(f"target.create: {path} is no JSON: {error}") from error
    classes = content.get("classes", [content]) if isinstance(content, dict) else []
    classes = classes if isinstance(classes, list) else []
    names = [c.get("class") for c in classes if isinstance(c, dict)]
    for definition in classes:
        if isinstance(definition, dict) and class_name(str(definition.get("class"))) == class_name(collection):
            raise_faults(f"target.create: {path}: {fault}" for fault in _misshapen(definition, SHAPE, "class"))
            return definition
    raise JobError(f"target.create: {path} defines no class {collection!r}; it has {', '.join(map(str, names)) or 'none'}")
