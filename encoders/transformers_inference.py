"""Weaviate's text2vec-transformers container, offline: the vectors that it would have answered, and its errors."""

import threading
from collections.abc import Sequence
from typing import Any

from encoders.base import Encoding, Groups, LoadedLate, Progress, Role
from encoders.container_mode import lacks_quantized, mode_of, weights_of
from encoders.huggingface_mode import HuggingFace, Mode, Request
from encoders.saved_tokenizer import count_tokens
from encoders.transformers_modes import FloatOnnx, Onnx, SentenceTransformers
from schemas.errors import JobError
from schemas.job import VectorSpec
from schemas.models import ModelSpec

TASKS = {"document": "passage", "query": "query"}  # role -> Weaviate's word for it


class TransformersInference(LoadedLate):
    """One model, or a pair for objects and queries, run as the container runs it."""

    modalities = frozenset({"text"})

    def __init__(self, spec: VectorSpec) -> None:
        """Keep what is needed to load the model; nothing is loaded yet. Raises JobError for what the container cannot do."""
        if spec.model is None:
            raise JobError("text2vec-transformers needs a model; this vector has none")
        if spec.model.dimensions is not None:
            raise JobError("model.dimensions: the container takes this from the collection; set `dimensions` in the module's settings")
        self.spec, self.model_spec = spec, spec.model
        self.settings: dict[str, Any] = dict(spec.module.settings) if spec.module else {}
        self._modes: dict[str, Mode] = {}
        self._loading = threading.RLock()

    @property
    def mode(self) -> str:
        """How the container runs the model. Raises JobError where `model` says nothing that can be run."""
        return mode_of(self.model_spec)

    @property
    def approximate(self) -> str | None:
        """Why the vectors are only near the container's; None where they are equal but for rounding."""
        if not lacks_quantized(self.model_spec):
            return None
        what = self.model_spec.prebuilt or self.model_spec.name or self.model_spec.passage
        return (
            f"{what}: the container runs a quantised ONNX model, and only float weights are at hand, so the vectors are near its own "
            "(cosine mostly 0.85 to 0.97) but not equal; give the folder of the image that holds model_quantized.onnx"
        )

    @property
    def model(self) -> Mode:
        """The model for objects, loaded once."""
        return self._mode("passage")

    @property
    def backend(self) -> str:
        """How the forward pass runs, or why not in the fastest way; loads the model."""
        return self.model.backend

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return self.model.dim(self.settings.get("dimensions"))

    @property
    def max_tokens(self) -> int | None:
        """The tokens that the model sees of a text; None where there is no limit, or one for each sentence."""
        return self.model.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, special ones included, not truncated."""
        return [int(n) for n in count_tokens(self.model.tokenizer, texts)]

    def encode(
        self,
        values: Sequence[str],
        modality: str = "text",
        role: Role = "document",
        progress: Progress | None = None,
        groups: Groups | None = None,
    ) -> Encoding:
        """Vectors (n, dim) float32 for texts, as Weaviate asks the container for them with the collection's settings."""
        return self.vectorize(values, TASKS[role], self.settings.get("poolingStrategy"), self.settings.get("dimensions"), progress)

    def vectorize(
        self,
        texts: Sequence[str],
        task_type: str | None,
        pooling: str | None,
        dimensions: int | None,
        progress: Progress | None = None,
    ) -> Encoding:
        """What the container answers to one request for each text, all with the same configuration; None is an absent key.

        A text that it refuses has a RowError whose `reason` is the container's own error.
        """
        if self.model_spec.prefixes and task_type is not None:
            texts = [f"{task_type}: {text}" for text in texts]
        mode = self._mode("query" if task_type == "query" else "passage")
        return mode.vectorize(texts, Request(task_type, pooling, dimensions), progress)

    def _mode(self, side: str) -> Mode:
        """The model of one side, loaded once; both sides are one model unless the job has a pair."""
        with self._loading:
            name = weights_of(self.model_spec)[side == "query"]
            if name not in self._modes:
                self._modes[name] = load_mode(name, self.model_spec)
            return self._modes[name]


def load_mode(name: str, spec: ModelSpec) -> Mode:
    """The model `name` in the mode of `spec`. Raises JobError where it cannot be had."""
    mode = mode_of(spec)
    if mode == "sentence-transformers":
        return SentenceTransformers(name, spec)
    if mode == "onnx":
        return (FloatOnnx if lacks_quantized(spec) else Onnx)(name, spec)
    return HuggingFace(name, spec, spec.direct)
