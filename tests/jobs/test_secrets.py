"""A job with every kind of secret: none is in the pipeline's graph, its options and display data, the logs, the output or the reports."""

import json
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import cloudpickle
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.display import DisplayData

from jobs.embedded import Server
from jobs.examine.findings import examined
from jobs.job_file import load_job
from jobs.run import plan_of
from pipelines.load import build
from tests.conftest import Load
from tests.jobs.conftest import SERVER_KEY
from tests.loopback import Loopback, Reply, Request, loopback
from tests.nim_server import KEY, nim_server

SECRETS = {
    "WB_SERVER_KEY": SERVER_KEY,
    "WB_HEADER": "header-value-55d2e8b1",
    "WB_STORE": "store-token-90ab3c44",
    "WB_NVIDIA": KEY,
    "WB_CONTAINER": "container-token-1b7744fe",
}
NONE = {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}


def container(request: Request) -> Reply:
    """An inference container that wants a token, and tells the one it was given when it fails."""
    given = request.headers.get("authorization", "")
    if given != f"Bearer {SECRETS['WB_CONTAINER']}":
        return Reply(401, {"error": f"not {given}"})
    text = request.body["text"]
    if "poison" in text:
        return Reply(422, {"error": f"cannot encode this; you are {given}"})
    return Reply(200, {"text": text, "vector": [1.0, len(text), 2.0], "dim": 3})


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Loopback, Loopback]]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    with loopback(container) as far, nim_server() as nim:
        yield far, nim


def secret_job(load: Load, services: tuple[Loopback, Loopback], titles: list[str | None]) -> Path:
    """A job that needs all of them."""
    far, nim = services
    definition = {"class": load.collection, "vectorConfig": {"far": NONE, "nim": NONE}}
    definition["properties"] = [{"name": n, "dataType": ["text"]} for n in ("key", "title")]
    (load.folder / "class.json").write_text(json.dumps(definition))
    table = pa.table({"key": [f"k{i}" for i in range(len(titles))], "title": titles})
    server = {"url": load.server.url, "grpc": load.server.grpc, "api_key": "${WB_SERVER_KEY}", "headers": {"X-Other": "${WB_HEADER}"}}
    nvidia = {"api_key": "${WB_NVIDIA}", "base_url": nim.url, "model": "nvidia/nv-embedqa-e5-v5"}
    vectors = {
        "far": {"model": {"inference_url": {"url": far.url, "token": "${WB_CONTAINER}"}}, "text_fields": ["title"]},
        "nim": {"model": {"nvidia": nvidia}, "text_fields": ["title"]},
    }
    source = load.parquet(table) | {"storage_options": {"token": "${WB_STORE}"}}
    return load.job(source, vectors, {"weaviate": server, "create": "class.json"})


def assert_none(where: str, written: bytes) -> None:
    found = [name for name, value in SECRETS.items() if value.encode() in written]
    assert not found, f"{where}: {found}"


def written_below(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def load(tmp_path: Path, guarded: Server) -> Load:
    return Load(tmp_path, guarded, f"Secret{uuid.uuid4().hex[:8]}")


def test_no_secret_is_in_output_logs_or_reports(
    load: Load, services: tuple[Loopback, Loopback], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also of a run in which rows fail, and services say what they were given."""
    caplog.set_level(logging.DEBUG)
    job = secret_job(load, services, [*(f"title {i}" for i in range(30)), "poison", None])
    said = ""
    for arguments in (
        ["check", job],
        ["check", job, "--json"],
        ["run", job],
        ["run", job, "--json"],
        ["search", job, "title 3", "--vector", "far"],
    ):
        result = load.command(*arguments)
        assert result.exit_code in (0, 1), result.output
        said += result.output
    report = json.loads((load.folder / "report" / "report.json").read_text())
    assert report["counts"]["read"] == 32 and report["counts"]["failed"] >= 1 and report["counts"]["unchanged"] >= 30
    far, nim = services
    assert far.requests and nim.requests, "the secrets were not used"
    out, err = capfd.readouterr()
    for where, text in (("output", said), ("log", caplog.text), ("stdout", out), ("stderr", err)):
        assert_none(where, text.encode())
    assert_none("files", written_below(load.folder))
    assert all("${" + name + "}" in json.dumps(report["job"]) for name in SECRETS)


def test_no_secret_is_in_graph_options_or_display_data(load: Load, services: tuple[Loopback, Loopback]) -> None:
    """Also after the launcher has used them; Beam packs what travels, so the plan is looked at before that."""
    job = secret_job(load, services, [f"title {i}" for i in range(5)])
    assert load.command("run", job).exit_code == 0  # now every encoder and connection of this process has seen them
    with examined(load_job(job)) as found:
        assert not found.faults and found.target
        assert found.target.connection.headers["X-Other"] == SECRETS["WB_HEADER"]
        plan = plan_of(found)
        assert plan.target.collection() is not None
    options = PipelineOptions([])
    pipeline = beam.Pipeline(options=options)
    build(pipeline, plan)
    for name, data in travels(pipeline, plan, options).items():
        assert_none(name, data)
    plan.target.close()
    assert all("${" + name + "}" in cloudpickle.dumps(plan).decode("latin-1") for name in SECRETS)


def travels(pipeline: Any, plan: Any, options: PipelineOptions) -> dict[str, bytes]:
    """What leaves the launcher."""
    shown = [str(item.get_dict()) for item in DisplayData.create_from(options).items]
    stages: list[Any] = [pipeline.transforms_stack[0]]
    for stage in stages:
        stages += stage.parts
    shown += [str(i.get_dict()) for s in stages if s.transform is not None for i in DisplayData.create_from(s.transform).items]
    return {
        "plan": cloudpickle.dumps(plan),
        "graph": pipeline.to_runner_api().SerializeToString(),
        "graph as text": str(pipeline.to_runner_api()).encode(),
        "options": json.dumps(options.get_all_options(), default=str).encode() + options.to_runner_api().SerializeToString(),
        "display data": "\n".join(shown).encode(),
    }


@pytest.mark.parametrize("name", ["WB_SERVER_KEY", "WB_NVIDIA", "WB_CONTAINER"])
def test_a_refused_secret_is_not_told(
    load: Load, services: tuple[Loopback, Loopback], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv(name, "refused-and-secret-31f0")
    result = load.command("run", secret_job(load, services, ["a", "b"]))
    assert result.exit_code in (2, 3), result.output
    assert "refused-and-secret-31f0" not in result.output + caplog.text + written_below(load.folder).decode("latin-1")
    assert_none("output", (result.output + caplog.text).encode())
