"""What a source asks of a store: listings, globs, ranges of the needed columns, and nothing twice."""

import io
import json
import multiprocessing
import pickle
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.sources.csv import CsvSource
from pipelines.sources.jsonl import JsonLinesSource
from pipelines.sources.parquet import ParquetSource
from schemas.errors import JobError, WorldError
from tests.cloud.conftest import Store

pytestmark = [
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Package google:FutureWarning"),  # Google's on the version of grpcio
]


def parquet(table: pa.Table, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def rows(n: int, first: int = 0) -> pa.Table:
    return pa.table({"key": [f"k{i}" for i in range(first, first + n)], "title": [f"title {i}" for i in range(first, first + n)]})


def keys(source: Any) -> list[str]:
    again = pickle.loads(pickle.dumps(source))
    return [key for shard in source.shards() for batch in again.read(shard, ["key"]) for key in batch.column("key").to_pylist()]


@pytest.fixture
def folder() -> str:
    return uuid.uuid4().hex[:8]


def test_folders_globs_and_partitions(store: Store, folder: str) -> None:
    for day, part in (("1", "a"), ("2", "a"), ("2", "b")):
        store.put(f"{folder}/day={day}/{part}.parquet", parquet(rows(2, first=10 * int(day))))
    store.put(f"{folder}/day=2/_SUCCESS", b"")
    whole = ParquetSource(f"{store.url}/{folder}", store.options)
    assert whole.schema().names == ["key", "title", "day"]
    assert len(keys(whole)) == 6
    assert keys(ParquetSource(f"{store.url}/{folder}/day=2/*.parquet", store.options)) == ["k20", "k21"] * 2
    assert keys(ParquetSource(f"{store.url}/{folder}/day=1/a.parquet", store.options)) == ["k10", "k11"]
    with pytest.raises(JobError, match="no file found"):
        ParquetSource(f"{store.url}/{folder}/*.csv", store.options).schema()


def test_only_the_needed_columns_are_asked_for(store: Store, folder: str) -> None:
    noise = np.random.default_rng(1).bytes(6_000_000)
    table = rows(3000).append_column("wide", pa.array([noise[i * 2000 : (i + 1) * 2000] for i in range(3000)]))
    content = parquet(table, row_group_size=1000)
    url = store.put(f"{folder}/wide.parquet", content)
    store.tap.clear()
    source = ParquetSource(url, store.options)
    assert len(keys(source)) == 3000
    assert len(content) > 6_000_000
    assert store.tap.sent < 900_000
    ranges = [asked.size for asked in store.tap.asked if asked.verb == "GET" and "wide.parquet" in asked.path and asked.size]
    assert ranges and sum(ranges) < 900_000


def test_lines_are_read_once(store: Store, folder: str) -> None:
    lines = b"".join(json.dumps({"key": f"k{i}", "title": "x" * 1000}).encode() + b"\n" for i in range(10_000))
    table = b"key,title\n" + b"".join(b"k%d,%s\n" % (i, b"x" * 1000) for i in range(10_000))
    for source, content in ((JsonLinesSource, lines), (CsvSource, table)):
        url = store.put(f"{folder}/rows", content)
        made = source(url, store.options)
        made.schema()
        store.tap.clear()
        assert len(keys(made)) == 10_000
        assert store.tap.sent < len(content) * 1.02 + 20_000


def test_an_answer_that_breaks_off_is_asked_for_again(store: Store, folder: str) -> None:
    url = store.put(f"{folder}/rows.parquet", parquet(rows(3000)))
    source = ParquetSource(url, store.options)
    (shard,) = source.shards()
    store.tap.broken = 1
    assert sum(batch.num_rows for batch in source.read(shard, ["key"])) == 3000
    assert store.tap.broken == 0


def _keys_in_a_child(source: Any, queue: Any) -> None:
    queue.put(keys(source))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_reads_on_its_own(store: Store, folder: str) -> None:
    """The parent's event loop and connections are of no use there."""
    source = ParquetSource(store.put(f"{folder}/rows.parquet", parquet(rows(5))), store.options)
    assert len(keys(source)) == 5
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    child = fork.Process(target=_keys_in_a_child, args=(source, queue))
    child.start()
    try:
        assert queue.get(timeout=60) == [f"k{i}" for i in range(5)]
    finally:
        child.kill()
        child.join()
        queue.close()
        queue.join_thread()


def test_threads_share_one_file_system(store: Store, folder: str) -> None:
    """Else each shard's reader would log in again."""
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: id(store.fs), range(8)))
    assert len(set(found)) == 1


def test_wrong_credentials_are_the_jobs_fault(store: Store, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if store.name != "azure":
        pytest.skip("only azurite looks at credentials")
    monkeypatch.setenv("SHOP_CONNECTION", store.secrets["SHOP_CONNECTION"].replace("AccountKey=E", "AccountKey=F"))
    with pytest.raises((JobError, WorldError)) as raised:
        ParquetSource(f"{store.url}/{folder}", store.options).schema()
    assert "AccountKey" not in str(raised.value)


def test_anonymous_reading_sends_no_credentials(store: Store, folder: str) -> None:
    if store.name == "azure":
        pytest.skip("the container of these tests is not public")
    public = {"ACL": "public-read"} if store.name == "s3" else {}
    store.fs.pipe_file(f"{store.url}/{folder}/rows.parquet", parquet(rows(5)), **public)
    secrets = ("key", "secret", "token")
    options = {k: v for k, v in store.options.items() if k not in secrets} | ({"anon": True} if store.name == "s3" else {"token": "anon"})
    store.tap.clear()
    assert len(keys(ParquetSource(f"{store.url}/{folder}", options))) == 5
    assert store.tap.asked and not store.tap.logged_in


def test_credentials_from_the_environment(store: Store, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(f"{folder}/rows.parquet", parquet(rows(5)))
    for key, value in store.own.items():
        monkeypatch.setenv(key, value)
    options = {"token": "anon"} if store.name == "gcs" else {}
    store.tap.clear()
    assert len(keys(ParquetSource(f"{store.url}/{folder}", options))) == 5
    assert store.tap.asked and store.tap.logged_in is (store.name != "gcs")
