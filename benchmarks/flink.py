"""Throughput on a real Flink cluster at parallelism 1, 2 and 4, with a model that sleeps, so that cores do not bound it.

Each parallelism has a cluster of its own with as many TaskManagers of one slot each: one SDK worker and one model a slot,
as in a cluster with one GPU a pod (in one process all threads would share one model and its lock). The fake encoder sleeps
`--ms` for every value, as a process does that waits for its GPU. Writes benchmarks/results/flink.json. Run from the
repository: `.venv/bin/python -m benchmarks.flink`.

`objects_per_s` is of the whole run as its report tells it, with submission and the search for duplicates; `stage_objects_per_s`
of the stage that encodes and writes.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from encoders.fake import SLOWNESS
from jobs.flink.cluster import Cluster, start_cluster
from jobs.flink.rest import ask, flink_jobs
from jobs.server import Server, start_server

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "flink.json"
SHARDS = 16
DEFINITION = {
    "properties": [{"name": "key", "dataType": ["text"]}, {"name": "text", "dataType": ["text"]}],
    "vectorConfig": {"v": {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}},
}


def write_job(folder: Path, server: Server, parallelism: int, rows: int) -> Path:
    """The job of one parallelism, into a collection of its own."""
    name = f"Flink{parallelism}x{int(time.time())}"
    (folder / "class.json").write_text(json.dumps({"class": name} | DEFINITION))
    for shard in range(SHARDS):
        numbers = range(shard * rows // SHARDS, (shard + 1) * rows // SHARDS)
        pq.write_table(
            pa.table({"key": [f"k{i}" for i in numbers], "text": [f"text {i}" for i in numbers]}), folder / f"rows{shard:02d}.parquet"
        )
    job = {
        "source": {"parquet": "rows*.parquet", "key": "key"},
        "target": {"weaviate": {"url": server.url, "grpc": server.grpc}, "collection": name, "create": "class.json"},
        "vectors": {"v": {"model": {"fake": 64}, "text_fields": ["text"]}},
        "failures": {"path": "failures"},
        "report": "report",
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def flags(cluster: Cluster, parallelism: int, ms: float) -> list[str]:
    command = {"command": str(cluster.folder / "worker.sh"), "env": {SLOWNESS: str(ms)}}
    return cluster.beam_args(parallelism, environment_config=json.dumps(command))


def stage_seconds(cluster: Cluster, run: str) -> float:
    """How long the stage took that encodes and writes, from the start of its workers to its end, as Flink tells it."""
    job = next(j for j in flink_jobs(cluster.rest) if j.name == f"warpbeam-{run.lower()}")
    stages = [v for v in ask(cluster.rest, f"/jobs/{job.id}")["vertices"] if "VectorizeOb" in v["name"]]
    return float(max(v["duration"] for v in stages)) / 1000


def measured(folder: Path, server: Server, parallelism: int, rows: int, ms: float) -> dict[str, Any]:
    """One load on a cluster with `parallelism` TaskManagers; a small one before it, for the JVMs to warm up."""
    folder.mkdir()
    with start_cluster(folder / "cluster", parallelism, slots=1) as cluster:
        for n in (SHARDS * 4, rows):
            path = write_job(folder, server, parallelism, n)
            command = [sys.executable, "-m", "jobs.cli", "run", str(path), "--json", "--", *flags(cluster, parallelism, ms)]
            subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)})
        report = json.loads((folder / "report" / "report.json").read_text())
        stage_s = stage_seconds(cluster, report["run"])
    assert report["counts"]["loaded"] == rows, report["counts"]
    encode_s = report["phases_ms"]["encode/v"] / 1000
    return {
        "parallelism": parallelism,
        "rows": rows,
        "seconds": report["seconds"],
        "objects_per_s": round(rows / report["seconds"], 1),
        "stage_s": round(stage_s, 2),
        "stage_objects_per_s": round(rows / stage_s, 1),
        "encode_s_of_all_workers": round(encode_s, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=9600)
    parser.add_argument("--ms", type=float, default=25.0, help="milliseconds that a value takes")
    args = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as made, start_server(Path(made) / "data", log=Path(made) / "server.log") as server:
        for parallelism in (1, 2, 4):
            found.append(measured(Path(made) / str(parallelism), server, parallelism, args.rows, args.ms))
            print(found[-1], flush=True)
    ratio, stages = (found[-1][name] / found[0][name] for name in ("objects_per_s", "stage_objects_per_s"))
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "load_average": os.getloadavg()}
    setting = {"rows": args.rows, "shards": SHARDS, "ms_per_value": args.ms, "slots_per_task_manager": 1, "sdk_workers_per_slot": 1}
    ratios = {"whole_run": round(ratio, 2), "stage": round(stages, 2)}
    RESULT.write_text(json.dumps({"machine": machine, "setting": setting, "runs": found, "four_against_one": ratios}, indent=2) + "\n")
    print(f"4 against 1: {ratio:.2f}; the stage that encodes and writes: {stages:.2f}")


if __name__ == "__main__":
    main()
