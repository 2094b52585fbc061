"""Everything that can be known about a job before it runs: its faults against data, models and server, all at once."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from encoders.models import EXTRA
from encoders.sharing import shared_encoder
from jobs.embedded import running_server
from jobs.incremental import delete_faults, is_tracked
from jobs.modules import merge_faults, module_remarks, with_modules
from jobs.versions import version_faults, with_version
from pipelines.chunk import splitter_of
from pipelines.layout import Layout, layout_of
from pipelines.sources import Shard, Source, source_of
from pipelines.storage import file_system, is_url
from pipelines.targets.stored import kept_by_merge
from pipelines.targets.tenants import tenant_faults
from pipelines.targets.weaviate import WeaviateTarget
from schemas.collection import Collection, definition_in, parse_collection
from schemas.errors import JobError, WorldError
from schemas.job import Job, VectorSpec

T = TypeVar("T")
HOME = Path(".warpbeam")  # where the embedded server lives, below the folder that a command is started in


@dataclass
class Findings:
    """What `examine` found. `faults` are the job's, `away` the world's; with either, nothing runs."""

    job: Job
    faults: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)  # worth knowing, but no reason to stop
    source: Source | None = None
    schema: pa.Schema | None = None
    shards: list[Shard] = field(default_factory=list)
    target: WeaviateTarget | None = None
    collection: Collection | None = None
    exists: bool = False  # the server has the collection
    creates: bool = False  # the collection is missing and will be made; neither is so while the server is away
    layout: Layout | None = None
    dims: dict[str, int] = field(default_factory=dict)  # of the vectors that have a model
    backends: dict[str, str] = field(default_factory=dict)  # how the forward pass runs here, of those that can say so
    losses: dict[str, dict[str, Any]] = field(default_factory=dict)  # of int8 vectors: what the sample loses (jobs/examine/loss.py)

    @property
    def exit_code(self) -> int:
        """0 nothing wrong, 2 the job, 3 the world."""
        return 2 if self.faults else 3 if self.away else 0

    def objects_there(self) -> int:
        """How many objects the collection has, all tenants together. Raises WorldError."""
        with closing(WeaviateTarget(self.job.target, self.collection)) as target:
            return target.count()

    def attempt(self, step: Callable[[], T]) -> T | None:
        """What `step` gives, or None with its faults kept."""
        try:
            return step()
        except JobError as error:
            self.faults += [f for f in error.faults if f not in self.faults]
        except WorldError as error:
            self.away.append(str(error))
        return None


def with_server(job: Job) -> Job:
    """`job` with `embedded` replaced by the address of the server that Warpbeam keeps in `.warpbeam/`."""
    if job.target.weaviate.url != "embedded":
        return job
    server = running_server(HOME)
    weaviate = job.target.weaviate.model_copy(update={"url": server.url, "grpc": server.grpc})
    return job.model_copy(update={"target": job.target.model_copy(update={"weaviate": weaviate})})


@contextmanager
def examined(job: Job) -> Iterator[Findings]:
    """What `examine` finds; connections are closed afterwards."""
    found = examine(job)
    try:
        yield found
    finally:
        if found.target:
            found.target.close()


def examine(job: Job) -> Findings:
    """Look at source, server and models, and compare them; raises nothing that is the job's or the world's fault."""
    found = Findings(job)
    if (served := found.attempt(lambda: with_version(with_server(job)))) is not None:
        found.job = served
        _look_at_target(found)
    if found.collection is not None:
        found.job, faults = with_modules(found.job, found.collection)
        found.faults += [*faults, *version_faults(found.job, found.collection)]
    _look_at_source(found)
    _look_at_outputs(found)
    if found.schema is not None and found.collection is not None:
        found.layout, faults = layout_of(found.schema, found.job, found.collection)
        found.faults += [*faults, *merge_faults(found.job, found.collection, list(found.layout.properties))]
    for name, spec in found.job.vectors.items():
        if spec.model:
            found.attempt(lambda name=name, spec=spec: _look_at_model(found, name, spec))  # type: ignore[misc]
    found.attempt(lambda: _look_at_chunks(found))
    if found.schema is not None and found.collection is not None:
        tracked = found.creates or is_tracked(found.collection) or bool(found.job.target.incremental)
        found.faults += delete_faults(found.job, found.schema, tracked and found.job.target.incremental is not False)
    found.remarks += _remarks(found)
    if found.exists:
        found.attempt(lambda: found.faults.extend(_existing_faults(found)))
    return found


def _look_at_source(found: Findings) -> None:
    found.source = found.attempt(lambda: source_of(found.job))
    if found.source is not None:
        source = found.source
        found.schema = found.attempt(source.schema)
        found.shards = (found.attempt(source.shards) or []) if found.schema is not None else []


def _look_at_outputs(found: Findings) -> None:
    """A package or a secret that is missing is said now, and not when the report is to be written."""
    job = found.job
    places = (("failures.path", job.failures.path, job.failures.storage_options), ("report", job.report, job.report_options))
    for key, place, options in places:
        if is_url(place):
            found.attempt(lambda key=key, place=place, options=options: file_system(place, options, key))  # type: ignore[misc]


def _look_at_target(found: Findings) -> None:
    """The live collection, or the definition it will be made from."""
    spec = found.job.target
    found.target = WeaviateTarget(spec)
    before = len(found.faults) + len(found.away)
    found.collection = found.attempt(found.target.collection)
    found.exists = found.collection is not None
    if found.exists:
        return
    found.creates = len(found.faults) + len(found.away) == before  # the server answered, and has none
    if found.creates or spec.create is not None:
        found.collection = found.attempt(lambda: planned_collection(found.job))


def planned_collection(job: Job) -> Collection:
    """The collection that `target.create` defines. Raises JobError."""
    spec = job.target
    if spec.create is None:
        raise JobError(
            f"target.collection: {spec.collection!r} is missing on the server; make it there, or name its definition in target.create"
        )
    path = job.resolve(spec.create)
    named = spec.base or spec.collection
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise JobError(f"target.create: {path} cannot be read: {error.strerror}") from error
    return parse_collection(definition_in(text, named, path) | {"class": spec.collection})


def _look_at_model(found: Findings, name: str, spec: VectorSpec) -> None:
    """Load the model, and see that it takes what the job gives it."""
    try:
        with shared_encoder(spec) as encoder:
            found.dims[name] = encoder.dim
            modalities = encoder.modalities
            found.backends[name] = getattr(encoder, "backend", "")
            approximate = getattr(encoder, "approximate", None)
            getattr(encoder, "licence", None)  # of weights that have one of their own; asking says it, once
    except JobError as error:
        raise JobError(*(f"vectors.{name}.model: {fault}" for fault in error.faults)) from error
    except ImportError as error:
        raise JobError(f"vectors.{name}.model: {EXTRA} ({error})") from error
    if approximate:
        found.remarks.append(f"vectors.{name}: {approximate}")
    for kind, fields in spec.by_modality.items():
        if kind not in modalities:
            raise JobError(f"vectors.{name}: {', '.join(fields)} is {kind}, but this model takes {', '.join(sorted(modalities))}")


def _look_at_chunks(found: Findings) -> None:
    """See that texts can be cut by the tokens of the model that the job names; a model with faults of its own is not asked."""
    chunk = found.job.chunk
    if chunk and chunk.model in found.dims:
        splitter_of(chunk, found.job.vectors[chunk.model])


def _remarks(found: Findings) -> Iterator[str]:
    """What is no fault, but worth knowing about vectors that a module makes."""
    for name, spec in found.job.vectors.items():
        if spec.module and found.collection and found.layout:
            yield from module_remarks(spec, name, found.collection, found.layout.unstored)


def _existing_faults(found: Findings) -> Iterator[str]:
    """What the live collection says against the job: what would be lost, tenants, dimensions."""
    assert found.target and found.collection
    yield from _lost(found)
    tenant = found.job.target.tenant
    status = found.target.tenants.status() if found.collection.multi_tenant else {}
    yield from tenant_faults(found.collection, found.job.target, [tenant] if isinstance(tenant, str) else [], status)
    readable = found.target.tenants.awake(status) if found.collection.multi_tenant else [""]
    look_in = tenant if isinstance(tenant, str) else next(iter(readable), None)
    stored = found.target.stored_dims(look_in) if look_in is not None else {}
    for name, dim in found.dims.items():
        if name in stored and stored[name] != dim:
            yield f"vectors.{name}: the model makes vectors of {dim} numbers; collection {found.collection.name} has vectors of {stored[name]}"


def _lost(found: Findings) -> Iterator[str]:
    """An upsert replaces the whole object: what the job does not name would be gone."""
    assert found.collection
    if found.job.target.write is not None or found.layout is None:
        return
    chunk = found.job.chunk
    extra = [p for p in (chunk.number, chunk.parent) if p] if chunk else []
    kept = kept_by_merge(found.collection, [p.name for p in found.layout.stored] + extra, list(found.job.vectors))
    if not kept.nothing:
        yield (
            f"target.write: collection {found.collection.name} has more than this job names ({'; '.join(kept.names)}), and a write replaces the "
            "whole object: choose `merge` (what is there is kept: read back and sent again) or `replace` (it is gone)"
        )
