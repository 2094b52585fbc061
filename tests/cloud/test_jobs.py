"""`warpbeam run` from and to a store: the source, failures, notes, summaries and reports."""

import importlib
import io
import json
import uuid
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cloud.conftest import Store
from tests.cloud.test_reading import parquet
from tests.conftest import Load

pytestmark = [
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Package google:FutureWarning"),
]
SIMPLE = {
    "properties": [{"name": "key", "dataType": ["text"]}, {"name": "title", "dataType": ["text"]}],
    "vectorConfig": {"v": {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}},
}
FAKE = {"v": {"model": {"fake": 4}, "text_fields": ["title"]}}


def there(load: Load, store: Store, source: dict[str, Any]) -> tuple[str, Any]:
    """A job that reads from the store and writes everything there; the place, and the job file."""
    place = f"{store.url}/{uuid.uuid4().hex[:8]}"
    source = {kind: f"{place}/{name}" for kind, name in source.items()} | {"key": "key", "storage_options": store.options}
    job = load.job(source, FAKE, failures={"path": f"{place}/failures", "storage_options": store.options}, report=f"{place}/report")
    return place, job


def test_a_run_from_the_store_to_the_store(load: Load, store: Store) -> None:
    load.create(SIMPLE)
    place, job = there(load, store, {"parquet": "rows/*.parquet"})
    table = pa.table({"key": ["a", "b", "c", "c"], "title": ["x", None, "y", "again"]})
    store.fs.pipe_file(f"{place}/rows/1.parquet", parquet(table))
    result = load.command("run", job)
    assert result.exit_code == 1, result.output
    report = json.loads(store.fs.cat_file(f"{place}/report/report.json"))
    assert report["counts"]["add_up"] and [report["counts"][k] for k in ("read", "loaded", "failed", "duplicate")] == [4, 2, 1, 1]
    assert report["failures"]["no_vector"][0]["count"] == 1 and report["notes"]["duplicate"][0]["count"] == 1
    assert report["failures_path"].startswith(place) and report["shards"]["read"] == 1
    page = store.fs.cat_file(f"{place}/report/report.html").decode()
    for secret in store.secrets.values():
        assert secret not in page + json.dumps(report) + result.output
    folder = report["failures_path"]
    (failures,) = store.fs.glob(f"{folder}/*.parquet")
    assert pq.read_table(io.BytesIO(store.fs.cat_file(failures))).to_pylist()[0]["key"] == "b"
    assert load.command("report", job, folder.rpartition("/")[2]).exit_code == 1
    store.fs.pipe_file(f"{place}/rows/1.parquet", parquet(table.set_column(1, "title", pa.array(["x", "now", "y", "again"]))))
    again = load.command("run", job, "--only", folder)
    assert again.exit_code == 0, again.output
    assert len(load.objects()) == 3
    assert load.command("verify", job).exit_code in (0, 1) and store.fs.exists(f"{place}/report/verify.json")


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_lines_in_the_store(load: Load, store: Store, kind: str) -> None:
    load.create(SIMPLE)
    place, job = there(load, store, {kind: f"rows.{kind}"})
    content = {"jsonl": '{"key": "a", "title": "x"}\n{"key": "b", "title": "y"}\n', "csv": "key,title\na,x\nb,y\n"}[kind]
    store.fs.pipe_file(f"{place}/rows.{kind}", content.encode())
    result = load.command("run", job)
    assert result.exit_code == 0, result.output
    assert len(load.objects()) == 2


def test_a_secret_that_is_not_set_is_named_at_once(load: Load, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    if not store.secrets:
        pytest.skip("no secret here")
    load.create(SIMPLE)
    _, job = there(load, store, {"parquet": "rows.parquet"})
    name = sorted(store.secrets)[0]
    monkeypatch.delenv(name)
    result = load.command("run", job)
    assert result.exit_code == 2 and name in result.output, result.output


def test_a_missing_package_is_named_with_its_command(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = importlib.import_module("fsspec.registry")
    monkeypatch.delitem(registry._registry, "s3", raising=False)
    monkeypatch.setitem(registry.known_implementations, "s3", {"class": "no_such_s3fs.S3", "err": "Install s3fs"})
    load.create(SIMPLE)
    (load.folder / "rows.csv").write_text("key,title\na,x\n")
    job = load.job({"csv": "rows.csv", "key": "key"}, FAKE, failures={"path": "s3://shop/failures"})
    result = load.command("run", job)
    assert result.exit_code == 2 and "pip install 'warpbeam[s3]'" in result.output, result.output
    assert not load.objects()
