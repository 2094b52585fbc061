"""Fetched bytes that are to be stored stand where the URI stood, and are encoded from there."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.compose import MEDIA, compose
from pipelines.media import fetch_media
from schemas.columns import KEY, ROW, SHARD, UUID
from schemas.job import VectorSpec


def batch_of(uris: list[str | None]) -> pa.RecordBatch:
    n = len(uris)
    shards = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array(["shard"]))
    ids = [pa.array([str(i) for i in range(n)]), pa.array([bytes(16)] * n, pa.binary(16)), shards, pa.array(range(n), pa.int64())]
    return pa.RecordBatch.from_arrays([*ids, pa.array(uris, pa.string())], names=[KEY, UUID, SHARD, ROW, "photo"])


def test_stored_media_take_the_place_of_their_uris(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not really a picture")
    batch = batch_of([str(tmp_path / "a.png"), None, str(tmp_path / "missing.png")])
    with ThreadPoolExecutor(1) as pool:
        stored, rejected = fetch_media(batch, {"photo": [str(tmp_path)]}, {}, pool, frozenset({"photo"}))
        kept, _ = fetch_media(batch, {"photo": [str(tmp_path)]}, {}, pool)
    assert stored.column("photo").to_pylist() == [b"not really a picture", None]
    assert MEDIA + "photo" not in stored.schema.names
    assert [(r.key, r.code) for r in rejected] == [("2", "uri_unreadable")]
    assert kept.column("photo").to_pylist() == [str(tmp_path / "a.png"), None]
    assert kept.column(MEDIA + "photo").to_pylist() == [b"not really a picture", None]
    spec = VectorSpec.model_validate({"model": {"fake": 4}, "image_fields": ["photo"]})
    assert [p.values for p in compose(stored, spec)] == [p.values for p in compose(kept, spec)] == [[b"not really a picture"]]
