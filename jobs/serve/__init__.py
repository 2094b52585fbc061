"""`warpbeam serve`: the job's encoders in the place of Weaviate's inference containers."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape

from encoders import family
from encoders.prebuilt import prebuilt_image
from jobs.examine.findings import planned_collection
from jobs.serve.batches import ServedVector
from pipelines.targets.weaviate import WeaviateTarget
from schemas.collection import Collection, class_name
from schemas.errors import JobError, WorldError
from schemas.job import Job, VectorSpec
from schemas.modules import Module, MultiModule, TextModule, module_of

LOCAL = ("127.0.0.1", "localhost", "::1")
KEEP_ALIVE_S = 75  # longer than Weaviate's client keeps a connection that it does not use
VARIABLES = {
    "text2vec-transformers": "TRANSFORMERS_INFERENCE_API",
    "multi2vec-clip": "CLIP_INFERENCE_API",
    "multi2vec-bind": "BIND_INFERENCE_API",
}
ONE_FOR_ALL = ("multi2vec-bind",)  # modules whose settings have no inferenceUrl


def serve(
    job: Job, console: Console, host: str = "127.0.0.1", port: int = 8081, vector: str | None = None, token_env: str | None = None
) -> None:
    """Answer until SIGTERM or Ctrl-C; requests in flight are finished. Raises JobError, WorldError."""
    try:
        import uvicorn  # noqa: F401  (used once the models are being loaded; said now if it is missing)

        from jobs.serve.http import Service
    except ImportError as error:
        raise JobError(f'the web server is missing: pip install "warpbeam[serve]" ({error})') from error
    vectors = {name: ServedVector(name, spec) for name, spec in served_vectors(job).items()}
    root = _root(vectors, vector)
    tokens = _tokens(token_env)
    with closing(_socket(host, port)) as listening:
        _tell(console, vectors, root, host, listening.getsockname()[1], tokens)
        _answer(Service(vectors, root, tokens).app, listening, vectors, console)


def served_vectors(job: Job) -> dict[str, VectorSpec]:
    """The job's vectors that have a model, each with its module: of `target.create`, of the live collection, or the model's usual one.

    Weaviate waits for its containers when it starts, so it need not be up. Raises JobError where no vector has a model.
    """
    encoded = {name: spec for name, spec in job.vectors.items() if spec.model}
    if not encoded:
        raise JobError("vectors: none has a model, so there is nothing to serve")
    collection = _collection(job)
    return {name: spec.model_copy(update={"module": _module(job, name, spec, collection)}) for name, spec in encoded.items()}


def _collection(job: Job) -> Collection | None:
    """The definition in `target.create`, else what the server says; None where neither says anything."""
    if job.target.create is not None:
        return planned_collection(job)
    if job.target.weaviate.url == "embedded":
        return None  # it has no modules
    once = job.target.model_copy(update={"retry_s": 0.0, "timeout_s": 3.0})
    try:
        with closing(WeaviateTarget(once)) as target:
            return target.collection()
    except (WorldError, JobError):  # not up yet, or the key that only `run` needs is not here
        return None


def _module(job: Job, name: str, spec: VectorSpec, collection: Collection | None) -> Module | None:
    if collection and name in collection.vectors:
        return module_of(collection.definition, name, collection.properties, collection.vectors[name].unnamed)
    collection_name = class_name(job.target.collection)
    if spec.model and spec.model.imagebind:
        return MultiModule("multi2vec-bind", collection_name, {})
    if _is_clip(spec):
        return MultiModule("multi2vec-clip", collection_name, {})
    return TextModule("text2vec-transformers", collection_name, ())


def _is_clip(spec: VectorSpec) -> bool:
    """Whether the model is one for texts and images."""
    assert spec.model
    image = prebuilt_image(spec.model.prebuilt) if spec.model.prebuilt else None
    if image is not None:
        return image.image == "multi2vec-clip"
    return spec.model.mode in ("openai", "openclip", "siglip") or family(spec.model_copy(update={"module": None})) == "clip"


def _root(vectors: dict[str, ServedVector], name: str | None) -> ServedVector | None:
    """The vector that is asked without a prefix: the named one, or the only one. Raises JobError."""
    if name is None:
        return next(iter(vectors.values())) if len(vectors) == 1 else None
    if name not in vectors:
        raise JobError(f"--vector {name}: the job's vectors that have a model are {', '.join(vectors)}")
    return vectors[name]


def _tokens(variable: str | None) -> list[str]:
    """The bearer tokens in an environment variable, separated by commas. Raises JobError where there are none."""
    if variable is None:
        return []
    tokens = [t.strip() for t in os.environ.get(variable, "").split(",") if t.strip()]
    if not tokens:
        raise JobError(
            f"--token-env {variable}: that environment variable is not set or empty; it holds one token or more, with commas between"
        )
    return tokens


def _socket(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises WorldError where the address cannot be had."""
    try:
        family_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family_, backlog=2048)
    except OSError as error:
        raise WorldError(f"cannot listen on {host}, port {port}: {error.strerror or error}; --port 0 takes a free one") from error
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited; asyncio leaves it out here, and answers wait 40 ms
    return listening


def _answer(app: Any, listening: socket.socket, vectors: dict[str, ServedVector], console: Console) -> None:
    """Run the server until it is asked to end, or a model cannot be loaded."""
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(app, http="h11", ws="none", loop="asyncio", lifespan="off", log_level="warning", timeout_keep_alive=KEEP_ALIVE_S)
    )
    failures: list[Exception] = []

    def failed(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    started = time.monotonic()

    def loaded(name: str) -> None:
        console.print(f"{escape(name)}: loaded after {time.monotonic() - started:.1f} s", highlight=False)
        if remark := vectors[name].remark:
            console.print(f"{escape(name)}: {escape(remark)}", highlight=False)

    with _signals(server):  # from here on, since whoever reads "loaded" may end it
        for served in vectors.values():
            served.start(failed, loaded)
        server.run(sockets=[listening])
    for served in vectors.values():
        served.stop()
    if failures:
        raise failures[0]
    console.print("Stopped; every request that had come was answered.")


@contextmanager
def _signals(server: Any) -> Iterator[None]:
    """SIGTERM and Ctrl-C end `server` also before it looks at them itself; and when it raises them again at its end, nothing else."""

    def end(*_: Any) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _tell(console: Console, vectors: dict[str, ServedVector], root: ServedVector | None, host: str, port: int, tokens: list[str]) -> None:
    """Say what is served where, and what Weaviate is to be told."""
    shown = f"[{host}]" if ":" in host else host
    base = f"http://{socket.gethostname() if host in ('0.0.0.0', '::') else shown}:{port}"

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    say(f"Serving on http://{shown}:{port}")
    for name, served in vectors.items():
        for line in _lines(name, served, base if served is root else f"{base}/{name}"):
            say(line)
    if host not in LOCAL:
        say(f"  {host} is not this machine alone: whoever reaches the port can use the models; the traffic is not encrypted")
    if tokens:
        say("  A bearer token is asked for. Weaviate itself sends none, so its modules will get 401: put a proxy between that adds it")


def _lines(name: str, served: ServedVector, url: str) -> Iterator[str]:
    """What is served at `url`, and where to write it down."""
    module = served.spec.module.name if served.spec.module else "the job's own way of encoding"
    several = isinstance(served.spec.module, MultiModule)
    yield f"  {name} as {module}: POST {url}/vectors" + (f" and {url}/vectorize" if several else "")
    if served.spec.model and served.spec.model.passage:
        yield "    objects get the passage model, queries the query model; Weaviate's passage and query URLs may both be this one"
    variable = VARIABLES.get(module)
    if module in ONE_FOR_ALL:
        yield f"    for all of Weaviate: {variable}={url} (a collection cannot say it)"
    else:
        yield f'    in the collection: "inferenceUrl": "{url}"' + (f"; or for all of Weaviate: {variable}={url}" if variable else "")
