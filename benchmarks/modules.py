"""Bulk loading against a server that vectorizes itself, and `warpbeam serve` against an endpoint that takes one text a request.

    python benchmarks/modules.py [--texts 1500] [--rounds 3] [--clients 32]

The peer is an inference endpoint as Weaviate's containers have it: one text a request, the same model, mode, torch,
threads and dtype as ours, and no added delay. In turn, round by round, on the demo's data:
- a real Weaviate vectorizes the objects with text2vec-transformers through the peer (BatchObjects, two requests in flight);
- `warpbeam run` loads the same objects with their vectors into the same server (the model loaded before the clock starts
  in both); the vectors are compared;
- `--clients` clients ask the peer and `warpbeam serve` for the same texts.
Needs `python examples/stdlib.py` and `make env`. Prints a table; writes benchmarks/results/modules.json.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.figures import in_own_process  # noqa: E402

DATA = ROOT / ".warpbeam" / "stdlib"
RESULT = ROOT / "benchmarks" / "results" / "modules.json"
NAME = "Docstring"


def rows(n: int) -> list[dict[str, str]]:
    """The first `n` docstrings in a mixed order."""
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(DATA / "stdlib.parquet", columns=["key", "docstring"])
    return table.take(np.random.default_rng(0).permutation(table.num_rows)[:n]).to_pylist()


def endpoint(port: int) -> None:
    """The peer: one text a request, as the containers do it, with our own encoder for a call of one text."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    from encoders.transformers_inference import TransformersInference
    from schemas.job import VectorSpec

    encoder = TransformersInference(VectorSpec.model_validate({"model": {"name": str(DATA / "model"), "mode": "huggingface"}}))
    encoder.encode(["warm up"])
    one = threading.Lock()

    def vector(text: str) -> list[float]:
        with one:
            return encoder.vectorize([text], "passage", "masked_mean", None).vectors[0].tolist()

    async def vectors(request: Request) -> Response:
        text = json.loads(await request.body())["text"]
        return JSONResponse({"text": text, "vector": (found := await run_in_threadpool(vector, text)), "dim": len(found)})

    async def ready(request: Request) -> Response:
        return Response(status_code=204)

    routes = [Route("/vectors", vectors, methods=["POST"]), Route("/.well-known/ready", ready), Route("/meta", lambda r: JSONResponse({}))]
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="warning")


@contextmanager
def process(*command: str, url: str) -> Iterator[None]:
    """A server in a process of its own, until it is ready."""
    import httpx

    started = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                if httpx.get(f"{url}/.well-known/ready", timeout=5).status_code == 204:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        else:
            sys.exit(f"{command} was not ready in a minute")
        yield
    finally:
        started.terminate()
        started.wait(30)


def ask(url: str, texts: list[str], clients: int) -> float:
    """Seconds in which `clients` clients get a vector for every text."""
    import httpx

    with httpx.Client(limits=httpx.Limits(max_connections=clients), timeout=600) as client:

        def one(text: str) -> None:
            config = {"pooling_strategy": "masked_mean", "task_type": "passage"}
            client.post(f"{url}/vectors", json={"text": text, "config": config}).raise_for_status()

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(one, texts[: 2 * clients]))
            start = time.perf_counter()
            list(pool.map(one, texts))
            return time.perf_counter() - start


def definition(peer: str) -> dict[str, object]:
    """A class that text2vec-transformers vectorizes through the peer."""
    module = {"text2vec-transformers": {"inferenceUrl": peer, "vectorizeClassName": False}}
    properties = [{"name": n, "dataType": ["text"]} for n in ("key", "docstring")]
    return {"class": NAME, "properties": properties, "vectorConfig": {"text": {"vectorizer": module, "vectorIndexType": "flat"}}}


def by_server(server: str, grpc_address: str, found: list[dict[str, str]]) -> float:
    """Seconds in which the server vectorizes and stores all objects."""
    import grpc
    from weaviate.proto.v1 import batch_pb2, weaviate_pb2_grpc
    from weaviate.util import generate_uuid5

    def request(part: list[dict[str, str]]) -> object:
        objects = []
        for row in part:
            message = batch_pb2.BatchObject(uuid=str(generate_uuid5(row["key"])), collection=NAME)
            for name, value in row.items():
                message.properties.non_ref_properties.fields[name].string_value = value
            objects.append(message)
        return batch_pb2.BatchObjectsRequest(objects=objects)

    with grpc.insecure_channel(grpc_address) as channel, ThreadPoolExecutor(2) as pool:
        stub = weaviate_pb2_grpc.WeaviateStub(channel)
        requests = [request(found[i : i + 100]) for i in range(0, len(found), 100)]
        start = time.perf_counter()
        for reply in pool.map(lambda r: stub.BatchObjects(r, timeout=600), requests):
            assert not reply.errors, reply.errors
        return time.perf_counter() - start


def by_run(folder: Path) -> float:
    """Seconds of the pipeline, in a process of its own."""
    return float(in_own_process(__file__, "--load", str(folder / "job.yaml")))


def load(path: str) -> None:
    """Print the seconds from the first shard to the last acknowledged object."""
    from rich.console import Console

    from encoders.sharing import shared_encoder
    from jobs.examine.findings import examined
    from jobs.examine.sample import take_sample
    from jobs.execute import executed
    from jobs.job_file import load_job
    from jobs.run import plan_of

    with examined(load_job(path)) as found:
        take_sample(found)
        assert not found.exit_code, found.faults + found.away
        plan = plan_of(found)
    with shared_encoder(plan.job.vectors["text"]) as encoder:
        encoder.encode(["warm up"] * 64, "text")
    start = time.perf_counter()
    outcome = executed(plan, [], Console(), quiet=True)
    print(time.perf_counter() - start)
    assert outcome.error is None, outcome.error


def stored(server: str) -> dict[str, list[float]]:
    """Every object's vector."""
    import httpx

    found: dict[str, list[float]] = {}
    after = ""
    while page := httpx.get(f"{server}/v1/objects?class={NAME}&include=vector&limit=500&after={after}", timeout=60).json()["objects"]:
        found |= {o["id"]: o["vectors"]["text"] for o in page}
        after = page[-1]["id"]
    return found


def main() -> None:
    """All rounds, and the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--endpoint", type=int)
    parser.add_argument("--load")
    options = parser.parse_args()
    if options.endpoint:
        endpoint(options.endpoint)
    elif options.load:
        load(options.load)
    else:
        measure(options.texts, options.rounds, options.clients)


def measure(n: int, rounds: int, clients: int) -> None:
    """Peers and ours in turn."""
    import httpx
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import yaml

    from jobs.embedded import start_server
    from jobs.server import free_ports

    found = rows(n)
    ports = free_ports()
    peer, serve = f"http://127.0.0.1:{ports.http}", f"http://127.0.0.1:{ports.gossip}"
    seconds: dict[str, list[float]] = {
        name: [] for name in ("server vectorizes", "warpbeam run", "endpoint, 1 text a request", "warpbeam serve")
    }
    with TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(pa.Table.from_pylist(found), folder / "rows.parquet", row_group_size=max(1, n // 8))
        env = {"ENABLE_MODULES": "text2vec-transformers", "TRANSFORMERS_INFERENCE_API": peer, "MODULES_CLIENT_TIMEOUT": "300s"}
        with (
            process(__file__, "--endpoint", str(ports.http), url=peer),
            start_server(folder / "data", env=env, log=folder / "log") as server,
        ):
            job = {
                "source": {"parquet": "rows.parquet", "key": "key"},
                "target": {"weaviate": {"url": server.url, "grpc": server.grpc}, "collection": NAME},
                "vectors": {"text": {"model": {"name": str(DATA / "model"), "mode": "huggingface"}}},
            }
            job["source"]["properties"] = {"key": "key", "docstring": "docstring"}
            (folder / "job.yaml").write_text(yaml.safe_dump(job))
            worst = 0.0
            for _ in range(rounds):
                vectors = []
                for what, way in (
                    ("server vectorizes", lambda: by_server(server.url, server.grpc, found)),
                    ("warpbeam run", lambda: by_run(folder)),
                ):
                    httpx.delete(f"{server.url}/v1/schema/{NAME}", timeout=60)
                    httpx.post(f"{server.url}/v1/schema", json=definition(peer), timeout=60).raise_for_status()
                    seconds[what].append(way())
                    vectors.append(stored(server.url))
                    print(f"{what}: {seconds[what][-1]:.1f} s", flush=True)
                assert set(vectors[0]) == set(vectors[1]) and len(vectors[0]) == n
                pairs = [(np.array(vectors[0][u]), np.array(vectors[1][u])) for u in vectors[0]]
                worst = max(worst, *(float(np.linalg.norm(a - b) / np.linalg.norm(a)) for a, b in pairs))
            texts = [f"{r['docstring']} {r['key']}" for r in found]
            ours = ("-m", "jobs.cli", "serve", str(folder / "job.yaml"), "--port", str(ports.gossip))
            with process(*ours, url=serve):
                for _ in range(rounds):
                    for what, url in (("endpoint, 1 text a request", peer), ("warpbeam serve", serve)):
                        seconds[what].append(ask(url, texts, clients))
                        print(f"{what}, {clients} clients: {seconds[what][-1]:.1f} s", flush=True)
    tell(n, clients, seconds, worst)


def tell(n: int, clients: int, seconds: dict[str, list[float]], worst: float) -> None:
    """The table, and the result file."""
    pairs = (("server vectorizes", "warpbeam run"), ("endpoint, 1 text a request", "warpbeam serve"))
    faster = {ours: statistics.median(p / o for p, o in zip(seconds[peer], seconds[ours], strict=True)) for peer, ours in pairs}
    print(f"\n{'':30}{'median s':>10}{'texts/s':>10}{'times as fast':>16}")
    for name, values in seconds.items():
        print(f"{name:30}{statistics.median(values):10.1f}{n / statistics.median(values):10.1f}{faster.get(name, 1.0):16.2f}")
    print(f"largest relative difference of a vector: {worst:.1e}")
    RESULT.parent.mkdir(exist_ok=True)
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    content = {
        "texts": n,
        "clients": clients,
        "seconds": seconds,
        "times_as_fast": faster,
        "largest_relative_difference": worst,
        "machine": machine,
    }
    RESULT.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
