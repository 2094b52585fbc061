"""A small HTTP server on the loopback that records what it is asked, and may be slow, wrong or broken as a test wants."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]  # names in lower case
    raw: bytes
    at: float  # on the monotonic clock

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: Any = None  # bytes as they are, anything else as JSON
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    cut: str = ""  # "before": hang up without a word; "within": after half of the body; "after": without saying so


@dataclass
class Loopback:
    url: str
    requests: list[Request] = field(default_factory=list)
    most_at_once: int = 0


@contextmanager
def loopback(answer: Callable[[Request], Reply]) -> Iterator[Loopback]:
    """A server on a free port of 127.0.0.1, gone at the end with all its connections."""
    open_sockets: set[socket.socket] = set()
    lock = threading.Lock()
    running = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def setup(self) -> None:
            super().setup()
            open_sockets.add(self.connection)

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()
            open_sockets.discard(self.connection)

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            nonlocal running
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            request = Request(self.path, {k.lower(): v for k, v in self.headers.items()}, raw, time.monotonic())
            with lock:
                server.requests.append(request)
                running += 1
                server.most_at_once = max(server.most_at_once, running)
            reply = answer(request)
            time.sleep(reply.delay_s)
            with lock:
                running -= 1
            with suppress(OSError):
                self.give(reply)

        do_GET = do_POST

        def give(self, reply: Reply) -> None:
            if reply.cut:
                self.close_connection = True
            if reply.cut == "before":
                return
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in ({"Content-Type": "application/json"} | reply.headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if reply.cut == "within" else content)

    class Server(ThreadingHTTPServer):
        daemon_threads = False  # joined at the end, so that no thread outlives its test
        request_queue_size = 128

    http = Server(("127.0.0.1", 0), Handler)
    server = Loopback(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        for one in list(open_sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        http.server_close()
        thread.join()
