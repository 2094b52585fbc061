"""Delivery: requests of objects on their way to one Weaviate, tried again with an end, slower before failing."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from pipelines.metrics import count
from pipelines.targets.connection import LOCKED, Connection, describe, grpc_address, is_away, is_lost, is_too_large, waits
from pipelines.targets.messages import pieces, request, uuid_in
from pipelines.targets.pressure import Pressure
from schemas.errors import WorldError
from schemas.job import TargetSpec
from schemas.objects import Reasons

PASSING = (  # words of per-object errors that a healthy server takes back: the world is wrong, not the row
    "read-only",
    "deadline exceeded",
    "context canceled",
    "not enough memory",
    "connection refused",
    "connection reset",
    "leader not found",
    "shutting down",
    "too many requests",
    "timed out",
)
BROKEN_OFF = ("deadline exceeded", "context canceled", "connection re", "shutting down")  # of these: the object may be half stored
LOST = "lost"  # requests and objects of which nobody knows how far the server came
SETTLED = "lost/settled"  # those that the server has acknowledged since, when they were sent again


@dataclass(frozen=True)
class _Answer:
    """What became of a request: refused messages by position, those to be sent again, and why."""

    refused: Reasons
    again: list[int] = field(default_factory=list)
    problem: str = ""


class Delivery:
    """What one writer sends; `pressure` says how much at a time."""

    def __init__(self, connection: Connection, spec: TargetSpec) -> None:
        """Nothing is sent yet."""
        self.connection, self.spec = connection, spec
        self.pressure = Pressure()
        self.lost = 0  # requests and objects of which nobody knows how far the server came

    def deliver(self, group: Sequence[bytes], size: int) -> bool:
        """Send serialised messages, at most `size` a request, and wait until they are stored; True if no request was lost on the way.

        Raises WorldError, also where one is refused that was stored before.
        """
        before = self.lost
        for _, piece in pieces(list(group), min(size, self.pressure.objects)):
            for position, (_, reason) in self.delivered(piece, None).items():
                raise WorldError(f"Weaviate refuses object {uuid_in(piece[position])}, which it has, when it is sent again: {reason}")
        return self.lost == before

    def send(self, group: Sequence[bytes]) -> Any:
        """A future of the reply."""
        body = request(group, self.spec.consistency_level)
        return self.connection.batch_objects.future(body, timeout=self.spec.timeout_s, metadata=self.connection.metadata)

    def delivered(self, group: list[bytes], reply: Any) -> Reasons:
        """Wait for the reply, and try again what may pass, in smaller requests; the refused messages by position. Raises WorldError."""
        before = self.lost
        refused = self._delivered(group, reply)
        count(SETTLED, self.lost - before)
        return refused

    def _delivered(self, group: list[bytes], reply: Any) -> Reasons:
        pauses = waits(self.spec.retry_s)
        refused: Reasons = {}
        todo = deque([list(range(len(group)))])
        while todo:
            positions = todo.popleft()
            messages = [group[p] for p in positions]
            answer = self._answer(messages, reply)
            reply = None
            refused |= {positions[i]: reason for i, reason in answer.refused.items()}
            if len(answer.again) < len(positions):
                pauses = waits(self.spec.retry_s)  # the server works, if slowly
            if not answer.again:
                self.pressure.took()
                continue
            pause = next(pauses, None)
            if pause is None:
                raise WorldError(self._gave_up(len(answer.again) + sum(map(len, todo)), answer.problem))
            self.pressure.overloaded()
            time.sleep(pause)
            again, size = [positions[i] for i in answer.again], self.pressure.objects
            todo.extendleft(reversed([again[i : i + size] for i in range(0, len(again), size)]))
        return refused

    def _answer(self, group: list[bytes], reply: Any) -> _Answer:
        """What became of `group`; sent now unless there is a reply to wait for. Raises WorldError (no longer allowed to write)."""
        try:
            errors = {e.index: e.error for e in (reply or self.send(group)).result().errors if e.error}
        except grpc.RpcError as error:
            if error.code().name in LOCKED:
                raise WorldError(f"Weaviate at {grpc_address(self.spec.weaviate)} refuses to write: {describe(error)}") from error
            if not is_away(error):
                return _Answer(self._halved(group, error))
            self.connection.renew(error)
            self._lose(int(is_lost(error)))
            return _Answer({}, list(range(len(group))), describe(error))
        again = [i for i, e in errors.items() if _may_pass(e)]
        refused: Reasons = {i: ("refused", e) for i, e in errors.items() if not _may_pass(e)}
        self._lose(sum(any(words in errors[i] for words in BROKEN_OFF) for i in again))
        return _Answer(refused, again, errors[again[0]] if again else "")

    def _lose(self, n: int) -> None:
        self.lost += n
        count(LOST, n)

    def _gave_up(self, objects: int, problem: str) -> str:
        where = grpc_address(self.spec.weaviate)
        return f"Weaviate at {where} did not take {objects} objects within {self.spec.retry_s:g} s: {problem}"

    def _halved(self, group: list[bytes], error: grpc.RpcError) -> Reasons:
        """A request that is refused as a whole is halved until the message at fault is alone."""
        if len(group) == 1:
            code = "object_too_large" if is_too_large(error) else "refused"
            return {0: (code, describe(error))}
        half = len(group) // 2
        first = self._delivered(group[:half], self.send(group[:half]))
        second = self._delivered(group[half:], self.send(group[half:]))
        return first | {half + i: reason for i, reason in second.items()}


def _may_pass(error: str) -> bool:
    return any(words in error for words in PASSING)
