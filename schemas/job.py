"""The job file as types: YAML in, frozen pydantic models out; unknown keys are refused with their path.

`docs/job-file.md` explains every key; the field descriptions here are its source.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from schemas.models import ModelSpec, Part, Secret, SecretMap
from schemas.modules import MODALITIES, Module, MultiModule

Weights = dict[str, float]
Fields = list[str] | Weights


class SourceSpec(Part):
    """Where rows come from: one of the formats, and what its columns mean."""

    parquet: str | None = Field(None, description="Parquet files: a path, a glob, a folder (partitioned ones too) or any fsspec URL.")
    jsonl: str | None = Field(None, description="JSON Lines: one object a line; `.gz` is unpacked.")
    csv: str | None = Field(None, description="CSV with a header line; `.gz` is unpacked.")
    files: str | None = Field(None, description="A folder or glob of files; columns `path`, `name`, `bytes`.")
    storage_options: dict[str, Any] = Field(default_factory=dict, description="Handed to fsspec as it is.")
    key: str | None = Field(
        None, description="The column that names a row, stable from run to run; the id is generate_uuid5(key, namespace)."
    )
    uuid: str | None = Field(None, description="A column that already holds the object's uuid; instead of `key`.")
    namespace: str = Field("", description="Put before the key when the id is made, as weaviate-client does.")
    properties: dict[str, str] | None = Field(None, description="property: column. Absent, every column goes under its own name.")

    deleted: str | None = Field(
        None, description="A column that is true in rows whose objects are to be deleted (`target.delete: marked`)."
    )

    @property
    def kind(self) -> str:
        """The format that is set: a name in the registry of sources."""
        return next(k for k in SOURCE_KINDS if getattr(self, k) is not None)

    @property
    def location(self) -> str:
        """The path or URL of that format."""
        return str(getattr(self, self.kind))

    @model_validator(mode="after")
    def _one_of_each(self) -> SourceSpec:
        kinds = [k for k in SOURCE_KINDS if getattr(self, k) is not None]
        if len(kinds) != 1:
            raise ValueError(f"name exactly one of {', '.join(SOURCE_KINDS)}; the job has {' and '.join(kinds) or 'none'}")
        if self.deleted is not None and self.files is not None:
            raise ValueError("`deleted` names a column; a folder of files has none of its own")
        if (self.key is None) == (self.uuid is None) and not (self.files and self.key is None and self.uuid is None):
            raise ValueError("name either `key` (the column that identifies a row) or `uuid` (a column of uuids)")
        return self

    @property
    def key_column(self) -> str:
        """The column that identifies a row."""
        return self.key or self.uuid or "path"


SOURCE_KINDS = ("parquet", "jsonl", "csv", "files")


class ChunkSpec(Part):
    """An object per chunk of a long text."""

    property: str = Field(description="The text property that is cut.")
    model: str = Field(description="The vector whose model's tokens are counted.")
    tokens: int = Field(256, ge=8, description="The most tokens a chunk has, special tokens not counted.")
    overlap: int = Field(0, ge=0, description="Tokens that a chunk repeats from the one before.")
    number: str | None = Field(None, description="An int property that gets the chunk's number, from 0.")
    parent: str | None = Field(None, description="A text property that gets the row's key.")

    @model_validator(mode="after")
    def _overlap_fits(self) -> ChunkSpec:
        if self.overlap >= self.tokens:
            raise ValueError(f"overlap {self.overlap} must be smaller than tokens {self.tokens}")
        return self


class MediaSpec(Part):
    """How the values of a media property are brought in and whether they are stored."""

    fetch: list[str] = Field(
        default_factory=list, description="The values are URIs under one of these prefixes; nothing else is ever opened."
    )
    store: bool = Field(False, description="Store the bytes in the object (a blob property); otherwise they leave once encoded.")


class WeaviateSpec(Part):
    """A Weaviate server: its REST URL, its gRPC address, and how to log in."""

    url: str = Field(description="http(s)://host:port, or `embedded`: a server that Warpbeam starts and keeps under `.warpbeam/`.")
    grpc: str | None = Field(None, description="host:port of gRPC; otherwise the usual one for the URL.")
    api_key: Secret = Field(None, description="${NAME} of the environment variable that holds the key.")
    headers: SecretMap = Field(default_factory=dict, description="Further headers; values are ${NAME} references.")


class TenantSpec(Part):
    """The tenant of each row, from a column."""

    column: str = Field(description="The column that names the tenant.")
    create: bool = Field(False, description="Make tenants that the collection does not have.")


def _server(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


class TargetSpec(Part):
    """Where objects go: a server, a collection, and what may happen to objects that are there."""

    weaviate: Annotated[WeaviateSpec, BeforeValidator(_server)]
    collection: str = Field(description="The collection's name.")
    create: str | None = Field(None, description="A file with Weaviate's own class definition, used only if the collection is missing.")
    tenant: str | TenantSpec | None = Field(None, description="One tenant for all rows, or {column: ..., create: false}.")
    write: Literal["replace", "merge"] | None = Field(
        None,
        description="For an object that is there: replace it whole, or merge: keep what the job does not name (read back and sent again).",
    )
    delete: Literal["never", "missing", "marked"] = Field(
        "never", description="Delete what this job wrote and the source has no more, or what `source.deleted` marks."
    )
    delete_share: float = Field(0.01, ge=0, le=1, description="To delete more than this share of the collection is refused.")
    alias: str | None = Field(
        None, description="The name under which applications read: a new version is loaded, verified, and then the alias moves (`publish`)."
    )
    base: str | None = Field(
        None, exclude=True, description="Of a version the collection's own name; put here when versions are looked up."
    )
    incremental: bool | None = Field(
        None,
        description="Objects remember what made them, and what is unchanged is skipped: true adds the two properties to a collection that exists, false does without.",
    )
    consistency_level: Literal["ONE", "QUORUM", "ALL"] = Field("QUORUM", description="How many replicas confirm a write.")
    max_objects_per_s: float | None = Field(None, gt=0, description="A ceiling for a server that also answers queries.")
    timeout_s: float = Field(90, gt=0, description="Seconds that one request may take.")
    retry_s: float = Field(300, ge=0, description="Seconds for which a server that is away or overloaded is tried again.")

    @property
    def fixed_tenant(self) -> str:
        """The one tenant of all rows; "" where there is none, or a column names it."""
        return self.tenant if isinstance(self.tenant, str) else ""


def _model(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class VectorSpec(Part):
    """One vector of an object: from a model, or precomputed in a column."""

    model: Annotated[ModelSpec, BeforeValidator(_model)] | None = Field(
        None, description="A folder, a hub name, or {name|text+image|fake: ...}."
    )
    column: str | None = Field(None, description="A column with precomputed vectors: fixed-size lists, lists, or float32 bytes.")
    dimensions: int | None = Field(None, ge=1, description="The length of one vector, where the column is bytes or holds multi-vectors.")
    text_fields: Fields = Field(
        default_factory=list, description="A list: one text, joined by newlines. A map: each field encoded apart, with its weight."
    )
    image_fields: Fields = Field(default_factory=list, description="Image properties, or a map with their weights.")
    audio_fields: Fields = Field(default_factory=list, description="Sound properties, or a map with their weights (ImageBind).")
    video_fields: Fields = Field(default_factory=list, description="Video properties, or a map with their weights (ImageBind).")
    imu_fields: Fields = Field(default_factory=list, description="Properties with motion data, or a map with their weights (ImageBind).")
    thermal_fields: Fields = Field(default_factory=list, description="Thermal images, or a map with their weights (ImageBind).")
    depth_fields: Fields = Field(default_factory=list, description="Depth images, or a map with their weights (ImageBind).")
    prompts: dict[Literal["document", "query"], str] = Field(
        default_factory=dict, description="Put before texts, instead of the model's own prompts."
    )
    long_text: Literal["truncate", "fail", "mean"] = Field(
        "truncate", description="Text over the model's limit: cut it (counted, named), reject the row, or average windows."
    )

    module: Module | None = Field(
        None, exclude=True, description="What the collection says about this vector; put here when it is read, never in the file."
    )

    @model_validator(mode="after")
    def _model_or_column(self) -> VectorSpec:
        if (self.model is None) == (self.column is None):
            raise ValueError("name either `model` or `column`")
        for modality, fields in self.own_fields.items():
            if self.column is not None:
                raise ValueError(f"a precomputed vector reads no `{modality}_fields`")
            if isinstance(fields, dict) and not all(0 <= w < float("inf") for w in fields.values()):
                raise ValueError(f"`{modality}_fields` has a weight that is negative or not a number: {fields}")
        weights = [w for fields in self.own_fields.values() if isinstance(fields, dict) for w in fields.values()]
        if weights and sum(weights) == 0:
            raise ValueError("all weights are 0; at least one must be greater")
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """The properties that this vector reads, in the job's order; of a module's vector, what the collection says."""
        if self.module is not None:
            return self.module.fields
        return tuple(f for fields in self.own_fields.values() for f in fields)

    @property
    def own_fields(self) -> dict[str, Fields]:
        """The job's own fields by modality, those that are named, in the order of Weaviate's modules."""
        return {m: fields for m in MODALITIES if (fields := getattr(self, f"{m}_fields"))}

    @property
    def by_modality(self) -> dict[str, tuple[str, ...]]:
        """The properties that this vector reads, by what they are to the model."""
        if isinstance(self.module, MultiModule):
            return self.module.by_modality
        if self.module is not None:
            return {"text": self.module.fields}
        return {modality: tuple(fields) for modality, fields in self.own_fields.items()}


class FailuresSpec(Part):
    """What happens with rejected rows."""

    path: str = Field("./failures", description="A folder; rejected rows are written there as Parquet.")
    storage_options: dict[str, Any] = Field(
        default_factory=dict, description="Handed to fsspec for `path`, and for `report` where that is in the same kind of store."
    )
    allowed_share: float = Field(0.0, ge=0, le=1, description="More than this share of failed rows makes the run exit 1.")


class Job(Part):
    """A whole job: source, target, vectors, and the rest with defaults."""

    name: str | None = Field(None, description="What `warpbeam_job` says of the objects; absent, the job file's name.")
    source: SourceSpec
    target: TargetSpec
    vectors: dict[str, VectorSpec] = Field(min_length=1)
    chunk: ChunkSpec | None = None
    media: dict[str, MediaSpec] = Field(default_factory=dict)
    failures: FailuresSpec = Field(default_factory=lambda: FailuresSpec.model_validate({}))
    report: str = Field("./report", description="A folder that gets report.json.")
    base: Path = Field(Path("."), exclude=True, description="The folder of the job file; relative paths start there.")

    @model_validator(mode="after")
    def _chunk_model_is_a_vector(self) -> Job:
        if self.chunk and (self.chunk.model not in self.vectors or self.vectors[self.chunk.model].model is None):
            raise ValueError(f"chunk.model {self.chunk.model!r} must be a vector that has a model; the job has {', '.join(self.vectors)}")
        return self

    @property
    def report_options(self) -> dict[str, Any]:
        """What fsspec is handed for `report`: that of `failures.path` where both are in the same kind of store."""
        same = self.failures.path.partition("://")[:2] == self.report.partition("://")[:2]
        return self.failures.storage_options if same and "://" in self.report else {}

    def resolve(self, location: str) -> str:
        """`location` as it is if it is a URL or absolute, else below the job file's folder."""
        if "://" in location or "::" in location or location.startswith(("/", "~")):
            return str(Path(location).expanduser()) if location.startswith("~") else location
        return os.path.normpath(self.base / location)
