"""`warpbeam check` against a collection that the server vectorized: the same vectors, or what would make them the same."""

import re
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from click.testing import Result
from weaviate.util import generate_uuid5

from jobs.examine.proof import MODES, Match, variants
from schemas.job import VectorSpec
from schemas.modules import MultiModule, TextModule
from tests.conftest import Load
from tests.golden import clip_models
from tests.served import Modules

BODIES = [f"Text number {i}. It has {'very ' * (i % 7)}few words! Has it {i * i} of them?\n\nNo {chr(0xE0 + i)}." for i in range(30)]
TITLES = [f"Title Of {i}" for i in range(30)]
ROWS = pa.table({"key": [f"k{i}" for i in range(30)], "title": TITLES, "body": BODIES})
TEXTS = [{"name": n, "dataType": ["text"]} for n in ("key", "title", "body")]


def filled(load: Load, modules: Modules, vectorizer: dict[str, Any], namespace: str = "", rows: int = 30) -> None:
    """A collection with one vector `v`, whose objects the server vectorizes."""
    load.create({"properties": TEXTS, "vectorConfig": {"v": {"vectorizer": vectorizer, "vectorIndexType": "flat"}}})
    objects = {generate_uuid5(r["key"], namespace): r for r in ROWS.slice(0, rows).to_pylist()}
    assert not (objects and modules.by_server(load.collection, objects))


def checked(load: Load, model: Any, *arguments: str, source: dict[str, Any] | None = None, **vector: Any) -> tuple[int, str]:
    """Exit code and words of `warpbeam check`."""
    job = load.job(load.parquet(ROWS) | (source or {}), {"v": {"model": model} | vector})
    return said(load.command("check", job, *arguments))


def said(result: Result) -> tuple[int, str]:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, " ".join(result.output.split())


def test_the_same_vectors_and_another_mode(vectorized: Load, modules: Modules) -> None:
    filled(vectorized, modules, modules.vectorizer("text"))
    before = vectorized.objects()

    code, words = checked(vectorized, modules.models["text"])
    assert code == 0 and re.search(r"vectors.v: \d\d stored objects were encoded again: the same vectors \(relative difference", words)

    code, words = checked(vectorized, modules.models["whole"])
    assert code == 2 and "stored objects were encoded again, and the vectors are not those that are stored" in words
    assert "; they match with mode: huggingface" in words and "mode: huggingface," not in words

    code, words = checked(vectorized, modules.models["text"] | {"direct": True})
    assert code == 2 and "they match with mode: huggingface" in words
    assert vectorized.objects() == before


def test_a_collection_made_with_prefixes(vectorized: Load, modules: Modules) -> None:
    filled(vectorized, modules, modules.vectorizer("prefixed"))
    code, words = checked(vectorized, modules.models["text"])
    assert code == 2 and "they match with mode: huggingface, prefixes: true" in words
    assert checked(vectorized, modules.models["prefixed"])[0] == 0


def test_a_collection_made_without_a_mode_in_the_job(vectorized: Load, modules: Modules) -> None:
    """The folder alone says the mode, as it does to the container."""
    filled(vectorized, modules, modules.vectorizer("text"))
    code, words = checked(vectorized, {"name": modules.models["text"]["name"]})
    assert code == 0 and "the same vectors" in words


def test_another_model(vectorized: Load, modules: Modules) -> None:
    """Vectors of the same length that no setting makes."""
    filled(vectorized, modules, modules.vectorizer("text"))
    dim = len(next(iter(vectorized.objects().values()))["vectors"]["v"])
    code, words = checked(vectorized, {"fake": dim})
    assert code == 2 and "nothing that was tried matches: " in words and "Another model made them, or another server" in words


def test_settings_that_changed_after_the_load(vectorized: Load, modules: Modules) -> None:
    """The objects got their vectors with the class name and cls pooling; the schema now says otherwise of the one or the other."""
    filled(vectorized, modules, modules.vectorizer("text", poolingStrategy="cls"))
    theirs = {k: o["vectors"] for k, o in vectorized.objects().items()}
    for settings, match in (
        ({}, "they match with mode: huggingface and poolingStrategy cls"),
        ({"poolingStrategy": "cls"}, ""),
    ):
        copied(vectorized, modules, settings, theirs)
        code, words = checked(vectorized, modules.models["text"])
        assert (code, match in words) == (2 if match else 0, True), words


def copied(load: Load, modules: Modules, settings: dict[str, Any], vectors: dict[str, Any]) -> None:
    """The same objects with these vectors, in a collection with other settings."""
    httpx.delete(f"{load.server.url}/v1/schema/{load.collection}", timeout=60).raise_for_status()
    vector = {"vectorizer": modules.vectorizer("text", **settings), "vectorIndexType": "flat"}
    load.create({"properties": TEXTS, "vectorConfig": {"v": vector}})
    rows = [
        {"class": load.collection, "id": generate_uuid5(r["key"]), "properties": r, "vectors": vectors[generate_uuid5(r["key"])]}
        for r in ROWS.to_pylist()
    ]
    answer = httpx.post(f"{load.server.url}/v1/batch/objects", json={"objects": rows}, timeout=60).raise_for_status().json()
    assert not [o for o in answer if o["result"].get("errors")]


@pytest.mark.parametrize(
    ("made", "now", "match"),
    [
        ({"vectorizeClassName": False}, {}, "no collection name in the text"),
        ({"properties": ["body", "key", "title"]}, {}, ""),  # the same text in another way
    ],
)
def test_the_text_was_another(vectorized: Load, modules: Modules, made: dict[str, Any], now: dict[str, Any], match: str) -> None:
    filled(vectorized, modules, modules.vectorizer("text", **made))
    copied(vectorized, modules, now, {k: o["vectors"] for k, o in vectorized.objects().items()})
    code, words = checked(vectorized, modules.models["text"])
    assert code == (2 if match else 0) and f"they match with {match}" * bool(match) in words, words


def test_pictures_and_texts(vectorized: Load, modules: Modules) -> None:
    weighed = {"textFields": ["title", "key"], "weights": {"textFields": [0.9, 0.1]}}
    filled(vectorized, modules, modules.vectorizer("looks", "multi2vec-clip", **weighed))
    code, words = checked(vectorized, modules.models["looks"])
    assert code == 0 and "the same vectors" in words and "stand in the order title, key" in words
    code, words = checked(vectorized, modules.models["looks"] | {"mode": "sentence-transformers"})
    assert code == 2 and "they match with mode: openai" in words


def test_ids_of_another_key_or_namespace(vectorized: Load, modules: Modules) -> None:
    filled(vectorized, modules, modules.vectorizer("text"), namespace="shop")
    model = modules.models["text"]
    for source in ({}, {"key": "title"}, {"namespace": "shop", "key": "title"}):
        code, words = checked(vectorized, model, source=source)
        assert code == 2 and "source.key: the collection" in words
        assert "holds 30 objects, and none of 30 rows of the source is among them" in words and "say --append" in words
        assert checked(vectorized, model, "--append", source=source)[0] == 0
    code, words = checked(vectorized, model, source={"namespace": "shop"})
    assert code == 0 and "are in the collection already" not in words


def test_some_ids_are_there(vectorized: Load, modules: Modules) -> None:
    filled(vectorized, modules, modules.vectorizer("text"), rows=12)
    code, words = checked(vectorized, modules.models["text"])
    assert code == 0 and "of 30 rows in the sample 12 are in the collection already and will be replaced" in words


def test_ids_and_vectors_are_both_named(vectorized: Load, modules: Modules) -> None:
    filled(vectorized, modules, modules.vectorizer("text"))
    code, words = checked(vectorized, modules.models["whole"], source={"key": "title"})
    assert code == 2 and "The job has 2 faults" in words and "they match with mode: huggingface" in words and "say --append" in words


def test_an_empty_collection_says_nothing(vectorized: Load, modules: Modules) -> None:
    filled(vectorized, modules, modules.vectorizer("text"), rows=0)
    code, words = checked(vectorized, modules.models["whole"])
    assert code == 0 and "encoded again" not in words


def test_a_self_provided_vector_may_be_another(vectorized: Load, modules: Modules) -> None:
    """Nobody but the job makes it, so a new model is no fault."""
    load, name = vectorized, modules.models["text"]["name"]
    load.create({"properties": TEXTS, "vectorConfig": {"v": {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}}})
    assert load.run(load.job(load.parquet(ROWS), {"v": {"model": name, "text_fields": ["title"]}}))[0] == 0
    code, words = checked(load, name, text_fields=["title"])
    assert code == 0 and "stored objects were encoded again: the same vectors" in words
    code, words = checked(load, name, text_fields=["body"])
    assert code == 0 and "and the vectors are others" in words and "objects that this job does not replace keep theirs" in words


def test_a_blob_that_is_not_stored_cannot_be_compared(vectorized: Load, modules: Modules) -> None:
    photo = clip_models.image("img:" + sorted(clip_models.data()["images"])[0])
    load = vectorized
    vector = {"vectorizer": modules.vectorizer("looks", "multi2vec-clip", imageFields=["photo"]), "vectorIndexType": "flat"}
    load.create({"properties": [{"name": "photo", "dataType": ["blob"]}], "vectorConfig": {"v": vector}})
    table = pa.table({"key": ["a"], "photo": [photo]})
    source = load.parquet(table) | {"properties": {"photo": "photo"}}
    job = load.job(source, {"v": {"model": modules.models["looks"]}}, {"write": "replace"}, media={"photo": {}})
    code, report = load.run(job)
    assert code == 0, report
    code, words = said(load.command("check", job))
    assert code == 0 and "vectors.v: not compared with what is stored, since photo is not stored" in words
    assert "a later PATCH of such an object would make its vector without it" in words


def match(difference: list[float], cosine: list[float]) -> Match:
    return Match(np.array(difference), np.array(cosine))


def test_when_vectors_match() -> None:
    nothing = match([np.nan] * 3, [np.nan] * 3)
    assert nothing.compared == 0 and not nothing.same and not nothing.alike
    one_changed = match([1e-6] * 9 + [0.5], [1.0] * 9 + [0.2])
    assert one_changed.same and one_changed.alike and one_changed.compared == 10
    assert not match([1e-6] * 8 + [0.5] * 2, [1.0] * 8 + [0.2] * 2).same
    scaled = match([1.0] * 5, [1.0] * 5)
    assert scaled.alike and not scaled.same
    assert match([1e-6, np.nan], [1.0, np.nan]).same


def spec(module: Any, **model: Any) -> VectorSpec:
    return VectorSpec.model_validate({"model": {"name": "m"} | model, "module": module})


def test_what_is_tried() -> None:
    text = TextModule("text2vec-transformers", "Article", ("a", "b"))
    found = dict(variants(spec(text, mode="huggingface")))
    assert "mode: huggingface" not in found and len(found) == len(MODES) - 1 + 4
    direct = found["mode: huggingface, direct: true"].model
    assert direct is not None and direct.direct and direct.name == "m"
    named = found["the names of all properties in the text"].module
    assert isinstance(named, TextModule) and named.named == {"a", "b"}
    remote = VectorSpec.model_validate({"model": {"inference_url": "http://127.0.0.1:9"}, "module": text})
    assert not [words for words, _ in variants(remote) if "mode" in words]
    clip = MultiModule("multi2vec-clip", "Article", {"text": ("a",)}, (1.0,))
    assert list(dict(variants(spec(clip, mode="siglip")))) == ["mode: sentence-transformers", "mode: openai", "no weights"]


CHUNK = {"property": "body", "model": "v", "tokens": 8}


@pytest.mark.parametrize("namespace", ["", "shop"])
def test_chunks_have_ids_of_their_own(vectorized: Load, modules: Modules, namespace: str) -> None:
    load, model = vectorized, {"v": {"model": modules.models["text"]}}
    filled(load, modules, modules.vectorizer("text"), rows=0)
    source = load.parquet(ROWS) | {"namespace": namespace}
    assert load.run(load.job(source, model, chunk=CHUNK))[0] == 0
    assert len(load.objects()) > 60
    code, words = said(load.command("check", load.job(source, model, chunk=CHUNK)))
    assert code == 0 and "the same vectors" in words and "are in the collection already" not in words
    code, words = said(load.command("check", load.job(source | {"namespace": "other"}, model, chunk=CHUNK)))
    assert code == 2 and "none of 30 rows of the source is among them" in words


def in_tenants(load: Load, modules: Modules, vectorizer: dict[str, Any]) -> dict[str, Any]:
    """Tenants a and b with 15 objects each, and an empty one; gives the source of a job."""
    vector = {"v": {"vectorizer": vectorizer, "vectorIndexType": "flat"}}
    load.create({"properties": TEXTS, "vectorConfig": vector, "multiTenancyConfig": {"enabled": True, "autoTenantCreation": True}})
    for tenant in "ab":
        objects = {generate_uuid5(r["key"]): r for r in ROWS.to_pylist()["ab".index(tenant) :: 2]}
        assert not modules.by_server(load.collection, objects, tenant)
    empty = [{"name": "empty"}]
    httpx.post(f"{load.server.url}/v1/schema/{load.collection}/tenants", json=empty, timeout=60).raise_for_status()
    source = load.parquet(ROWS.append_column("shop", pa.array(["a", "b"] * 15)).append_column("new", pa.array(["c", "empty"] * 15)))
    return source | {"properties": {n: n for n in ("key", "title", "body")}}


@pytest.mark.parametrize("tenant", ["a", {"column": "shop"}])
def test_tenants(vectorized: Load, modules: Modules, tenant: Any) -> None:
    source = in_tenants(vectorized, modules, modules.vectorizer("text"))

    def check(model: str, **changes: str) -> tuple[int, str]:
        job = vectorized.job(source | changes, {"v": {"model": modules.models[model]}}, {"tenant": tenant})
        return said(vectorized.command("check", job))

    code, words = check("text")
    assert code == 0 and "the same vectors" in words
    code, words = check("whole")
    assert code == 2 and "they match with mode: huggingface" in words
    code, words = check("text", namespace="shop")
    assert code == 2 and "none of 30 rows of the source is among them" in words


@pytest.mark.parametrize("tenant", ["empty", "c", {"column": "new", "create": True}])
def test_a_new_tenant_is_nothing_to_compare_with(vectorized: Load, modules: Modules, tenant: Any) -> None:
    source = in_tenants(vectorized, modules, modules.vectorizer("text"))
    job = vectorized.job(source, {"v": {"model": modules.models["whole"]}}, {"tenant": tenant})
    code, words = said(vectorized.command("check", job))
    assert code == 0 and "encoded again" not in words, words
