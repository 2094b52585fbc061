"""A data set of 2,000 Parquet files: how often the store is asked, and how many footers are read at a time."""

import threading
import time
import uuid
from collections.abc import Callable

import pyarrow as pa
import pytest

from pipelines.sources import footers
from pipelines.sources.parquet import ParquetSource
from tests.cloud.conftest import Store
from tests.cloud.test_reading import parquet

FILES = 2000
pytestmark = pytest.mark.filterwarnings("ignore:Package google:FutureWarning")


def test_two_thousand_footers(stores: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch) -> None:
    store = stores("gcs")
    folder = f"{store.url}/{uuid.uuid4().hex[:8]}"
    content = {f"{folder}/{i:04d}.parquet": parquet(pa.table({"key": [f"k{i}"], "title": [f"title {i}"]})) for i in range(FILES)}
    store.fs.pipe(content, batch_size=32)
    running, most, lock = [0], [0], threading.Lock()
    read = footers._footer

    def counted(fs: object, file: object) -> object:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        try:
            return read(fs, file)  # type: ignore[arg-type]
        finally:
            with lock:
                running[0] -= 1

    monkeypatch.setattr(footers, "_footer", counted)
    store.tap.clear()
    source = ParquetSource(folder, store.options)
    start = time.perf_counter()
    shards = source.shards()
    seconds = time.perf_counter() - start
    asked = store.tap.asked
    listings = [a for a in asked if "prefix=" in a.path]
    print(
        f"{len(shards)} shards, {seconds:.1f} s, {len(asked)} requests, {len(listings)} of them listings, {store.tap.sent:,} bytes, {most[0]} at a time"
    )
    assert len(shards) == FILES and sum(shard.rows or 0 for shard in shards) == FILES
    assert most[0] <= footers.THREADS
    assert len(asked) <= FILES * 1.05
