"""Vectors from NVIDIA's embedding service (NIM), hosted or self-hosted, asked as Weaviate's NVIDIA modules ask it.

Requests: weaviate v1.38.11, usecases/modulecomponents/clients/nvidia/nvidia.go and modules/{text2vec,multi2vec}-nvidia.
Limits of nvclip: 64 inputs a request, no keys but `input`, `model` and `encoding_format` (the OpenAPI description of
nvidia/nvclip-vit-h-14 in NVIDIA's repository NVIDIA-AI-IOT/inference_builder, builder/samples/nvclip/openapi.yaml);
images over 180 to 200 KB go another way that Weaviate's module does not know (docs.api.nvidia.com, nvidia-nvclip-infer),
so the service refuses them here as it does there.
"""

import base64
import threading
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from typing import Any

import httpx

from encoders.answers import Answer, encoding_of, vector_of, vectors_of
from encoders.base import Encoding, Groups, Progress, Role
from encoders.service import Pace, Service, shown
from schemas.errors import JobError, RowError, WorldError
from schemas.job import VectorSpec
from schemas.models import ModelSpec, NvidiaSpec

BASE_URL = "https://integrate.api.nvidia.com"
TEXT_MODEL, MULTI_MODEL = "nvidia/nv-embed-v1", "nvidia/nvclip"
TEXT_INPUTS, MULTI_INPUTS = 10, 64
INPUT_CHARACTERS = 2_000_000  # of one request; a bound of ours: a larger request is only split
CONCURRENCY = 4
INPUT_TYPES: dict[Role, str] = {"document": "passage", "query": "query"}
REFUSED = frozenset({400, 413, 422, 500})  # for an input's sake, or so it may be
PROBE = "a"


@cache
def pace_of(base: str, secret: str | None, per_minute: float | None) -> Pace:
    """The pace of one account at one address, which several vectors of a job share in this process."""
    return Pace(per_minute)


class NvidiaEncoder:
    """A model of NVIDIA's service: text2vec, or multi2vec where the vector reads images."""

    callers = 1
    grouped = False

    def __init__(self, spec: VectorSpec) -> None:
        """Keep addresses and names: the job's, else the collection's, else Weaviate's defaults; nothing is asked yet. Raises JobError."""
        self.spec = spec.model or ModelSpec.model_validate({})
        nvidia = self.spec.nvidia or NvidiaSpec.model_validate({})
        self.settings: dict[str, Any] = spec.module.settings if spec.module and spec.module.name.endswith("-nvidia") else {}
        self.multi = spec.module.kind == "multi" if spec.module else any(m != "text" for m in spec.own_fields)
        self.modalities = frozenset({"text", "image"} if self.multi else {"text"})
        self.prompts = dict(spec.prompts)
        base = (nvidia.base_url or self._setting("baseURL", BASE_URL)).rstrip("/")
        self.model = nvidia.model or self._setting("model", MULTI_MODEL if self.multi else TEXT_MODEL)
        self.url = f"{base}/v1/embeddings"
        pace = pace_of(base, nvidia.api_key, nvidia.requests_per_minute)
        self.service = Service(nvidia.api_key, CONCURRENCY, pace, flaky=frozenset({500}))
        if spec.long_text != "truncate":
            raise JobError(f"long_text: NVIDIA's service does not say how long a text is for it; {spec.long_text!r} cannot be had there")

    def _setting(self, key: str, default: str) -> str:
        """The collection's setting, which counts only as a string: a `truncate` of true is none."""
        value = self.settings.get(key)
        return value if isinstance(value, str) else default

    @cached_property
    def dim(self) -> int:
        """The length of the model's vectors, from one request. Raises WorldError, JobError (key, model, address)."""
        answer = self.service.post(self.url, self._body([PROBE], "document"), threading.Event())
        try:
            return len(vector_of(self._checked(answer)[0]["embedding"], None))
        except RowError as error:
            raise JobError(f"{error.reason}; that was for the text {PROBE!r}, so model {self.model!r} cannot be used this way") from error
        except (LookupError, TypeError) as error:
            raise WorldError(f"NVIDIA's service at {shown(self.url)} gives no vector for the text {PROBE!r}") from error

    def encode(
        self,
        values: Sequence[str | bytes],
        modality: str = "text",
        role: Role = "document",
        progress: Progress | None = None,
        groups: Groups | None = None,
    ) -> Encoding:
        """Vectors (n, dim) float32; an input that the service refuses is an error in its own words. Raises WorldError, JobError."""
        dim = self.dim

        def ask(places: range, stop: threading.Event) -> Answer:
            return self._halved(values, places, role, dim, stop)

        return encoding_of(self.service.gather(ask, self._packs(values)), len(values), dim, progress)

    def _packs(self, values: Sequence[str | bytes]) -> Iterator[range]:
        """The numbers of the values of each request."""
        start = characters = 0
        for i, value in enumerate(values):
            length = len(value) * 4 // 3 if isinstance(value, bytes) else len(value)
            if i > start and (i - start == (MULTI_INPUTS if self.multi else TEXT_INPUTS) or characters + length > INPUT_CHARACTERS):
                yield range(start, i)
                start, characters = i, 0
            characters += length
        if len(values) > start:
            yield range(start, len(values))

    def _halved(self, values: Sequence[str | bytes], places: range, role: Role, dim: int, stop: threading.Event) -> Answer:
        """The vectors of one request; a refused one is cut in two until the input that is to blame is alone."""
        inputs = [self._input(values[i], role) for i in places]
        try:
            data = self._checked(self.service.post(self.url, self._body(inputs, role), stop))
            return vectors_of([one.get("embedding") if isinstance(one, dict) else None for one in data], places, dim)
        except RowError as error:
            if len(places) == 1:
                return [(places[0], error)]
        middle = len(places) // 2
        halves = (places[:middle], places[middle:])
        return [found for half in halves for found in self._halved(values, half, role, dim, stop)]

    def _input(self, value: str | bytes, role: Role) -> str:
        """A text, or an image that is called png whatever it is, as Weaviate calls it."""
        return (
            f"data:image/png;base64,{base64.b64encode(value).decode()}" if isinstance(value, bytes) else self.prompts.get(role, "") + value
        )

    def _body(self, inputs: list[str], role: Role) -> dict[str, Any]:
        body: dict[str, Any] = {"input": inputs, "model": self.model, "encoding_format": "float"}
        if self.spec.dimensions:
            body["dimensions"] = self.spec.dimensions
        if not self.multi:
            body |= {"input_type": INPUT_TYPES[role], "truncate": self._setting("truncate", "NONE")}
        return body

    def _checked(self, answer: httpx.Response) -> list[Any]:
        """The answer's `data`. Raises RowError where an input may be to blame, JobError, WorldError."""
        status = answer.status_code
        if status == 200:
            return _data(answer)
        said = f"NVIDIA's service at {shown(self.url)} (status {status}: {self.service.words(answer)})"
        if status in REFUSED:
            raise RowError("nvidia", f"refused by {said}")
        if status in (401, 403):
            key = f"look at {self.service.secret}" if self.service.secret else "set model.nvidia.api_key to ${NAME} of a variable"
            raise JobError(f"the key is refused by {said}; {key}")
        if status == 402:
            raise WorldError(f"no credits are left at {said}")
        if 300 <= status < 500:
            raise JobError(f"no model {self.model!r} at {said}; model.nvidia.model and model.nvidia.base_url, or the collection, name them")
        raise WorldError(f"failed: {said}")

    def close(self) -> None:
        """Close the connections."""
        self.service.close()


def _data(answer: httpx.Response) -> list[Any]:
    """`data` in its own order: Weaviate does not look at `index` either. Raises RowError."""
    try:
        data = answer.json()["data"]
    except (ValueError, LookupError, TypeError):
        data = None
    if not isinstance(data, list):
        raise RowError("nvidia", f"no `data` in the service's answer: {answer.text[:100]!r}")
    return data
