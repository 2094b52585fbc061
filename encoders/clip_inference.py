"""Weaviate's multi2vec-clip inference container, offline: what its `/vectorize` answers, for many objects at once.

The container has five modes (`clip_modes`): sentence-transformers, openai, openclip, siglip, and ColPali, which is refused.
It has no prompts, no truncated dimensions, and the same vectors for objects and queries. What differs here:
only images of the formats in `encoders.images` are opened, up to its number of pixels.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import UnidentifiedImageError

from encoders.base import Encoding, Groups, LoadedLate, Progress, Role, Vectors
from encoders.batching import Lengths, Positions, padded_tokens, plan_batches, run_batches
from encoders.clip_halves import Half, load_half
from encoders.clip_modes import parts_of
from encoders.pictures import encode_pictures
from schemas.errors import JobError, RowError
from schemas.job import VectorSpec
from schemas.models import ModelSpec

TEXTS = 64  # a batch


class ClipInference(LoadedLate):
    """The models of one multi2vec-clip container."""

    def __init__(self, spec: VectorSpec) -> None:
        """Find the model's parts; nothing is loaded yet. Raises JobError for what the container does not have."""
        self.spec = spec
        self._model = _checked(spec)
        self.parts = parts_of(self._model)
        self._names = {modality: name for modality, name in (("text", self.parts.text), ("image", self.parts.image)) if name}
        self.modalities = frozenset(self._names)
        self._halves: dict[str, Half] = {}
        self._loading = threading.Lock()

    @property
    def halves(self) -> dict[str, Half]:
        """The model of each modality, loaded once. Raises JobError where one is missing or their dimensions differ."""
        with self._loading:
            if not self._halves:
                loaded = {name: load_half(self.parts, name, self._model) for name in dict.fromkeys(self._names.values())}
                halves = {modality: loaded[name] for modality, name in self._names.items()}
                _check(halves, self._names)
                self._halves = halves
            return self._halves

    @property
    def dim(self) -> int:
        """The length of a vector; loads the model."""
        return next(iter(self.halves.values())).dim

    @property
    def max_tokens(self) -> int | None:
        """The tokens of a text beyond which it is cut or refused, special ones included; None without a text model."""
        return self._half("text").limit if "text" in self.modalities else None

    @property
    def refuses_long(self) -> bool:
        """Whether a text over the limit is an error, and not cut."""
        return "text" in self.modalities and self._half("text").strict

    @property
    def grouped(self) -> bool:
        """Whether an object's texts are padded to its longest one, so that a text's vector depends on the others."""
        return "text" in self.modalities and self._half("text").together

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, special ones included, not truncated."""
        return [int(n) for n in self._half("text").tokenize(texts)[1]] if texts else []

    def encode(
        self, values: Sequence[Any], modality: str, role: Role = "document", progress: Progress | None = None, groups: Groups | None = None
    ) -> Encoding:
        """Vectors (n, dim) float32 for str (`text`) or the bytes of image files (`image`), as the container gives them.

        `groups` (n,) says which texts are of one object: SigLIP pads them to their longest, and the vectors depend on it;
        without it every text is an object of its own. Where the container would answer an error, the value has a RowError
        with its words: `text_too_long` (CLIP takes 77 tokens; other models cut, named in `truncated`), `image_unreadable`.
        Raises JobError for a modality that the models do not have.
        """
        half = self._half(modality)
        if modality == "text":
            alone = np.arange(len(values)) if groups is None else groups
            return self._encode_texts(half, list(values), alone, progress or _ignore)
        return self._encode_images(half, values, progress or _ignore)

    def _half(self, modality: str) -> Half:
        if modality not in self.modalities:
            raise JobError(
                f"the model has no part for {modality}, only for {', '.join(sorted(self._names))}; name one: {{{modality}: ...}}"
            )
        return self.halves[modality]

    def _encode_texts(self, half: Half, texts: list[str], groups: Groups, progress: Progress) -> Encoding:
        result = Encoding(np.full((len(texts), half.dim), np.nan, np.float32))
        if not texts:
            return result
        rows, counts = half.tokenize(texts)
        over = [int(i) for i in np.flatnonzero(counts > half.limit)]
        if half.strict or self.spec.long_text == "fail":
            result.errors = {i: _too_long(half, int(counts[i])) for i in over}
            progress(len(over))
        else:
            result.truncated = over
        keep = np.array([i for i in range(len(texts)) if i not in result.errors], np.int64)
        lengths = np.array([len(rows[i]["input_ids"]) for i in keep], np.int64)
        width = _longest(lengths, groups[keep]) if half.together else lengths
        batches = _batches(width, half.together)

        def forward(batch: Positions) -> Vectors:
            return half.texts([rows[keep[i]] for i in batch], int(width[batch].max()))

        vectors = np.empty((len(keep), half.dim), np.float32)
        run_batches(batches, forward, vectors, progress)
        result.vectors[keep] = vectors
        result.tokens, result.padded = int(lengths.sum()), padded_tokens(width, batches)
        return result

    def _encode_images(self, half: Half, values: Sequence[bytes], progress: Progress) -> Encoding:
        result = Encoding(np.full((len(values), half.dim), np.nan, np.float32))
        errors = encode_pictures(values, half, result.vectors, progress, half.treat)
        result.errors = {i: _container_words(error) for i, error in errors.items()}
        return result


def _checked(spec: VectorSpec) -> ModelSpec:
    """The model of `spec`. Raises JobError for settings that the container does not have."""
    model = spec.model
    if model is None:
        raise JobError("multi2vec-clip needs a model: give `model`")
    if not (model.name or model.text or model.image or model.prebuilt):
        raise JobError("multi2vec-clip needs a CLIP model: a folder or hub name, {text, image}, or `prebuilt`")
    if model.dimensions is not None:
        raise JobError(f"model.dimensions {model.dimensions}: multi2vec-clip does not cut vectors; leave it out")
    if spec.prompts:
        raise JobError(f"prompts {spec.prompts}: multi2vec-clip puts nothing before texts; leave them out")
    if spec.long_text == "mean":
        raise JobError("long_text mean: multi2vec-clip does not average windows; leave it out, or say fail")
    return model


def _check(halves: dict[str, Half], names: dict[str, str]) -> None:
    """Raise JobError unless each model has its modality, and all one dimension."""
    for modality, half in halves.items():
        if modality not in half.modalities:
            raise JobError(
                f"the model {names[modality]!r} takes {' and '.join(sorted(half.modalities))} only; give one that takes {modality}"
            )
    if len({half.dim for half in halves.values()}) > 1:
        sizes = " and ".join(f"{names[modality]!r} gives {half.dim}" for modality, half in halves.items())
        raise JobError(f"the text and the image model must share a space, but their dimensions differ: {sizes}")


def _ignore(done: int) -> None:
    """Progress that nobody wants."""


def _longest(lengths: Lengths, groups: Groups) -> Lengths:
    """For each text, the length of the longest text of its object (n,)."""
    _, owner = np.unique(groups, return_inverse=True)
    longest = np.zeros(len(lengths), np.int64)
    np.maximum.at(longest, owner, lengths)
    return longest[owner]


def _batches(lengths: Lengths, equal: bool) -> list[Positions]:
    """Batches of like length; of one length each if `equal`, since more padding would change the vectors."""
    if not equal:
        return plan_batches(lengths, rows=TEXTS)
    alike = [np.flatnonzero(lengths == length) for length in np.unique(lengths)[::-1]]
    return [positions[batch] for positions in alike for batch in plan_batches(lengths[positions], rows=TEXTS)]


def _too_long(half: Half, count: int) -> RowError:
    if not half.strict:
        return RowError("text_too_long", f"{count} tokens, but the model takes {half.limit}")
    words = "Sequence length must be less than max_position_embeddings"  # transformers' own, its bracket left open
    return RowError("text_too_long", f"{words} (got `sequence length`: {count} and max_position_embeddings: {half.limit}")


def _container_words(error: RowError) -> RowError:
    """`error` as the container puts it: Pillow's words, without the memory address."""
    cause = error.__cause__
    if error.code != "image_unreadable":
        return error
    unknown = cause is None or isinstance(cause, UnidentifiedImageError)
    return RowError(error.code, "cannot identify image file" if unknown else str(cause))
