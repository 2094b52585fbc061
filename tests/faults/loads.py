"""The jobs that are disturbed: made-up vectors beside precomputed ones, and chunks with a small real model."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.faults.world import World

FILES = 24  # a shard each: many small batches, so many acknowledged writes
ROWS = 12_000  # more than the two windows that are encoded at once
CHUNK_ROWS = 200
OBJECTS_PER_S = {"plain": 4000, "chunks": 600}  # so that there is a middle to be disturbed in
FLAT = {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}  # exact, so that what is not found is not indexed
PROPERTIES = {"key": "text", "title": "text", "price": "number"}


@dataclass(frozen=True)
class Load:
    """One job: its table, its vectors, and the rest of its YAML."""

    name: str
    table: Callable[[], pa.Table]
    vectors: dict[str, Any]
    rest: dict[str, Any]
    more: dict[str, str]  # properties that the table has no column for

    def write(self, folder: Path, world: World, collection: str, **target: Any) -> Path:
        """The job in `folder`: table, class and job file."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rows").mkdir(exist_ok=True)
        table = self.table()
        step = -(-table.num_rows // FILES)
        for n in range(FILES):
            pq.write_table(table.slice(n * step, step), folder / "rows" / f"{n:02}.parquet")
        properties = [{"name": n, "dataType": [t]} for n, t in (PROPERTIES | self.more).items()]
        vectors = dict.fromkeys(self.vectors, FLAT)
        (folder / "class.json").write_text(json.dumps({"class": collection, "properties": properties, "vectorConfig": vectors}))
        server = {"url": f"http://{world.rest}", "grpc": world.grpc}
        job = {
            "source": {"parquet": "rows/*.parquet", "key": "key"},
            "target": {"weaviate": server, "collection": collection, "create": "class.json", "max_objects_per_s": OBJECTS_PER_S[self.name]}
            | target,
            "vectors": self.vectors,
        }
        (folder / "job.yaml").write_text(yaml.safe_dump(job | self.rest))
        return folder / "job.yaml"


def _plain(rows: int) -> pa.Table:
    numbers = np.arange(rows)
    made = np.random.default_rng(0).standard_normal((rows, 16), np.float32)
    return pa.table(
        {
            "key": [f"k{i}" for i in numbers],
            "title": [f"title of article {i}" for i in numbers],
            "price": numbers * 0.5,
            "made": pa.FixedSizeListArray.from_arrays(pa.array(made.ravel()), 16),
        }
    )


def _texts() -> pa.Table:
    words = "loom warp weft beam shuttle heddle reed cloth yarn thread".split()
    draw = np.random.default_rng(1)
    lengths = [1200 if i % 80 == 40 else int(n) for i, n in enumerate(draw.integers(5, 60, CHUNK_ROWS))]  # some fill a request alone
    texts = [" ".join(draw.choice(words, n)) for n in lengths]
    return pa.table({"key": [f"t{i}" for i in range(CHUNK_ROWS)], "title": texts, "price": np.arange(CHUNK_ROWS) * 1.0})


def loads(model: str, rows: int = ROWS) -> dict[str, Load]:
    """The jobs by name; `model` is a folder with a text model."""
    plain = {"v": {"model": {"fake": 32}, "text_fields": ["title"]}, "w": {"column": "made"}}
    chunks = {"chunk": {"property": "title", "model": "v", "tokens": 24, "overlap": 4, "number": "part", "parent": "parent"}}
    return {
        "plain": Load("plain", partial(_plain, rows), plain, {}, {}),
        "chunks": Load("chunks", _texts, {"v": {"model": model, "text_fields": ["title"]}}, chunks, {"part": "int", "parent": "text"}),
    }
