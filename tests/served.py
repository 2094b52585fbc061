"""`warpbeam serve` in the place of the inference containers of a real Weaviate."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import yaml

from jobs.server import Server, free_ports, start_server


@contextmanager
def serving(folder: Path, port: int) -> Iterator[None]:
    """`warpbeam serve` of `folder`/serve.yaml, in a process of its own."""
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", "serve", str(folder / "serve.yaml"), "--port", str(port)], stdout=log, stderr=log
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


@dataclass(frozen=True)
class Modules:
    """A Weaviate with its modules, and the service that makes their vectors."""

    server: Server
    serve: str  # its URL; below it, each vector's own
    models: dict[str, Any]  # vector -> `model` in a job

    def vectorizer(self, vector: str, module: str = "text2vec-transformers", **config: Any) -> dict[str, Any]:
        """A module that asks for the model of `vector`: for a named vector, or as the `moduleConfig` of a class."""
        return {module: {"inferenceUrl": f"{self.serve}/{vector}"} | config}

    def by_server(self, collection: str, objects: dict[str, dict[str, Any]], tenant: str | None = None) -> set[str]:
        """Let the server vectorize `objects` (id -> properties); the ids that it refused."""
        rows = [{"class": collection, "id": key, "properties": p} | ({"tenant": tenant} if tenant else {}) for key, p in objects.items()]
        answer = httpx.post(f"{self.server.url}/v1/batch/objects", json={"objects": rows}, timeout=600).raise_for_status().json()
        return {o["id"] for o in answer if o["result"].get("errors")}


@contextmanager
def modules_server(folder: Path, models: dict[str, Any]) -> Iterator[Modules]:
    """Weaviate with text2vec-transformers and multi2vec-clip, which ask `warpbeam serve` for `models` (vector: model)."""
    port = free_ports().http
    serve = f"http://127.0.0.1:{port}"
    job = {
        "source": {"parquet": "rows.parquet", "key": "key"},
        "target": {"weaviate": "http://127.0.0.1:9", "collection": "Any"},  # nothing listens: each model's usual module
        "vectors": {name: {"model": model} for name, model in models.items()},
    }
    (folder / "serve.yaml").write_text(yaml.safe_dump(job))
    env = {"ENABLE_MODULES": "text2vec-transformers,multi2vec-clip"}
    env |= {name: f"{serve}/{next(iter(models))}" for name in ("TRANSFORMERS_INFERENCE_API", "CLIP_INFERENCE_API")}
    with serving(folder, port), start_server(folder / "data", env=env, log=folder / "server.log") as server:
        yield Modules(server, serve, models)


def relative(made: dict[str, Any], stored: dict[str, Any]) -> float:
    """The worst relative difference of two maps of vectors, key by key; both have the same keys."""

    assert set(made) == set(stored), set(made) ^ set(stored)
    pairs = [(np.asarray(made[k], float), np.asarray(stored[k], float)) for k in made]
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)
