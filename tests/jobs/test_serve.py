import asyncio
import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from encoders.sharing import shared_encoder
from jobs.cli import app
from jobs.job_file import load_job
from jobs.serve import served_vectors
from jobs.serve.batches import Question, ServedVector
from jobs.serve.http import Service
from jobs.serve.questions import Refused, multi_question, text_question
from jobs.server import Server, start_server
from schemas.errors import JobError
from schemas.job import VectorSpec
from schemas.modules import MultiModule, TextModule
from tests.encoders.tiny_models import tiny_clip, tiny_text_model

NOWHERE = "http://127.0.0.1:9"  # nothing listens: Weaviate is not up yet
ROOT = Path(__file__).parent.parent.parent
KEYS = st.sampled_from(["text", "texts", "images", "config", "dimensions", "task_type", "pooling_strategy"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=10)
HEADERS: list[dict[str, str]] = [{}, {"content-type": "application/json"}, {"content-type": "text/plain"}]


def write_job(folder: Path, vectors: dict[str, Any], definition: dict[str, Any] | None = None, url: str = NOWHERE) -> Path:
    target: dict[str, Any] = {"weaviate": url, "collection": "Article"}
    if definition is not None:
        (folder / "class.json").write_text(json.dumps({"class": "Article", "properties": []} | definition))
        target["create"] = "class.json"
    path = folder / "job.yaml"
    path.write_text(
        yaml.safe_dump({"source": {"parquet": "rows.parquet", "key": "key"}, "target": target, "vectors": vectors}, sort_keys=False)
    )
    return path


def self_provided(*names: str) -> dict[str, Any]:
    """A definition whose vectors no module makes: the job's own encoders are served."""
    return {"vectorConfig": {n: {"vectorizer": {"none": {}}, "vectorIndexType": "hnsw"} for n in names}}


@dataclass
class Running:
    url: str
    process: "subprocess.Popen[str]"
    said: str  # until it listened

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.post(self.url + path, content=content, timeout=60, **options)

    def counts(self, path: str = "/meta") -> dict[str, int]:
        counts: dict[str, int] = httpx.get(self.url + path, timeout=60).json()["served"]
        return counts


@contextmanager
def serving(job: Path, *arguments: str, env: dict[str, str] | None = None) -> Iterator[Running]:
    """`warpbeam serve`, in a process of its own on a free port, once it is ready."""
    command = [sys.executable, "-m", "jobs.cli", "serve", str(job), "--port", "0", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "COLUMNS": "200", "PYTHONUNBUFFERED": "1", **(env or {})}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        said = ""
        while not (listening := re.search(r"Serving on (http://\S+)", said)):
            line = process.stdout.readline()
            assert line, said
            said += line
        while "loaded after" not in said.splitlines()[-1] or said.count("loaded after") < said.count("POST http"):
            line = process.stdout.readline()
            assert line, said
            said += line
        try:
            yield Running(listening[1], process, said)
        finally:
            with suppress(ProcessLookupError):
                process.terminate()


def png(colour: str) -> str:
    """A small picture in base64."""
    out = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("fake")
    with serving(write_job(folder, {"title": {"model": {"fake": 8}, "text_fields": ["title"]}})) as running:
        yield running


@pytest.fixture(scope="module")
def text_job(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Path:
    return write_job(tmp_path_factory.mktemp("text"), {"text": {"model": minilm, "text_fields": ["title"]}}, self_provided("text"))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_clip(tmp_path_factory.mktemp("clip")))


def encoded(job: Path, name: str, values: list[Any], modality: str = "text", role: Any = "document") -> Any:
    """What the job's encoder makes of the values in this process."""
    with shared_encoder(served_vectors(load_job(job))[name]) as encoder:
        return encoder.encode(values, modality, role).vectors


def close(a: Any, b: Any) -> bool:
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    return bool(a.shape == b.shape and np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(b))


def test_a_text_gets_its_vector_with_any_content_type_or_none(fake: Running) -> None:
    body = {
        "text": "Grüße, 世界",
        "config": {"pooling_strategy": "masked_mean", "task_type": "passage"},
        "dims": 0,
        "vector": None,
        "error": "",
    }
    answers = [fake.post(p, body, headers=h) for p in ("/vectors", "/vectors/", "//vectors", "/title/vectors") for h in HEADERS]
    assert {a.status_code for a in answers} == {200}
    assert all(a.json() == answers[0].json() for a in answers)
    assert answers[0].json().keys() == {"text", "vector", "dim"}
    assert (answers[0].json()["text"], answers[0].json()["dim"]) == ("Grüße, 世界", 8)


def test_the_numbers_are_the_float32_numbers(fake: Running) -> None:
    from encoders.fake import FakeEncoder
    from schemas.models import ModelSpec

    made = FakeEncoder(ModelSpec(fake=8), {}).encode(["x"]).vectors[0]
    got = np.array(fake.post("/vectors", {"text": "x"}).json()["vector"]).astype(np.float32)
    assert got.tobytes() == made.tobytes()


def test_half_a_surrogate_pair_is_that_request_s_error(fake: Running) -> None:
    answer = fake.post("/vectors", b'{"text": "a\\ud800"}')
    assert answer.status_code == 500 and "surrogates" in answer.json()["error"]
    assert fake.post("/vectors", {"text": "a"}).status_code == 200


def test_an_error_that_quotes_half_a_surrogate_pair_is_still_json(text_container: Running) -> None:
    answer = text_container.post("/vectors", b'{"text": "a", "config": {"pooling_strategy": "\\ud800"}}')
    assert answer.status_code == 500 and answer.json()["error"] == "invalid pooling method '\ud800'"


def test_the_text_container_takes_settings_from_the_request(text_container: Running) -> None:
    ask = {"text": "One sentence. And another, which is longer."}
    mean, cls, default = (
        text_container.post("/vectors", ask | {"config": c}).json()["vector"]
        for c in ({"pooling_strategy": "masked_mean"}, {"pooling_strategy": "cls", "task_type": "query"}, None)
    )
    assert close(mean, default) and not close(mean, cls)
    blank = text_container.post("/vectors", {"text": " "})
    assert (blank.status_code, blank.json()) == (500, {"error": "'int' object has no attribute 'detach'"})
    meta = httpx.get(text_container.url + "/meta").json()
    assert (meta["mode"], meta["model"]["model_type"], meta["dimensions"]) == ("huggingface", "bert", 384)


@pytest.fixture(scope="module")
def text_container(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Iterator[Running]:
    with serving(write_job(tmp_path_factory.mktemp("container"), {"text": {"model": minilm}})) as running:
        yield running


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[1]", "a list"),
        (b'{"text": 3}', "text is a number"),
        (b'{"text": null, "config": {}}', "text is null|text is missing"),
        (b'{"text": "a", "config": [1]}', "config is a list"),
        (b'{"text": "a", "config": {"dimensions": "3"}}', "config.dimensions is text"),
        (b'{"text": "a", "config": {"dimensions": true}}', "config.dimensions is true or false"),
        (b'{"text": "a", "config": {"task_type": 1}}', "config.task_type is a number"),
        (b'{"texts": "a"}', "texts is text"),
        (b'{"texts": [1]}', r"texts\[0\] is a number"),
        (b'{"images": [null]}', r"images\[0\] is null"),
    ],
)
def test_an_unreadable_body_is_422_and_says_why(fake: Running, body: bytes, said: str) -> None:
    answer = fake.post("/vectors", body)
    assert answer.status_code == 422
    assert re.search(said, answer.json()["error"]), answer.text


def test_other_paths_methods_and_wishes_are_refused(fake: Running) -> None:
    assert fake.post("/nothing", {"text": "a"}).status_code == 404
    assert httpx.get(fake.url + "/vectors").status_code == 405
    assert httpx.put(fake.url + "/vectors").json() == {"error": "Method Not Allowed"}
    answer = fake.post("/vectors", {"text": "a", "config": {"dimensions": 4}})
    assert answer.status_code == 500 and "dimensions 4" in answer.json()["error"]
    broken = fake.post("/vectorize", {"images": ["not base64!"]})
    assert broken.status_code == 500 and "images[0] is no base64" in broken.json()["error"]


def test_live_ready_and_meta(fake: Running) -> None:
    for path in ("/.well-known/live", "/.well-known/ready", "/title/.well-known/ready"):
        answer = httpx.get(fake.url + path)
        assert (answer.status_code, answer.content) == (204, b"")
    meta = httpx.get(fake.url + "/meta").json()
    assert (meta["dimensions"], meta["module"]) == (8, "text2vec-transformers")
    assert meta["model_path"] == "made-up vectors"


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(KEYS, VALUES))
def test_any_json_is_a_question_or_refused(data: dict[str, Any]) -> None:
    for read in (text_question, multi_question):
        with suppress(Refused):
            question = read(data)
            assert all(isinstance(v, str | bytes) for values in question.values.values() for v in values)
            assert [type(s) for s in question.settings if s is not None] == [
                t for t, s in zip((str, str, int), question.settings, strict=True) if s is not None
            ]


def test_clip_takes_texts_and_images_on_both_paths(tmp_path: Path, clip_folder: str) -> None:
    job = write_job(tmp_path, {"clip": {"model": clip_folder, "image_fields": ["image"]}}, self_provided("clip"))
    red, green = png("red"), png("green")
    with serving(job) as running:
        for path in ("/vectorize", "/vectors", "/vectors/", "/clip/vectorize"):
            answer = running.post(path, {"texts": ["a red circle", "green"], "images": [red]}).json()
            assert close(answer["textVectors"], encoded(job, "clip", ["a red circle", "green"]))
            assert close(answer["imageVectors"], encoded(job, "clip", [base64.b64decode(red)], "image"))
        assert len(running.post("/vectorize", {"images": [green, red]}).json()["imageVectors"]) == 2
        assert running.post("/vectorize", {}).json() == {"textVectors": [], "imageVectors": []}
        assert close(running.post("/vectors", {"text": "green"}).json()["vector"], encoded(job, "clip", ["green"])[0])
        good = {"texts": ["red"], "images": [green]}
        bad = {"texts": ["red"], "images": [base64.b64encode(b"no picture").decode()]}
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda i: running.post("/vectorize", bad if i % 4 == 0 else good), range(32)))
        assert [a.status_code for a in answers] == [500 if i % 4 == 0 else 200 for i in range(32)]
        assert all("error" in a.json() for a in answers[::4])


def test_concurrent_clients_are_encoded_together_and_each_gets_its_own(text_job: Path) -> None:
    texts = [f"document number {i} " + "about parsing arguments " * (i % 7) for i in range(256)]
    with serving(text_job) as running:
        answers = asyncio.run(ask_all(running, texts, clients=32))
        counts = running.counts()
    expected = encoded(text_job, "text", texts)
    assert all(a.status_code == 200 and close(a.json()["vector"], e) for a, e in zip(answers, expected, strict=True))
    assert counts["requests"] == 256 and counts["encoder_calls"] <= 64, counts


async def ask_all(running: Running, texts: list[str], clients: int, config: dict[str, Any] | None = None) -> list[httpx.Response]:
    """Every text in a request of its own, so many at a time."""
    gate = asyncio.Semaphore(clients)
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(limits=limits, timeout=120) as client:

        async def ask(text: str) -> httpx.Response:
            async with gate:
                return await client.post(running.url + "/vectors", content=json.dumps({"text": text, "config": config}))

        return await asyncio.gather(*map(ask, texts))


def test_one_bad_text_fails_alone(fake: Running) -> None:
    bodies = [b'{"text": "a\\ud800"}' if i % 5 == 0 else json.dumps({"text": f"text {i}"}).encode() for i in range(64)]
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda body: fake.post("/vectors", body), bodies))
    assert [a.status_code for a in answers] == [500 if i % 5 == 0 else 200 for i in range(64)]
    assert [a.json()["text"] for a in answers if a.status_code == 200] == [f"text {i}" for i in range(64) if i % 5]


def ask_app(service: Service, method: str, path: str, content: bytes = b"") -> httpx.Response:
    """Ask the application without a server."""

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service.app), base_url="http://serve") as client:
            return await client.request(method, path, content=content)

    return asyncio.run(ask())


def test_while_the_model_loads_it_is_alive_and_not_ready() -> None:
    loading = ServedVector("title", VectorSpec.model_validate({"model": {"fake": 3}, "text_fields": ["t"]}))
    service = Service({"title": loading}, loading)
    assert ask_app(service, "GET", "/.well-known/live").status_code == 204
    for method, path in (("GET", "/.well-known/ready"), ("POST", "/vectors")):
        answer = ask_app(service, method, path, b'{"text": "a"}')
        assert answer.status_code == 503 and "title" in answer.json()["error"]
    loading.start(pytest.fail)
    assert loading.ready.wait(30)
    assert ask_app(service, "GET", "/.well-known/ready").status_code == 204
    assert ask_app(service, "POST", "/vectors", b'{"text": "a"}').json()["dim"] == 3
    loading.stop()


def test_a_body_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.serve.http.MAX_BODY", 1 << 20)
    served = ServedVector("title", VectorSpec.model_validate({"model": {"fake": 3}, "text_fields": ["t"]}))
    served.start(pytest.fail)
    assert served.ready.wait(30)
    answer = ask_app(Service({"title": served}, served), "POST", "/vectors", b" " * ((1 << 20) + 1))
    assert (answer.status_code, answer.json()) == (413, {"error": "the body has more than 1 MiB"})
    served.stop()


def test_what_waits_is_taken_together_up_to_a_bound_and_in_groups() -> None:
    served = ServedVector("title", VectorSpec.model_validate({"model": {"fake": 3}, "text_fields": ["t"]}))
    questions = [Question({"text": [f"{i}"]}, (("query", "passage")[i % 2], None, None)) for i in range(600)]
    large = Question({"text": ["word " * 50_000]})
    answers = [served.ask(q) for q in [*questions, large, *(Question({"text": ["after"]}) for _ in range(3))]]
    served.start(pytest.fail)
    assert all(a.result(timeout=30)["text"].shape == (1, 3) for a in answers)
    assert served.calls == 2 * 3 + 2  # 256 + 256 + 88 of two kinds; then the long one, then the rest
    served.stop()


def test_a_pair_answers_passages_and_queries_with_its_two_models(tmp_path: Path) -> None:
    folders = [str(tiny_text_model(tmp_path / n, seed) / "bert") for seed, n in enumerate(("passage", "query"))]
    alone = [encoded(write_job(tmp_path, {"dpr": {"model": f}}), "dpr", ["a red circle."])[0] for f in folders]
    job = write_job(tmp_path, {"dpr": {"model": {"passage": folders[0], "query": folders[1]}}})
    with serving(job) as running:
        assert "queries the query model" in running.said
        got = [
            running.post("/vectors", {"text": "a red circle.", "config": {"task_type": t}}).json()["vector"] for t in ("passage", "query")
        ]
    assert close(got[0], alone[0]) and close(got[1], alone[1]) and not close(got[0], got[1])


def test_sigterm_lets_requests_in_flight_finish(text_job: Path) -> None:
    texts = [f"{i} " + "word " * 400 for i in range(48)]
    with serving(text_job) as running, ThreadPoolExecutor(1) as pool:
        answers = pool.submit(lambda: asyncio.run(ask_all(running, texts, clients=48)))
        while running.counts()["requests"] < 48:
            pass
        assert not answers.done()
        running.process.send_signal(signal.SIGTERM)
        assert [a.status_code for a in answers.result(timeout=60)] == [200] * 48
        assert running.process.wait(timeout=30) == 0
        assert running.process.stdout and "Stopped" in running.process.stdout.read()
        with pytest.raises(httpx.ConnectError):
            running.post("/vectors", {"text": "late"})


def test_ctrl_c_ends_it_too(tmp_path: Path) -> None:
    with serving(write_job(tmp_path, {"title": {"model": {"fake": 8}, "text_fields": ["title"]}})) as running:
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(timeout=30) == 0


def test_tokens_are_asked_for_but_not_by_health(tmp_path: Path) -> None:
    job = write_job(tmp_path, {"title": {"model": {"fake": 8}, "text_fields": ["title"]}})
    with serving(job, "--token-env", "SERVE_TOKENS", env={"SERVE_TOKENS": "one, zwöi"}) as running:
        assert "Weaviate itself sends none" in running.said
        for header in ({}, {"authorization": "Bearer three"}, {"authorization": "one"}, {"authorization": "Bearer"}):
            answer = running.post("/vectors", {"text": "a"}, headers=header)
            assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})
        assert running.post("/vectors", {"text": "a"}, headers={"authorization": "Bearer one"}).status_code == 200
        assert httpx.get(running.url + "/meta").status_code == 401
        assert httpx.get(running.url + "/.well-known/ready").status_code == 204


def test_two_vectors_have_a_prefix_each(tmp_path: Path) -> None:
    vectors = {n: {"model": {"fake": d}, "text_fields": ["title"]} for n, d in (("small", 4), ("large", 9))}
    job = write_job(tmp_path, vectors)
    with serving(job) as running:
        assert f'"inferenceUrl": "{running.url}/small"' in running.said
        assert [running.post(f"/{n}/vectors", {"text": "a"}).json()["dim"] for n in vectors] == [4, 9]
        lost = running.post("/vectors", {"text": "a"})
        assert lost.status_code == 404 and "/small/vectors or /large/vectors" in lost.json()["error"]
        assert httpx.get(running.url + "/meta").json()["vectors"].keys() == {"small", "large"}
        assert httpx.get(running.url + "/large/meta").json()["dimensions"] == 9
    with serving(job, "--vector", "large") as running:
        assert [running.post(p, {"text": "a"}).json()["dim"] for p in ("/vectors", "/small/vectors", "/large/vectors")] == [9, 4, 9]


@pytest.mark.parametrize(
    ("vectors", "arguments", "said", "code"),
    [
        ({"a": {"column": "v"}}, (), "none has a model", 2),
        ({"a": {"model": {"fake": 3}}}, ("--vector", "b"), "--vector b", 2),
        ({"a": {"model": {"fake": 3}}}, ("--token-env", "NOT_SET_ANYWHERE"), "NOT_SET_ANYWHERE", 2),
        ({"a": {"model": {"fake": 3}}}, ("--host", "203.0.113.1"), "cannot listen on 203.0.113.1", 3),
    ],
)
def test_what_cannot_be_served_is_said(tmp_path: Path, vectors: dict[str, Any], arguments: tuple[str, ...], said: str, code: int) -> None:
    job = write_job(tmp_path, vectors)
    result = CliRunner().invoke(app, ["serve", str(job), "--port", "0", *arguments])
    assert result.exit_code == code and said in result.output


def test_a_model_that_is_missing_ends_the_server_with_the_reason(tmp_path: Path) -> None:
    job = write_job(tmp_path, {"a": {"model": str(tmp_path / "missing"), "text_fields": ["t"]}}, self_provided("a"))
    command = [sys.executable, "-m", "jobs.cli", "serve", str(job), "--port", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "missing" in done.stderr


def test_modules_come_from_the_definition_or_from_the_model(tmp_path: Path, clip_folder: str) -> None:
    vectors = {"text": {"model": "some/model"}, "clip": {"model": clip_folder}, "pair": {"model": {"text": "a/b", "image": "c/d"}}}
    vectors["prebuilt"] = {"model": {"prebuilt": "multi2vec-clip:google-siglip2-so400m-patch16-384"}}
    found = served_vectors(load_job(write_job(tmp_path, vectors)))
    assert [type(found[n].module) for n in vectors] == [TextModule, MultiModule, MultiModule, MultiModule]
    definition = self_provided("clip") | {"properties": [{"name": "title", "dataType": ["text"]}]}
    definition["vectorConfig"]["text"] = {"vectorizer": {"text2vec-transformers": {"poolingStrategy": "cls"}}}
    found = served_vectors(load_job(write_job(tmp_path, vectors, definition)))
    assert found["clip"].module is None
    assert isinstance(found["text"].module, TextModule) and found["text"].module.settings == {"poolingStrategy": "cls"}


def test_a_definition_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    job = write_job(tmp_path, {"a": {"model": {"fake": 3}}}, {})
    (tmp_path / "class.json").write_text("{")
    with pytest.raises(JobError, match=r"class\.json is no JSON"):
        served_vectors(load_job(job))


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, minilm: str, clip_folder: str) -> Iterator[tuple[Path, Running, Server]]:
    """A job served before its Weaviate is there, and a real Weaviate whose modules ask it."""
    folder = tmp_path_factory.mktemp("asked")
    job = write_job(folder, {"text": {"model": minilm}, "clip": {"model": clip_folder}})
    with serving(job) as running:
        env = {
            "ENABLE_MODULES": "text2vec-transformers,multi2vec-clip",
            "TRANSFORMERS_INFERENCE_API": f"{running.url}/text",
            "CLIP_INFERENCE_API": f"{running.url}/clip",
        }
        with start_server(folder / "data", env=env, log=folder / "weaviate.log") as server:
            yield job, running, server


TITLES = ["how to parse command line arguments", "a cake with strawberries and cream", "the moons of Jupiter"]
COLOURS = ["red", "green", "blue"]


def test_a_real_weaviate_asks_it_for_objects_and_queries(asked: tuple[Path, Running, Server]) -> None:
    job, running, server = asked
    vectors = {
        "text": {
            "vectorizer": {"text2vec-transformers": {"vectorizeClassName": False, "properties": ["title"]}},
            "vectorIndexType": "flat",
        },
        "clip": {"vectorizer": {"multi2vec-clip": {"imageFields": ["picture"]}}, "vectorIndexType": "flat"},
    }
    properties = [{"name": "title", "dataType": ["text"]}, {"name": "picture", "dataType": ["blob"]}]
    definition = {"class": "Article", "properties": properties, "vectorConfig": vectors}
    httpx.post(f"{server.url}/v1/schema", json=definition, timeout=60).raise_for_status()
    objects = [{"class": "Article", "properties": {"title": t, "picture": png(c)}} for t, c in zip(TITLES, COLOURS, strict=True)]
    stored = httpx.post(f"{server.url}/v1/batch/objects", json={"objects": objects}, timeout=120).json()
    assert [o["result"] for o in stored] == [{"status": "SUCCESS"}] * 3
    texts = encoded(job, "text", TITLES)
    pictures = encoded(job, "clip", [base64.b64decode(png(c)) for c in COLOURS], "image")
    assert all(close(o["vectors"]["text"], t) and close(o["vectors"]["clip"], p) for o, t, p in zip(stored, texts, pictures, strict=True))
    assert nearest(server, 'nearText: {concepts: ["read the options a user typed"], targetVectors: ["text"]}') == TITLES[0]
    assert nearest(server, 'nearText: {concepts: ["planets"], targetVectors: ["text"]}') == TITLES[2]
    assert nearest(server, f'nearImage: {{image: "{png("green")}", targetVectors: ["clip"]}}') == TITLES[1]
    assert httpx.get(f"{server.url}/v1/meta").json()["modules"]["text2vec-transformers"]["model_path"]
    assert running.counts("/text/meta")["requests"] == 5
    live = served_vectors(load_job(job, [f"target.weaviate={server.url}"]))
    assert isinstance(live["text"].module, TextModule) and live["text"].module.fields == ("title",)
    assert isinstance(live["clip"].module, MultiModule) and live["clip"].module.fields == ("picture",)


def nearest(server: Server, near: str) -> str:
    """The title of the object that Weaviate finds first."""
    query = f"{{Get {{Article({near}, limit: 1) {{title}}}}}}"
    answer = httpx.post(f"{server.url}/v1/graphql", json={"query": query}, timeout=60).json()
    assert "errors" not in answer, answer
    title: str = answer["data"]["Get"]["Article"][0]["title"]
    return title


def test_weaviate_hands_our_errors_on(asked: tuple[Path, Running, Server]) -> None:
    _, running, server = asked
    definition = {
        "class": "Broken",
        "properties": [{"name": "title", "dataType": ["text"]}],
        "vectorizer": "text2vec-transformers",
        "moduleConfig": {"text2vec-transformers": {"poolingStrategy": "median", "inferenceUrl": f"{running.url}/text"}},
    }
    httpx.post(f"{server.url}/v1/schema", json=definition, timeout=60).raise_for_status()
    answer = httpx.post(f"{server.url}/v1/objects", json={"class": "Broken", "properties": {"title": "a"}}, timeout=60)
    assert answer.status_code == 500
    assert "fail with status 500: invalid pooling method 'median'" in answer.text


def test_the_compose_file_serves_what_its_weaviate_asks(tmp_path: Path) -> None:
    services = yaml.safe_load((ROOT / "examples" / "docker-compose.yml").read_text())
    (tmp_path / "job.yaml").write_text(services["configs"]["job"]["content"])
    job = load_job(tmp_path / "job.yaml")
    assert [type(s.module) for s in served_vectors(job).values()] == [TextModule]
    weaviate = services["services"]["weaviate"]
    assert weaviate["environment"]["TRANSFORMERS_INFERENCE_API"] == "http://warpbeam:8081"
    assert job.target.weaviate.url == "http://weaviate:8080"
    assert weaviate["image"].endswith(":1.38.11")
