"""The proof of composition and combination: a real Weaviate vectorizes random objects with its own modules, pointed at `warpbeam serve`

and at a local NIM server, and `warpbeam run` loads the same objects. Every vector has to be the same, and the same
objects have to be refused.
"""

import base64
import io
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from weaviate.util import generate_uuid5

from jobs.embedded import Server, start_server
from jobs.server import free_ports
from tests.golden import clip_models, models
from tests.nim_server import KEY, nim_server
from tests.served import serving

OBJECTS = 1000
NAME = "PdfArticle2B"
SOURCE = ["title", "count", "price", "flags", "day", "days", "detail", "numbers", "tags", "code"]


def pictures() -> list[bytes]:
    """Small pictures of the kinds that containers treat differently."""
    made = []
    for i, (mode, kind) in enumerate([("RGB", "PNG"), ("RGBA", "PNG"), ("L", "PNG"), ("P", "GIF"), ("RGB", "JPEG"), ("CMYK", "JPEG")]):
        pixels = np.random.default_rng(i).integers(0, 255, (20 + 9 * i, 40, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(file, kind)
        made.append(file.getvalue())
    return made


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30) | st.sampled_from(
    ["Hello. World! How?", " ", "a\nb  c", "x" * 600, "Mr. Smith. 日本語。"]
)
NUMBER = st.floats(-1e12, 1e12, allow_nan=False) | st.sampled_from([0.0, 1e6, 999999.0, 1e-5, 12345678.5, 3.0])
DATE = st.builds(
    lambda day, zone: day.replace(tzinfo=timezone(timedelta(minutes=zone))).isoformat(timespec="milliseconds"),
    st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1)),
    st.sampled_from([0, 60, -330, 840]),
).map(lambda text: text.replace("+00:00", "Z"))
DETAIL = st.fixed_dictionaries(
    {"note": st.none() | TEXT, "n": st.none() | st.integers(-(10**9), 10**9), "when": st.none() | DATE, "on": st.none() | st.booleans()}
)
OBJECT = st.fixed_dictionaries(
    {
        "title": st.none() | TEXT,
        "bodyText": st.none() | TEXT,
        "tags": st.none() | st.lists(TEXT, max_size=3),
        "string_prop": st.none() | TEXT,
        "count": st.none() | st.integers(-(2**53), 2**53),
        "price": st.none() | NUMBER,
        "numbers": st.none() | st.lists(NUMBER, max_size=3),
        "flags": st.none() | st.lists(st.booleans(), max_size=3),
        "day": st.none() | DATE,
        "days": st.none() | st.lists(DATE, max_size=2),
        "code": st.none() | st.uuids().map(str),
        "place": st.none() | st.fixed_dictionaries({"latitude": st.floats(-90, 90, width=32), "longitude": st.floats(-180, 180, width=32)}),
        "phone": st.none() | st.just({"input": "+49 171 1234567", "defaultCountry": None}),
        "photo": st.none() | st.sampled_from(pictures()),
        "caption": st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=12),
        "detail": st.none() | DETAIL,
    }
)
SCHEMA = pa.schema(
    {
        "key": pa.string(),
        "title": pa.string(),
        "bodyText": pa.string(),
        "tags": pa.list_(pa.string()),
        "string_prop": pa.string(),
        "count": pa.int64(),
        "price": pa.float64(),
        "numbers": pa.list_(pa.float64()),
        "flags": pa.list_(pa.bool_()),
        "day": pa.string(),
        "days": pa.list_(pa.string()),
        "code": pa.string(),
        "place": pa.struct({"latitude": pa.float32(), "longitude": pa.float32()}),
        "phone": pa.struct({"input": pa.string(), "defaultCountry": pa.string()}),
        "photo": pa.binary(),
        "caption": pa.string(),
        "detail": pa.struct({"note": pa.string(), "n": pa.int64(), "when": pa.string(), "on": pa.bool_()}),
    }
)
TYPES = {
    "tags": "text[]",
    "count": "int",
    "price": "number",
    "numbers": "number[]",
    "flags": "boolean[]",
    "day": "date",
    "days": "date[]",
    "code": "uuid",
    "place": "geoCoordinates",
    "phone": "phoneNumber",
    "photo": "blob",
    "detail": "object",
}
NESTED = [{"name": n, "dataType": [t]} for n, t in (("note", "text"), ("n", "int"), ("when", "date"), ("on", "boolean"))]
FLAGS = {
    "bodyText": {"text2vec-transformers": {"vectorizePropertyName": True}, "text2vec-nvidia": {"skip": True}},
    "string_prop": {"text2vec-transformers": {"skip": True}},
    "photo": {"text2vec-nvidia": {"skip": True}},
    "tags": {"text2vec-nvidia": {"vectorizePropertyName": True}},
}


def drawn(n: int) -> list[dict[str, Any]]:
    """The same random objects every time."""
    found: list[dict[str, Any]] = []

    @settings(
        max_examples=n, phases=[Phase.generate], deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(OBJECT)
    def collect(values: dict[str, Any]) -> None:
        found.append({"key": f"k{len(found)}"} | values)

    collect()
    return found


def definition(serve: str, nim: str) -> dict[str, Any]:
    """A class that every module makes a vector of, twice where there are two ways."""

    def vector(module: str, url: str, **config: Any) -> dict[str, Any]:
        address = {"baseURL": url} if "nvidia" in module else {"inferenceUrl": url}
        return {"vectorizer": {module: address | config}, "vectorIndexType": "flat"}

    multi = {"textFields": ["title", "caption", "tags"], "imageFields": ["photo"]}
    weighed = {"textFields": ["caption"], "imageFields": ["photo"], "weights": {"textFields": [0.7], "imageFields": [0.2]}}
    return {
        "class": NAME,
        "properties": [
            {"name": n, "dataType": [TYPES.get(n, "text")], "moduleConfig": FLAGS.get(n, {})}
            | ({"nestedProperties": NESTED} if n == "detail" else {})
            for n in SCHEMA.names
            if n != "key"
        ],
        "vectorConfig": {
            "plain": vector("text2vec-transformers", f"{serve}/plain"),
            "source": vector(
                "text2vec-transformers", f"{serve}/source", properties=SOURCE, poolingStrategy="cls", vectorizeClassName=False
            ),
            "words": vector("text2vec-nvidia", nim, model="nvidia/nv-embed-v1"),
            "looks": vector("multi2vec-clip", f"{serve}/looks", **multi),
            "weighed": vector("multi2vec-clip", f"{serve}/weighed", **weighed),
            "nim": vector("multi2vec-nvidia", nim, model="nvidia/nvclip", **multi),
        },
    }


@dataclass
class World:
    server: Server
    folder: Path
    job: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Weaviate with its modules, `warpbeam serve` and a NIM server behind them."""
    folder = tmp_path_factory.mktemp("modules")
    port = free_ports().http
    serve = f"http://127.0.0.1:{port}"
    text, clip = str(models.build("bert-tiny", folder / "text")), str(clip_models.build(folder / "clip") / "clip-tiny")
    with nim_server() as nim:
        (folder / "class.json").write_text(json.dumps(definition(serve, nim.url)))
        service = {"nvidia": {"api_key": "${NIM_KEY}"}}
        job = {
            "source": {"parquet": "rows.parquet", "key": "key"},
            "target": {"weaviate": "http://127.0.0.1:1", "collection": NAME, "create": "class.json"},
            "vectors": {"plain": {"model": text}, "source": {"model": text}, "looks": {"model": clip}, "weighed": {"model": clip}},
            "failures": {"path": "failures", "allowed_share": 1},
        }
        (folder / "serve.yaml").write_text(yaml.safe_dump(job))
        with serving(folder, port):
            env = {
                "ENABLE_MODULES": "text2vec-transformers,multi2vec-clip,text2vec-nvidia,multi2vec-nvidia",
                "TRANSFORMERS_INFERENCE_API": f"{serve}/plain",
                "CLIP_INFERENCE_API": f"{serve}/looks",
                "NVIDIA_APIKEY": KEY,
            }
            with start_server(folder / "data", env=env, log=folder / "server.log") as server:
                job["target"]["weaviate"] = {"url": server.url, "grpc": server.grpc}
                job["vectors"] |= {"words": {"model": service}, "nim": {"model": service}}
                (folder / "job.yaml").write_text(yaml.safe_dump(job))
                yield World(server, folder, folder / "job.yaml")


def by_server(world: World, rows: list[dict[str, Any]]) -> set[str]:
    """Let the server vectorize `rows`; the ids that it refused."""
    httpx.post(f"{world.server.url}/v1/schema", json=json.loads((world.folder / "class.json").read_text()), timeout=60).raise_for_status()
    refused: set[str] = set()
    for start in range(0, len(rows), 100):
        objects = [{"class": NAME, "id": generate_uuid5(r["key"]), "properties": as_json(r)} for r in rows[start : start + 100]]
        answer = httpx.post(f"{world.server.url}/v1/batch/objects", json={"objects": objects}, timeout=600).raise_for_status().json()
        refused |= {o["id"] for o in answer if o["result"].get("errors")}
    return refused


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    given = {k: v for k, v in row.items() if k != "key" and v is not None}
    if "photo" in given:
        given["photo"] = base64.b64encode(given["photo"]).decode()
    if "phone" in given:
        given["phone"] = {"input": given["phone"]["input"]}
    if "detail" in given:
        given["detail"] = {k: v for k, v in given["detail"].items() if v is not None}
    return given


def vectors(world: World) -> dict[str, dict[str, list[float]]]:
    """Every object's vectors."""
    found: dict[str, dict[str, list[float]]] = {}
    after = ""
    while True:
        query = {"class": NAME, "limit": 500, "include": "vector"} | ({"after": after} if after else {})
        page = httpx.get(f"{world.server.url}/v1/objects", params=query, timeout=60).raise_for_status().json()["objects"]
        found |= {o["id"]: o.get("vectors") or {} for o in page}
        if not page:
            return found
        after = page[-1]["id"]


def test_run_makes_the_vectors_that_the_server_would_have_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIM_KEY", KEY)
    rows = drawn(OBJECTS)
    assert len(rows) >= OBJECTS
    refused = by_server(world, rows)
    theirs = vectors(world)
    httpx.delete(f"{world.server.url}/v1/schema/{NAME}", timeout=60).raise_for_status()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), world.folder / "rows.parquet")
    done = subprocess.run([sys.executable, "-m", "jobs.cli", "run", str(world.job)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ours = vectors(world)
    failed = {r["uuid"] for f in (world.folder / "failures").glob("*/*.parquet") for r in pq.read_table(f).to_pylist()}
    assert set(ours) | {str(uuid.UUID(bytes=u)) for u in failed} == {str(generate_uuid5(r["key"])) for r in rows}
    assert set(ours) == set(theirs) - refused
    assert len(ours) > 0.5 * len(rows)
    worst: dict[str, float] = {}
    for key, own in ours.items():
        assert set(own) == set(theirs[key]), (key, set(own), set(theirs[key]))
        for name, vector in own.items():
            a, b = np.array(theirs[key][name]), np.array(vector)
            worst[name] = max(worst.get(name, 0.0), float(np.linalg.norm(a - b) / np.linalg.norm(a)))
    assert set(worst) == {"plain", "source", "words", "looks", "weighed", "nim"}
    assert max(worst.values()) <= 1e-5, worst
