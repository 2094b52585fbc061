"""What the collection says about a module's vector is put into the job, and what does not go with it is named."""

from typing import Any

import pytest

from jobs.modules import CONTAINER_KEYS, merge_faults, module_remarks, with_modules
from schemas.collection import LEGACY, Collection, parse_collection
from schemas.job import Job
from schemas.modules import MultiModule, TextModule

TYPES = {"title": "text", "body": "text", "tags": "text[]", "photo": "blob"}


def collection(vector: dict[str, Any] | None = None, **definition: Any) -> Collection:
    properties = [{"name": n, "dataType": [t]} for n, t in TYPES.items()]
    named = {"vectorConfig": {"v": {"vectorizer": vector}}} if vector else {}
    return parse_collection({"class": "Article", "properties": properties} | named | definition)


def job(vectors: dict[str, Any], **target: Any) -> Job:
    return Job.model_validate(
        {
            "source": {"parquet": "rows.parquet", "key": "key"},
            "target": {"weaviate": "http://localhost:8080", "collection": "Article"} | target,
            "vectors": vectors,
        }
    )


def faults(spec: dict[str, Any], vector: dict[str, Any]) -> list[str]:
    return with_modules(job({"v": spec}), collection(vector))[1]


def clip(**settings: Any) -> dict[str, Any]:
    return {"multi2vec-clip": settings}


TEXT: dict[str, Any] = {"text2vec-transformers": {}}
NONE: dict[str, Any] = {"none": {}}


def test_a_vector_follows_its_module() -> None:
    vectors = {"v": {"model": "m"}, "w": {"column": "e"}, "absent": {"model": "m"}}
    made, found = with_modules(job(vectors), collection(TEXT))
    assert not found
    assert isinstance(made.vectors["v"].module, TextModule)
    assert made.vectors["v"].fields == ("body", "photo", "tags", "title")
    assert made.vectors["w"].module is None and made.vectors["absent"].module is None


def test_the_unnamed_vector_is_called_default() -> None:
    old = collection(vectorizer="multi2vec-clip", moduleConfig=clip(imageFields=["photo"]))
    made, found = with_modules(job({LEGACY: {"model": "m"}}), old)
    module = made.vectors[LEGACY].module
    assert not found and isinstance(module, MultiModule)
    assert module.unnamed and made.vectors[LEGACY].fields == ("photo",)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"text_fields": ["title"]},
            "vectors.v.text_fields: the collection's text2vec-transformers says what this vector is made of (body, ",
        ),
        ({"image_fields": ["photo"]}, "vectors.v.image_fields: the collection's text2vec-transformers says what"),
        ({"prompts": {"query": "q: "}}, "vectors.v.prompts: the collection's text2vec-transformers says what"),
        ({"long_text": "fail"}, "vectors.v.long_text: text2vec-transformers treats long texts in its own way"),
        (
            {"model": {"name": "m", "dimensions": 8}},
            "vectors.v.model.dimensions: the collection's text2vec-transformers says how many (all)",
        ),
    ],
)
def test_a_key_that_the_module_decides(spec: dict[str, Any], words: str) -> None:
    (fault,) = faults({"model": "m"} | spec, TEXT)
    assert fault.startswith(words) and fault.endswith("leave the key out")


def test_all_faults_are_named_at_once_and_with_the_collections_own_number() -> None:
    spec = {"model": {"name": "m", "dimensions": 8}, "text_fields": ["title"], "image_fields": ["photo"], "long_text": "mean"}
    found = faults(spec, {"text2vec-transformers": {"dimensions": 4}})
    assert [f.split(":")[0] for f in found] == [f"vectors.v.{k}" for k in ("text_fields", "image_fields", "long_text", "model.dimensions")]
    assert "says how many (4)" in found[-1]


def test_a_module_without_fields_says_so() -> None:
    (fault,) = faults({"model": "m", "text_fields": ["title"]}, clip())
    assert "(no field)" in fault


VALUES: dict[str, dict[str, Any]] = {
    "mode": {"name": "m", "mode": "huggingface"},
    "direct": {"name": "m", "direct": True},
    "prefixes": {"name": "m", "prefixes": True},
    "prebuilt": {"prebuilt": "transformers-inference:x"},
    "passage": {"passage": "p", "query": "q"},
    "query": {"passage": "p", "query": "q"},
}


@pytest.mark.parametrize("key", CONTAINER_KEYS)
@pytest.mark.parametrize("vector", [NONE, {"text2vec-openai": {}}])
def test_a_key_of_the_containers_without_their_module(key: str, vector: dict[str, Any]) -> None:
    found = faults({"model": VALUES[key], "text_fields": ["title"]}, vector)
    assert any(f.startswith(f"vectors.v.model.{key}: only for vectors that a module such as text2vec-transformers makes") for f in found)
    assert not faults({"model": VALUES[key]}, TEXT)


def test_a_self_provided_vector_keeps_its_own_keys() -> None:
    spec = {"model": {"name": "m", "dimensions": 8}, "text_fields": ["title"], "prompts": {"query": "q"}, "long_text": "mean"}
    made, found = with_modules(job({"v": spec}), collection(NONE))
    assert not found and made.vectors["v"].module is None


def test_settings_that_no_server_reads() -> None:
    (fault,) = faults({"model": "m"}, clip(textFields=["title"], weights={"textFields": ["much"]}))
    assert fault.startswith("vectors.v: collection Article: multi2vec-clip.weights.textFields has 'much', which is no number")


def merged(vector: dict[str, Any], named: list[str], write: str | None = "merge", spec: dict[str, Any] | None = None) -> list[str]:
    live = collection(vector)
    made, found = with_modules(job({"v": spec or {"model": "m"}}, write=write), live)
    assert not found
    return list(merge_faults(made, live, named))


def test_a_merge_must_name_all_that_a_module_reads() -> None:
    (fault,) = merged(clip(textFields=["title", "body"], imageFields=["photo"]), ["title"])
    assert fault.startswith("vectors.v: multi2vec-clip reads body, photo, which this job does not name and a merge keeps;")
    assert not merged(clip(textFields=["title"], imageFields=["photo"]), ["title", "photo"])


def test_merges_that_leave_no_module_without_its_fields() -> None:
    reads = clip(textFields=["title", "gone"])  # a name that is no property: the server finds nothing there
    assert not merged(reads, ["title"])
    assert not merged(reads, [], "replace") and not merged(reads, [], None)
    assert not merged(NONE, [], spec={"model": "m", "text_fields": ["title"]})


def remarks(vector: dict[str, Any], unstored: frozenset[str] = frozenset()) -> list[str]:
    live = collection(vector)
    made, _ = with_modules(job({"v": {"model": "m"}}), live)
    return list(module_remarks(made.vectors["v"], "v", live, unstored))


def test_what_is_encoded_and_not_stored() -> None:
    (remark,) = remarks(clip(textFields=["title"], imageFields=["photo"]), frozenset({"photo"}))
    assert remark.startswith("vectors.v: photo is encoded and not stored; a later PATCH")


def test_weights_that_do_not_sit_on_their_fields() -> None:
    found = remarks(clip(textFields=["title", "body"], weights={"textFields": [0.9, 0.1]}))
    assert "stand in the order title, body, but multi2vec-clip takes vectors in the order body, title" in found[0]
    assert "divides the weighted sum by the number of values" in found[1] and len(found) == 2
    assert len(remarks(clip(textFields=["body", "title"], weights={"textFields": [0.9, 0.1]}))) == 1


def test_lists_and_the_only_weight() -> None:
    (remark,) = remarks(clip(textFields=["tags"], weights={"textFields": [1]}))
    assert remark.startswith("vectors.v: tags is a list, and each element takes the next weight")
    assert remarks(clip(textFields=["title"], weights={"textFields": [1]})) == []


@pytest.mark.parametrize("vector", [TEXT, NONE, clip(textFields=["title", "body"], imageFields=["photo"])])
def test_nothing_to_say(vector: dict[str, Any]) -> None:
    assert remarks(vector) == []
