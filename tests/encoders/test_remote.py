"""Vectors from inference containers: what is asked, what is tried again, and whose fault a failure is."""

import base64
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders import encoder_of
from encoders import service as service_module
from encoders.answers import vector_of
from encoders.remote import RemoteEncoder
from encoders.service import Pace, retry_after
from schemas.errors import JobError, RowError, WorldError
from schemas.job import VectorSpec
from schemas.modules import MultiModule, TextModule
from tests.loopback import Loopback, Reply, Request, loopback

TOKEN = "token-0123456789"
DIM = 6


def numbers(content: str) -> list[float]:
    seed = int.from_bytes(hashlib.blake2b(content.encode(), digest_size=8).digest(), "big")
    return [float(x) for x in np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)]


def text2vec(request: Request) -> Reply:
    """What the text2vec-transformers container does with its input."""
    if request.path not in ("/vectors", "/vectors/"):
        return Reply(404, {"detail": "Not Found"})
    text, task = request.body["text"], request.body["config"]["task_type"]
    if text.startswith("!"):
        return Reply(500, {"error": text})
    return Reply(200, {"text": text, "vector": numbers(task + text), "dim": DIM})


def clip(request: Request) -> Reply:
    """What the multi2vec-clip container does: the vector of a value depends here on the others of its request, as in SigLIP."""
    if request.path != "/vectorize":
        return Reply(404, {"detail": "Not Found"})
    body = request.body
    if any(text.startswith("!") for text in body.get("texts", [])):
        return Reply(500, {"error": "Sequence length must be less than max_position_embeddings"})
    longest = max(map(len, body.get("texts", [])), default=0)
    texts = [numbers(f"{longest}:{t}") for t in body.get("texts", [])]
    return Reply(200, {"textVectors": texts, "imageVectors": [numbers(i) for i in body.get("images", [])]})


def spec(where: Any, **rest: Any) -> VectorSpec:
    return VectorSpec.model_validate({"model": {"inference_url": where}, "text_fields": ["text"]} | rest)


def module_spec(where: Any, module: TextModule | MultiModule, **model: Any) -> VectorSpec:
    return VectorSpec.model_validate({"model": {"inference_url": where} | model, "module": module})


@contextmanager
def encoder_for(vector: VectorSpec, retry_s: float = 5.0, timeout_s: float = 5.0) -> Iterator[RemoteEncoder]:
    with closing(RemoteEncoder(vector)) as encoder:
        encoder.service.retry_s, encoder.service.timeout_s = retry_s, timeout_s
        yield encoder


def wrong(reply: Reply, when: Callable[[Request], bool] = lambda r: r.body["text"] != "a") -> Callable[[Request], Reply]:
    """The container, except that it answers `reply` when `when` says so."""
    return lambda request: reply if when(request) else text2vec(request)


def once(replies: list[Reply], rest: Callable[[Request], Reply] = text2vec) -> Callable[[Request], Reply]:
    return lambda request: replies.pop(0) if replies else rest(request)


def asked(server: Loopback) -> list[Any]:
    return [r.body for r in server.requests[1:]]  # without the probe


def test_a_text_is_asked_as_weaviate_asks() -> None:
    module = TextModule("text2vec-transformers", "Doc", ("text",), settings={"poolingStrategy": "cls", "dimensions": 4.0})
    with loopback(text2vec) as server, encoder_for(module_spec(server.url, module)) as encoder:
        assert encoder.dim == DIM and encoder.modalities == {"text"}
        found = encoder.encode(["Ein Text", "日本 <&>"], "text")
        query = encoder.encode(["Ein Text"], "text", "query")
    np.testing.assert_array_equal(found.vectors, np.array([numbers("passageEin Text"), numbers("passage日本 <&>")], np.float32))
    np.testing.assert_array_equal(query.vectors[0], np.array(numbers("queryEin Text"), np.float32))
    assert {r.path for r in server.requests} == {"/vectors"} and "authorization" not in server.requests[0].headers
    config = {"pooling_strategy": "cls", "task_type": "passage", "dimensions": 4}
    assert sorted(asked(server)[:2], key=str) == [{"text": "Ein Text", "config": config}, {"text": "日本 <&>", "config": config}]
    assert asked(server)[2]["config"]["task_type"] == "query"


def test_defaults_of_a_vector_without_a_module() -> None:
    with loopback(text2vec) as server, encoder_for(spec(server.url + "/")) as encoder:
        encoder.encode(["x"], "text")
    assert asked(server) == [{"text": "x", "config": {"pooling_strategy": "masked_mean", "task_type": "passage"}}]


def test_objects_and_queries_have_their_own_containers() -> None:
    with loopback(text2vec) as passages, loopback(text2vec) as queries:
        pair = {"passage_url": passages.url, "query_url": queries.url}
        with encoder_for(spec(pair)) as encoder:
            encoder.encode(["object"], "text")
            encoder.encode(["question"], "text", "query")
    assert [b["text"] for b in asked(passages)] == ["object"] and [r.body["text"] for r in queries.requests] == ["question"]


def test_the_registry_gives_this_encoder_and_asks_nothing_yet() -> None:
    with loopback(text2vec) as server:
        assert isinstance(encoder_of(spec(server.url)), RemoteEncoder)
    assert not server.requests


def test_requests_go_side_by_side_up_to_the_concurrency() -> None:
    with loopback(lambda r: Reply(200, text2vec(r).body, delay_s=0.03)) as server:
        where, seen = {"url": server.url, "concurrency": 5}, []
        with encoder_for(spec(where)) as encoder:
            found = encoder.encode([f"text {i}" for i in range(40)], "text", progress=seen.append)
    assert 2 <= server.most_at_once <= 5 and sum(seen) == 40 and not found.errors
    np.testing.assert_array_equal(found.vectors, np.array([numbers(f"passagetext {i}") for i in range(40)], np.float32))


def test_clip_gets_the_values_of_one_object_in_one_request_and_in_their_order() -> None:
    module = MultiModule("multi2vec-clip", "Doc", {"text": ("a", "b"), "image": ("c",)})
    with loopback(clip) as server, encoder_for(module_spec(server.url, module)) as encoder:
        assert encoder.dim == DIM and encoder.modalities == {"text", "image"}
        texts = encoder.encode(["zz", "b", "long text", "a"], "text", groups=np.array([7, 3, 7, 3]))
        images = encoder.encode([b"\x89PNG", b"\xff\xd8"], "image", groups=np.array([7, 7]))
    expected = [numbers("9:zz"), numbers("1:b"), numbers("9:long text"), numbers("1:a")]
    np.testing.assert_array_equal(texts.vectors, np.array(expected, np.float32))
    pictures = [base64.b64encode(b).decode() for b in (b"\x89PNG", b"\xff\xd8")]
    np.testing.assert_array_equal(images.vectors, np.array([numbers(p) for p in pictures], np.float32))
    assert sorted(asked(server)[:2], key=str) == [{"texts": ["b", "a"]}, {"texts": ["zz", "long text"]}]
    assert asked(server)[2] == {"images": pictures} and {r.path for r in server.requests} == {"/vectorize"}


def test_clip_without_groups_takes_each_value_for_an_object() -> None:
    with loopback(clip) as server, encoder_for(spec(server.url, image_fields=["image"])) as encoder:
        found = encoder.encode(["x", "longer"], "text")
    np.testing.assert_array_equal(found.vectors, np.array([numbers("1:x"), numbers("6:longer")], np.float32))


def test_no_values_no_request() -> None:
    with loopback(text2vec) as server, encoder_for(spec(server.url)) as encoder:
        assert encoder.encode([], "text").vectors.shape == (0, DIM)
    assert len(server.requests) == 1


def test_a_refused_text_is_an_error_of_that_value_in_the_containers_words() -> None:
    with loopback(text2vec) as server, encoder_for(spec(server.url)) as encoder:
        found = encoder.encode(["good", "!'int' object has no attribute 'detach'", "fine"], "text")
    assert list(found.errors) == [1] and found.errors[1].code == "container" and np.isnan(found.vectors[1]).all()
    assert (
        "fail with status 500: !'int' object has no attribute 'detach'" in found.errors[1].reason and server.url in found.errors[1].reason
    )
    assert np.isfinite(found.vectors[[0, 2]]).all()


def test_a_refused_object_is_an_error_of_all_its_values() -> None:
    with loopback(clip) as server, encoder_for(spec(server.url, image_fields=["image"])) as encoder:
        found = encoder.encode(["a", "!", "b"], "text", groups=np.array([1, 1, 2]))
    assert sorted(found.errors) == [0, 1] and "max_position_embeddings" in found.errors[0].reason


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Reply(200, b"<html>welcome</html>"), "failed to parse"),
        (Reply(200, [1.0]), "failed to parse"),
        (Reply(200, {"dim": 3}), "no list of numbers"),
        (Reply(200, {"vector": [1.0] * (DIM - 1)}), f"length {DIM - 1}"),
        (Reply(200, {"vector": ["1.0"] * DIM}), "no list of numbers"),
        (Reply(200, {"vector": [[1.0] * DIM]}), "no list of numbers"),
        (Reply(200, {"vector": [[1.0], 2.0]}), "no list of numbers"),
        (Reply(200, b'{"vector": [NaN, 1, 1, 1, 1, 1]}'), "no finite"),
        (Reply(200, {"vector": [1e39] * DIM}), "no finite"),
        (Reply(200, {"vector": [None] * DIM}), "no list of numbers"),
        (Reply(413, {"error": "too large"}), "status 413: too large"),
        (Reply(422, {"detail": [{"loc": ["body"], "msg": "no"}]}), "status 422"),
        (Reply(500, b""), "status 500: Internal Server Error"),
    ],
)
def test_a_wrong_answer_is_an_error_of_its_value(answer: Reply, words: str) -> None:
    with loopback(wrong(answer)) as server, encoder_for(spec(server.url)) as encoder:
        found = encoder.encode(["text"], "text")
    assert words in found.errors[0].reason and np.isnan(found.vectors).all()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_vectors_than_values_is_an_error_of_the_object(count: int) -> None:
    def answer(request: Request) -> Reply:
        return Reply(200, {"textVectors": [numbers("x")] * count}) if len(request.body["texts"]) == 2 else clip(request)

    with loopback(answer) as server, encoder_for(spec(server.url, image_fields=["image"])) as encoder:
        found = encoder.encode(["a", "b", "c"], "text", groups=np.array([1, 1, 2]))
    assert sorted(found.errors) == [0, 1] and f"{count} vectors for 2 values" in found.errors[0].reason


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405])
def test_an_address_or_login_that_is_wrong_for_all_is_the_jobs_fault(status: int) -> None:
    with loopback(lambda r: Reply(status, {"error": "Unauthorized"})) as server:
        with encoder_for(spec(server.url)) as encoder, pytest.raises(JobError, match=f"(?s){server.url}/vectors.*{status}"):
            _ = encoder.dim
    assert len(server.requests) == 1


def test_the_token_is_sent_and_never_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("CONTAINER_TOKEN", f"{TOKEN}\n")
    refused = once([Reply(200, {"vector": numbers("a")})], lambda r: Reply(401, {"error": f"wrong: {r.headers['authorization']}"}))
    with loopback(refused) as server, encoder_for(spec({"url": server.url, "token": "${CONTAINER_TOKEN}"})) as encoder:
        with pytest.raises(JobError, match=r"\$\{CONTAINER_TOKEN\}") as caught:
            encoder.encode(["x"], "text")
        assert TOKEN not in repr(encoder.__dict__) + repr(encoder.service.client.__dict__.get("_headers"))
    assert server.requests[1].headers["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in str(caught.value) and TOKEN not in caplog.text and "***" in str(caught.value)


@pytest.mark.parametrize("value", ["", "  ", "two words", "line\nbreak", "Schlüssel"])
def test_a_token_that_cannot_be_sent_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CONTAINER_TOKEN", value)
    with encoder_for(spec({"url": "http://127.0.0.1:9", "token": "${CONTAINER_TOKEN}"})) as encoder:
        with pytest.raises(JobError, match="CONTAINER_TOKEN") as caught:
            _ = encoder.dim
    assert not value.strip() or value not in str(caught.value)


def test_a_token_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONTAINER_TOKEN", raising=False)
    with (
        encoder_for(spec({"url": "http://127.0.0.1:9", "token": "${CONTAINER_TOKEN}"})) as encoder,
        pytest.raises(JobError, match="CONTAINER_TOKEN"),
    ):
        _ = encoder.dim


def test_a_login_in_the_address_is_not_told() -> None:
    with loopback(lambda r: Reply(404, {})) as server:
        with encoder_for(spec(server.url.replace("//", "//user:hunter2@"))) as encoder, pytest.raises(JobError) as caught:
            _ = encoder.dim
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["127.0.0.1:9", "ftp://127.0.0.1", "http://[::1"])
def test_what_is_no_address_is_the_jobs_fault(url: str) -> None:
    with encoder_for(spec(url)) as encoder, pytest.raises(JobError, match="no address"):
        _ = encoder.dim


@pytest.mark.parametrize(
    "trouble",
    [
        Reply(502, b"bad gateway"),
        Reply(503, {"error": "loading"}),
        Reply(504, b""),
        Reply(429, {"error": "slow down"}),
        Reply(cut="before"),
        Reply(200, {"vector": [1.0] * DIM}, cut="within"),
    ],
)
def test_what_passes_is_tried_again(trouble: Reply) -> None:
    with loopback(once([trouble, trouble])) as server, encoder_for(spec(server.url)) as encoder:
        found = encoder.encode(["x"], "text")
    np.testing.assert_array_equal(found.vectors[0], np.array(numbers("passagex"), np.float32))
    assert len(server.requests) == 4


def test_a_connection_that_the_container_closes_without_a_word_does_no_harm() -> None:
    with loopback(lambda r: Reply(200, text2vec(r).body, cut="after")) as server, encoder_for(spec(server.url)) as encoder:
        found = encoder.encode([f"x{i}" for i in range(20)], "text")
    assert not found.errors


def test_retry_after_is_kept() -> None:
    with loopback(once([Reply(429, {}, {"Retry-After": "1"})])) as server, encoder_for(spec(server.url)) as encoder:
        assert encoder.dim == DIM
    assert server.requests[1].at - server.requests[0].at >= 1.0


def test_trying_again_has_an_end() -> None:
    began = time.monotonic()
    with loopback(wrong(Reply(503, {"error": "no room"}))) as server, encoder_for(spec(server.url), retry_s=1) as encoder:
        with pytest.raises(WorldError, match=r"does not answer as it should.*status 503: no room"):
            encoder.encode([f"x{i}" for i in range(100)], "text")
    assert time.monotonic() - began < 30 and len(server.requests) < 60


def test_a_wait_beyond_the_end_is_not_begun() -> None:
    began = time.monotonic()
    with loopback(lambda r: Reply(429, {}, {"Retry-After": "3600"})) as server, encoder_for(spec(server.url)) as encoder:
        with pytest.raises(WorldError, match="wait of 3600 s"):
            _ = encoder.dim
    assert time.monotonic() - began < 60


def test_a_container_that_is_away_is_the_worlds_fault() -> None:
    with loopback(text2vec) as server:
        url = server.url
    with encoder_for(spec(url), retry_s=0.5) as encoder, pytest.raises(WorldError, match=f"{url}.*ConnectError"):
        _ = encoder.dim


def test_an_address_where_nobody_ever_answered_is_given_up_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "FIRST_S", 0.5)
    began = time.monotonic()
    with loopback(text2vec) as server:
        url = server.url
    with encoder_for(spec(url), retry_s=60) as encoder, pytest.raises(WorldError):
        _ = encoder.dim
    assert time.monotonic() - began < 30


def test_a_slow_answer_ends_in_a_timeout() -> None:
    with loopback(lambda r: Reply(200, text2vec(r).body, delay_s=0.5)) as server:
        with encoder_for(spec(server.url), retry_s=0.5, timeout_s=0.1) as encoder, pytest.raises(WorldError, match="ReadTimeout"):
            _ = encoder.dim


@pytest.mark.parametrize("answer", [Reply(500, {"error": "no model"}), Reply(200, {"vector": []}), Reply(200, b"<html>")])
def test_a_container_without_a_vector_for_the_probe_is_the_worlds_fault(answer: Reply) -> None:
    with loopback(lambda r: answer) as server, encoder_for(spec(server.url)) as encoder, pytest.raises(WorldError, match="gives no vector"):
        _ = encoder.dim


@pytest.mark.parametrize("rest", [{"long_text": "mean"}, {"long_text": "fail"}])
def test_what_a_container_cannot_do_is_refused(rest: dict[str, Any]) -> None:
    with pytest.raises(JobError, match="long_text"):
        RemoteEncoder(spec("http://127.0.0.1:9", **rest))


def test_a_pace_spreads_requests_and_holds_them() -> None:
    pace, stop, began = Pace(per_minute=600), threading.Event(), time.monotonic()
    for _ in range(4):
        pace.wait(stop)
    assert time.monotonic() - began >= 0.29
    pace.hold(0.3)
    pace.wait(stop)
    assert time.monotonic() - began >= 0.6
    pace.hold(60)
    stop.set()
    pace.wait(stop)
    assert time.monotonic() - began < 30


def after(value: str) -> float:
    return retry_after(httpx.Response(429, headers={"Retry-After": value}))


def test_retry_after_in_both_forms() -> None:
    now = datetime.now(timezone.utc)
    assert after("7") == 7 and after("0.5") == 0.5 and retry_after(httpx.Response(429)) == 0
    assert 28 <= after(format_datetime(now + timedelta(seconds=30), usegmt=True)) <= 30
    assert after(format_datetime(now - timedelta(hours=1), usegmt=True)) == 0
    assert after("Wed, 21 Oct 2099 07:28:00 -0000") > 1e9 and after("soon") == 0 and after("-3") == 0 and after("nan") == 0


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=40))
def test_no_retry_after_breaks_the_client(value: str) -> None:
    assert 0 <= after(value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3), lambda x: st.lists(x, max_size=4), max_leaves=12
)


@settings(max_examples=200, deadline=None)
@given(VALUES, st.none() | st.integers(1, 4))
def test_whatever_json_is_a_vector_or_a_row_error(value: Any, dim: int | None) -> None:
    try:
        vector = vector_of(value, dim)
    except RowError:
        return
    assert vector.dtype == np.float32 and np.isfinite(vector).all() and len(vector) == (dim or len(value))
