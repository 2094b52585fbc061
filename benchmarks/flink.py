"""Throughput on a real Flink cluster at parallelism 1, 2 and 4, with a model that sleeps, so that cores do not bound it.

Each parallelism has a cluster of its own with as many TaskManagers of one slot each: one SDK worker and one model a slot,
as in a cluster with one GPU a pod (in one process all threads would share one model and its lock). The fake encoder sleeps
`--ms` for every value, as a process does that waits for its GPU: so it can be measured beside other work. What it does not
show is a model that competes for cores. Writes benchmarks/results/flink.json. Run from the repository:
`.venv/bin/python -m benchmarks.flink` (10 minutes).

`objects_per_s` is of the whole run as its report tells it; `stage_objects_per_s` of the stage that encodes and writes.
`rest_s` has the two largest parts of the rest: from the plan to Flink's start of the job (building and submitting it), and from
there until all workers have done their first work (their Pythons start, all on this machine's cores).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import datetime
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


def timeline(cluster: Cluster, run: str) -> dict[str, Any]:
    """How long the stage took that encodes and writes, as Flink tells it, and two parts of what else a run takes."""
    job = next(j for j in flink_jobs(cluster.rest) if j.name == f"warpbeam-{run.lower()}")
    found = ask(cluster.rest, f"/jobs/{job.id}")
    planned = datetime.strptime(run[:15] + "+0000", "%Y%m%dT%H%M%S%z").timestamp()  # a run is named as its plan is made
    stage_ms = max(v["duration"] for v in found["vertices"] if "VectorizeOb" in v["name"])
    first_ms = max(v["end-time"] for v in found["vertices"] if "]Shards/" in v["name"])
    start_ms = found["start-time"]
    rest = {"plan_to_start": round(start_ms / 1000 - planned, 1), "workers_start": round((first_ms - start_ms) / 1000, 1)}
    return {"stage_s": round(stage_ms / 1000, 2), "rest_s": rest}


def measured(folder: Path, server: Server, parallelism: int, rows: int, ms: float) -> dict[str, Any]:
    """One load on a cluster with `parallelism` TaskManagers; a small one before it, for the JVMs to warm up."""
    folder.mkdir()
    with start_cluster(folder / "cluster", parallelism, slots=1) as cluster:
        for n in (SHARDS * 4, rows):
            path = write_job(folder, server, parallelism, n)
            command = [sys.executable, "-m", "jobs.cli", "run", str(path), "--json", "--", *flags(cluster, parallelism, ms)]
            subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)})
        report = json.loads((folder / "report" / "report.json").read_text())
        times = timeline(cluster, report["run"])
    assert report["counts"]["loaded"] == rows, report["counts"]
    encode_s = report["phases_ms"]["encode/v"] / 1000
    return {
        "parallelism": parallelism,
        "rows": rows,
        "seconds": report["seconds"],
        "objects_per_s": round(rows / report["seconds"], 1),
        "stage_objects_per_s": round(rows / times["stage_s"], 1),
        **times,
        "encode_s_of_all_workers": round(encode_s, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--ms", type=float, default=50.0, help="milliseconds that a value takes")
    args = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as made, start_server(Path(made) / "data", log=Path(made) / "server.log") as server:
        for parallelism in (4, 1, 2):
            found.append(measured(Path(made) / str(parallelism), server, parallelism, args.rows, args.ms))
            print(found[-1], flush=True)
            store(found, args)


def store(found: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """Write what is measured so far."""
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "load_average": os.getloadavg()}
    setting = {"rows": args.rows, "shards": SHARDS, "ms_per_value": args.ms, "slots_per_task_manager": 1, "sdk_workers_per_slot": 1}
    runs = {run["parallelism"]: run for run in found}
    result: dict[str, Any] = {"machine": machine, "setting": setting, "runs": [runs[n] for n in sorted(runs)]}
    if {1, 4} <= set(runs):
        names = {"whole_run": "objects_per_s", "stage": "stage_objects_per_s"}
        result["four_against_one"] = {name: round(runs[4][key] / runs[1][key], 2) for name, key in names.items()}
        print(result["four_against_one"], flush=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
