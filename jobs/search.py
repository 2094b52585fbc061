"""`warpbeam search` and `warpbeam encode`: ask the collection with the job's own model, try a model before a run."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from encoders.base import Vectors
from encoders.sharing import shared_encoder
from jobs.examine.findings import planned_collection, with_server
from jobs.modules import with_modules
from jobs.versions import published
from pipelines.combine import unit
from pipelines.targets.connection import grpc_address
from pipelines.targets.weaviate import WeaviateTarget
from schemas.collection import Collection, VectorConfig
from schemas.errors import JobError, WorldError
from schemas.job import Job, VectorSpec
from schemas.secrets import resolve_secret


def vector_name(job: Job, name: str | None) -> str:
    """The vector to ask: `name`, or the only one that has a model. Raises JobError."""
    encoded = [n for n, spec in job.vectors.items() if spec.model]
    if name in encoded:
        return str(name)
    if name is None and len(encoded) == 1:
        return encoded[0]
    raise JobError(f"--vector: name one of the vectors that have a model: {', '.join(encoded) or 'the job has none'}")


def spec_of(job: Job, name: str) -> VectorSpec:
    """The vector `name` of `job`, with what the collection says about it where the job alone does not say all.

    Raises JobError and WorldError where the collection is needed and cannot be had.
    """
    if job.vectors[name].fields:
        return job.vectors[name]
    job = with_server(job)
    with closing(WeaviateTarget(job.target)) as target:
        collection = target.collection() or planned_collection(job)
    return with_modules(job, collection)[0].vectors[name]


def encode_value(spec: VectorSpec, modality: str, value: str | bytes, role: Any = "query") -> Vectors:
    """The vector (dim,) float32 of one value: str for `text`, the bytes of a file for other modalities. Raises RowError, JobError."""
    with shared_encoder(spec) as encoder:
        if modality not in encoder.modalities:
            raise JobError(f"this model takes {', '.join(sorted(encoder.modalities))}, not {modality}")
        encoding = encoder.encode([value], modality, role)
    if encoding.errors:
        raise encoding.errors[0]
    vector: Vectors = encoding.vectors[0]
    return vector


def query_value(text: str | None, files: Mapping[str, Path | None]) -> tuple[str, str | bytes]:
    """Modality and content of the one value that a command was given: a text, or a file of `files` (by modality). Raises JobError."""
    given = {modality: file for modality, file in files.items() if file is not None}
    if len(given) + (text is not None) != 1:
        raise JobError(f"give one value: either a text, or one of {', '.join(f'--{m} FILE' for m in files)}")
    for modality, file in given.items():
        try:
            return modality, file.read_bytes()
        except OSError as error:
            raise JobError(f"--{modality} {file} cannot be read: {error.strerror}") from error
    return "text", str(text)


def search(
    job: Job, modality: str, value: str | bytes, limit: int, name: str | None = None, hybrid: float | None = None
) -> list[dict[str, Any]]:
    """The nearest objects to `value`, whatever they are made of: [{uuid, distance, properties}].

    With `hybrid` (0 words, 1 vectors) `score` instead of distance. Raises JobError, RowError, WorldError.
    """
    if hybrid is not None and modality != "text":
        raise JobError(f"--hybrid mixes in keyword search, which needs a text, and this is {modality}; leave it out")
    job = published(with_server(job))
    chosen = vector_name(job, name)
    with closing(WeaviateTarget(job.target)) as target:
        collection = target.collection()
    if collection is None:
        raise JobError(f"target.collection: {job.target.collection!r} is missing on the server; `warpbeam run` makes it")
    if chosen not in collection.vectors:
        raise JobError(f"vectors.{chosen}: collection {collection.name} has no such vector; it has {', '.join(collection.vectors)}")
    job = with_modules(job, collection)[0]
    vector = encode_value(job.vectors[chosen], modality, value)
    if collection.vectors[chosen].distance == "cosine":
        vector = unit(vector[None])[0]
    return _query(job, collection, collection.vectors[chosen], vector, value, limit, hybrid)


def _query(
    job: Job, collection: Collection, config: VectorConfig, vector: Vectors, value: Any, limit: int, hybrid: float | None
) -> list[dict[str, Any]]:
    from weaviate.classes.query import MetadataQuery
    from weaviate.exceptions import WeaviateBaseError

    target = None if config.unnamed else config.name
    try:
        with _client(job) as client:
            found = client.collections.use(collection.name)
            if collection.multi_tenant and not isinstance(job.target.tenant, str):
                raise JobError(f"collection {collection.name} is multi-tenant: name one tenant, as in --set target.tenant=acme")
            if isinstance(job.target.tenant, str):
                found = found.with_tenant(job.target.tenant)
            if hybrid is None:
                reply = found.query.near_vector(
                    vector.tolist(), target_vector=target, limit=limit, return_metadata=MetadataQuery(distance=True)
                )
            else:
                reply = found.query.hybrid(
                    str(value),
                    vector=vector.tolist(),
                    alpha=hybrid,
                    target_vector=target,
                    limit=limit,
                    return_metadata=MetadataQuery(score=True),
                )
    except WeaviateBaseError as error:
        raise WorldError(f"Weaviate at {job.target.weaviate.url} did not answer the search: {error}") from error
    key = "distance" if hybrid is None else "score"
    return [{"uuid": str(o.uuid), key: getattr(o.metadata, key), "properties": o.properties} for o in reply.objects]


def _client(job: Job) -> Any:
    """weaviate-client, connected. Raises JobError for a secret that is not set."""
    from urllib.parse import urlsplit

    import weaviate
    from weaviate.classes.init import Auth

    server = job.target.weaviate
    url = urlsplit(server.url)
    host, _, port = grpc_address(server).rpartition(":")
    secure = url.scheme == "https"
    return weaviate.connect_to_custom(
        http_host=str(url.hostname),
        http_port=url.port or (443 if secure else 80),
        http_secure=secure,
        grpc_host=host,
        grpc_port=int(port),
        grpc_secure=secure,
        headers={name: resolve_secret(value) for name, value in server.headers.items()},
        auth_credentials=Auth.api_key(resolve_secret(server.api_key)) if server.api_key else None,
    )


def tell_results(console: Console, question: str, results: list[dict[str, Any]], first: Sequence[str] = ()) -> None:
    """The answers as a table, a line each: distance, then the properties, those in `first` before the others."""
    console.print(f"[bold]{escape(question)}[/]", highlight=False)
    if not results:
        console.print("  nothing found")
        return
    key = "score" if "score" in results[0] else "distance"
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(key, justify="right", no_wrap=True)
    columns = _columns(results, first, console.width - 12)
    for column, width in columns.items():
        table.add_column(column, width=width, no_wrap=True, overflow="ellipsis")
    for result in results:
        table.add_row(f"{result[key]:.3f}", *(escape(_cell(result["properties"].get(c))) for c in columns))
    console.print(table)


def _columns(results: list[dict[str, Any]], first: Sequence[str], room: int) -> dict[str, int]:
    """Columns and their widths, as many as fit into `room`."""
    found = dict.fromkeys(name for r in results for name in r["properties"] if not name.startswith("warpbeam_"))
    chosen: dict[str, int] = {}
    for name in [*(f for f in first if f in found), *(n for n in found if n not in first)]:
        longest = max(len(name), *(len(_cell(r["properties"].get(name))) for r in results))
        width = min(longest, max(40, room // 2) if name in first else 20, room)
        if width < min(longest, 8):
            break
        chosen[name] = width
        room -= width + 2
    return chosen


def _cell(value: Any) -> str:
    """A value on one line."""
    return " ".join(str("" if value is None else value).split())[:200]


def tell_vector(console: Console, vector: Vectors) -> None:
    """A vector for a person: its length, its norm, its first numbers."""
    console.print(
        f"{len(vector)} numbers, length {np.linalg.norm(vector):.4f}: {', '.join(f'{v:.5f}' for v in vector[:8])} …", highlight=False
    )
