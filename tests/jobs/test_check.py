"""`warpbeam check` names all faults at once and writes nothing; `search` and `encode` ask with the job's own model."""

import json
from typing import Any

import apache_beam as beam
import cloudpickle
import numpy as np
import pyarrow as pa
import pytest
import yaml
from apache_beam.options.pipeline_options import PipelineOptions

from jobs.examine import examined
from jobs.job_file import load_job
from jobs.run import plan_of
from pipelines.load import build
from tests.conftest import Load

NONE = {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}
TEXTS = [{"name": "key", "dataType": ["text"]}, {"name": "title", "dataType": ["text"]}]
SIMPLE = {"properties": TEXTS, "vectorConfig": {"v": NONE}}
FAKE = {"v": {"model": {"fake": 4}, "text_fields": ["title"]}}


def rows(n: int, **more: Any) -> pa.Table:
    return pa.table({"key": [f"k{i}" for i in range(n)], "title": [f"title {i}" for i in range(n)], **more})


def output(result: Any) -> str:
    return " ".join(result.output.split())


def test_more_than_ten_different_faults_are_all_named(load: Load) -> None:
    extra = {"name": "price", "dataType": ["number"]}
    load.create({"properties": [*TEXTS, extra], "vectorConfig": {"v": NONE, "w": NONE, "x": NONE}})
    (load.folder / "no-model").mkdir()
    source = load.parquet(rows(5, price=["1"] * 5, colour=["red"] * 5, e=[[1.0, 2.0]] * 5))
    vectors = {
        "v": {"model": {"fake": 4}, "text_fields": ["titel"]},
        "w": {"model": "./no-model", "text_fields": ["title"]},
        "x": {"model": {"fake": 4}, "text_fields": {"title": -1}},
        "y": {"column": "e"},
        "z": {"column": "missing"},
    }
    target = {"weaviate": {"url": load.server.url, "grpc": load.server.grpc, "api_key": "hunter2secret"}, "consistency_level": "SOME"}
    path = load.job(source, vectors, target, sourc={}, chunk={"property": "title", "model": "v", "tokens": 10, "overlap": 10})
    job = yaml.safe_load(path.read_text())
    job["failures"] = {"path": "${NOT_SET_HERE}/failures"}
    path.write_text(yaml.safe_dump(job))

    result = load.command("check", path)

    assert result.exit_code == 2
    for words in (
        "sourc: there is no such key here; did you mean source?",
        "environment variable NOT_SET_HERE is not set",
        "a secret is never written into a job",
        "consistency_level",
        "`text_fields` has a weight that is negative",
        "overlap 10 must be smaller than tokens 10",
        "'price' has the type string; property 'price' is number",
        "column 'colour' has no property 'colour'",
        "'titel' is no property of this job",
        "is no model: it has none of modules.json, config.json",
        "vectors.y: collection",
        "vectors.z.column: there is no column 'missing'",
    ):
        assert words in output(result), (words, output(result))
    assert "hunter2secret" not in result.output
    assert load.objects() == {}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"parquet": "nothing-*.parquet", "key": "key"}, "nothing-*.parquet"),
        ({"parquet": "empty.parquet", "key": "key"}, "empty.parquet"),
        ({"parquet": "broken.parquet", "key": "key"}, "broken.parquet"),
        ({"parquet": "rows.parquet", "key": "sku"}, "there is no column 'sku'; the source has key, title"),
    ],
)
def test_what_is_wrong_with_the_source(load: Load, source: dict[str, str], words: str) -> None:
    load.create(SIMPLE)
    load.parquet(rows(2))
    (load.folder / "empty.parquet").touch()
    (load.folder / "broken.parquet").write_bytes((load.folder / "rows.parquet").read_bytes()[:-20])
    result = load.command("check", load.job(source, FAKE))
    assert result.exit_code == 2 and words in output(result)


def test_a_missing_job_file_and_one_that_is_no_yaml(load: Load) -> None:
    (load.folder / "bad.yaml").write_text("a: [1")
    for name, words in (("none.yaml", "cannot be read"), ("bad.yaml", "is no YAML")):
        result = load.command("check", load.folder / name)
        assert result.exit_code == 2 and words in output(result)


def test_a_missing_collection_without_a_definition(load: Load) -> None:
    result = load.command("check", load.job(load.parquet(rows(1)), FAKE))
    assert result.exit_code == 2 and "is missing on the server" in output(result)


def test_a_definition_that_weaviate_refuses_keeps_its_words(load: Load) -> None:
    definition = {
        "class": load.collection,
        "properties": [{"name": "key", "dataType": ["text"]}, {"name": "title", "dataType": ["text"], "tokenization": "nonsense"}],
    }
    (load.folder / "class.json").write_text(json.dumps(definition | {"vectorConfig": {"v": NONE}}))
    result = load.command("run", load.job(load.parquet(rows(1)), FAKE, {"create": "class.json"}))
    assert result.exit_code == 2 and "properties.1.tokenization in body should be one of" in output(result)


def test_the_plan_says_rows_tokens_and_texts_over_the_limit(load: Load, minilm: str) -> None:
    load.create(SIMPLE)
    table = pa.table({"key": ["a", "b"], "title": ["short", "long " * 400]})
    job = load.job(load.parquet(table), {"v": {"model": minilm, "text_fields": ["title"]}})
    result = load.command("check", job)
    assert result.exit_code == 0
    for words in ("2 in 1 shard", "384 numbers from title", "50.0% of texts over the model's 256 tokens", "nothing was written"):
        assert words in output(result)
    plan = json.loads(load.command("check", job, "--json").output)["plan"]
    assert (plan["rows"], plan["over_limit"]) == (2, {"v": 0.5})
    assert load.objects() == {}


def test_check_says_which_rows_of_the_sample_would_fail(load: Load) -> None:
    load.create(SIMPLE)
    result = load.command("check", load.job(load.parquet(pa.table({"key": ["a", None], "title": ["x", "y"]})), FAKE))
    assert result.exit_code == 0 and "1 would fail: no_key" in output(result)


def test_search_and_encode_use_the_jobs_model(load: Load, minilm: str) -> None:
    load.create(SIMPLE)
    table = pa.table({"key": ["bird", "ship"], "title": ["a small bird sings in a tree", "a ship sails across the ocean"]})
    job = load.job(load.parquet(table), {"v": {"model": minilm, "text_fields": ["title"]}})
    assert load.command("run", job).exit_code == 0
    found = json.loads(load.command("search", job, "an animal that flies", "--limit", "1", "--json").output)
    assert [r["properties"]["key"] for r in found] == ["bird"] and set(found[0]) == {"uuid", "distance", "properties"}
    stored = next(o for o in load.objects().values() if o["properties"]["key"] == "bird")["vectors"]["v"]
    encoded = json.loads(load.command("encode", job, "a small bird sings in a tree", "--json").output)
    np.testing.assert_allclose(encoded, stored, atol=2e-6)
    assert "a small bird" in output(load.command("search", job, "an animal that flies"))
    words = json.loads(load.command("search", job, "ocean", "--hybrid", "0.0", "--limit", "1", "--json").output)
    assert words[0]["properties"]["key"] == "ship"


def test_long_texts_truncated_are_counted_and_named(load: Load, minilm: str) -> None:
    load.create(SIMPLE)
    table = pa.table({"key": ["a", "b"], "title": ["short", "long " * 400]})
    code, report = load.run(load.job(load.parquet(table), {"v": {"model": minilm, "text_fields": ["title"]}}))
    assert (code, report["vectors"]["v"]["truncated"]) == (0, 1)
    assert report["notes"]["truncated"][1]["key"] == "b"
    code, report = load.run(load.job(load.parquet(table), {"v": {"model": minilm, "text_fields": ["title"], "long_text": "fail"}}))
    assert (code, report["failures"]["text_too_long"][1]["key"]) == (1, "b")


def test_secrets_are_in_neither_graph_nor_plan(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after the launcher has used the secret; Beam packs what travels, so it is looked at before that."""
    load.create(SIMPLE)
    monkeypatch.setenv("LOADER_KEY", "the-very-secret-key")
    target = {"weaviate": {"url": load.server.url, "grpc": load.server.grpc, "headers": {"X-Other-Key": "${LOADER_KEY}"}}}
    with examined(load_job(load.job(load.parquet(rows(3)), FAKE, target))) as found:
        assert not found.faults and found.target
        assert found.target.connection.headers == {"X-Other-Key": "the-very-secret-key"}
        plan = plan_of(found)
        assert plan.target.connection.headers
    pipeline = beam.Pipeline(options=PipelineOptions([]))
    build(pipeline, plan)
    travels = cloudpickle.dumps(plan) + pipeline.to_runner_api().SerializeToString()
    assert b"${LOADER_KEY}" in travels and b"the-very-secret-key" not in travels
