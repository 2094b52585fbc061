"""The container's other modes: sentence-transformers, and quantised ONNX; both give vectors of length 1."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from encoders.backends.cores import run_on_cores
from encoders.backends.unpadded import unpadded
from encoders.base import Encoding, Progress, Vectors
from encoders.batching import Lengths, Positions, run_batches, run_padded
from encoders.container_mode import QUANTIZED
from encoders.distinct import distinct_values, share_progress, spread
from encoders.huggingface_mode import POOLINGS, HuggingFace, Request
from encoders.models import budget_of, load_sentence_transformer
from encoders.saved_tokenizer import UNLIMITED, as_saved, count_tokens, load_tokenizer, token_limit
from encoders.timing import timed
from schemas.errors import JobError
from schemas.models import ModelSpec

EXTRA = 'the ONNX runtime is missing: pip install "warpbeam[onnx]"'


class SentenceTransformers:
    """The model's own modules; whole texts, cut at the model's own limit."""

    def __init__(self, name: str, spec: ModelSpec) -> None:
        """Load the model. Raises JobError where it cannot be had."""
        self.model = load_sentence_transformer(name, spec)
        self.tokenizer = as_saved(self.model.tokenizer, name, spec.revision)
        limit = self.model.max_seq_length
        self.max_tokens = int(limit) if limit and limit < UNLIMITED else None
        self.budget = budget_of(spec)
        self.unpadded, self.backend = unpadded(self.model)

    def dim(self, dimensions: int | None) -> int:
        """What is left of the model's own after truncation; 0 truncates nothing, a negative number counts from the end."""
        whole = range(int(self.model.get_embedding_dimension() or 0))
        return len(whole[:dimensions] if dimensions else whole)

    def vectorize(self, texts: Sequence[str], request: Request, progress: Progress | None) -> Encoding:
        """Vectors (n, dim) float32: truncated to `dimensions`, then of length 1; each distinct text is computed once."""
        # only prompts of these two names count: never `passage` or `corpus`, and never the default prompt
        kind = "query" if request.task_type == "query" else "document"
        prompt = str(self.model.prompts.get(kind, ""))
        distinct, index = distinct_values(t.rstrip() if prompt else t.strip() for t in texts)  # as sentence-transformers 5 does it
        rows: Vectors = np.empty((len(distinct), self.dim(request.dimensions)), np.float32)
        step = share_progress(progress, len(distinct), len(texts))
        if self.unpadded:
            ids, whole = self.unpadded.tokenise([prompt + t for t in distinct])
            if not len(whole) or whole.min():  # a text without any token is left to the padded way
                lengths = self._seen(whole)
                run_on_cores(lengths, partial(self._unpadded, ids, prompt, request.dimensions), rows, step, self.budget)
                return spread(_answers(rows, whole, lengths, int(lengths.sum())), index)
        whole = count_tokens(self.tokenizer, [prompt + t for t in distinct])
        lengths = self._seen(whole)
        padded = run_padded(lengths, partial(self._padded, distinct, kind, prompt, request.dimensions), rows, step, self.budget)
        return spread(_answers(rows, whole, lengths, padded), index)

    def _seen(self, whole: Lengths) -> Lengths:
        """How many tokens of each text the model sees."""
        return whole if self.max_tokens is None else np.minimum(whole, self.max_tokens)

    def _unpadded(self, ids: list[list[int]], prompt: str, dimensions: int | None, positions: Positions) -> Vectors:
        assert self.unpadded is not None
        return unit(self.unpadded.forward([ids[i] for i in positions], prompt)[:, : dimensions or None])

    def _padded(self, texts: list[str], kind: str, prompt: str, dimensions: int | None, positions: Positions) -> Vectors:
        encode = self.model.encode_query if kind == "query" else self.model.encode_document
        options: dict[str, Any] = {"prompt": prompt, "normalize_embeddings": True, "show_progress_bar": False}
        found = encode([texts[i] for i in positions], truncate_dim=dimensions or None, batch_size=len(positions), **options)
        return np.asarray(found, np.float32)


class Onnx:
    """The quantised model of a folder on the CPU: masked mean, length 1, whatever the model was trained for."""

    def __init__(self, name: str, spec: ModelSpec) -> None:
        """Load the model. Raises JobError where it cannot be had."""
        self.tokenizer = load_tokenizer(name, spec)
        self.max_tokens, self.backend = token_limit(self.tokenizer), "the ONNX runtime"
        try:
            from onnxruntime import InferenceSession
        except ImportError as error:
            raise JobError(f"{EXTRA} ({error})") from error
        path = Path(name) / QUANTIZED
        try:
            self.session = InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's faults have no common class of their own
            raise JobError(f"the ONNX model {path} cannot be loaded: {str(error).splitlines()[0]}") from error
        self.inputs = [i.name for i in self.session.get_inputs()]

    def dim(self, dimensions: int | None) -> int:
        """The model's own; the mode knows no `dimensions`."""
        return int(self.session.get_outputs()[0].shape[-1])

    def vectorize(self, texts: Sequence[str], request: Request, progress: Progress | None) -> Encoding:
        """Vectors (n, dim) float32 of length 1; each distinct text is computed once, and alone.

        Activations are quantised by the range of a whole batch, so that a neighbour would change a text's vector.
        """
        distinct, index = distinct_values(texts)
        whole = count_tokens(self.tokenizer, distinct)
        lengths = whole if self.max_tokens is None else np.minimum(whole, self.max_tokens)
        rows: Vectors = np.empty((len(distinct), self.dim(None)), np.float32)
        alone = [np.array([i]) for i in range(len(distinct))]
        run_batches(alone, lambda i: self._encode(distinct[i[0]]), rows, share_progress(progress, len(distinct), len(texts)))
        return spread(_answers(rows, whole, lengths, int(lengths.sum())), index)

    def _encode(self, text: str) -> Vectors:
        """The vector of one text, (1, dim)."""
        with timed("tokenise"):
            tokens = self.tokenizer([text], truncation=self.max_tokens is not None, return_tensors="np")
        feed = {name: np.asarray(tokens.get(name, np.zeros_like(tokens["input_ids"])), np.int64) for name in self.inputs}
        hidden = np.asarray(self.session.run(None, feed)[0], np.float32)
        return unit(hidden.mean(axis=1))  # alone, a text has no padding to leave out


class FloatOnnx(HuggingFace):
    """What an ONNX image computes, with float weights: near its vectors, not equal."""

    def __init__(self, name: str, spec: ModelSpec) -> None:
        """Load the model. Raises JobError where it cannot be had."""
        super().__init__(name, spec, direct=True)
        self.limit = token_limit(self.tokenizer) or UNLIMITED

    def vectorize(self, texts: Sequence[str], request: Request, progress: Progress | None) -> Encoding:
        """Vectors (n, dim) float32 of length 1: the masked mean of whole texts."""
        result = super().vectorize(texts, Request(pooling=POOLINGS[0]), progress)
        result.vectors = unit(result.vectors)
        return result


def unit(vectors: Vectors) -> Vectors:
    """`vectors` (n, dim) at length 1, as torch's `normalize` does it."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)


def _answers(rows: Vectors, whole: Lengths, seen: Lengths, padded: int) -> Encoding:
    """The vectors of texts of these lengths, `whole` and as the model has `seen` them."""
    return Encoding(rows, truncated=np.flatnonzero(whole > seen).tolist(), tokens=int(seen.sum()), padded=padded)
