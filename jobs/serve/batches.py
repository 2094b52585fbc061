"""Requests in, vectors out: one thread a vector takes whatever is waiting and encodes it in one call."""

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from encoders.base import Encoder, Encoding, Groups, Vectors
from encoders.sharing import shared_encoder
from schemas.errors import JobError
from schemas.job import VectorSpec

TOKENS = 16384  # of one call, estimated: who comes meanwhile should not wait long
MEDIA_TOKENS = {"audio": 687, "video": 3855}  # of ImageBind; what an image, and whatever else is no text, counts as:
IMAGE_TOKENS = 256
VALUES = 256

TextSettings = tuple[str | None, str | None, int | None]  # task_type, pooling_strategy, dimensions
Answer = dict[str, Vectors]


@dataclass(eq=False)
class Question:
    """One request: its values, and where the answer goes (modality -> vectors (n, dim) float32, or the error)."""

    values: dict[str, Sequence[str | bytes]]
    settings: TextSettings = (None, None, None)
    answer: "Future[Answer]" = field(default_factory=Future)

    @property
    def weight(self) -> int:
        """About the tokens that it costs."""
        return sum(_weight(modality, value) for modality, values in self.values.items() for value in values)

    @property
    def count(self) -> int:
        """Its values."""
        return sum(map(len, self.values.values()))

    def fail(self, error: Exception) -> None:
        """Answer with an error, unless it has its answer."""
        if not self.answer.done():
            self.answer.set_exception(error)


class ServedVector:
    """One vector of a job being served: its encoder, its thread, and what was done so far."""

    def __init__(self, name: str, spec: VectorSpec) -> None:
        """Keep the spec; `start` loads the model."""
        self.name, self.spec = name, spec
        self.ready = threading.Event()
        self.dim = 0
        self.modalities: frozenset[str] = frozenset()
        self.mode: str | None = None  # of a text container
        self.remark: str | None = None  # what is not quite as in the container
        self.requests = self.calls = 0  # requests so far, and calls of the encoder that they took
        self._waiting: queue.Queue[Question | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def start(self, failed: Callable[[Exception], None], loaded: Callable[[str], None] = lambda name: None) -> None:
        """Load the model and begin to answer, in a thread, which calls `loaded`, or `failed` if the model cannot be had."""
        self._thread = threading.Thread(target=self._work, args=(failed, loaded), name=f"serve {self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread once everything that was asked is answered; one that still loads its model is left alone."""
        self._waiting.put(None)
        if self._thread and self.ready.is_set():
            self._thread.join()

    def ask(self, question: Question) -> "Future[Answer]":
        """Put it in the line."""
        self.requests += 1
        self._waiting.put(question)
        return question.answer

    @property
    def waiting(self) -> int:
        """Requests in the line."""
        return self._waiting.qsize()

    def _work(self, failed: Callable[[Exception], None], loaded: Callable[[str], None]) -> None:
        try:
            with shared_encoder(self.spec) as encoder:
                self.dim, self.modalities = encoder.dim, encoder.modalities
                self._look_closer(encoder)
        except Exception as error:  # the main thread tells it and ends
            failed(error)
            return
        self.ready.set()
        loaded(self.name)
        left: Question | None = None
        while (first := left or self._waiting.get()) is not None:
            questions, left, ended = self._take(first)
            for group in _by_settings(questions):
                self._answer(group)
            if ended:
                return

    def _look_closer(self, encoder: Any) -> None:
        """What only one kind of encoder has: a pair (DPR) loads its model for queries with the first of them, ImageBind the parts that are read."""
        if hasattr(encoder, "vectorize"):
            encoder.vectorize(["ready"], "query", None, None)
            self.mode, self.remark = getattr(encoder, "mode", None), getattr(encoder, "approximate", None)
        if hasattr(encoder, "tower"):
            for modality in self.spec.by_modality:
                encoder.tower(modality)
            if "text" in self.spec.by_modality:
                encoder.count_tokens(["ready"])  # the vocabulary is there

    def _take(self, first: Question) -> tuple[list[Question], Question | None, bool]:
        """All that waits, as far as it fits into one call; what no longer fitted; whether the end was met."""
        taken, values, weight = [first], first.count, first.weight
        while True:
            try:
                question = self._waiting.get_nowait()
            except queue.Empty:
                return taken, None, False
            if question is None:
                return taken, None, True
            values, weight = values + question.count, weight + question.weight
            if values > VALUES or weight > TOKENS:
                return taken, question, False
            taken.append(question)

    def _answer(self, questions: list[Question]) -> None:
        """Encode `questions` together; if that fails as a whole, one by one, so that only the cause of it fails."""
        self.calls += 1
        try:
            with shared_encoder(self.spec) as encoder:
                _encode(encoder, questions)
        except Exception as error:
            if len(questions) == 1:
                questions[0].fail(error)
                return
            for question in (q for q in questions if not q.answer.done()):
                self._answer([question])


def _weight(modality: str, value: str | bytes) -> int:
    return 1 + len(value) // 4 if modality == "text" else MEDIA_TOKENS.get(modality, IMAGE_TOKENS)


def _by_settings(questions: Iterable[Question]) -> list[list[Question]]:
    groups: dict[TextSettings, list[Question]] = {}
    for question in questions:
        groups.setdefault(question.settings, []).append(question)
    return list(groups.values())


def _encode(encoder: Encoder, questions: list[Question]) -> None:
    """Answer `questions`, all of the same settings, with one call for each modality."""
    answers: list[Answer] = [{} for _ in questions]
    for modality in sorted({m for q in questions for m in q.values}):
        values = [v for q in questions for v in q.values.get(modality, ())]
        owner = np.repeat(np.arange(len(questions)), [len(q.values.get(modality, ())) for q in questions])
        encoding = _encoding(encoder, modality, values, questions[0].settings, owner)
        for i, error in _faults(encoding).items():
            questions[owner[i]].fail(error)
        for i, answer in enumerate(answers):
            answer[modality] = encoding.vectors[owner == i]
    for question, answer in zip(questions, answers, strict=True):
        if not question.answer.done():
            question.answer.set_result(answer)


def _encoding(encoder: Encoder, modality: str, values: list[Any], settings: TextSettings, owner: Groups) -> Encoding:
    """What the encoder makes of `values`. Raises JobError for what its model cannot do."""
    task_type, pooling, dimensions = settings
    if not values:
        return Encoding(np.empty((0, encoder.dim), np.float32))
    if modality == "text" and hasattr(encoder, "vectorize"):
        encoding: Encoding = encoder.vectorize(values, task_type, pooling, dimensions)
        return encoding
    if dimensions not in (None, encoder.dim):
        raise JobError(f"dimensions {dimensions}: this model is served with {encoder.dim}; `model.dimensions` in the job changes it")
    return encoder.encode(values, modality, "query" if task_type == "query" else "document", groups=owner)


def _faults(encoding: Encoding) -> dict[int, Exception]:
    """What is wrong, by value; a vector that is not finite would be no JSON."""
    faults: dict[int, Exception] = {
        int(i): ValueError("the model gave a vector that is not finite") for i in np.flatnonzero(~np.isfinite(encoding.vectors).all(axis=1))
    }
    faults.update(encoding.errors)
    return faults
