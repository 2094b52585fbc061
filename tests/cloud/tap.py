"""A forwarder that writes down what was asked for and counts what came back."""

import re
import socket
import threading
from contextlib import suppress
from typing import NamedTuple

from tests.faults.forwarder import Forwarder

HEAD = re.compile(rb"^(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.1\r\n(.*?)\r\n\r\n", re.MULTILINE | re.DOTALL)
RANGE = re.compile(rb"^(?:x-ms-)?range: bytes=(\d+)-(\d+)", re.MULTILINE | re.IGNORECASE)


class Asked(NamedTuple):
    """A request: its verb, its path, and the bytes of a range that it asks for (0: the whole)."""

    verb: str
    path: str
    size: int


class Tap(Forwarder):
    """As the forwarder, and `asked` and `sent` (bytes, downstream) since `clear`; `broken` answers are cut off in their middle."""

    def __init__(self, upstream: str) -> None:
        self._lock = threading.Lock()
        self._said: list[bytes] = []
        self.sent = 0
        self.broken = 0
        super().__init__(upstream)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def clear(self) -> None:
        self._said, self.sent = [], 0

    @property
    def logged_in(self) -> bool:
        """Whether a request carried credentials."""
        return b"\r\nauthorization:" in b"".join(self._said).lower()

    @property
    def asked(self) -> list[Asked]:
        found = []
        for verb, path, fields in HEAD.findall(b"".join(self._said)):
            ranged = RANGE.search(fields)
            found.append(Asked(verb.decode(), path.decode(), int(ranged[2]) - int(ranged[1]) + 1 if ranged else 0))
        return found

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            upward = sink.getpeername() == self.upstream
            while data := source.recv(65536):
                with self._lock:
                    if upward:
                        self._said.append(data)
                    else:
                        self.sent += len(data)
                        if self.broken:
                            self.broken -= 1
                            sink.sendall(data[: len(data) // 2])
                            break
                sink.sendall(data)
            with suppress(OSError):
                source.shutdown(socket.SHUT_RDWR)
            sink.shutdown(socket.SHUT_RDWR)
