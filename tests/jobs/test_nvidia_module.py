"""A real Weaviate's NVIDIA modules and our encoder ask one server: the same requests, the same vectors."""

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import numpy as np
import pytest

from encoders.nvidia import NvidiaEncoder
from jobs.embedded import Server
from pipelines.combine_weaviate import combine_weaviate
from schemas.collection import parse_collection
from schemas.errors import JobError
from schemas.job import VectorSpec
from schemas.modules import MultiModule, module_of
from tests.loopback import Loopback, Reply, Request
from tests.nim_server import KEY, nim_server

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAAEElEQVR4nGK6HcwNCAAA//8DTgE8HuxwEQAAAABJRU5ErkJggg==")
TEXTS = [f'title {i} <b>&amp; é 日本 \U0001f600 "quoted" \\ \n\u2028' for i in range(23)]
FROM_MODULE = ("authorization", "accept", "content-type")  # the headers that the module's code sets itself


@pytest.fixture
def nim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    monkeypatch.setenv("NVIDIA_APIKEY", KEY)
    with nim_server() as server:
        yield server


class Class:
    """A collection that Weaviate vectorizes."""

    def __init__(self, server: Server, name: str, definition: dict[str, Any]) -> None:
        self.url, self.name = server.url, name
        httpx.post(f"{self.url}/v1/schema", json={"class": name} | definition, timeout=60).raise_for_status()

    def insert(self, rows: list[dict[str, Any]], key: str = KEY) -> list[str]:
        """Let the server vectorize `rows`; gives each one's error, or nothing."""
        body = {"objects": [{"class": self.name, "id": identity(i), "properties": row} for i, row in enumerate(rows)]}
        answer = httpx.post(f"{self.url}/v1/batch/objects", json=body, headers={"X-Nvidia-Api-Key": key}, timeout=120)
        results = [o["result"] for o in answer.raise_for_status().json()]
        return ["; ".join(e["message"] for e in (r.get("errors") or {}).get("error") or []) for r in results]

    def vectors(self, name: str = "") -> Any:
        """What it stored, (n, dim), in the order of the rows."""
        query = {"class": self.name, "limit": 1000, "include": "vector"}
        found = httpx.get(f"{self.url}/v1/objects", params=query, timeout=60).raise_for_status().json()["objects"]
        rows = sorted(found, key=lambda o: str(o["id"]))
        return np.array([o["vectors"][name] if name else o["vector"] for o in rows], np.float32)

    def near_text(self, words: list[str], key: str = KEY) -> None:
        """Ask a question, so that the module makes a query's vector."""
        query = f"{{Get{{{self.name}(nearText:{{concepts:{json.dumps(words)}}} limit:1){{_additional{{id}}}}}}}}"
        answer = httpx.post(f"{self.url}/v1/graphql", json={"query": query}, headers={"X-Nvidia-Api-Key": key}, timeout=60)
        assert "errors" not in answer.raise_for_status().json(), answer.text

    def spec(self, vector: str = "default") -> VectorSpec:
        """Our vector, configured by the live collection alone."""
        live = parse_collection(httpx.get(f"{self.url}/v1/schema/{self.name}", timeout=60).raise_for_status().json())
        module = module_of(live.definition, vector, live.properties, live.vectors[vector].unnamed)
        return VectorSpec.model_validate({"model": {"nvidia": {}}, "module": module})


def identity(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def text_definition(nim: Loopback, **settings: Any) -> dict[str, Any]:
    return {
        "vectorizer": "text2vec-nvidia",
        "vectorIndexType": "flat",
        "moduleConfig": {"text2vec-nvidia": {"baseURL": nim.url} | settings},
        "properties": [{"name": "title", "dataType": ["text"]}],
    }


def multi_definition(nim: Loopback, **settings: Any) -> dict[str, Any]:
    module = {"baseURL": nim.url, "imageFields": ["image"], "textFields": ["title", "tags"]} | settings
    properties = [
        {"name": "title", "dataType": ["text"]},
        {"name": "tags", "dataType": ["text[]"]},
        {"name": "image", "dataType": ["blob"]},
    ]
    return {"vectorConfig": {"multi": {"vectorizer": {"multi2vec-nvidia": module}, "vectorIndexType": "flat"}}, "properties": properties}


def comparable(request: Request) -> dict[str, Any]:
    """Everything of a request that its module or our encoder decides, inputs aside."""
    rest = {k: v for k, v in request.body.items() if k != "input"}
    return {"path": request.path, "body": rest, "headers": {name: request.headers.get(name) for name in FROM_MODULE}}


def inputs(requests: list[Request]) -> list[str]:
    return sorted(text for r in requests for text in r.body["input"])


def ours(nim: Loopback, spec: VectorSpec, *calls: tuple[list[Any], str, Any]) -> tuple[list[Request], list[Any]]:
    """Our requests, without the probe, and our vectors."""
    with closing(NvidiaEncoder(spec)) as encoder:
        _ = encoder.dim
        before = len(nim.requests)
        vectors = [encoder.encode(values, modality, role).vectors for values, modality, role in calls]
    return nim.requests[before:], vectors


@pytest.mark.parametrize("settings", [{}, {"truncate": "END", "model": "nvidia/nv-embedqa-e5-v5"}])
def test_text2vec_requests_are_weaviates(weaviate: Server, collection_name: str, nim: Loopback, settings: dict[str, Any]) -> None:
    collection = Class(weaviate, collection_name, text_definition(nim, **settings))
    assert collection.insert([{"title": text} for text in TEXTS]) == [""] * len(TEXTS)
    theirs = list(nim.requests)
    mine, (vectors,) = ours(nim, collection.spec(), (TEXTS, "text", "document"))
    assert comparable(mine[0]) == comparable(theirs[0]) and len({str(comparable(r)) for r in mine + theirs}) == 1
    assert inputs(mine) == inputs(theirs) == sorted(TEXTS)
    assert sorted(len(r.body["input"]) for r in mine) == [3, 10, 10] and max(len(r.body["input"]) for r in theirs) <= 10
    np.testing.assert_array_equal(vectors, collection.vectors())


def test_text2vec_queries_are_weaviates(weaviate: Server, collection_name: str, nim: Loopback) -> None:
    collection = Class(weaviate, collection_name, text_definition(nim))
    collection.insert([{"title": "one"}])
    before = len(nim.requests)
    collection.near_text(["first question", "second"])
    theirs = nim.requests[before:]
    mine, _ = ours(nim, collection.spec(), (["first question", "second"], "text", "query"))
    assert comparable(mine[0]) == comparable(theirs[0]) and mine[0].body["input_type"] == "query"
    assert inputs(mine) == inputs(theirs)


def test_multi2vec_requests_are_weaviates(weaviate: Server, collection_name: str, nim: Loopback) -> None:
    collection = Class(weaviate, collection_name, multi_definition(nim))
    jpeg = b"\xff\xd8\xff\xe0 not really"
    rows = [{"title": t, "tags": ["x", t], "image": base64.b64encode(b).decode()} for t, b in zip(TEXTS, [PNG, jpeg] * 12, strict=False)]
    assert collection.insert(rows) == [""] * len(rows)
    theirs = list(nim.requests)
    spec = collection.spec("multi")
    assert isinstance(spec.module, MultiModule)
    texts = [text for row in rows for text in (*row["tags"], row["title"])]
    images = [base64.b64decode(row["image"]) for row in rows]
    mine, (of_texts, of_images) = ours(nim, spec, (texts, "text", "document"), (images, "image", "document"))
    assert len({str(comparable(r)) for r in mine + theirs}) == 1 and set(mine[0].body) == {"input", "model", "encoding_format"}
    assert inputs(mine) == inputs(theirs) and len(mine) < len(theirs)
    owner = np.concatenate([np.repeat(np.arange(len(rows)), 3), np.arange(len(rows))])
    combined, _, reasons = combine_weaviate(np.concatenate([of_texts, of_images]), owner, spec.module.weights, len(rows))
    assert not reasons
    np.testing.assert_array_equal(combined, collection.vectors("multi"))


def test_the_default_base_url_and_model_are_weaviates(weaviate: Server, collection_name: str, nim: Loopback) -> None:
    definition = text_definition(nim) | {"moduleConfig": {"text2vec-nvidia": {}}}
    collection = Class(weaviate, collection_name, definition)
    encoder = NvidiaEncoder(collection.spec())
    assert encoder.url == "https://integrate.api.nvidia.com/v1/embeddings" and encoder.model == "nvidia/nv-embed-v1"


def test_a_refused_text_fails_its_whole_request_at_weaviate_and_only_its_row_here(
    weaviate: Server, collection_name: str, nim: Loopback
) -> None:
    texts = ["good", "word " * 600, "fine"]
    collection = Class(weaviate, collection_name, text_definition(nim))
    errors = collection.insert([{"title": t} for t in texts])
    assert len(errors) == 3 and all("status: 400 error: Input length 601 exceeds maximum allowed token size 512" in e for e in errors)
    with closing(NvidiaEncoder(collection.spec())) as encoder:
        found = encoder.encode(texts, "text").errors
    assert list(found) == [1] and "Input length 601 exceeds maximum allowed token size 512" in found[1].reason


def test_a_wrong_key_is_refused_to_both(weaviate: Server, collection_name: str, nim: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = Class(weaviate, collection_name, text_definition(nim))
    (error,) = collection.insert([{"title": "x"}], key="nvapi-wrong")
    assert "status: 403" in error
    monkeypatch.setenv("NVIDIA_APIKEY", "nvapi-wrong")
    with closing(NvidiaEncoder(collection.spec())) as encoder, pytest.raises(JobError, match=r"status 403.*NVIDIA_APIKEY"):
        encoder.encode(["x"], "text")


def test_busy_fails_an_object_at_weaviate_and_passes_here(weaviate: Server, collection_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_APIKEY", KEY)
    busy = [Reply(429, {"title": "Too Many Requests"}, {"Retry-After": "1"}), Reply(503, {"title": "Busy"}, {"Retry-After": "1"})]
    with nim_server(script=busy) as nim:
        collection = Class(weaviate, collection_name, text_definition(nim))
        assert "status: 429" in collection.insert([{"title": "x"}])[0] and len(nim.requests) == 1
        with closing(NvidiaEncoder(collection.spec())) as encoder:
            assert not encoder.encode(["x"], "text").errors


def test_words_that_weaviate_cannot_read_are_told_here(weaviate: Server, collection_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_APIKEY", KEY)
    probe = Reply(200, {"data": [{"embedding": [0.0, 1.0]}]})
    refusal = Reply(400, {"object": "error", "message": "too long", "detail": {}})  # its parser wants a string in `detail`
    with nim_server(script=[refusal, probe, refusal]) as nim:
        collection = Class(weaviate, collection_name, text_definition(nim))
        assert "failed to parse vectorization error response (status 400)" in collection.insert([{"title": "x"}])[0]
        with closing(NvidiaEncoder(collection.spec())) as encoder:
            assert "too long" in encoder.encode(["x"], "text").errors[0].reason
