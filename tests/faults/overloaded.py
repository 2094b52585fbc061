"""A real gRPC server in front of Weaviate that refuses what is too much for it, as an overloaded one or its gateway does."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from weaviate.proto.v1 import batch_pb2

SERVICE = "/weaviate.v1.Weaviate/"


@dataclass
class Gate:
    """Passes on requests of at most `most` objects; the rest gets `code`."""

    address: str = ""
    most: int = 1 << 30
    code: grpc.StatusCode = grpc.StatusCode.RESOURCE_EXHAUSTED
    sizes: list[int] = field(default_factory=list)  # of the requests with objects, in order
    refused: int = 0
    passes: int = 0  # requests that pass before any reply is lost
    lose: int = 0  # replies that are to be lost: the server has the objects, and the sender does not know
    lost: list[Any] = field(default_factory=list)  # those requests
    after: list[Any] = field(default_factory=list)  # the requests that came then


@contextmanager
def gate(upstream: str) -> Iterator[Gate]:
    made = Gate()
    with grpc.insecure_channel(upstream) as channel, ThreadPoolExecutor(8) as pool:

        class Passes(grpc.GenericRpcHandler):
            def service(self, details: Any) -> Any:
                return grpc.unary_unary_rpc_method_handler(lambda request, context: _pass(made, channel, details.method, request, context))

        server = grpc.server(pool)
        server.add_generic_rpc_handlers([Passes()])
        made.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield made
        finally:
            server.stop(0).wait()


def _pass(made: Gate, channel: grpc.Channel, method: str, request: bytes, context: Any) -> bytes:
    if method == SERVICE + "BatchObjects":
        return _write(made, channel, method, request, context)
    reply: bytes = channel.unary_unary(method)(request, timeout=60)
    return reply


def _write(made: Gate, channel: grpc.Channel, method: str, request: bytes, context: Any) -> bytes:
    body = batch_pb2.BatchObjectsRequest.FromString(request)
    made.sizes.append(len(body.objects))
    if len(body.objects) > made.most:
        made.refused += 1
        context.abort(made.code, "too much at a time")
    reply: bytes = channel.unary_unary(method)(request, timeout=60)
    if made.passes:
        made.passes -= 1
    elif made.lose:
        made.lose -= 1
        made.lost.append(body)
        context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    if made.lost:
        made.after.append(body)
    return reply
