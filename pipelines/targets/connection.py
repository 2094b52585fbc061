"""A connection to one Weaviate: REST for the schema, gRPC for objects, both with timeouts and retries that end."""

import json
import random
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc
import httpx

from encoders.service import retry_after
from schemas.errors import JobError, WorldError
from schemas.job import WeaviateSpec
from schemas.secrets import resolve_secret

T = TypeVar("T")
CLOUD = (".weaviate.network", ".weaviate.cloud", ".weaviate.io")
MESSAGE_BYTES = 104_858_000  # what a server takes unless its /v1/meta says otherwise
AWAY = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "CANCELLED"})
BROKEN = ("stream removed", "rst_stream", "goaway", "connection reset", "socket closed", "broken pipe")  # words of INTERNAL and UNKNOWN
CHANNEL = {
    "max_send_message_length": -1,
    "max_receive_message_length": -1,
    "keepalive_time_ms": 30_000,
    "keepalive_timeout_ms": 10_000,
    "max_reconnect_backoff_ms": 5_000,  # gRPC's own two minutes would outlast our retries
    "use_local_subchannel_pool": 1,  # a new channel is a new connection, also while another thread holds on to a dead one
}
LOCKED = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})


def grpc_address(spec: WeaviateSpec) -> str:
    """host:port of gRPC: the job's, else the usual one for the URL."""
    if spec.grpc:
        return spec.grpc
    url = urlsplit(spec.url)
    if str(url.hostname).endswith(CLOUD):
        return f"grpc-{url.hostname}:443"
    return f"{url.hostname}:50051"


def waits(limit_s: float, first_s: float = 0.25, most_s: float = 20.0) -> Iterator[float]:
    """Growing pauses with jitter that end `limit_s` after the first was asked for, however long the tries between them take."""
    end, pause = time.monotonic() + limit_s, first_s
    while (left := end - time.monotonic()) > 0:
        yield min(pause * random.uniform(0.5, 1.5), left)
        pause = min(pause * 2, most_s)


class Connection:
    """One server; opened at first use, never pickled open."""

    def __init__(self, spec: WeaviateSpec, timeout_s: float, retry_s: float) -> None:
        """Keep the addresses; secrets stay references until a request needs them."""
        self.spec, self.timeout_s, self.retry_s = spec, timeout_s, retry_s

    def __getstate__(self) -> dict[str, Any]:
        """Only the addresses travel."""
        return {"spec": self.spec, "timeout_s": self.timeout_s, "retry_s": self.retry_s}

    @cached_property
    def headers(self) -> dict[str, str]:
        """The headers of every request, secrets resolved. Raises JobError."""
        headers = {name: resolve_secret(value) for name, value in self.spec.headers.items()}
        if self.spec.api_key:
            headers["authorization"] = f"Bearer {resolve_secret(self.spec.api_key)}"
        return headers

    @cached_property
    def rest(self) -> httpx.Client:
        """The REST client."""
        return httpx.Client(base_url=self.spec.url, headers=self.headers, timeout=self.timeout_s)

    @cached_property
    def channel(self) -> grpc.Channel:
        """The gRPC channel; TLS where the URL is https."""
        options = [(f"grpc.{name}", value) for name, value in CHANNEL.items()]
        address = grpc_address(self.spec)
        if self.spec.url.startswith("https"):
            return grpc.secure_channel(address, grpc.ssl_channel_credentials(), options)
        return grpc.insecure_channel(address, options)

    @cached_property
    def stub(self) -> Any:
        """Weaviate's gRPC service."""
        from weaviate.proto.v1 import weaviate_pb2_grpc

        return weaviate_pb2_grpc.WeaviateStub(self.channel)

    @property
    def batch_objects(self) -> Any:
        """The service's BatchObjects, for requests in their wire format."""
        from weaviate.proto.v1 import batch_pb2

        return self.channel.unary_unary("/weaviate.v1.Weaviate/BatchObjects", response_deserializer=batch_pb2.BatchObjectsReply.FromString)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The headers as gRPC wants them."""
        return tuple((name.lower(), value) for name, value in self.headers.items())

    def get(self, path: str, missing_ok: bool = False) -> Any:
        """The JSON at `path`, or None where it is missing and may be. Raises WorldError, JobError (a refused key)."""
        response = self._retried(lambda: self.rest.get(path), path)
        if response.status_code == 404 and missing_ok:
            return None
        return self._checked(response, path).json()

    def post(self, path: str, body: Any) -> Any:
        """The answer to `body` at `path`. Raises JobError with the server's words where it refuses, WorldError where it fails."""
        return self._checked(self._retried(lambda: self.rest.post(path, json=body), path), path).json()

    def put(self, path: str, body: Any) -> Any:
        """As `post`, for what replaces something that is there."""
        return self._checked(self._retried(lambda: self.rest.put(path, json=body), path), path).json()

    def delete(self, path: str, body: Any) -> Any:
        """As `post`, for what names things to be deleted."""
        return self._checked(self._retried(lambda: self.rest.request("DELETE", path, json=body), path), path).json()

    def _retried(self, send: Callable[[], httpx.Response], path: str) -> httpx.Response:
        limit_s = min(self.retry_s, 30)
        pauses = waits(limit_s)
        while True:
            after = 0.0
            try:
                response = send()
                if response.status_code not in (429, 502, 503, 504) or "USAGE_LIMIT_EXCEEDED" in response.text:
                    return response
                problem, after = f"status {response.status_code}: {words(response)}", retry_after(response)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
            pause = next(pauses, None)
            if pause is None:
                raise WorldError(f"Weaviate at {self.spec.url}{path} does not answer: {problem}")
            time.sleep(max(pause, min(after, limit_s)))

    def _checked(self, response: httpx.Response, path: str) -> httpx.Response:
        if response.status_code in (401, 403):
            hint = "set target.weaviate.api_key to ${NAME} of an environment variable" if not self.spec.api_key else "look at the key"
            raise JobError(f"Weaviate at {self.spec.url} refuses this login ({response.status_code}: {words(response)}); {hint}")
        if 400 <= response.status_code < 500:
            raise JobError(f"Weaviate refuses {path}: {words(response)}")
        if response.status_code >= 500:
            raise WorldError(f"Weaviate failed at {path} with status {response.status_code}: {words(response)}")
        return response

    def call(self, method: str, request: Any) -> Any:
        """The reply of a gRPC `method`. Raises WorldError after the retries, or at once where trying again is no use."""
        pauses = waits(self.retry_s)
        while True:
            try:
                return getattr(self.stub, method)(request, timeout=self.timeout_s, metadata=self.metadata)
            except grpc.RpcError as error:
                pause = next(pauses, None) if is_away(error) else None
                if pause is None:
                    raise WorldError(f"Weaviate's gRPC at {grpc_address(self.spec)} failed: {describe(error)}") from error
                self.renew(error)
                time.sleep(pause)

    def renew(self, error: grpc.RpcError) -> None:
        """Leave a connection on which nothing came back in time: it may be dead without anyone having said so.

        What else is on the way there ends as CANCELLED, and is sent again like all that got no answer.
        """
        if error.code().name == "DEADLINE_EXCEEDED" and "channel" in self.__dict__:
            self.__dict__.pop("channel").close()
            self.__dict__.pop("stub", None)

    @cached_property
    def meta(self) -> dict[str, Any]:
        """What the server says of itself: version, modules, the largest message."""
        meta: dict[str, Any] = self.get("/v1/meta")
        return meta

    def server_starts(self) -> str | None:
        """What changes when one of the servers is started anew; None where nobody may ask, or an older server does not say. Raises WorldError.

        A restart raises the term of the schema's log, or (of a server that does not lead) shows in what it had applied when it started.
        """
        try:
            found = self.get("/v1/cluster/statistics", missing_ok=True) or {}
        except JobError:
            return None
        told = [[s.get("name"), s.get("initialLastAppliedIndex"), (s.get("raft") or {}).get("term")] for s in found.get("statistics") or []]
        return json.dumps(sorted(told, key=str)) if told else None

    @property
    def message_bytes(self) -> int:
        """The largest message that the server takes."""
        return int(self.meta.get("grpcMaxMessageSize") or MESSAGE_BYTES)

    def server_time(self) -> datetime:
        """The time by the server's clock, to the second; by ours where it does not say. Raises WorldError."""
        date = self._retried(lambda: self.rest.get("/v1/.well-known/live"), "/v1/.well-known/live").headers.get("date")
        return parsedate_to_datetime(date) if date else datetime.now(timezone.utc)

    def close(self) -> None:
        """Close what was opened."""
        for name in ("rest", "channel"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()
        self.__dict__.pop("stub", None)


def words(response: httpx.Response) -> str:
    """The server's own words in an error response."""
    try:
        body = response.json()
        errors = body["error"] if "error" in body else body["message"]
        return "; ".join(e["message"] for e in errors) if isinstance(errors, list) else str(errors)
    except (ValueError, KeyError, TypeError):
        return response.text[:300].strip() or response.reason_phrase


def is_away(error: grpc.RpcError) -> bool:
    """Whether the same call may succeed later: the server is away, overloaded or restarting."""
    if error.code().name in ("INTERNAL", "UNKNOWN"):
        return any(words in (error.details() or "").lower() for words in BROKEN)
    return error.code().name in AWAY and not is_too_large(error)


def is_lost(error: grpc.RpcError) -> bool:
    """Whether nobody knows how far the server came: the connection broke, it was killed, or the answer took too long."""
    return error.code().name not in ("RESOURCE_EXHAUSTED", "ABORTED")


def is_too_large(error: grpc.RpcError) -> bool:
    """Whether the server refused the message for its size."""
    return "larger than max" in (error.details() or "")


def describe(error: grpc.RpcError) -> str:
    """The status and the server's own words."""
    return f"{error.code().name}: {error.details()}"
