"""Versions and the alias, against a real Weaviate: load beside what is read, then move, and back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.versions import versions_of
from schemas.errors import JobError
from tests.conftest import Load
from tests.jobs.test_incremental import TWO, VECTORS, rows


@pytest.fixture
def versioned(load: Load) -> Iterator[Load]:
    """A job with an alias; versions and alias are gone afterwards."""
    yield load
    httpx.delete(f"{load.server.url}/v1/aliases/{load.collection}Read", timeout=60)
    for found in httpx.get(f"{load.server.url}/v1/schema", timeout=60).json()["classes"]:
        if found["class"].startswith(f"{load.collection}_v"):
            httpx.delete(f"{load.server.url}/v1/schema/{found['class']}", timeout=60)


def job_of(load: Load, n: int) -> Path:
    (load.folder / "class.json").write_text(json.dumps({"class": load.collection} | TWO))
    return load.job(load.parquet(rows(n)), VECTORS, {"create": "class.json", "alias": f"{load.collection}Read"})


def count(load: Load, name: str) -> int:
    found = httpx.get(f"{load.server.url}/v1/objects", params={"class": name, "limit": 100}, timeout=60)
    return len(found.json().get("objects") or []) if found.status_code == 200 else -1


def verified(load: Load, job: Path) -> None:
    result = load.command("verify", job)
    assert result.exit_code == 0, result.output


def test_a_version_is_loaded_verified_published_and_taken_back(versioned: Load) -> None:
    load, name = versioned, f"{versioned.collection}Read"
    job = job_of(load, 10)
    assert load.run(job)[0] == 0
    assert count(load, f"{load.collection}_v1") == 10 and count(load, name) == -1
    refused = load.command("publish", job)
    assert refused.exit_code == 2 and "was not verified" in refused.output.replace("\n", " ")
    verified(load, job)
    assert load.command("publish", job).exit_code == 0
    assert count(load, name) == 10
    job = job_of(load, 12)
    assert load.run(job)[0] == 0
    assert count(load, name) == 10 and count(load, f"{load.collection}_v2") == 12
    assert load.command("publish", job).exit_code == 2
    verified(load, job)
    assert load.run(job)[0] == 0  # loaded after it was verified
    assert "verify it again" in load.command("publish", job).output.replace("\n", " ")
    verified(load, job)
    assert load.command("publish", job).exit_code == 0
    assert count(load, name) == 12
    assert load.command("publish", job, "--back").exit_code == 0
    assert count(load, name) == 10 and count(load, f"{load.collection}_v2") == 12
    assert load.command("publish", job, "--back").exit_code == 2


def test_search_reads_what_applications_read(versioned: Load) -> None:
    job = job_of(versioned, 5)
    versioned.run(job)
    verified(versioned, job)
    versioned.command("publish", job)
    versioned.run(job_of(versioned, 50))
    found = versioned.command("search", job, "title 3", "--vector", "v", "--limit", "100", "--json")
    assert len(json.loads(found.output)) == 5


@pytest.mark.parametrize(
    ("names", "there", "alias", "working", "published"),
    [
        ([], None, "R", 1, None),
        (["P_v1"], None, "R", 1, None),
        (["P_v1"], "P_v1", "R", 2, 1),
        (["P_v1", "P_v2", "P_v10", "P_vx", "Q_v11"], "P_v2", "R", 10, 2),
        (["P_v1", "P_v2"], "P_v2", "R", 3, 2),
    ],
)
def test_the_version_to_load(names: list[str], there: str | None, alias: str, working: int, published: int | None) -> None:
    found = versions_of(names, there, "P", alias)
    assert (found.working, found.published) == (working, published)


@pytest.mark.parametrize(
    ("names", "there", "alias", "words"),
    [(["R"], None, "R", "is a collection"), ([], None, "P", "own name"), (["X"], "X", "R", "no version of P")],
)
def test_an_alias_that_cannot_be_used(names: list[str], there: str | None, alias: str, words: str) -> None:
    with pytest.raises(JobError, match=words):
        versions_of(names, there, "P", alias)


def test_the_collections_name_in_a_text_is_refused(versioned: Load) -> None:
    module: dict[str, Any] = {
        "vectorizer": {"text2vec-nvidia": {"vectorizeClassName": True, "baseURL": "http://127.0.0.1:1"}},
        "vectorIndexType": "flat",
    }
    job = job_of(versioned, 3)
    (versioned.folder / "class.json").write_text(json.dumps({"class": versioned.collection} | TWO | {"vectorConfig": {"v": module}}))
    result = versioned.command("check", job, "--set", "vectors={v: {model: {fake: 3}}}")
    assert result.exit_code == 2 and "set vectorizeClassName to false" in result.output.replace("\n", " ")
