"""`warpbeam run` on a real Flink cluster: the same collection, the same report and the same exit codes as on this machine."""

import json
import os
import signal
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.flink.cluster import Cluster
from jobs.flink.rest import flink_jobs
from jobs.server import start_server
from tests.conftest import Load
from tests.flink.conftest import Start, slow, wait_for

NONE = {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}
TEXTS = [{"name": "key", "dataType": ["text"]}, {"name": "title", "dataType": ["text"]}]
DEFINITION = {"properties": TEXTS, "vectorConfig": {"v": NONE}}
FAKE = {"v": {"model": {"fake": 8}, "text_fields": ["title"]}}
FILES = 4  # shards
COUNTED = ("counts", "objects", "vectors", "exit_code", "problem")


def rows(n: int, first: int = 0) -> pa.Table:
    numbers = range(first, first + n)
    return pa.table({"key": [f"k{i}" for i in numbers], "title": [f"title {i}" for i in numbers]})


def job_of(load: Load, table: pa.Table, vectors: dict[str, Any] = FAKE, **rest: Any) -> Path:
    """A job with its collection yet to be made, which remembers what made its objects."""
    (load.folder / "class.json").write_text(json.dumps({"class": load.collection} | DEFINITION))
    for n in range(FILES):
        load.parquet(table.slice(n * len(table) // FILES, (n + 1) * len(table) // FILES - n * len(table) // FILES), f"rows{n}.parquet")
    return load.job({"parquet": "rows*.parquet", "key": "key"}, vectors, {"create": "class.json"}, **rest)


def report_of(load: Load) -> dict[str, Any]:
    return dict(json.loads((load.folder / "report" / "report.json").read_text()))


def stored(load: Load) -> dict[str, tuple[dict[str, Any], np.ndarray]]:
    """Every object's properties and vector; `warpbeam_job` names the job, and this is another one."""
    return {key: (o["properties"], np.array(o["vectors"]["v"])) for key, o in load.objects().items()}


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Ids and properties exactly, vectors within 1e-6 of their length."""
    assert set(one) == set(other)
    for key, (properties, vector) in one.items():
        assert properties == other[key][0]
        assert np.linalg.norm(vector - other[key][1]) <= 1e-6 * np.linalg.norm(vector)


@pytest.fixture
def twin(load: Load, tmp_path_factory: pytest.TempPathFactory) -> Load:
    """A second folder for the same collection."""
    return Load(tmp_path_factory.mktemp("twin"), load.server, load.collection)


def test_the_report_and_the_collection_are_those_of_a_local_run(load: Load, twin: Load, cluster: Cluster) -> None:
    """Two rows without text, two without a key and one key twice; both runs into an empty collection."""
    keys = [f"k{i}" for i in range(600)]
    keys[17], keys[300], keys[599] = None, None, "k5"  # type: ignore[call-overload]
    titles = [f"title {i}" for i in range(600)]
    titles[3], titles[400] = " ", None  # type: ignore[call-overload]
    table = pa.table({"key": keys, "title": titles})
    here = load.run(job_of(load, table))
    local = stored(load)
    _delete(load)
    there = twin.run(job_of(twin, table), "--", *cluster.beam_args())
    assert here[0] == there[0] == 1  # more rows failed than the allowed share
    assert {k: here[1][k] for k in COUNTED} == {k: there[1][k] for k in COUNTED}
    assert there[1]["counts"]["failed"] == 4 and there[1]["counts"]["duplicate"] == 1
    assert codes(load) == codes(twin)
    assert there[1]["shards"]["read"] == here[1]["shards"]["read"] == FILES
    assert sum(there[1]["rows_over_time"]["rows"]) == sum(here[1]["rows_over_time"]["rows"]) > 0
    assert_same(local, stored(twin))
    again = twin.run(job_of(twin, table), "--", *cluster.beam_args())
    assert (again[0], again[1]["counts"]["unchanged"], again[1]["objects"].get("written", 0)) == (1, 595, 0)
    assert_same(local, stored(twin))


def codes(load: Load) -> list[tuple[Any, ...]]:
    """What failed, and why."""
    return sorted((str(f["key"]), f["row"], f["stage"], f["code"], f["message"]) for f in load.failures())


def _delete(load: Load) -> None:
    import httpx

    httpx.delete(f"{load.server.url}/v1/schema/{load.collection}", timeout=60).raise_for_status()


@pytest.mark.slow
def test_a_genuine_model_gives_the_vectors_of_a_local_run(load: Load, twin: Load, cluster: Cluster, minilm: str) -> None:
    vectors = {"v": {"model": minilm, "text_fields": ["title"]}}
    load.run(job_of(load, rows(100), vectors))
    local = stored(load)
    _delete(load)
    code, _ = twin.run(job_of(twin, rows(100), vectors), "--", *cluster.beam_args())
    assert code == 0
    assert_same(local, stored(twin))


@pytest.mark.slow
def test_a_task_manager_dies_and_the_collection_is_exact(load: Load, cluster: Cluster, warpbeam: Start) -> None:
    """It dies with its SDK worker, as a pod does, while vectors are made; the other one has slots to spare."""
    run = warpbeam("run", job_of(load, rows(800)), "--", *slow(cluster, 10))
    run.job()
    cluster.processes["tm1"].kill()
    code, said = run.end()
    assert code == 0, said
    assert "Workers were lost: " in said  # what it had sent may be stored and not indexed
    report = report_of(load)
    assert report["counts"]["add_up"] and report["counts"]["read"] == 800
    assert report["counts"]["loaded"] + report["counts"]["unchanged"] == 800
    found = load.objects()
    assert sorted(o["properties"]["key"] for o in found.values()) == sorted(f"k{i}" for i in range(800))
    assert all(len(o["vectors"]["v"]) == 8 for o in found.values())


@pytest.mark.slow
def test_an_sdk_worker_dies_and_another_takes_its_place(load: Load, cluster: Cluster, warpbeam: Start) -> None:
    run = warpbeam("run", job_of(load, rows(800)), "--", *slow(cluster, 10))
    run.job()
    workers = wait_for(lambda: [pid for pid in cluster.processes["tm1"].group() if pid != cluster.processes["tm1"].pid])
    os.kill(workers[0], signal.SIGKILL)
    code, said = run.end()
    assert code == 0, said
    assert "Workers were lost: " in said
    assert len(load.objects()) == 800


def test_the_job_server_goes_away_and_the_job_goes_on(load: Load, cluster: Cluster, warpbeam: Start) -> None:
    """The launcher has nobody to ask: 3 and one line. The job is in Flink's hands, and loads what it has to."""
    run = warpbeam("run", job_of(load, rows(400)), "--", *slow(cluster, 50))
    job = run.job()
    cluster.processes["jobserver"].kill()
    code, said = run.end()
    assert code == 3 and "Traceback" not in said, said
    problem = report_of(load)["problem"]
    assert "job server went away" in problem and len(problem.splitlines()) == 1, said
    wait_for(lambda: [j.state for j in flink_jobs(cluster.rest) if j.id == job.id] == ["FINISHED"])
    assert len(load.objects()) == 400


def test_weaviate_goes_away_and_the_run_ends_with_3(tmp_path: Path, cluster: Cluster, warpbeam: Start) -> None:
    with start_server(tmp_path / "data", log=tmp_path / "server.log") as server:
        load = Load(tmp_path, server, f"Test{uuid.uuid4().hex[:12]}")
        path = job_of(load, rows(400))
        job = path.read_text().replace("collection:", "retry_s: 2\n  collection:")
        path.write_text(job)
        run = warpbeam("run", path, "--", *slow(cluster, 15))
        run.job()
    code, said = run.end()
    assert code == 3, said
    assert report_of(load)["exit_code"] == 3 and "Weaviate" in report_of(load)["problem"], said
    assert len(report_of(load)["problem"].splitlines()) == 1


def test_a_worker_that_lacks_a_library_ends_the_run_with_2(load: Load, cluster: Cluster, warpbeam: Start, minilm: str) -> None:
    """The launching machine has it, the worker's environment has not: Python finds no `sentence_transformers` there."""
    program = load.folder / "worker.sh"
    text = (cluster.folder / "worker.sh").read_text()
    without = "import sys, runpy; sys.modules['sentence_transformers'] = None; runpy.run_module('jobs.flink.worker', run_name='__main__')"
    program.write_text(text.replace("-m jobs.flink.worker", f'-c "{without}"'))
    program.chmod(0o755)
    flags = cluster.beam_args(environment_config=json.dumps({"command": str(program)}))
    run = warpbeam("run", job_of(load, rows(10), {"v": {"model": minilm, "text_fields": ["title"]}}), "--", *flags)
    code, said = run.end()
    assert code == 2, said
    assert "sentence" in report_of(load)["problem"] and len(report_of(load)["problem"].splitlines()) == 1, said
    assert "Traceback" not in said


def test_the_job_stays_when_its_launcher_is_stopped_until_it_is_cancelled(load: Load, cluster: Cluster, warpbeam: Start) -> None:
    """Ctrl-C without a terminal; the next run is told who has the slots."""
    flags = [f for f in slow(cluster, 200) if not f.startswith("--parallelism")] + ["--parallelism=4"]
    path = job_of(load, rows(400))
    first = warpbeam("run", path, "--", *flags)
    job = first.job()
    first.interrupt()
    code, said = first.end()
    assert code == 130 and f"warpbeam cancel {job.id} -- --flink_master={cluster.rest}" in said, said
    assert [j.state for j in flink_jobs(cluster.rest) if j.id == job.id] == ["RUNNING"]
    second = warpbeam("run", path, "--", *flags)
    cancelled = None
    try:
        wait_for(lambda: len([j for j in flink_jobs(cluster.rest) if j.state in ("CREATED", "RUNNING")]) == 2)
    finally:
        cancelled = warpbeam("cancel", job.id, "--", f"--flink_master={cluster.rest}").end()
        for other in [j for j in flink_jobs(cluster.rest) if j.state in ("CREATED", "RUNNING", "RESTARTING")]:
            warpbeam("cancel", other.id, "--", f"--job_endpoint={cluster.job_endpoint}", f"--flink_master={cluster.rest}").end()
    code, said = second.end()
    assert f"this job waits for slots: {job.name} (RUNNING for" in said
    assert (code, cancelled[0]) == (3, 0) and "cancelled" in said, said
