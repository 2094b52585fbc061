"""Vectors from an inference container of Weaviate's that already runs, asked as Weaviate's modules ask it.

Requests: weaviate v1.38.11, usecases/modulecomponents/clients/transformers/transformers.go (`/vectors`: one text) and
modules/multi2vec-clip/clients/vectorizer.go (`/vectorize`: all values of one object).
"""

import base64
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import httpx
import numpy as np

from encoders.answers import Answer, encoding_of, vector_of, vectors_of
from encoders.base import Encoding, Groups, Progress, Role
from encoders.service import Service, shown
from schemas.errors import JobError, RowError, WorldError
from schemas.job import VectorSpec
from schemas.models import InferenceSpec, ModelSpec

PARTS = {  # modality -> keys of the request and of the answer
    "text": ("texts", "textVectors"),
    "image": ("images", "imageVectors"),
    "audio": ("audio", "audioVectors"),
    "video": ("video", "videoVectors"),
    "imu": ("imu", "imuVectors"),
    "thermal": ("thermal", "thermalVectors"),
    "depth": ("depth", "depthVectors"),
}
TASKS: dict[Role, str] = {"document": "passage", "query": "query"}
POOLING = "masked_mean"
PROBE = "a"


class RemoteEncoder:
    """A text2vec-transformers container, or one of multi2vec's where the vector reads images."""

    callers = 1

    def __init__(self, spec: VectorSpec) -> None:
        """Keep the addresses; nothing is asked yet. Raises JobError for settings that a container cannot follow."""
        self.model = spec.model or ModelSpec.model_validate({})
        self.inference = self.model.inference_url or InferenceSpec.model_validate({})
        self.settings: dict[str, Any] = spec.module.settings if spec.module else {}
        self.multi = spec.module.kind == "multi" if spec.module else any(m != "text" for m in spec.own_fields)
        self.grouped = self.multi  # an object's values go in one request
        self.modalities = frozenset(_modalities(spec) if self.multi else ["text"])
        self.prompts = dict(spec.prompts)
        self.service = Service(self.inference.token, self.inference.concurrency)
        if self.multi and self.model.dimensions:
            raise JobError("model.dimensions: a multi2vec container gives its vectors whole; leave the key out")
        if spec.long_text != "truncate":
            raise JobError(
                f"long_text: a container that runs does not say how long a text is for it; {spec.long_text!r} cannot be had there"
            )

    def url(self, role: Role) -> str:
        """The full address for objects or for queries."""
        pair = self.inference.passage_url if role == "document" else self.inference.query_url
        base = str(self.inference.url or pair).rstrip("/")
        return f"{base}/vectorize" if self.multi else f"{base}/vectors"

    @cached_property
    def dim(self) -> int:
        """The length of the container's vectors, from one request. Raises WorldError, JobError where it is none."""
        url = self.url("document")
        try:
            body = self._checked(self.service.post(url, self._body("text", "document", [PROBE]), threading.Event()), url)
            found = body.get(PARTS["text"][1]) if self.multi else body.get("vector")
            first = found[0] if self.multi and isinstance(found, list) and found else found
            return len(vector_of(first, None))
        except RowError as error:
            raise WorldError(f"{shown(url)} gives no vector for the text {PROBE!r}: {error.reason}") from error

    def encode(
        self,
        values: Sequence[str | bytes],
        modality: str = "text",
        role: Role = "document",
        progress: Progress | None = None,
        groups: Groups | None = None,
    ) -> Encoding:
        """Vectors (n, dim) float32; values with one number in `groups` go in one request where the container takes several.

        The container's refusal is an error of each value of its request. Raises WorldError, JobError.
        """
        dim = self.dim

        def ask(places: Sequence[int], stop: threading.Event) -> Answer:
            return self._asked([values[i] for i in places], places, modality, role, dim, stop)

        return encoding_of(self.service.gather(ask, self._requests(len(values), groups)), len(values), dim, progress)

    def _requests(self, count: int, groups: Groups | None) -> list[list[int]]:
        """The numbers of the values of each request, in the order of the values."""
        if groups is None or not self.multi:
            return [[i] for i in range(count)]
        order = np.argsort(groups, kind="stable")
        starts = np.flatnonzero(np.diff(groups[order])) + 1
        return [part.tolist() for part in np.split(order, starts) if len(part)]

    def _asked(
        self, values: Sequence[str | bytes], places: Sequence[int], modality: str, role: Role, dim: int, stop: threading.Event
    ) -> Answer:
        url = self.url(role)
        try:
            body = self._checked(self.service.post(url, self._body(modality, role, values), stop), url)
            if self.multi:
                return vectors_of(body.get(PARTS[modality][1]), places, dim)
            return [(places[0], vector_of(body.get("vector"), dim))]
        except RowError as error:
            return [(place, error) for place in places]

    def _body(self, modality: str, role: Role, values: Sequence[str | bytes]) -> dict[str, Any]:
        if self.multi:
            return {PARTS[modality][0]: [self._sent(v, role) for v in values]}
        pooling = self.settings.get("poolingStrategy")
        config: dict[str, Any] = {
            "pooling_strategy": pooling if isinstance(pooling, str) and pooling else POOLING,
            "task_type": TASKS[role],
        }
        listed = self.settings.get("dimensions")
        dimensions = self.model.dimensions or (listed if isinstance(listed, int | float) else None)
        return {"text": self._sent(values[0], role), "config": config | ({"dimensions": int(dimensions)} if dimensions else {})}

    def _sent(self, value: str | bytes, role: Role) -> str:
        return base64.b64encode(value).decode() if isinstance(value, bytes) else self.prompts.get(role, "") + value

    def _checked(self, answer: httpx.Response, url: str) -> dict[str, Any]:
        """The answer's JSON. Raises RowError in Weaviate's words, JobError where no value could be answered."""
        status = answer.status_code
        if status in (401, 403):
            hint = f"look at {self.service.secret}" if self.service.secret else "set model.inference_url.token to ${NAME} of a variable"
            raise JobError(f"the container at {shown(url)} refuses the login (status {status}: {self.service.words(answer)}); {hint}")
        if 300 <= status < 400 or status in (404, 405):
            kind = "multi2vec" if self.multi else "text2vec-transformers"
            raise JobError(f"no {kind} container answers at {shown(url)} (status {status}); model.inference_url must be its address")
        if status != 200:
            raise RowError("container", f"the container at {shown(url)}: fail with status {status}: {self.service.words(answer)}")
        try:
            body = answer.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise RowError("container", f"failed to parse vectorization response (status 200): {self.service.words(answer)}")
        return body

    def close(self) -> None:
        """Close the connections."""
        self.service.close()


def _modalities(spec: VectorSpec) -> list[str]:
    """What a multi2vec vector can be asked for: a container of ImageBind takes all, one of CLIP texts and images."""
    bind = spec.module.name == "multi2vec-bind" if spec.module else not set(spec.own_fields) <= {"text", "image"}
    return list(PARTS) if bind else ["text", "image"]
