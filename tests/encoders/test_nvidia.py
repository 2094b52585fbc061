"""Vectors from NVIDIA's service: what is asked, how fast, and whose fault a failure is."""

import base64
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest

from encoders import encoder_of
from encoders import nvidia as nvidia_module
from encoders.nvidia import NvidiaEncoder
from schemas.errors import JobError, WorldError
from schemas.job import VectorSpec
from schemas.modules import MultiModule, TextModule
from tests.loopback import Loopback, Reply
from tests.nim_server import KEY, MULTI_MODELS, TEXT_MODELS, hashed, nim_server

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAAEElEQVR4nGK6HcwNCAAA//8DTgE8HuxwEQAAAABJRU5ErkJggg==")
LARGE = bytes(150_000)  # 200,000 characters in base64


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_APIKEY", KEY)


def text_spec(server: Loopback | None = None, nvidia: dict[str, Any] | None = None, **settings: Any) -> VectorSpec:
    settings = ({"baseURL": server.url} if server else {}) | settings
    module = TextModule("text2vec-nvidia", "Doc", ("text",), settings=settings)
    return VectorSpec.model_validate({"model": {"nvidia": nvidia or {}}, "module": module})


def multi_spec(server: Loopback | None = None, nvidia: dict[str, Any] | None = None, **settings: Any) -> VectorSpec:
    settings = ({"baseURL": server.url} if server else {}) | settings
    module = MultiModule("multi2vec-nvidia", "Doc", {"text": ("t",), "image": ("i",)}, settings=settings)
    return VectorSpec.model_validate({"model": {"nvidia": nvidia or {}}, "module": module})


@contextmanager
def encoder_for(spec: VectorSpec, retry_s: float = 5.0) -> Iterator[NvidiaEncoder]:
    with closing(NvidiaEncoder(spec)) as encoder:
        encoder.service.retry_s = retry_s
        yield encoder


def expected(values: Sequence[str | bytes], dim: int, task: str = "passage") -> Any:
    return np.array([hashed(v, task, dim) for v in values], np.float32)


def inputs(server: Loopback) -> list[list[str]]:
    return [r.body["input"] for r in server.requests[1:]]  # without the probe


def test_texts_go_by_ten_as_passages_or_queries() -> None:
    values = [f"text {i} <&> é" for i in range(23)]
    with nim_server() as server, encoder_for(text_spec(server)) as encoder:
        assert encoder.dim == TEXT_MODELS["nvidia/nv-embed-v1"] and encoder.modalities == {"text"}
        seen: list[int] = []
        found = encoder.encode(values, "text", progress=seen.append)
        query = encoder.encode(values[:1], "text", "query")
    np.testing.assert_array_equal(found.vectors, expected(values, encoder.dim))
    np.testing.assert_array_equal(query.vectors, expected(values[:1], encoder.dim, "query"))
    assert sum(seen) == 23 and sorted(len(i) for i in inputs(server)) == [1, 3, 10, 10]
    first = server.requests[0]
    assert first.path == "/v1/embeddings" and first.headers["authorization"] == f"Bearer {KEY}"
    assert {k: v for k, v in server.requests[1].body.items() if k != "input"} == {
        "model": "nvidia/nv-embed-v1",
        "encoding_format": "float",
        "input_type": "passage",
        "truncate": "NONE",
    }


def test_multi2vec_sends_pictures_as_png_and_no_input_type() -> None:
    with nim_server() as server, encoder_for(multi_spec(server)) as encoder:
        texts = encoder.encode(["a cat"], "text")
        images = encoder.encode([PNG, b"\xff\xd8jpeg"], "image")
    np.testing.assert_array_equal(texts.vectors, expected(["a cat"], MULTI_MODELS["nvidia/nvclip"], ""))
    np.testing.assert_array_equal(images.vectors, expected([PNG, b"\xff\xd8jpeg"], MULTI_MODELS["nvidia/nvclip"], ""))
    assert server.requests[-1].body == {
        "input": [f"data:image/png;base64,{base64.b64encode(b).decode()}" for b in (PNG, b"\xff\xd8jpeg")],
        "model": "nvidia/nvclip",
        "encoding_format": "float",
    }


def test_the_job_goes_before_the_collection_and_both_before_the_defaults() -> None:
    with nim_server() as server:
        job = {"base_url": server.url + "/", "model": "nvidia/nv-embedqa-e5-v5"}
        spec = text_spec(None, job, baseURL="http://127.0.0.1:9", model="other/model", truncate="END")
        with encoder_for(spec) as encoder:
            assert encoder.dim == 24
    assert server.requests[0].body["model"] == "nvidia/nv-embedqa-e5-v5" and server.requests[0].body["truncate"] == "END"
    assert NvidiaEncoder(text_spec(model="other/model")).model == "other/model"
    assert NvidiaEncoder(text_spec(truncate=True))._body([], "document")["truncate"] == "NONE"
    assert NvidiaEncoder(text_spec()).url == NvidiaEncoder(multi_spec()).url == "https://integrate.api.nvidia.com/v1/embeddings"


def test_a_vector_of_its_own_without_a_module() -> None:
    with nim_server() as server:
        where = {"model": {"nvidia": {"base_url": server.url}}}
        with encoder_for(VectorSpec.model_validate(where | {"image_fields": ["i"]})) as encoder:
            assert encoder.dim == 12 and encoder.modalities == {"text", "image"}
        made = encoder_of(VectorSpec.model_validate(where | {"text_fields": ["t"]}))
        assert isinstance(made, NvidiaEncoder) and made.dim == 16
        made.close()


def test_requests_are_bounded_in_inputs_and_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia_module, "INPUT_CHARACTERS", 800)
    images = [bytes([i % 256]) * (600 if i == 70 else 1) for i in range(140)]
    with nim_server() as server, encoder_for(multi_spec(server)) as encoder:
        found = encoder.encode(images, "image")
    np.testing.assert_array_equal(found.vectors, expected(images, 12, ""))
    assert sorted(len(i) for i in inputs(server)) == [1, 5, 6, 64, 64]  # the large one goes alone


def test_one_refused_input_does_not_take_others_with_it() -> None:
    long = "word " * 600
    values = [f"text {i}" for i in range(10)]
    values[3] = long
    with nim_server() as server, encoder_for(text_spec(server)) as encoder:
        found = encoder.encode(values, "text")
    assert list(found.errors) == [3] and "Input length 601 exceeds maximum allowed token size 512" in found.errors[3].reason
    assert np.isnan(found.vectors[3]).all()
    good = [i for i in range(10) if i != 3]
    np.testing.assert_array_equal(found.vectors[good], expected([values[i] for i in good], 16))
    assert len(server.requests) == 1 + 9  # the probe, and 10, 5, 2, 3, 1, 2, 1, 1, 5 inputs


def test_a_large_picture_is_refused_alone() -> None:
    with nim_server() as server, encoder_for(multi_spec(server)) as encoder:
        found = encoder.encode([PNG, LARGE, PNG], "image")
    assert (
        list(found.errors) == [1]
        and found.errors[1].code == "nvidia"
        and "422" in found.errors[1].reason
        and "asset" in found.errors[1].reason
    )


def test_truncation_is_the_services() -> None:
    long = " ".join(f"w{i}" for i in range(600))
    with nim_server() as server, encoder_for(text_spec(server, truncate="START")) as encoder:
        found = encoder.encode([long], "text")
    np.testing.assert_array_equal(found.vectors, expected([" ".join(long.split(" ")[-512:])], 16))


def test_the_key_is_named_and_never_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_KEY", "nvapi-another-9876543210")
    with nim_server() as server, encoder_for(text_spec(server, {"api_key": "${MY_KEY}"})) as encoder:
        with pytest.raises(JobError, match=r"status 403.*\$\{MY_KEY\}") as caught:
            _ = encoder.dim
        assert "9876543210" not in repr(encoder.__dict__) + repr(encoder.service.client.headers)
    assert "9876543210" not in str(caught.value) + caplog.text and len(server.requests) == 1


def test_a_service_of_ones_own_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVIDIA_APIKEY")
    with nim_server(key=None) as server, encoder_for(text_spec(server, {"api_key": None})) as encoder:
        assert encoder.dim == 16 and "authorization" not in server.requests[0].headers
    with (
        nim_server() as server,
        encoder_for(text_spec(server, {"api_key": None})) as encoder,
        pytest.raises(JobError, match=r"401.*nvidia\.api_key"),
    ):
        _ = encoder.dim


def test_a_key_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVIDIA_APIKEY")
    with nim_server() as server, encoder_for(text_spec(server)) as encoder, pytest.raises(JobError, match="NVIDIA_APIKEY"):
        _ = encoder.dim
    assert not server.requests


@pytest.mark.parametrize(("settings", "words"), [({"model": "nvidia/no-such"}, "nvidia/no-such"), ({"model": ""}, "no model ''")])
def test_an_unknown_model_is_the_jobs_fault(settings: dict[str, Any], words: str) -> None:
    with nim_server() as server, encoder_for(text_spec(server, **settings)) as encoder, pytest.raises(JobError, match=words):
        _ = encoder.dim


def test_a_wrong_address_is_the_jobs_fault() -> None:
    with nim_server() as server:
        with encoder_for(text_spec(None, {"base_url": server.url + "/v1"})) as encoder, pytest.raises(JobError, match="/v1/v1/embeddings"):
            _ = encoder.dim


def test_a_model_that_refuses_the_probe_is_the_jobs_fault() -> None:
    with nim_server() as server:
        with encoder_for(text_spec(server, model="nvidia/nvclip")) as encoder, pytest.raises(JobError, match="cannot be used this way"):
            _ = encoder.dim


def test_out_of_credits_is_the_worlds_fault() -> None:
    reply = Reply(402, {"detail": "Cloud credits expired"})
    with nim_server(script=[reply]) as server, encoder_for(text_spec(server)) as encoder:
        with pytest.raises(WorldError, match=r"no credits.*Cloud credits expired"):
            _ = encoder.dim
    assert len(server.requests) == 1


@pytest.mark.parametrize("as_date", [False, True])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_holds_every_request(status: int, as_date: bool) -> None:
    until = datetime.now(timezone.utc) + timedelta(seconds=2.9)
    wait = format_datetime(until, usegmt=True) if as_date else "1"
    probe = Reply(200, {"data": [{"embedding": hashed("a", "passage", 16)}]})
    with nim_server(script=[probe, Reply(status, {"title": "Too Many Requests"}, {"Retry-After": wait})]) as server:
        with encoder_for(text_spec(server)) as encoder:
            found = encoder.encode([f"text {i}" for i in range(100)], "text")
    assert not found.errors
    late = [r.at - server.requests[1].at for r in server.requests[2:]]
    assert sum(t < 0.9 for t in late) <= 8 and max(late) >= 0.9  # only what was on its way went through


def test_a_limit_that_stays_has_an_end() -> None:
    began = time.monotonic()
    with (
        nim_server(script=[Reply(429, {"title": "Too Many Requests"})] * 50) as server,
        encoder_for(text_spec(server), retry_s=1) as encoder,
    ):
        with pytest.raises(WorldError, match="Too Many Requests"):
            _ = encoder.dim
    assert time.monotonic() - began < 30 and 2 <= len(server.requests) < 20


def test_requests_a_minute_are_kept_by_all_vectors_of_an_account() -> None:
    began = time.monotonic()
    with nim_server() as server:
        slow = {"requests_per_minute": 600}
        with encoder_for(text_spec(server, slow)) as one, encoder_for(multi_spec(server, slow)) as other:
            one.encode([f"text {i}" for i in range(40)], "text")
            other.encode(["x"], "text")
    # from the beginning: when a request arrives, which a busy machine delays, says too little about when it was sent
    assert len(server.requests) == 7 and max(r.at for r in server.requests) - began >= 0.6


def test_a_failure_within_passes() -> None:
    with nim_server(script=[Reply(500, {"title": "Internal Server Error"})] * 2) as server, encoder_for(text_spec(server)) as encoder:
        assert not encoder.encode(["x"], "text").errors


def test_a_failure_that_stays_with_one_input_is_its_own() -> None:
    def embed(content: str | bytes, task: str, dim: int) -> list[float]:
        return [float("nan")] * dim if content == "bad" else hashed(content, task, dim)

    with nim_server(embed=embed) as server, encoder_for(text_spec(server)) as encoder:
        found = encoder.encode(["good", "bad", "fine"], "text")
    assert list(found.errors) == [1] and "no finite" in found.errors[1].reason and len(server.requests) == 2


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_vectors_than_inputs_is_asked_again_in_halves(count: int) -> None:
    probe = Reply(200, {"data": [{"embedding": hashed("a", "passage", 16)}]})
    short = Reply(200, {"data": [{"embedding": hashed("x", "passage", 16)}] * count})
    with nim_server(script=[probe, short]) as server, encoder_for(text_spec(server)) as encoder:
        found = encoder.encode(["x", "y"], "text")
    assert not found.errors and len(server.requests) == 4
    np.testing.assert_array_equal(found.vectors, expected(["x", "y"], 16))


def test_vectors_are_taken_in_the_order_of_the_answer_as_weaviate_takes_them() -> None:
    probe = Reply(200, {"data": [{"embedding": [0.0, 0.0]}]})
    swapped = Reply(200, {"data": [{"index": 1, "embedding": [1, 0]}, {"index": 0, "embedding": [0, 1]}]})
    with nim_server(script=[probe, swapped]) as server, encoder_for(text_spec(server)) as encoder:
        found = encoder.encode(["x", "y"], "text")
    np.testing.assert_array_equal(found.vectors, np.array([[1, 0], [0, 1]], np.float32))


@pytest.mark.parametrize("body", [b"<html>", [], {"data": None}, {"data": [None]}, {"data": ["x"]}, {"data": [{"embedding": "AAAA"}]}])
def test_an_answer_without_vectors_is_the_inputs_error(body: Any) -> None:
    probe = Reply(200, {"data": [{"embedding": hashed("a", "passage", 16)}]})
    with nim_server(script=[probe, Reply(200, body)]) as server, encoder_for(text_spec(server)) as encoder:
        found = encoder.encode(["x"], "text")
    assert list(found.errors) == [0] and np.isnan(found.vectors).all()
