"""What a vector's module reads, as the collection says it."""

from typing import Any

import pytest

from schemas.collection import parse_collection
from schemas.errors import JobError
from schemas.job import VectorSpec
from schemas.modules import MultiModule, TextModule, module_of

T2V = "text2vec-transformers"
PROPERTIES = [
    {"name": "Title", "dataType": ["text"], "moduleConfig": {T2V: {"vectorizePropertyName": True}}},
    {"name": "tags", "dataType": ["text[]"], "moduleConfig": {T2V: {"skip": True, "vectorizePropertyName": True}}},
    {"name": "a_b", "dataType": ["string"], "moduleConfig": {T2V: {"skip": "true", "vectorizePropertyName": "true"}}},
    {"name": "aB", "dataType": ["blob"], "moduleConfig": {"text2vec-nvidia": {"skip": True}}},
    {"name": "price", "dataType": ["number"]},
    {"name": "at", "dataType": ["date"]},
    {"name": "by", "dataType": ["Author"]},
]


def module(settings: dict[str, Any] | None = None, name: str = T2V, unnamed: bool = False) -> Any:
    """The module of a class with these settings."""
    definition: dict[str, Any] = {"class": "articleDoc", "properties": PROPERTIES}
    if unnamed:
        definition |= {"vectorizer": name, "moduleConfig": {name: settings} if settings is not None else {}}
    else:
        definition |= {"vectorConfig": {"v": {"vectorizer": {name: settings}}}}
    collection = parse_collection(definition)
    return module_of(definition, "default" if unnamed else "v", collection.properties, unnamed)


@pytest.mark.parametrize("unnamed", [True, False])
def test_defaults_of_text2vec(unnamed: bool) -> None:
    found = module(None, unnamed=unnamed)
    assert isinstance(found, TextModule)
    assert (found.name, found.collection, found.class_name, found.source, found.lower, found.settings) == (
        T2V,
        "ArticleDoc",
        True,
        False,
        False,
        {},
    )
    assert found.fields == ("aB", "a_b", "title")  # by bytes: B before _; a skip that is no boolean is none
    assert found.named == {"title"}
    assert {n: p.data_type for n, p in found.properties.items()} == {"title": "text", "a_b": "string", "aB": "blob"}


@pytest.mark.parametrize("unnamed", [True, False])
def test_settings_of_a_class_and_of_a_named_vector(unnamed: bool) -> None:
    found = module({"vectorizeClassName": False, "poolingStrategy": "cls"}, unnamed=unnamed)
    assert (found.class_name, found.settings["poolingStrategy"]) == (False, "cls")


@pytest.mark.parametrize(("value", "expected"), [(True, True), (False, False), ("false", True), (None, True), (0, True)])
def test_class_name_is_a_boolean_or_the_default(value: Any, expected: bool) -> None:
    assert module({"vectorizeClassName": value}).class_name is expected


def test_nvidia_leaves_the_class_name_out_and_has_flags_of_its_own() -> None:
    found = module({}, "text2vec-nvidia")
    assert (found.class_name, found.fields, found.named) == (False, ("a_b", "tags", "title"), frozenset())
    assert module({"vectorizeClassName": True}, "text2vec-nvidia").class_name


def test_source_properties_count_whatever_their_type_and_skip() -> None:
    found = module({"properties": ["tags", "price", "at", "tags", "nowhere", "Title"]})
    assert found.source
    assert found.fields == ("Title", "at", "nowhere", "price", "tags")  # each once; `Title` is no property: the server compares letters
    assert set(found.properties) == {"at", "price", "tags"}
    assert found.named == {"tags"}


def test_an_empty_list_of_source_properties_is_none() -> None:
    assert not module({"properties": []}).source


def test_clip_reads_fields_and_weights_in_the_order_of_the_settings() -> None:
    weights = {"imageFields": [0.5], "textFields": ["0.9", 1]}
    found = module({"imageFields": ["aB"], "textFields": ["title", "a_b"], "weights": weights}, "multi2vec-clip")
    assert isinstance(found, MultiModule)
    assert found.by_modality == {"text": ("title", "a_b"), "image": ("aB",)}
    assert found.weights == (0.9, 1.0, 0.5)
    assert found.fields == ("title", "a_b", "aB") and set(found.properties) == set(found.fields)
    assert not found.unnamed and module({"imageFields": ["aB"]}, "multi2vec-clip", unnamed=True).unnamed


def test_weights_of_one_modality_alone() -> None:
    found = module({"imageFields": ["aB"], "textFields": ["title"], "weights": {"imageFields": [2]}}, "multi2vec-clip")
    assert found.weights == (2.0,)


def test_bind_has_seven_modalities_and_clip_two() -> None:
    settings = {"imuFields": ["x"], "audioFields": ["aB"], "textFields": ["title"], "imageFields": []}
    found = module(settings, "multi2vec-bind").by_modality
    assert list(found.items()) == [("text", ("title",)), ("audio", ("aB",)), ("imu", ("x",))]
    assert module(settings, "multi2vec-clip").by_modality == {"text": ("title",)}


@pytest.mark.parametrize("weight", ["heavy", None, "nan", [1]])
def test_weight_that_is_no_number(weight: Any) -> None:
    with pytest.raises(JobError, match=r"multi2vec-clip\.weights\.textFields has .*, which is no number"):
        module({"textFields": ["title"], "weights": {"textFields": [weight]}}, "multi2vec-clip")


@pytest.mark.parametrize("name", ["none", "text2vec-openai"])
def test_other_modules_are_none_of_ours(name: str) -> None:
    assert module({}, name) is None
    assert module({}, name, unnamed=True) is None


def test_vector_without_a_vectorizer() -> None:
    assert module_of({"class": "A", "vectorConfig": {"v": {}}}, "v", {}, False) is None
    assert module_of({"class": "A"}, "default", {}, True) is None


@pytest.mark.parametrize("found", [module(), module({"textFields": ["title"]}, "multi2vec-clip")])
def test_a_vector_of_the_job_reads_what_its_module_reads(found: Any) -> None:
    spec = VectorSpec.model_validate({"model": {"fake": 4}}).model_copy(update={"module": found})
    assert spec.fields == found.fields
