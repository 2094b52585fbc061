"""Corners of the modules' vectors, against a real Weaviate: the old class-level vector, and chunks."""

import base64
import random
import uuid
from typing import Any

import httpx
import pyarrow as pa
import pytest
from weaviate.util import generate_uuid5

from schemas.collection import LEGACY
from tests.conftest import Load
from tests.golden import clip_models
from tests.served import Modules, relative

WORDS = "Weaviate stores objects. Mr. Brown reads them! été 日本語 Is it so? one two  three\n\nfour".split(" ")
PICTURES = [clip_models.image(f"img:{name}") for name in sorted(clip_models.data()["images"])]
TYPES = {"title": "text", "tags": "text[]", "hidden": "text", "count": "int", "photo": "blob"}
FLAGS = {"title": {"vectorizePropertyName": True}, "hidden": {"skip": True}, "photo": {"skip": True}}
SCHEMA = pa.schema(
    {
        "key": pa.string(),
        "title": pa.string(),
        "tags": pa.list_(pa.string()),
        "hidden": pa.string(),
        "count": pa.int64(),
        "photo": pa.binary(),
    }
)


def drawn(n: int, seed: int) -> list[dict[str, Any]]:
    """Random rows; the first two have nothing that a module reads."""
    rng = random.Random(seed)

    def text() -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(1, 20)))

    def maybe(value: Any) -> Any:
        return value if rng.random() < 0.7 else None

    rows = [
        {
            "title": maybe(text()),
            "tags": maybe([text() for _ in range(rng.randint(0, 3))]),
            "hidden": maybe(text()),
            "count": maybe(rng.randint(0, 99)),
            "photo": maybe(rng.choice(PICTURES)),
        }
        for _ in range(n)
    ]
    bare = {"title": None, "tags": None, "photo": None}
    return [{"key": f"k{i}"} | (row | bare if i < 2 else row) for i, row in enumerate(rows)]


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    given = {k: v for k, v in row.items() if k != "key" and v is not None}
    return given | ({"photo": base64.b64encode(given["photo"]).decode()} if "photo" in given else {})


def class_level(modules: Modules, vector: str, module: str, **config: Any) -> dict[str, Any]:
    return {
        "vectorizer": module,
        "vectorIndexType": "flat",
        "moduleConfig": modules.vectorizer(vector, module, **config),
        "properties": [{"name": n, "dataType": [t]} | (flags(n) if module.startswith("text") else {}) for n, t in TYPES.items()],
    }


def flags(name: str) -> dict[str, Any]:
    return {"moduleConfig": {"text2vec-transformers": FLAGS[name]}} if name in FLAGS else {}


LOOKS = {"textFields": ["title", "tags"], "imageFields": ["photo"]}


@pytest.mark.parametrize(
    ("vector", "module", "config", "without"),
    [
        ("text", "text2vec-transformers", {}, 0),  # the collection's name is always a text
        ("text", "text2vec-transformers", {"vectorizeClassName": False, "properties": ["title", "tags"]}, 2),
        ("looks", "multi2vec-clip", LOOKS, 2),
    ],
)
def test_the_unnamed_vector_of_an_old_class(
    vectorized: Load, modules: Modules, vector: str, module: str, config: dict[str, Any], without: int
) -> None:
    rows = drawn(60, seed=4)
    vectorized.create(class_level(modules, vector, module, **config))
    refused = modules.by_server(vectorized.collection, {generate_uuid5(r["key"]): as_json(r) for r in rows})
    theirs = vectorized.objects()
    httpx.delete(f"{modules.server.url}/v1/schema/{vectorized.collection}", timeout=60).raise_for_status()
    vectorized.create(class_level(modules, vector, module, **config))

    source = vectorized.parquet(pa.Table.from_pylist(rows, SCHEMA)) | {"properties": {name: name for name in TYPES}}
    failures = {"path": "failures", "allowed_share": 0.2}
    code, report = vectorized.run(vectorized.job(source, {LEGACY: {"model": modules.models[vector]}}, failures=failures))

    assert code == 0, report
    ours = vectorized.objects()
    assert {str(uuid.UUID(bytes=f["uuid"])) for f in vectorized.failures()} == refused, vectorized.failures()
    assert {k: o["properties"] for k, o in ours.items()} == {k: o["properties"] for k, o in theirs.items()}
    bare = {k for k, o in theirs.items() if not o.get("vector")}
    assert len(bare) >= without and (without == 0) == (not bare)
    assert relative(vectors(ours), vectors(theirs)) <= 1e-5
    assert not any(o.get("vectors") for o in ours.values())


def vectors(objects: dict[str, Any], name: str | None = None) -> dict[str, Any]:
    """The vectors that objects have: the unnamed one, or that of this name."""
    found = {k: (o.get("vectors") or {}).get(name) if name else o.get("vector") for k, o in objects.items()}
    return {k: v for k, v in found.items() if v}


def test_every_chunk_has_the_vector_that_the_server_makes_of_it(vectorized: Load, modules: Modules) -> None:
    texts = [" ".join(f"Sentence {i} of text {n}, and it says nothing." for i in range(3 * n)) for n in range(12)]
    rows = [{"key": f"k{n}", "title": f"title {n}", "body": text, "label": "x" if n % 2 else None} for n, text in enumerate(texts)]
    table = pa.Table.from_pylist(rows, pa.schema({name: pa.string() for name in ("key", "title", "body", "label")}))
    text = [{"name": n, "dataType": ["text"]} for n in ("title", "body", "label", "parent")]
    named = {
        "body": {"vectorizer": modules.vectorizer("text"), "vectorIndexType": "flat"},
        "label": {
            "vectorizer": modules.vectorizer("text", vectorizeClassName=False, properties=["label", "number"]),
            "vectorIndexType": "flat",
        },
    }
    vectorized.create({"properties": [*text, {"name": "number", "dataType": ["int"]}], "vectorConfig": named})
    source = vectorized.parquet(table) | {"properties": {n: n for n in ("title", "body", "label")}}
    chunk = {"property": "body", "model": "body", "tokens": 40, "overlap": 5, "number": "number", "parent": "parent"}
    job = vectorized.job(source, {name: {"model": modules.models["text"]} for name in named}, chunk=chunk)

    code, report = vectorized.run(job)

    assert code == 0, report
    ours = vectorized.objects()
    assert len(ours) > 3 * len(rows)
    for key in ours:
        httpx.delete(f"{modules.server.url}/v1/objects/{vectorized.collection}/{key}", timeout=60).raise_for_status()
    assert not modules.by_server(vectorized.collection, {k: o["properties"] for k, o in ours.items()})
    theirs = vectorized.objects()
    for name in named:
        assert relative(vectors(ours, name), vectors(theirs, name)) <= 1e-5


def test_a_merge_that_keeps_what_a_module_reads_is_refused(vectorized: Load, modules: Modules) -> None:
    text = [{"name": n, "dataType": ["text"]} for n in ("title", "body")]
    vectorized.create({"properties": text, "vectorConfig": {"v": {"vectorizer": modules.vectorizer("text"), "vectorIndexType": "flat"}}})
    rows = pa.table({"key": ["a", "b"], "title": ["x", "y"], "body": ["p", "q"]})
    vector = {"v": {"model": modules.models["text"]}}
    code, report = vectorized.run(vectorized.job(vectorized.parquet(rows) | {"properties": {"title": "title"}}, vector, {"write": "merge"}))
    assert code == 2
    assert "vectors.v: text2vec-transformers reads body, which this job does not name" in " ".join(report["output"].split())
    assert vectorized.objects() == {}

    both = {"properties": {"title": "title", "body": "body"}}
    assert vectorized.run(vectorized.job(vectorized.parquet(rows) | both, vector, {"write": "merge"}))[0] == 0
    assert len(vectors(vectorized.objects(), "v")) == 2
