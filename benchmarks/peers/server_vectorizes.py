"""Weaviate vectorizes through an inference endpoint that takes one text a request, as its container does (benchmarks/modules.py).

Server and endpoint run before the clock starts. The container's own way is a mean of the sentences' vectors, so the
vectors are not those of plain encode.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import modules
from benchmarks.peers.watching import given, tell
from benchmarks.texts import read_texts


def main() -> None:
    import httpx
    from weaviate.util import generate_uuid5

    from jobs.embedded import start_server
    from jobs.server import free_ports

    job = given()
    texts = read_texts(job["texts"])
    port = free_ports().http
    peer = f"http://127.0.0.1:{port}"
    env = {"ENABLE_MODULES": "text2vec-transformers", "TRANSFORMERS_INFERENCE_API": peer, "MODULES_CLIENT_TIMEOUT": "300s"}
    rows = [{"key": k, "docstring": t} for k, t in texts]
    with TemporaryDirectory() as name, modules.process(modules.__file__, "--endpoint", str(port), url=peer):
        with start_server(Path(name) / "data", env=env, log=Path(name) / "log") as server:
            httpx.post(f"{server.url}/v1/schema", json=of_text_alone(modules.definition(peer)), timeout=60).raise_for_status()
            seconds = modules.by_server(server.url, server.grpc, rows)
            vectors = modules.stored(server.url)
    tell({"steady_s": seconds, "precision": "float32"}, job.get("out"), [vectors[str(generate_uuid5(k))] for k, _ in texts])


def of_text_alone(definition: dict[str, object]) -> dict[str, object]:
    """The key is stored and not vectorized: the text has it already."""
    copy = json.loads(json.dumps(definition))
    copy["properties"][0]["moduleConfig"] = {"text2vec-transformers": {"skip": True}}
    return copy


if __name__ == "__main__":
    main()
