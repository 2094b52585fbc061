"""Rejected rows on disk."""

from pathlib import Path

import pyarrow.parquet as pq

from pipelines.failures import by_shard, store_rejected
from schemas.columns import REJECTED, Rejection, rejected_batch

A2 = Rejection("k2", b"\x02" * 16, "read", "bad_date", "column 'd' has 'then'", "a", 2)
A0 = Rejection("k0", b"\x00" * 16, "write", "refused", "the server says no", "a", 0, 1)
A0_FIRST = A0._replace(chunk=0)
B5 = Rejection(None, None, "read", "no_key", "…", "b/ü?.parquet", 5)


def test_what_is_stored_is_what_was_given_in_row_order(tmp_path: Path) -> None:
    rows = store_rejected("a", [rejected_batch([A2, A0]), rejected_batch([A0_FIRST])], str(tmp_path / "f"), {})
    (file,) = (tmp_path / "f").iterdir()
    table = pq.read_table(file)
    assert table.schema.equals(REJECTED)
    assert [tuple(r.values()) for r in table.to_pylist()] == [tuple(A0_FIRST), tuple(A0), tuple(A2)]
    assert rows == 2  # chunks of one row count once


def test_repeated_bundle_overwrites_its_own_file(tmp_path: Path) -> None:
    for _ in range(2):
        store_rejected("a", [rejected_batch([A2])], str(tmp_path), {})
    assert pq.read_table(tmp_path).num_rows == 1


def test_shards_have_files_of_their_own(tmp_path: Path) -> None:
    store_rejected("a", [rejected_batch([A2])], str(tmp_path), {})
    store_rejected(B5.shard, [rejected_batch([B5])], str(tmp_path), {})
    assert sorted(r["shard"] for r in pq.read_table(tmp_path).to_pylist()) == ["a", "b/ü?.parquet"]


def test_by_shard_cuts_and_keeps_every_row() -> None:
    cut = {shard: [tuple(r.values()) for r in batch.to_pylist()] for shard, batch in by_shard(rejected_batch([A2, B5, A0]))}
    assert cut == {"a": [tuple(A2), tuple(A0)], "b/ü?.parquet": [tuple(B5)]}


def test_by_shard_of_a_slice() -> None:
    batch = rejected_batch([A2, B5, A0]).slice(1)
    assert {shard: rows.num_rows for shard, rows in by_shard(batch)} == {"b/ü?.parquet": 1, "a": 1}


def test_by_shard_of_nothing() -> None:
    assert list(by_shard(rejected_batch([]))) == []
