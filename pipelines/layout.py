"""Which column of the source goes where: decided once, before anything runs, with every fault named."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pyarrow as pa

from pipelines.precomputed import is_multi, vector_type_fault
from schemas.collection import Collection, Property, VectorConfig
from schemas.columns import is_reserved
from schemas.job import Job, TenantSpec, VectorSpec
from schemas.objects import type_fault

MEDIA_WORDS = {
    "image": "images",
    "audio": "sounds",
    "video": "videos",
    "imu": "motion data",
    "thermal": "thermal images",
    "depth": "depth images",
}


@dataclass(frozen=True)
class Precomputed:
    """A vector that comes from a column; `dim` is None until a sample has told it."""

    column: str
    dim: int | None
    multi: bool
    zero_allowed: bool


@dataclass(frozen=True)
class Layout:
    """The source's columns by purpose; `read` follows it."""

    key: str
    key_is_uuid: bool
    namespace: str
    tenant: str | None = None
    deleted: str | None = None  # a boolean column: true in rows that are not loaded, and whose objects are deleted
    properties: dict[str, tuple[str, Property]] = field(default_factory=dict)  # property -> (column, type)
    media: dict[str, str] = field(default_factory=dict)  # property -> column of URIs to fetch
    unstored: frozenset[str] = frozenset()  # properties that leave the batch once encoded
    vectors: dict[str, Precomputed] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The columns that are read, each once."""
        used = [self.key, self.tenant, self.deleted, *(c for c, _ in self.properties.values()), *(v.column for v in self.vectors.values())]
        return list(dict.fromkeys(c for c in used if c))

    @property
    def id_columns(self) -> list[str]:
        """The columns that the ids need."""
        return [c for c in (self.key, self.tenant) if c]

    def readable(self, schema: pa.Schema) -> "Layout | None":
        """What of the layout a source with `schema` can fill, so that a sample can be read in spite of faults; None without a key."""
        if self.key not in schema.names:
            return None
        properties = {
            n: (c, p) for n, (c, p) in self.properties.items() if c in schema.names and not type_fault(c, schema.field(c).type, p)
        }
        there = {n: v for n, v in self.vectors.items() if v.column in schema.names}
        vectors = {n: v for n, v in there.items() if not vector_type_fault(v.column, schema.field(v.column).type, v.multi)}
        tenant = self.tenant if self.tenant in schema.names else None
        deleted = self.deleted if self.deleted in schema.names else None
        return replace(self, properties=properties, vectors=vectors, tenant=tenant, deleted=deleted)

    @property
    def stored(self) -> list[Property]:
        """The properties that are written."""
        return [p for name, (_, p) in self.properties.items() if name not in self.unstored]


def layout_of(schema: pa.Schema, job: Job, collection: Collection) -> tuple[Layout, list[str]]:
    """The layout of a source with `schema` for `collection`, and the sentences that say what does not fit."""
    source, tenant = job.source, job.target.tenant
    layout = Layout(
        key=source.key_column,
        key_is_uuid=source.uuid is not None,
        namespace=source.namespace,
        tenant=tenant.column if isinstance(tenant, TenantSpec) else None,
        deleted=source.deleted,
        properties=dict(_properties(schema, job, collection)),
        media={name: name for name, media in job.media.items() if media.fetch},
        unstored=frozenset(name for name, media in job.media.items() if not media.store and not _keeps_uri(name, job, collection)),
        vectors={name: _precomputed(name, spec, schema, collection) for name, spec in job.vectors.items() if spec.column},
    )
    return layout, list(_faults(schema, job, collection, layout))


def _keeps_uri(name: str, job: Job, collection: Collection) -> bool:
    """Whether a media property that is not stored still keeps its URI, as a text."""
    return bool(job.media[name].fetch) and name in collection.properties and collection.properties[name].scalar == "text"


def _mapping(schema: pa.Schema, job: Job, collection: Collection) -> dict[str, str]:
    """Property -> column: the job's own, or every column under its own name, those with another purpose left out."""
    if job.source.properties is not None:
        return job.source.properties
    tenant = job.target.tenant
    purposes = {job.source.key_column, job.source.deleted, tenant.column if isinstance(tenant, TenantSpec) else None}
    vectors = {v.column for v in job.vectors.values()}
    return {c: c for c in schema.names if c not in vectors and (c not in purposes or c in collection.properties)}


def _properties(schema: pa.Schema, job: Job, collection: Collection) -> Iterator[tuple[str, tuple[str, Property]]]:
    for name, column in _mapping(schema, job, collection).items():
        if name in job.media:
            media = job.media[name]
            yield name, (column, Property(name, "text" if media.fetch else "blob"))
        elif name in collection.properties:
            yield name, (column, collection.properties[name])


def _precomputed(name: str, spec: VectorSpec, schema: pa.Schema, collection: Collection) -> Precomputed:
    config = collection.vectors.get(name)
    column = spec.column or ""
    found = schema.field(column).type if column in schema.names else pa.null()
    dim = spec.dimensions or (found.list_size if pa.types.is_fixed_size_list(found) else None)
    multi = config.multi if config else is_multi(found)
    return Precomputed(column, dim, multi, zero_allowed=config is not None and config.distance != "cosine")


def _faults(schema: pa.Schema, job: Job, collection: Collection, layout: Layout) -> Iterator[str]:
    yield from _column_faults(schema, job, layout)
    yield from _property_faults(schema, job, collection)
    for name, spec in job.vectors.items():
        yield from _vector_faults(name, spec, schema, collection, layout)
    if job.chunk:
        yield from _chunk_faults(job, collection, layout)


def _column_faults(schema: pa.Schema, job: Job, layout: Layout) -> Iterator[str]:
    have = f"the source has {', '.join(schema.names)}"
    wanted = {f"source.{'uuid' if layout.key_is_uuid else 'key'}": layout.key, "target.tenant.column": layout.tenant}
    wanted |= {f"source.properties.{p}": c for p, c in (job.source.properties or {}).items()}
    wanted |= {f"vectors.{n}.column": v.column for n, v in layout.vectors.items()}
    for where, column in wanted.items():
        if column and column not in schema.names:
            yield f"{where}: there is no column {column!r}; {have}"
    if layout.key in schema.names and not layout.key_is_uuid and not _names_a_row(schema.field(layout.key).type):
        yield f"source.key: column {layout.key!r} has the type {schema.field(layout.key).type}; a key is a string or a whole number"
    if layout.tenant in schema.names and not _names_a_row(schema.field(layout.tenant).type):
        yield f"target.tenant.column: column {layout.tenant!r} has the type {schema.field(layout.tenant).type}; a tenant's name is a string or a whole number"


def _names_a_row(t: pa.DataType) -> bool:
    t = t.value_type if pa.types.is_dictionary(t) else t
    return bool(pa.types.is_integer(t) or pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_string_view(t))


def _property_faults(schema: pa.Schema, job: Job, collection: Collection) -> Iterator[str]:
    known = ", ".join(collection.properties) or "none"
    for name, column in _mapping(schema, job, collection).items():
        stored = name not in job.media or job.media[name].store
        if is_reserved(column):
            yield f"column {column!r}: names that start with @ are Warpbeam's own; rename the column"
        elif stored and name not in collection.properties:
            yield f"column {column!r} has no property {name!r} in collection {collection.name}, which has {known}; add it there, or list the wanted columns in source.properties"
        elif column in schema.names and name in collection.properties and not (name in job.media and job.media[name].fetch):
            if fault := type_fault(column, schema.field(column).type, collection.properties[name]):
                yield fault
    for name, media in job.media.items():
        if media.store and name in collection.properties and collection.properties[name].scalar != "blob":
            yield f"media.{name}.store: property {name!r} is {collection.properties[name].data_type}; bytes are stored in a blob"


def _vector_faults(name: str, spec: VectorSpec, schema: pa.Schema, collection: Collection, layout: Layout) -> Iterator[str]:
    config = collection.vectors.get(name)
    if config is None:
        yield f"vectors.{name}: collection {collection.name} has no such vector; it has {', '.join(collection.vectors) or 'none'}"
    elif spec.column:
        yield from _precomputed_faults(name, spec, schema, config)
    elif config.multi:
        yield f"vectors.{name}: collection {collection.name} has multi-vectors here; they come from a column, no model of Warpbeam makes them yet"
    elif spec.module is not None:
        yield from _module_faults(name, spec, layout)
    elif not spec.fields:
        yield f"vectors.{name}: name the fields to encode, as in text_fields or image_fields (vectorizer {config.module!r} names none that Warpbeam reads)"
    else:
        yield from _field_faults(name, spec, layout)


def _precomputed_faults(name: str, spec: VectorSpec, schema: pa.Schema, config: VectorConfig) -> Iterator[str]:
    if spec.column is None or spec.column not in schema.names:
        return  # a missing column is said already
    found = schema.field(spec.column).type
    if fault := vector_type_fault(spec.column, found, config.multi):
        yield f"vectors.{name}: {fault}"
    elif config.multi and spec.dimensions is None and not is_multi(found):
        yield f"vectors.{name}: a multi-vector in bytes needs `dimensions`, the length of one vector"


def _field_faults(name: str, spec: VectorSpec, layout: Layout) -> Iterator[str]:
    for wanted in spec.fields:
        if wanted not in layout.properties:
            yield f"vectors.{name}: {wanted!r} is no property of this job; it has {', '.join(layout.properties) or 'none'}"
    yield from _media_faults(name, spec, layout)


def _module_faults(name: str, spec: VectorSpec, layout: Layout) -> Iterator[str]:
    """A module reads what the object has; a job that has none of it would make no vector."""
    assert spec.module is not None
    if spec.module.fields and not any(f in layout.properties for f in spec.module.fields):
        yield f"vectors.{name}: {spec.module.name} reads {', '.join(spec.module.fields)}; this job has only {', '.join(layout.properties) or 'no property'}"
    yield from _media_faults(name, spec, layout)


def _media_faults(name: str, spec: VectorSpec, layout: Layout) -> Iterator[str]:
    """What a picture, a sound, a video is read from must hold bytes."""
    for modality, fields in spec.by_modality.items():
        for wanted in (f for f in fields if modality != "text" and f in layout.properties):
            where = f"vectors.{name}" if spec.module else f"vectors.{name}.{modality}_fields"
            data_type = layout.properties[wanted][1].data_type
            if data_type not in ("blob", "text"):
                yield f"{where}: property {wanted!r} is {data_type}; {MEDIA_WORDS[modality]} are blobs"
            elif data_type == "text" and wanted not in layout.media and not spec.module:
                yield f"{where}: property {wanted!r} is text; if it holds URIs, say so: media: {{{wanted}: {{fetch: [prefix]}}}}"


def _chunk_faults(job: Job, collection: Collection, layout: Layout) -> Iterator[str]:
    chunk = job.chunk
    assert chunk is not None
    wanted = {"property": (chunk.property, "text"), "number": (chunk.number, "int"), "parent": (chunk.parent, "text")}
    for key, (name, data_type) in wanted.items():
        if name and (name not in collection.properties or collection.properties[name].data_type != data_type):
            yield f"chunk.{key}: collection {collection.name} needs a property {name!r} of type {data_type}"
    if chunk.property not in layout.properties:
        yield f"chunk.property: {chunk.property!r} is no property of this job; it has {', '.join(layout.properties) or 'none'}"
