import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from jobs.embedded import Server, find_program, main, running_server, start_server, stop_running
from jobs.server import free_ports
from jobs.server_program import VARIABLE
from schemas.errors import JobError, WorldError


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    stop_running(tmp_path)


def object_count(server: Server) -> int:
    return int(httpx.get(f"{server.url}/v1/objects").raise_for_status().json()["totalResults"])


def test_the_server_of_the_session_is_a_real_weaviate(weaviate: Server, collection_name: str) -> None:
    version = httpx.get(f"{weaviate.url}/v1/meta").json()["version"]
    assert [int(part) for part in version.split(".")[:2]] >= [1, 30]
    assert weaviate.answers()
    made = httpx.post(
        f"{weaviate.url}/v1/schema",
        json={"class": collection_name, "vectorConfig": {"text": {"vectorizer": {"none": {}}, "vectorIndexType": "hnsw"}}},
    )
    assert made.status_code == 200
    assert httpx.get(f"{weaviate.url}/v1/schema/{collection_name}").json()["class"] == collection_name


def test_kept_running_reused_recovered_and_stopped(home: Path) -> None:
    first = running_server(home)
    assert first.answers()
    httpx.post(f"{first.url}/v1/objects", json={"class": "Kept", "properties": {"name": "a"}}).raise_for_status()
    assert running_server(home) == first

    os.kill(first.pid, signal.SIGKILL)  # the recorded state is stale now
    second = running_server(home)
    assert second.pid != first.pid and not first.runs()
    assert json.loads((home / "weaviate" / "server.json").read_text())["pid"] == second.pid
    assert object_count(second) == 1  # the data were kept, on other ports

    assert stop_running(home)
    assert not second.runs() and not second.answers()
    assert not stop_running(home)


def test_a_number_that_another_process_has_is_not_stopped(home: Path) -> None:
    (home / "weaviate").mkdir()
    stranger = {"url": "http://127.0.0.1:1", "grpc": "127.0.0.1:2", "pid": os.getpid()}
    (home / "weaviate" / "server.json").write_text(json.dumps(stranger))
    assert not stop_running(home)  # or this test would end here


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_an_unreadable_state_file_counts_as_no_server(home: Path, text: str) -> None:
    (home / "weaviate").mkdir()
    (home / "weaviate" / "server.json").write_text(text)
    assert not stop_running(home)


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match=r"(?s)ended with code.*nonsense"):
        start_server(tmp_path / "data", env={"MAX_IMPORT_GOROUTINES_FACTOR": "nonsense"}, log=tmp_path / "log")


def test_a_program_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(JobError, match=f"{VARIABLE} is '{tmp_path}'"):
        find_program()


def test_the_program_that_the_variable_names_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/bin/sh")
    assert find_program() == Path("/bin/sh")


def test_ports_are_distinct_and_in_the_order_that_the_server_wants() -> None:
    ports = free_ports()
    numbers = [ports.http, ports.grpc, ports.gossip, ports.data, ports.raft, ports.raft_rpc]
    assert len(set(numbers)) == 6
    assert (ports.data, ports.raft_rpc) == (ports.gossip + 1, ports.raft + 1)


def test_the_command_line_prints_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["program"]) == 0
    assert capsys.readouterr().out.strip() == str(find_program())
