"""Job files and class definitions: random structures over the real keys, random text, `--set`: a job, or every fault in a sentence."""

import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobs.job_file import _models, read_job
from schemas.collection import definition_in, parse_collection
from schemas.errors import JobError
from schemas.job import Job
from schemas.modules import MULTI_MODULES, TEXT_MODULES, module_of
from tests.fuzz.accounts import TYPES
from tests.fuzz.amounts import fuzz, tally
from tests.fuzz.child import child

PARTS: dict[str, list[str]] = {place: list(model.model_fields) for place, model in _models().items()}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.dates()
    | st.sampled_from(
        [
            "",
            "~no-such-user/x",
            "${WB_NOWHERE}",
            "${",
            "./x",
            "a\0b",
            "\ud7ff",
            "1e999",
            10**400,
            "http://[",
            "embedded",
            "missing",
            -1,
            0,
            1e-9,
        ]
    )
)
ANY_KEY = st.sampled_from(sorted({k for keys in PARTS.values() for k in keys})) | st.text(max_size=6) | st.integers() | st.none()
ANY = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_KEY, inner, max_size=3), max_leaves=8)
GOOD = {
    "source": st.fixed_dictionaries({"parquet": st.just("a"), "key": st.just("id")}),
    "target": st.fixed_dictionaries({"weaviate": st.just("http://x"), "collection": st.just("A")}),
    "vectors": st.just({"v": {"model": {"fake": 4}, "text_fields": ["a"]}}),
}


def part(place: str) -> st.SearchStrategy[dict[Any, Any]]:
    """A mapping with some of the keys that stand at `place`, their values random or of the shape that belongs there."""
    inner = {name: below(f"{place}.{name}".lstrip(".")) for name in PARTS[place]}
    return st.fixed_dictionaries({}, optional=inner)


def below(place: str) -> st.SearchStrategy[Any]:
    if f"{place}.*" in PARTS:
        return ANY | st.dictionaries(st.text(max_size=5) | st.integers(), st.deferred(lambda: part(f"{place}.*")), max_size=2)
    return ANY | st.deferred(lambda: part(place)) if place in PARTS else ANY


JOBS = part("") | st.fixed_dictionaries({}, optional={name: good | below(name) for name, good in GOOD.items()}).flatmap(
    lambda job: part("").map(lambda other: {**other, **job})
)


def outcome(path: str, overrides: list[str]) -> tuple[bool, list[str]]:
    """Whether there is a job, and its faults."""
    try:
        job, faults = read_job(path, overrides)
    except JobError as error:
        job, faults = None, list(error.faults)
    if job is not None:
        assert isinstance(job, Job) and job.source.location is not None and repr(job)
    return job is not None, faults


def ask(path: Path, overrides: list[str] | None = None) -> None:
    tally("job file")
    found, faults = child.ask(outcome, str(path), overrides or [])
    assert all(isinstance(fault, str) and fault for fault in faults)
    assert found or faults


def as_yaml(data: Any) -> str:
    return yaml.safe_dump(data, allow_unicode=True)


@fuzz(700)
@given(data=JOBS)
def test_random_structures_over_the_real_keys(folder: Path, data: Any) -> None:
    (folder / "a.yaml").write_text(as_yaml(data), encoding="utf-8")
    ask(folder / "a.yaml")


@fuzz(500)
@given(data=st.binary(max_size=200) | st.text(alphabet="ab:-[]{}&*!|>?#'\"\n\t %0x1_.~,<=", max_size=120).map(str.encode))
def test_random_text(folder: Path, data: bytes) -> None:
    (folder / "b.yaml").write_bytes(data)
    ask(folder / "b.yaml")


MINIMAL = "source: {parquet: a, key: id}\ntarget: {weaviate: http://x, collection: A}\nvectors: {v: {model: {fake: 4}, text_fields: [a]}}\n"
PLACES = st.lists(ANY_KEY.map(str) | st.sampled_from(["source", "target", "vectors", "v", "model"]), min_size=1, max_size=4).map(".".join)


@fuzz(500)
@given(st.lists(st.tuples(PLACES, ANY.map(as_yaml) | st.text(max_size=20)), min_size=1, max_size=3), st.booleans())
def test_random_overrides(folder: Path, sets: list[tuple[str, str]], equal: bool) -> None:
    (folder / "c.yaml").write_text(MINIMAL)
    ask(folder / "c.yaml", [f"{place}{'=' if equal else ''}{value}" for place, value in sets])


@fuzz(500)
@given(st.integers(0, len(MINIMAL) - 1), st.text(max_size=3), st.integers(0, 6))
def test_a_good_file_with_a_piece_changed(folder: Path, at: int, new: str, drop: int) -> None:
    (folder / "d.yaml").write_text(MINIMAL[:at] + new + MINIMAL[at + drop :], encoding="utf-8")
    ask(folder / "d.yaml")


MODULES = st.sampled_from([*TEXT_MODULES, *MULTI_MODULES, "none", "other"])
FIELDS = st.lists(st.text(max_size=4) | SCALARS, max_size=3)
SETTINGS = ANY | st.fixed_dictionaries(
    {},
    optional={
        "properties": FIELDS | ANY,
        "weights": ANY | st.fixed_dictionaries({"textFields": FIELDS}),
        "textFields": FIELDS | ANY,
        "vectorizeClassName": ANY,
    },
)
PROPERTY = ANY | st.fixed_dictionaries(
    {"name": st.text(max_size=4) | ANY, "dataType": st.lists(st.sampled_from(TYPES), max_size=2) | ANY},
    optional={"nestedProperties": ANY, "moduleConfig": ANY | st.dictionaries(MODULES, ANY)},
)
VECTOR = ANY | st.fixed_dictionaries(
    {}, optional={"vectorizer": ANY | st.dictionaries(MODULES, SETTINGS, max_size=1), "vectorIndexConfig": ANY}
)
DEFINITION = st.fixed_dictionaries(
    {"class": st.just("A") | ANY},
    optional={
        "properties": st.lists(PROPERTY, max_size=3) | ANY,
        "vectorConfig": st.dictionaries(st.text(max_size=3), VECTOR, max_size=2) | ANY,
        "vectorizer": MODULES | ANY,
        "moduleConfig": st.dictionaries(MODULES, SETTINGS) | ANY,
        "multiTenancyConfig": ANY,
    },
)


def defined(text: str) -> int:
    """How many vectors the class in `text` has; -1 where it is refused."""
    try:
        found = parse_collection(definition_in(text, "A", "a.json"))
        for vector in found.vectors.values():
            module_of(found.definition, vector.name, found.properties, vector.unnamed)
    except JobError as error:
        assert str(error)
        return -1
    return len(found.vectors)


@fuzz(700)
@given(DEFINITION)
def test_random_class_definitions(data: Any) -> None:
    tally("class definition")
    assert child.ask(defined, json.dumps(data, default=str)) >= -1
