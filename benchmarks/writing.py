"""Writing vectors that are there already: Warpbeam against prebuilt messages and against weaviate-client's batches.

    python benchmarks/writing.py [--objects 10000] [--rounds 5] [--dims 384,768] [--indexes flat,hnsw] [--ways prebuilt,target,...]

Objects with three properties (a text, a number, an int) and one vector, into a real Weaviate. Each row is a process of its
own with a server of its own, so that none writes while the server still drops what the row before it wrote; all rows in
turn, round by round. Timed:
- prebuilt messages: `BatchObjects` requests of 512 messages that were built and serialised before the clock starts, 1, 2 and
  4 of them in flight, each tried once before and the best taken: what the server accepts.
- WeaviateTarget: from Arrow batches in memory to the last acknowledged object, building the same messages.
- warpbeam run: the pipeline, from the first shard of a Parquet file to the last acknowledged object; Beam's own start and
  the search for duplicate keys are in it.
- weaviate-client: `batch.fixed_size` with lists of floats, from Python rows in memory; batch sizes and concurrent requests
  tried once before, the best taken.
CPU is that of the client's process during that time, all its threads. `messages` is the building alone, in one thread.
Needs `make env`. Writes benchmarks/results/writing.json after each round.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.figures import in_own_process, machine, ratio, spread, store  # noqa: E402

NAME = "Written"
BATCH = 1000
PROPERTIES = (("title", "text"), ("price", "number"), ("stock", "int"))
WAYS = {
    "prebuilt": ("prebuilt messages", [1, 2, 4]),
    "target": ("WeaviateTarget", [None]),
    "run": ("warpbeam run", [None]),
    "client": ("weaviate-client, batches", [[200, 2], [1000, 2], [1000, 4]]),
    "messages": ("messages alone, not sent", [None]),
}


def rows(asked: dict[str, Any]) -> Any:
    """The table: key, three properties, vectors (n, dim) float32; always the same."""
    import numpy as np
    import pyarrow as pa

    n, dim = asked["objects"], asked["dim"]
    random = np.random.default_rng(0)
    numbers = pa.array(random.standard_normal(n * dim, np.float32))
    keys = [f"key-{i}" for i in range(n)]
    columns = {
        "key": keys,
        "title": [f"the title of article {k}, in a few words" for k in keys],
        "price": np.arange(n) * 0.25,
        "stock": np.arange(n) % 100,
    }
    return pa.table(columns | {"embedding": pa.FixedSizeListArray.from_arrays(numbers, dim)})


def batches(asked: dict[str, Any]) -> list[Any]:
    """The objects as they reach the writing stage."""
    import pyarrow as pa

    from schemas.columns import UUID, VECTOR
    from schemas.objects import uuid5

    table = rows(asked)
    uuids = pa.array([uuid5(k) for k in table.column("key").to_pylist()], pa.binary(16))
    names = [n for n, _ in PROPERTIES]
    table = table.select([*names, "embedding"]).rename_columns([*names, f"{VECTOR}v"]).append_column(UUID, uuids)
    return table.combine_chunks().to_batches(max_chunksize=BATCH)


def definition(index: str) -> dict[str, Any]:
    """The class."""
    properties = [{"name": n, "dataType": [t]} for n, t in PROPERTIES]
    return {"class": NAME, "properties": properties, "vectorConfig": {"v": {"vectorizer": {"none": {}}, "vectorIndexType": index}}}


def target_of(asked: dict[str, Any]) -> Any:
    """Warpbeam's writer for the collection."""
    from pipelines.targets.weaviate import WeaviateTarget
    from schemas.job import TargetSpec

    spec = TargetSpec.model_validate({"weaviate": {"url": asked["url"], "grpc": asked["grpc"]}, "collection": NAME})
    return WeaviateTarget(spec, WeaviateTarget(spec).collection())


def clocked(work: Callable[[], Any]) -> dict[str, float]:
    """Wall and CPU seconds of `work`."""
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return {"seconds": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}


def built(asked: dict[str, Any]) -> list[Any]:
    """The messages of all objects."""
    target = target_of(asked)
    return [m for b in batches(asked) for m in target._messages(b)]


def prebuilt(asked: dict[str, Any]) -> dict[str, float]:
    """Send messages that are there."""
    import grpc

    from pipelines.targets.messages import request

    made, writer = built(asked), target_of(asked)
    requests = [request(made[i : i + 512], writer.spec.consistency_level) for i in range(0, len(made), 512)]
    with closing(writer):
        grpc.channel_ready_future(writer.connection.channel).result(30)

        def send() -> None:
            waiting: deque[Any] = deque()
            for body in requests:
                if len(waiting) == asked["variant"]:
                    settle(waiting.popleft())
                waiting.append(writer.connection.batch_objects.future(body, timeout=300))
            while waiting:
                settle(waiting.popleft())

        return clocked(send)


def settle(reply: Any) -> None:
    """Every object of a request is in."""
    errors = reply.result().errors
    assert not errors, errors


def target(asked: dict[str, Any]) -> dict[str, float]:
    """Warpbeam's writer alone."""
    made, writer = batches(asked), target_of(asked)
    writer.count()  # imported and connected, as the peers are

    def write() -> None:
        refused = 0
        for batch in made:
            writer.write(batch)
            refused += sum(len(r) for _, r in writer.results(wait=False))
        refused += sum(len(r) for _, r in writer.results(wait=True))
        assert not refused

    return clocked(write)


def messages(asked: dict[str, Any]) -> dict[str, float]:
    """Building the messages, nothing else."""
    made, writer = batches(asked), target_of(asked)
    writer._messages(made[0])
    return clocked(lambda: [writer._messages(b) for b in made])


def run(asked: dict[str, Any]) -> dict[str, float]:
    """The pipeline, from a Parquet file."""
    import pyarrow.parquet as pq
    import yaml
    from rich.console import Console

    import jobs.run
    from jobs.job_file import load_job

    folder = Path(asked["folder"])
    pq.write_table(rows(asked), folder / "rows.parquet", row_group_size=BATCH)
    content = {
        "source": {"parquet": "rows.parquet", "key": "key", "properties": {n: n for n, _ in PROPERTIES}},
        "target": {"weaviate": {"url": asked["url"], "grpc": asked["grpc"]}, "collection": NAME},
        "vectors": {"v": {"column": "embedding"}},
        "failures": {"path": "failures"},
        "report": "report",
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(content))
    found: list[dict[str, float]] = []
    executed = jobs.run.executed

    def timed(*args: Any, **kwargs: Any) -> Any:
        outcome: list[Any] = []
        found.append(clocked(lambda: outcome.append(executed(*args, **kwargs))))
        return outcome[0]

    jobs.run.executed = timed
    code = jobs.run.run(load_job(folder / "job.yaml"), Console(file=sys.stderr))
    assert code == 0, code
    return found[0]


def client(asked: dict[str, Any]) -> dict[str, float]:
    """What weaviate-client's users write."""
    import weaviate
    from weaviate.util import generate_uuid5

    found = rows(asked)
    vectors = found.column("embedding").to_pylist()
    objects = found.drop_columns(["key", "embedding"]).to_pylist()
    uuids = [generate_uuid5(k) for k in found.column("key").to_pylist()]
    size, concurrent = asked["variant"]
    ports = (int(asked[name].rpartition(":")[2]) for name in ("url", "grpc"))
    with weaviate.connect_to_local(port=next(ports), grpc_port=next(ports)) as connected:
        collection = connected.collections.use(NAME)

        def write() -> None:
            with collection.batch.fixed_size(batch_size=size, concurrent_requests=concurrent) as batch:
                for uuid, properties, vector in zip(uuids, objects, vectors, strict=True):
                    batch.add_object(properties, uuid=uuid, vector={"v": vector})
            assert not collection.batch.failed_objects, collection.batch.failed_objects[0]

        return clocked(write)


def one(asked: dict[str, Any]) -> None:
    """In a process of its own: one way, its figures, and all objects there."""
    import httpx

    httpx.post(f"{asked['url']}/v1/schema", json=definition(asked["index"]), timeout=60).raise_for_status()
    way = {"prebuilt": prebuilt, "target": target, "run": run, "client": client, "messages": messages}[asked["way"]]
    figures = way(asked)
    if asked["way"] != "messages":
        assert target_of(asked).count() == asked["objects"]
    print("\n" + json.dumps(figures))


def measured(asked: dict[str, Any]) -> dict[str, float]:
    """The figures of one way, on a new server."""
    from jobs.embedded import start_server

    with tempfile.TemporaryDirectory() as folder, start_server(Path(folder) / "data", log=Path(folder) / "log") as server:
        return in_own_process(__file__, "--one", json.dumps(asked | {"folder": folder, "url": server.url, "grpc": server.grpc}))


def cases(options: argparse.Namespace) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(key, way, what is asked) of every row, its variant chosen."""
    for dim in options.dims.split(","):
        for index in options.indexes.split(","):
            for way in options.ways.split(","):
                variants = WAYS[way][1]
                base = {"way": way, "dim": int(dim), "index": index, "objects": options.objects}
                tried = {} if len(variants) == 1 else {str(v): measured(base | {"variant": v})["seconds"] for v in variants}
                best = min(variants, key=lambda v: tried.get(str(v), 0.0))
                yield f"{dim}/{index}/{way}", way, base | {"variant": best}


def show(result: dict[str, Any]) -> None:
    """The table."""
    from rich.console import Console
    from rich.table import Table

    title = f"{result['objects']:,} objects, 3 properties. Median (smallest-largest)"
    table = Table("", "seconds", "objects/s", "of prebuilt", "client CPU, µs an object", title=title)
    for key, row in result["rows"].items():
        place, _, way = key.rpartition("/")
        seconds, base = row["seconds"], result["rows"][f"{place}/prebuilt"]["seconds"]
        wall, cpu = spread(seconds), spread(row["cpu_s"])["median"] / result["objects"] * 1e6
        name = f"{place} {WAYS[way][0]}" + (f" {row['variant']}" if row["variant"] else "")
        share = "-" if way == "messages" else f"{ratio(seconds, base):.2f}"
        shown = "{median:.2f} ({min:.2f}-{max:.2f})".format(**wall)
        table.add_row(name, shown, f"{result['objects'] / wall['median']:,.0f}", share, f"{cpu:.0f}")
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def main() -> None:
    """All rounds, and the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dims", default="384,768")
    parser.add_argument("--indexes", default="flat,hnsw")
    parser.add_argument("--ways", default=",".join(WAYS), help="prebuilt is needed for the ratios")
    parser.add_argument("--name", default="writing", help="of the result file")
    parser.add_argument("--one")
    options = parser.parse_args()
    if options.one:
        one(json.loads(options.one))
        return
    asked = list(cases(options))
    rows = {key: {"variant": a["variant"], "seconds": [], "cpu_s": []} for key, _, a in asked}
    result: dict[str, Any] = {"objects": options.objects, "machine": machine(), "rows": rows}
    for turn in range(options.rounds):
        print(f"round {turn + 1} of {options.rounds}", flush=True)
        for key, _, a in asked:
            figures = measured(a)
            for name, value in figures.items():
                result["rows"][key][name].append(value)
            print(f"{key}: {figures['seconds']:.2f} s, CPU {figures['cpu_s']:.2f} s", flush=True)
        store(options.name, result)
    show(result)


if __name__ == "__main__":
    main()
