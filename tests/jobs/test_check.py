"""`warpbeam check` names all faults at once and writes nothing; `search` and `encode` ask with the job's own model."""

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import apache_beam as beam
import cloudpickle
import numpy as np
import pyarrow as pa
import pytest
import yaml
from apache_beam.options.pipeline_options import PipelineOptions
from PIL import Image

from encoders.punkt import sentence_tokenizer
from encoders.threads import usable_cores
from jobs.examine.findings import examined
from jobs.job_file import load_job
from jobs.run import plan_of
from pipelines.load import build
from tests.conftest import Load
from tests.golden import clip_models, models
from tests.nim_server import KEY, MAX_WORDS, nim_server

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
    cores = f"of encoding on this machine, with {usable_cores()} core"
    for words in ("2 in 1 shard", "384 numbers from title", "50.0% of texts over the model's 256 tokens", cores, "nothing was written"):
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


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny models of Weaviate's containers, and one that is quantised by name only."""
    root = tmp_path_factory.mktemp("tiny")
    shutil.copytree(models.build("bert-tiny", root), root / "quantised")
    (root / "quantised" / "model_quantized.onnx").touch()
    return clip_models.build(root)


def defined(load: Load, vectorizer: dict[str, Any], **more: str) -> dict[str, str]:
    """A target that would make a collection whose vector `v` a module makes; `check` makes nothing, so the server needs no module."""
    properties = [*TEXTS, *({"name": n, "dataType": [t]} for n, t in more.items())]
    definition = {"class": load.collection, "properties": properties}
    definition["vectorConfig"] = {"v": {"vectorizer": vectorizer, "vectorIndexType": "flat"}}
    (load.folder / "class.json").write_text(json.dumps(definition))
    return {"create": "class.json"}


T2V = {"text2vec-transformers": {"vectorizeClassName": False, "properties": ["title", "photo"]}}
CLIP = {"multi2vec-clip": {"textFields": ["title", "tags"], "weights": {"textFields": [0.7, 0.3]}}}
LONG = "a red fox " * 40


def test_check_foresees_what_a_text_module_does(load: Load, tiny: Path) -> None:
    table = pa.table({"key": ["a", "b", "c"], "title": ["One fox. Two.", " ", None], "photo": pa.array([b"abc", None, None], pa.binary())})
    job = load.job(load.parquet(table), {"v": {"model": str(tiny / "bert-tiny")}}, defined(load, T2V, photo="blob"))
    result = load.command("check", job)
    assert result.exit_code == 0
    for words in (
        "text2vec-transformers (huggingface, sentence splitting, masked_mean) of photo, title; about",
        "v: 1 of 3 rows (such as b): nothing but white space to encode",
        "v: 1 of 3 rows (such as c): no text in photo, title; Weaviate: stored without this vector; here: the same",
        "v: 1 of 3 rows (such as a): the blob photo becomes part of the text",
    ):
        assert words in output(result), (words, output(result))
    foreseen = json.loads(load.command("check", job, "--json").output)["sample"]["foreseen"]
    assert {f["code"]: f["key"] for f in foreseen} == {"without_vector": "c", "no_sentence": "b", "blob_in_text": "a"}


def test_check_foresees_what_a_clip_module_does(load: Load, tiny: Path) -> None:
    table = pa.table({"key": ["a", "b", "c"], "title": ["x", LONG, None], "tags": [["y", "z"], None, None]})
    job = load.job(load.parquet(table), {"v": {"model": str(tiny / "clip-tiny")}}, defined(load, CLIP, tags="text[]"))
    result = load.command("check", job)
    assert result.exit_code == 0
    for words in (
        "multi2vec-clip (openai) of text tags, text title, weights 0.7, 0.3; about",
        "25.0% of texts over the model's 77 tokens (refused)",
        "(such as a): more values to combine than the collection has weights (2); Weaviate: every object of the same request fails; here: rejected",
        "(such as b): a text over the model's 77 tokens",
        "(such as c): none of title, tags",
    ):
        assert words in output(result), (words, output(result))


def test_images_that_cannot_be_fetched_or_read_are_foreseen(load: Load, tiny: Path) -> None:
    (load.folder / "broken.png").write_bytes(b"no picture")
    table = pa.table({"key": ["a", "b"], "title": ["x", "y"], "photo": [str(load.folder / "broken.png"), str(load.folder / "none.png")]})
    target = defined(load, {"multi2vec-clip": {"imageFields": ["photo"]}}, photo="blob")
    media = {"photo": {"fetch": [str(load.folder)], "store": True}}
    job = load.job(load.parquet(table), {"v": {"model": str(tiny / "clip-tiny")}}, target, media=media)
    sample = json.loads(load.command("check", job, "--json").output)["sample"]
    assert sample["failed"] == {"uri_unreadable": 1}
    assert [(f["code"], f["rows"], f["of"], f["key"]) for f in sample["foreseen"]] == [("image_unreadable", 1, 1, "a")]


def test_reduced_decoding_is_said_and_refused_for_a_module(load: Load, tiny: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (900, 700), "red").save(file, "JPEG")
    table = pa.table({"key": ["a"], "title": ["x"], "photo": [file.getvalue()]})
    vectors = {"v": {"model": {"name": str(tiny / "clip-tiny"), "device": "cpu", "image_decoding": "reduced"}}}
    module = load.job(load.parquet(table), vectors, defined(load, {"multi2vec-clip": {"imageFields": ["photo"]}}, photo="blob"))
    refused = load.command("check", module)
    assert refused.exit_code == 2
    assert "vectors.v.model: image_decoding: reduced is for CLIP models whose vectors no module" in output(refused)
    vectors["v"]["image_fields"] = ["photo"]
    own = load.command("check", load.job(load.parquet(table), vectors, defined(load, {"none": {}}, photo="blob")))
    assert own.exit_code == 0, own.output
    assert "from photo; large JPEGs are decoded at a reduced scale" in output(own)


def test_what_a_service_refuses_is_foreseen(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_APIKEY", KEY)
    table = pa.table({"key": ["a", "b"], "title": ["x", "word " * MAX_WORDS]})
    with nim_server() as nim:
        target = defined(load, {"text2vec-nvidia": {"baseURL": nim.url, "properties": ["title"]}})
        job = load.job(load.parquet(table), {"v": {"model": {"nvidia": {}}}}, target)
        result = load.command("check", job)
        chunk = {"property": "title", "model": "v", "tokens": 64}
        fault = load.command("check", load.job(load.parquet(table), {"v": {"model": {"nvidia": {}}}}, target, chunk=chunk))
    assert "text2vec-nvidia (NVIDIA's service) of title" in output(result)
    assert "v: 1 of 2 rows (such as b): cannot be encoded: refused by NVIDIA's service" in output(result)
    assert "Weaviate: fails on such an object; here: rejected (nvidia)" in output(result)
    assert fault.exit_code == 2 and "chunk.model: this model has no fast tokenizer" in output(fault)


def test_approximate_vectors_are_said_by_check_and_run(load: Load, tiny: Path) -> None:
    vectors = {"v": {"model": {"name": str(tiny / "bert-tiny"), "mode": "onnx"}}}
    job = load.job(load.parquet(rows(2)), vectors, defined(load, {"text2vec-transformers": {}}))
    for command in ("check", "run"):  # this server lacks the module, so a run ends when it makes the collection
        result = load.command(command, job)
        assert "vectors.v:" in output(result) and "only float weights are at hand" in output(result)


@pytest.mark.parametrize(
    ("model", "tokens", "words"),
    [
        ({"fake": 4}, 8, "chunk.model: this model has no fast tokenizer"),
        (None, 400, "chunk.tokens: 400 and 2 special tokens are more than the 256 that the model takes; at most 254"),
    ],
)
def test_chunks_that_no_model_can_count_are_a_fault_before_anything_runs(
    load: Load, minilm: str, model: dict[str, int] | None, tokens: int, words: str
) -> None:
    load.create(SIMPLE)
    vectors = {"v": {"model": model or minilm, "text_fields": ["title"]}}
    job = load.job(load.parquet(rows(2)), vectors, chunk={"property": "title", "model": "v", "tokens": tokens})
    for command in ("check", "run"):
        result = load.command(command, job)
        assert result.exit_code == 2 and words in output(result)
    assert load.objects() == {}


def test_the_plan_counts_the_tokens_of_chunks(load: Load, minilm: str) -> None:
    load.create(SIMPLE)
    table = pa.table({"key": ["a"], "title": ["long " * 1000]})
    chunk = {"property": "title", "model": "v", "tokens": 64}
    job = load.job(load.parquet(table), {"v": {"model": minilm, "text_fields": ["title"]}}, chunk=chunk)
    assert json.loads(load.command("check", job, "--json").output)["plan"]["over_limit"] == {"v": 0.0}


@pytest.mark.parametrize(
    ("hidden", "vectorizer", "model", "extra"),
    [
        ("nltk.tokenize.punkt", "text2vec-transformers", {"name": "bert-tiny"}, "models"),
        ("onnxruntime", "text2vec-transformers", {"name": "quantised", "mode": "onnx"}, "onnx"),
        ("torchvision", "multi2vec-clip", {"name": "siglip-tiny"}, "models"),
        ("open_clip", "multi2vec-clip", {"name": "openclip-tiny"}, "openclip"),
        ("encoders.text", "none", {"name": "st-text-tiny"}, "models"),
    ],
)
def test_a_missing_library_is_said_with_the_command_that_installs_it(
    load: Load, tiny: Path, monkeypatch: pytest.MonkeyPatch, hidden: str, vectorizer: str, model: dict[str, str], extra: str
) -> None:
    monkeypatch.setitem(sys.modules, hidden, None)  # Python's own way to say that it cannot be imported
    sentence_tokenizer.cache_clear()
    (load.folder / model["name"]).symlink_to(tiny / model["name"])  # a folder that no encoder of this process has loaded
    settings = {"textFields": ["title"]} if vectorizer == "multi2vec-clip" else {}
    vector = {"model": model | {"name": str(load.folder / model["name"])}} | ({"text_fields": ["title"]} if vectorizer == "none" else {})
    job = load.job(load.parquet(rows(2)), {"v": vector}, defined(load, {vectorizer: settings}))
    for command in ("check", "run"):
        result = load.command(command, job)
        assert result.exit_code == 2 and f'pip install "warpbeam[{extra}]"' in output(result), output(result)


def test_serve_says_what_is_missing_before_it_loads_a_model(load: Load, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    job = load.job(load.parquet(rows(2)), {"v": {"model": str(tiny / "bert-tiny")}}, defined(load, {"text2vec-transformers": {}}))
    result = load.command("serve", job)
    assert result.exit_code == 2 and 'pip install "warpbeam[serve]"' in output(result)
