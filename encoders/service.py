"""A service that gives vectors over HTTP: requests side by side, retried with an end, and no secret in any message."""

import random
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, TypeVar

import httpx

from schemas.errors import JobError, WorldError
from schemas.secrets import resolve_secret

P = TypeVar("P")
R = TypeVar("R")

AWAY = frozenset({408, 429, 502, 503, 504})
TIMEOUT_S = 60.0
RETRY_S = 300.0  # of waiting and failing, for one request
FIRST_S = 30.0  # the same, as long as nothing has ever answered: most likely nobody is there
FLAKY_TRIES = 3
MOST_PAUSE_S = 20.0
SENDABLE = re.compile(r"[\x21-\x7e]+")


class Pace:
    """When the next request may go: never faster than `per_minute`, and not before the time that a service has named."""

    def __init__(self, per_minute: float | None = None) -> None:
        """A token bucket of one token, so that also the first minute stays below the ceiling."""
        self.gap_s = 60 / per_minute if per_minute else 0.0
        self.next = self.held = 0.0  # on the monotonic clock
        self.lock = threading.Lock()

    def wait(self, stop: threading.Event) -> None:
        """Take the next token; returns at once when `stop` is set."""
        with self.lock:
            at = max(self.next, time.monotonic())
            self.next = at + self.gap_s
        while (left := max(at, self.held) - time.monotonic()) > 0 and not stop.is_set():
            stop.wait(left)

    def hold(self, seconds: float) -> None:
        """Let nobody send for so long."""
        with self.lock:
            self.held = max(self.held, time.monotonic() + seconds)


class Service:
    """One address, or several of one operator, that share a bearer token, a pace and a pool of connections."""

    def __init__(
        self, secret: str | None, concurrency: int, pace: Pace | None = None, flaky: frozenset[int] = frozenset(), retry_s: float = RETRY_S
    ) -> None:
        """`secret` is a `${NAME}` reference; a status in `flaky` is tried a few times and then handed back like any other."""
        self.secret, self.concurrency, self.flaky = secret, concurrency, flaky
        self.pace = pace or Pace()
        self.timeout_s, self.retry_s = TIMEOUT_S, retry_s
        self.met = False  # whether anything has ever answered

    @cached_property
    def token(self) -> str | None:
        """The secret itself. Raises JobError, which names only the reference."""
        if self.secret is None:
            return None
        token = resolve_secret(self.secret).strip()
        if not SENDABLE.fullmatch(token):
            raise JobError(f"{self.secret} is empty, or has blanks or characters that no HTTP header can carry")
        return token

    @cached_property
    def client(self) -> httpx.Client:
        """The connections, closed when the service is forgotten."""
        headers = {"accept": "application/json"} | ({"authorization": f"Bearer {self.token}"} if self.token else {})
        limits = httpx.Limits(max_connections=self.concurrency)
        client = httpx.Client(headers=headers, timeout=self.timeout_s, limits=limits)
        weakref.finalize(self, client.close)
        return client

    def post(self, url: str, body: Any, stop: threading.Event) -> httpx.Response:
        """The answer to `body`, whatever its status, once the service is there. Raises WorldError, JobError (no address)."""
        spent_s, tries = 0.0, 0
        while not stop.is_set():
            self.pace.wait(stop)
            began, tries = time.monotonic(), tries + 1
            answer = self._sent(url, body)
            self.met = self.met or isinstance(answer, httpx.Response)
            if isinstance(answer, httpx.Response) and not self._again(answer, tries):
                return answer
            asked_s = retry_after(answer) if isinstance(answer, httpx.Response) else 0.0
            pause_s = max(asked_s, min(MOST_PAUSE_S, 0.25 * 2**tries) * random.uniform(0.5, 1.0))
            spent_s += time.monotonic() - began + pause_s
            if spent_s > (self.retry_s if self.met else min(self.retry_s, FIRST_S)):
                raise WorldError(f"{shown(url)} does not answer as it should, after {tries} tries: {self._problem(answer, asked_s)}")
            if asked_s:
                self.pace.hold(pause_s)
            stop.wait(pause_s)
        raise WorldError(f"{shown(url)}: given up, since another request failed")

    def _sent(self, url: str, body: Any) -> httpx.Response | Exception:
        try:
            return self.client.post(url, json=body)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL):
            raise JobError(f"{shown(url)} is no address of a service; it would be http(s)://host:port") from None
        except httpx.RequestError as error:
            return error

    def _again(self, answer: httpx.Response, tries: int) -> bool:
        return answer.status_code in AWAY or (answer.status_code in self.flaky and tries < FLAKY_TRIES)

    def _problem(self, answer: httpx.Response | Exception, asked_s: float) -> str:
        if isinstance(answer, Exception):
            return f"{type(answer).__name__}: {answer}"
        wait = f", and asks for a wait of {asked_s:.0f} s" if asked_s else ""
        return f"status {answer.status_code}: {self.words(answer)}{wait}"

    def words(self, answer: httpx.Response) -> str:
        """The service's own words, without our token, which some repeat."""
        text = _said(answer)
        return (text.replace(self.token, "***") if self.token else text)[:300]

    def gather(self, ask: Callable[[P, threading.Event], R], pieces: Iterable[P]) -> Iterator[R]:
        """What `ask` gives for each piece, as it comes; the first exception ends the others."""
        _ = self.client  # once, before there are threads
        stop = threading.Event()
        with ThreadPoolExecutor(self.concurrency) as pool:
            try:
                for done in as_completed([pool.submit(ask, piece, stop) for piece in pieces]):
                    yield done.result()
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Close the connections."""
        if "client" in self.__dict__:
            self.__dict__.pop("client").close()


def _said(answer: httpx.Response) -> str:
    """The sentence in an error's JSON: `error` of the containers, `message`, `detail` and `title` of NVIDIA; else the whole text."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    if isinstance(body, dict):
        found = [body.get(key) for key in ("error", "message", "detail", "title")]
        texts = [f["message"] if isinstance(f, dict) and "message" in f else f for f in found]
        return next((t if isinstance(t, str) else str(t) for t in texts if t), answer.text)
    return answer.text.strip() or answer.reason_phrase


def shown(url: str) -> str:
    """`url` without a login in it."""
    return re.sub(r"//[^/@]*@", "//", url)


def retry_after(answer: httpx.Response) -> float:
    """The seconds that the header Retry-After asks for, given as such or as an HTTP date; 0 where it says nothing."""
    value = answer.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", value):
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    until = until if until.tzinfo else until.replace(tzinfo=timezone.utc)
    return max(0.0, (until - datetime.now(timezone.utc)).total_seconds())
