"""The job file: every fault is a sentence with its key, and secrets stay secret."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.job_file import load_job, read_job
from schemas.errors import JobError
from schemas.job import Job

KEY = "sk-0123456789"


def job_data(**changes: Any) -> dict[str, Any]:
    """The smallest job, with whole sections replaced."""
    data = {
        "source": {"parquet": "data/*.parquet", "key": "sku"},
        "target": {"weaviate": "http://localhost:8080", "collection": "Product"},
        "vectors": {"text": {"model": {"fake": 4}, "text_fields": ["title"]}},
    }
    return data | changes


def write(folder: Path, data: Any) -> Path:
    path = folder / "job.yaml"
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data), encoding="utf-8")
    return path


def load(folder: Path, *overrides: str, **changes: Any) -> Job:
    return load_job(write(folder, job_data(**changes)), overrides)


def faults(folder: Path, *overrides: str, **changes: Any) -> tuple[str, ...]:
    with pytest.raises(JobError) as caught:
        load(folder, *overrides, **changes)
    return caught.value.faults


def test_smallest_job_has_its_defaults(tmp_path: Path) -> None:
    job = load(tmp_path)
    assert (job.source.kind, job.source.key_column, job.target.weaviate.url) == ("parquet", "sku", "http://localhost:8080")
    assert (job.target.consistency_level, job.failures.allowed_share, job.vectors["text"].long_text) == ("QUORUM", 0.0, "truncate")
    assert job.base == tmp_path


@pytest.mark.parametrize(
    ("section", "value", "fault"),
    [
        ("chunks", {}, "chunks: there is no such key here; did you mean chunk?"),
        ("base", "/", "base: there is no such key here"),
        ("source", {"parquet": "x", "kee": "a", "key": "b"}, "source.kee: there is no such key here; did you mean key?"),
        ("source", {"parquet": "x", "key": "b", "zzz": 1}, "source.zzz: there is no such key here; the keys are parquet, jsonl"),
        (
            "target",
            {"weaviate": "embedded", "colection": "A", "collection": "A"},
            "target.colection: there is no such key here; did you mean collection?",
        ),
        (
            "target",
            {"weaviate": {"url": "u", "api_kye": "k"}, "collection": "A"},
            "target.weaviate.api_kye: there is no such key here; did you mean api_key?",
        ),
        (
            "vectors",
            {"v": {"model": {"fake": 4}, "txt_fields": ["a"]}},
            "vectors.v.txt_fields: there is no such key here; did you mean text_fields?",
        ),
        (
            "vectors",
            {"v": {"model": {"fake": 4, "dimension": 2}}},
            "vectors.v.model.dimension: there is no such key here; did you mean dimensions?",
        ),
        (
            "vectors",
            {"v": {"model": {"nvidia": {"base": "http://x"}}, "text_fields": ["a"]}},
            "vectors.v.model.nvidia.base: there is no such key here; did you mean base_url?",
        ),
        (
            "vectors",
            {"v": {"model": {"inference_url": {"passage": "http://x"}}, "text_fields": ["a"]}},
            "vectors.v.model.inference_url.passage: there is no such key here; did you mean passage_url?",
        ),
        ("media", {"photo": {"fetsch": []}}, "media.photo.fetsch: there is no such key here; did you mean fetch?"),
        ("failures", {"allowed": 1}, "failures.allowed: there is no such key here; did you mean allowed_share?"),
    ],
)
def test_unknown_key_is_named_with_the_one_that_was_meant(tmp_path: Path, section: str, value: Any, fault: str) -> None:
    found = faults(tmp_path, **{section: value})
    assert any(f.startswith(fault) for f in found), found


MODEL = {"model": {"fake": 4}, "text_fields": ["title"]}


@pytest.mark.parametrize(
    ("section", "value", "words"),
    [
        ("source", {"key": "sku"}, "source: name exactly one of parquet, jsonl, csv, files; the job has none"),
        ("source", {"parquet": "a", "csv": "b", "key": "sku"}, "the job has parquet and csv"),
        ("source", {"parquet": "a", "key": "sku", "uuid": "id"}, "name either `key`"),
        ("source", {"parquet": "a"}, "name either `key`"),
        ("vectors", {}, "vectors"),
        ("vectors", {"v": {}}, "vectors.v: name either `model` or `column`"),
        ("vectors", {"v": {"model": "./m", "column": "c"}}, "vectors.v: name either `model` or `column`"),
        ("vectors", {"v": {"column": "c", "text_fields": ["a"]}}, "a precomputed vector reads no `text_fields`"),
        ("vectors", {"v": MODEL | {"text_fields": {"a": -1}}}, "negative"),
        ("vectors", {"v": MODEL | {"text_fields": {"a": float("nan")}}}, "not a number"),
        ("vectors", {"v": MODEL | {"text_fields": {"a": float("inf")}}}, "vectors.v"),
        ("vectors", {"v": MODEL | {"text_fields": {"a": 0}, "image_fields": {"b": 0.0}}}, "all weights are 0"),
        ("vectors", {"v": MODEL | {"text_fields": {"a": "much"}}}, "vectors.v.text_fields"),
        ("vectors", {"v": {"model": {"name": "a", "fake": 4}}}, "vectors.v.model: name a model in one way"),
        ("vectors", {"v": {"model": {}}}, "vectors.v.model: name a model in one way"),
        ("chunk", {"property": "b", "model": "nobody"}, "chunk.model 'nobody' must be a vector that has a model; the job has text"),
        ("chunk", {"property": "b", "model": "text", "tokens": 16, "overlap": 16}, "chunk: overlap 16 must be smaller than tokens 16"),
        ("chunk", {"property": "b", "model": "text", "tokens": 4}, "chunk.tokens: 4:"),
        ("chunk", {"model": "text"}, "chunk.property: this key is missing"),
        ("failures", {"allowed_share": 2}, "failures.allowed_share: 2:"),
        ("target", {"weaviate": "embedded"}, "target.collection: this key is missing"),
        (
            "target",
            {"weaviate": "embedded", "collection": "A", "write": "upsert"},
            "target.write: 'upsert': input should be 'replace' or 'merge'",
        ),
    ],
)
def test_fault_is_one_sentence(tmp_path: Path, section: str, value: Any, words: str) -> None:
    """One mistake, one sentence: what follows from it is not told as well."""
    found = faults(tmp_path, **{section: value})
    assert len(found) == 1, found
    assert words in found[0]


def test_chunk_model_must_not_be_precomputed(tmp_path: Path) -> None:
    found = faults(tmp_path, vectors={"old": {"column": "c"}}, chunk={"property": "b", "model": "old"})
    assert "chunk.model 'old' must be a vector that has a model" in found[0]


def test_faults_are_named_together_and_the_rest_is_a_job(tmp_path: Path) -> None:
    data = job_data(failures={"allowed": 1}, media={"photo": {"store": "perhaps"}}, chunks={})
    data["source"]["kye"] = "x"
    data["target"]["write"] = "upsert"
    job, found = read_job(write(tmp_path, data))
    assert sorted(f.split(":")[0] for f in found) == ["chunks", "failures.allowed", "media.photo.store", "source.kye", "target.write"]
    assert job is not None
    assert (job.source.key, job.target.collection, list(job.vectors)) == ("sku", "Product", ["text"])


def test_a_wrong_vector_leaves_the_others(tmp_path: Path) -> None:
    job, found = read_job(write(tmp_path, job_data(vectors={"good": MODEL, "bad": {"model": "m", "column": "c"}})))
    assert len(found) == 1
    assert job is not None
    assert list(job.vectors) == ["good"]


def test_without_a_source_there_is_no_job(tmp_path: Path) -> None:
    data = job_data()
    del data["source"]
    assert read_job(write(tmp_path, data)) == (None, ["source: this key is missing"])


def test_variables_are_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WB_BUCKET", "shop")
    job = load(tmp_path, source={"parquet": "s3://${WB_BUCKET}/${WB_BUCKET}.parquet", "key": "sku"})
    assert job.source.location == "s3://shop/shop.parquet"


def test_missing_variable_is_named_with_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WB_NOWHERE", raising=False)
    data = job_data(media={"photo": {"fetch": ["a", "${WB_NOWHERE}/b"]}})
    _, found = read_job(write(tmp_path, data))
    assert found == ["media.photo.fetch.1: the environment variable WB_NOWHERE is not set"]


def test_secret_stays_a_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WB_KEY", KEY)
    server = {"url": "http://x", "api_key": "${WB_KEY}", "headers": {"X-Key": "${WB_KEY}"}}
    job = load(tmp_path, target={"weaviate": server, "collection": "A"})
    assert job.target.weaviate.api_key == "${WB_KEY}"
    assert job.target.weaviate.headers == {"X-Key": "${WB_KEY}"}
    assert KEY not in repr(job)


@pytest.mark.parametrize(
    "server",
    [
        {"url": "http://x", "api_key": KEY},
        {"url": "http://x", "api_key": [KEY]},
        {"url": "http://x", "api_key": {"key": KEY}},
        {"url": "http://x", "headers": {"X-Key": KEY}},
        {"url": "http://x", "headers": {"X-Key": f"Bearer {KEY}"}},
        {"url": "http://x", "headers": [KEY]},
        {"url": "http://x", "headers": KEY},
        {"url": "http://x", "apikey": KEY},
        {"api_key": KEY},
        [{"url": "http://x", "api_key": KEY}],
    ],
)
def test_secret_written_out_is_refused_and_never_shown(tmp_path: Path, server: Any) -> None:
    found = faults(tmp_path, target={"weaviate": server, "collection": "A"})
    assert KEY not in "\n".join(found)


@pytest.mark.parametrize(
    "override",
    [f"target.weaviate.api_key={KEY}", f"target.weaviate.api_key: {KEY}", f"target..api_key={KEY}", f"target.weaviate.api_key=[{KEY}"],
)
def test_secret_in_an_override_is_never_shown(tmp_path: Path, override: str) -> None:
    assert KEY not in "\n".join(faults(tmp_path, override))


@pytest.mark.parametrize("line", [f"api_key: {KEY}: b", f"api_key: '{KEY}", f"api_key: !x {KEY}", f"api_key: {{{KEY}"])
def test_secret_in_broken_yaml_is_never_shown(tmp_path: Path, line: str) -> None:
    with pytest.raises(JobError, match="is no YAML") as caught:
        load_job(write(tmp_path, f"target:\n  weaviate:\n    {line}\n"))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("options", [[KEY], KEY, [{"key": KEY}]])
def test_storage_options_are_never_shown(tmp_path: Path, options: Any) -> None:
    found = faults(tmp_path, source={"parquet": "x", "key": "k", "storage_options": options})
    assert KEY not in "\n".join(found)


def test_refused_secret_says_what_to_write(tmp_path: Path) -> None:
    found = faults(tmp_path, target={"weaviate": {"url": "u", "api_key": KEY}, "collection": "A"})
    assert found[0].startswith("target.weaviate.api_key: a secret is never written into a job")


def test_set_changes_a_key_and_reads_yaml(tmp_path: Path) -> None:
    job = load(tmp_path, "target.tenant=acme", "failures.allowed_share=0.5", "vectors.text.text_fields=[title, body]")
    assert (job.target.tenant, job.failures.allowed_share, job.vectors["text"].text_fields) == ("acme", 0.5, ["title", "body"])


def test_set_keeps_the_url_when_it_adds_to_the_server(tmp_path: Path) -> None:
    job = load(tmp_path, "target.weaviate.grpc=localhost:50051")
    assert (job.target.weaviate.url, job.target.weaviate.grpc) == ("http://localhost:8080", "localhost:50051")


def test_set_with_an_unknown_key_is_a_fault(tmp_path: Path) -> None:
    assert faults(tmp_path, "target.tenat=acme") == ("target.tenat: there is no such key here; did you mean tenant?",)


@pytest.mark.parametrize("override", ["target.tenant", "=x", "target.=x", ".target=x", "target.tenant=[", "target.tenant=2026-99-99"])
def test_set_that_is_no_key_and_value_is_a_fault(tmp_path: Path, override: str) -> None:
    assert faults(tmp_path, override)[0].startswith("--set")


def test_model_and_media_paths_start_at_the_job_file(tmp_path: Path) -> None:
    (tmp_path / "minilm").mkdir()
    vectors = {
        "dot": {"model": "./absent", "text_fields": ["a"]},
        "plain": {"model": "minilm", "text_fields": ["a"]},
        "hub": {"model": "org/model", "text_fields": ["a"]},
        "pair": {"model": {"text": "./t", "image": "/models/i"}, "text_fields": ["a"]},
        "bind": {"model": {"imagebind": "weights/huge.pth", "vocabulary": "../bpe.gz"}, "audio_fields": ["a"]},
        "far": {"model": {"imagebind": "/weights/huge.pth"}, "audio_fields": ["a"]},
    }
    job = load(tmp_path, vectors=vectors, media={"photo": {"fetch": ["photos", "/srv", "s3://shop/photos/"]}})
    assert [job.vectors[n].model.name for n in ("dot", "plain", "hub")] == [str(tmp_path / "absent"), str(tmp_path / "minilm"), "org/model"]
    assert (job.vectors["pair"].model.text, job.vectors["pair"].model.image) == (str(tmp_path / "t"), "/models/i")
    bind = job.vectors["bind"].model
    assert (bind.imagebind, bind.vocabulary) == (str(tmp_path / "weights/huge.pth"), str(tmp_path.parent / "bpe.gz"))
    assert job.vectors["far"].model.imagebind == "/weights/huge.pth"
    assert job.media["photo"].fetch == [str(tmp_path / "photos"), "/srv", "s3://shop/photos/"]


def test_source_path_starts_at_the_job_file(tmp_path: Path) -> None:
    job = load(tmp_path)
    assert job.resolve(job.source.location) == str(tmp_path / "data/*.parquet")


@pytest.mark.parametrize("text", ["", "- a", "hello", "3", "null"])
def test_file_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(JobError, match="must have the keys source, target and vectors"):
        load_job(write(tmp_path, text))


@pytest.mark.parametrize(
    "text", ["a: [", "\ta: b", "a: !!python/object:os.system {}", "a: 2026-99-99", "a: !!int x", "a: &a [*a]", "[" * 5000]
)
def test_file_that_is_no_yaml(tmp_path: Path, text: str) -> None:
    with pytest.raises(JobError, match=r"job\.yaml"):
        load_job(write(tmp_path, text))


def test_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"source: \xff")
    with pytest.raises(JobError, match="is no YAML"):
        load_job(tmp_path / "job.yaml")


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="cannot be read: No such file or directory"):
        load_job(tmp_path / "none.yaml")


def leaf_paths(data: Any, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = [p for k, v in data.items() for p in leaf_paths(v, (*where, k))] if isinstance(data, dict) else []
    return [where, *below] if where else below


FULL = job_data(
    chunk={"property": "body", "model": "text", "tokens": 64, "overlap": 8},
    media={"photo": {"fetch": ["photos"], "store": True}},
    failures={"path": "f", "allowed_share": 0.1},
    target={"weaviate": {"url": "http://x", "headers": {"X": "${Y}"}}, "collection": "A", "tenant": {"column": "t"}, "timeout_s": 3},
    vectors={
        "text": MODEL | {"prompts": {"query": "q"}},
        "pair": {"model": {"text": "t", "image": "i"}, "image_fields": {"a": 1}},
        "old": {"column": "c"},
    },
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=300)
    | st.sampled_from(["~no-such-user/x", "${WB_NOWHERE}", "./x", "a\0b"])
)
KEYS = st.sampled_from(sorted({str(k) for p in leaf_paths(FULL) for k in p})) | st.text(max_size=8) | st.integers()
NESTED = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12)
QUIET = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_or_refuse(path: Path) -> None:
    try:
        job, found = read_job(path)
    except JobError as error:
        found, job = list(error.faults), None
    assert all(isinstance(f, str) and f for f in found)
    assert job is not None or found


@QUIET
@given(data=st.dictionaries(KEYS, NESTED, max_size=5))
def test_random_data_is_a_job_or_a_job_error(tmp_path: Path, data: dict[Any, Any]) -> None:
    read_or_refuse(write(tmp_path, yaml.safe_dump(data, allow_unicode=True)))


@QUIET
@given(place=st.sampled_from(leaf_paths(FULL)), value=NESTED)
def test_job_with_one_random_value_is_a_job_or_a_job_error(tmp_path: Path, place: tuple[str, ...], value: Any) -> None:
    data = yaml.safe_load(yaml.safe_dump(FULL))
    inner = data
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    read_or_refuse(write(tmp_path, data))


@QUIET
@given(data=st.binary() | st.text(alphabet="ab:-[]{}&*!|>?#'\"\n\t %0x1_.~", max_size=60).map(str.encode))
def test_random_bytes_are_a_job_or_a_job_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "job.yaml").write_bytes(data)
    read_or_refuse(tmp_path / "job.yaml")
