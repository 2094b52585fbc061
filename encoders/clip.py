"""CLIP: texts and images in one space, from one model or from two that were trained to share it.

The model is one of three forms:
- a sentence-transformers CLIP: a folder, or a hub name; a name without an owner (`clip-ViT-B-32`) is sentence-transformers' own;
- `{text: ..., image: ...}`: two models of one dimension (a multilingual text model beside the image model); one may be absent;
- a Hugging Face CLIP: a folder or hub name whose config.json says `clip` and that has no modules.json.

Vectors are what the model gives: sentence-transformers' own output, or CLIP's projected features; neither is normalised here.
`dimensions` keeps the first so many and, as sentence-transformers' truncate_dim, does not normalise again.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.backends.flight import in_flight
from encoders.base import Encoding, Groups, LoadedLate, Progress, Role, Vectors
from encoders.batching import Positions, padded_tokens, plan_batches, run_batches
from encoders.images import reduced, upright_rgb
from encoders.pictures import encode_pictures
from encoders.timing import timed
from encoders.towers import UNLIMITED, Tower, load_tower
from schemas.errors import JobError, RowError
from schemas.models import ModelSpec

TEXTS = 64  # a batch


class ClipEncoder(LoadedLate):
    """A CLIP, or a text and an image model that share a space."""

    made_of = ("spec", "prompts", "long_text")

    def __init__(self, spec: ModelSpec, prompts: dict[str, str], long_text: str = "truncate") -> None:
        """Keep what is needed to load the models; nothing is loaded yet."""
        self.spec, self.prompts, self.long_text = spec, prompts, long_text
        names = {"text": spec.name or spec.text, "image": spec.name or spec.image}
        self.names = {modality: name for modality, name in names.items() if name}
        self.modalities = frozenset(self.names)
        self._towers: dict[str, Tower] = {}
        self._loading = threading.Lock()

    @property
    def towers(self) -> dict[str, Tower]:
        """The model of each modality, loaded once. Raises JobError where one is missing or their dimensions differ."""
        with self._loading:
            if not self._towers:
                loaded = {name: load_tower(name, self.spec) for name in dict.fromkeys(self.names.values())}
                towers = {modality: loaded[name] for modality, name in self.names.items()}
                _check(towers)
                if self.spec.image_decoding == "reduced" and "image" in towers and towers["image"].scaling is None:
                    raise JobError(
                        f"image_decoding: reduced: the model {self.names['image']!r} does not scale pictures in a way that is known here; leave it out"
                    )
                self._towers = towers
            return self._towers

    @property
    def dim(self) -> int:
        """The length of a vector; loads the model."""
        full = next(iter(self.towers.values())).dim
        return min(full, self.spec.dimensions or full)

    @property
    def backend(self) -> str:
        """What is not as usual, for `check`; empty where nothing is."""
        return "large JPEGs are decoded at a reduced scale" if self.spec.image_decoding == "reduced" else ""

    @property
    def max_tokens(self) -> int | None:
        """The tokens that the model sees of a text, special ones included (77 for most); None where there is no limit or no text model."""
        limit = self._tower("text").limit if "text" in self.modalities else UNLIMITED
        return limit if limit < UNLIMITED else None

    def encode(
        self, values: Sequence[Any], modality: str, role: Role = "document", progress: Progress | None = None, groups: Groups | None = None
    ) -> Encoding:
        """Vectors (n, dim) float32 for str (`text`) or the bytes of image files (`image`).

        A text over the limit is cut, keeping the end token from which CLIP reads its vector, and named in `truncated`;
        with `long_text` fail it is a RowError `text_too_long`; with mean its vector is the plain mean of its windows'
        (a prompt stands in the first window only). Images are read as `encoders.images` says, its RowErrors are kept.
        Raises JobError for a modality that the models do not have.
        """
        tower = self._tower(modality)
        if modality == "text":
            prompt = self.prompts.get(role, "")
            return self._encode_texts(tower, [prompt + value for value in values], progress or _ignore)
        return self._encode_images(tower, values, progress or _ignore)

    def _tower(self, modality: str) -> Tower:
        if modality not in self.modalities:
            raise JobError(f"the model has no part for {modality}, only for {', '.join(sorted(self.names))}; name one: {{{modality}: ...}}")
        return self.towers[modality]

    def _encode_texts(self, tower: Tower, texts: list[str], progress: Progress) -> Encoding:
        windows, owner = _windows(tower, texts)
        counts = np.bincount(owner, minlength=len(texts))
        over = [int(i) for i in np.flatnonzero(counts > 1)]
        result = Encoding(np.full((len(texts), self.dim), np.nan, np.float32))
        keep = np.arange(len(windows)) if self.long_text == "mean" else np.flatnonzero(_is_first(owner))
        if self.long_text == "fail":
            lengths = _token_counts(tower, texts, over)
            result.errors = {i: RowError("text_too_long", f"{lengths[i]} tokens, but the model takes {tower.limit}") for i in over}
            keep = keep[counts[owner[keep]] == 1]
            progress(len(over))
        elif self.long_text == "truncate":
            result.truncated = over
        vectors, result.tokens, result.padded = self._encode_windows(tower, [windows[i] for i in keep], _is_first(owner[keep]), progress)
        encoded = np.unique(owner[keep])
        result.vectors[encoded] = _means(vectors, owner[keep], len(texts))[encoded]
        return result

    def _encode_windows(
        self, tower: Tower, windows: list[dict[str, Any]], first: npt.NDArray[np.bool_], progress: Progress
    ) -> tuple[Vectors, int, int]:
        """Vectors of tokenised texts, the tokens that carried text, and those computed; `first` marks what counts as progress."""
        lengths = np.array([len(w["input_ids"]) for w in windows], np.int64)
        batches = plan_batches(lengths, rows=TEXTS)
        vectors: Vectors = np.empty((len(windows), self.dim), np.float32)

        def forward(positions: Positions) -> Vectors:
            features = tower.tokenizer.pad([windows[i] for i in positions], padding=True, return_tensors="pt", verbose=False)
            found = tower.texts(features)[:, : self.dim]
            progress(int(first[positions].sum()))
            return found

        run_batches(batches, forward, vectors, None, None if tower.device == "cpu" else in_flight(tower.device))
        return vectors, int(lengths.sum()), padded_tokens(lengths, batches)

    def _encode_images(self, tower: Tower, values: Sequence[bytes], progress: Progress) -> Encoding:
        result = Encoding(np.full((len(values), self.dim), np.nan, np.float32))
        treat = reduced(tower.scaling) if tower.scaling and self.spec.image_decoding == "reduced" else upright_rgb
        result.errors = encode_pictures(values, tower, result.vectors, progress, treat)
        return result


def _check(towers: dict[str, Tower]) -> None:
    """Raise JobError unless each tower has its modality, and all one dimension."""
    for modality, tower in towers.items():
        if modality not in tower.modalities:
            raise JobError(f"the model {tower.name!r} takes {' and '.join(sorted(tower.modalities))} only; give one that takes {modality}")
        if modality == "text" and not getattr(tower.tokenizer, "is_fast", False):
            raise JobError(f"the text model {tower.name!r} has no transformers tokenizer; give a CLIP or a transformer model")
    if len({tower.dim for tower in towers.values()}) > 1:
        sizes = " and ".join(f"{tower.name!r} gives {tower.dim}" for tower in towers.values())
        raise JobError(f"the text and the image model must share a space, but their dimensions differ: {sizes}")


def _ignore(done: int) -> None:
    """Progress that nobody wants."""


def _windows(tower: Tower, texts: list[str]) -> tuple[list[dict[str, Any]], npt.NDArray[np.int64]]:
    """Each text's tokens in windows that fit the model, every one with its start and end token; and whose they are (m,)."""
    if not texts:
        return [], np.zeros(0, np.int64)
    with timed("tokenise"):
        out = tower.tokenizer(texts, truncation=tower.limit < UNLIMITED, max_length=tower.limit, return_overflowing_tokens=True)
    owner = np.array(out.pop("overflow_to_sample_mapping"), np.int64)
    return [{name: column[i] for name, column in out.items()} for i in range(len(owner))], owner


def _token_counts(tower: Tower, texts: list[str], positions: list[int]) -> dict[int, int]:
    return {i: len(tower.tokenizer(texts[i], truncation=False, verbose=False)["input_ids"]) for i in positions}


def _is_first(owner: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which windows begin a text; the windows of one stand together."""
    return np.asarray(np.diff(owner, prepend=-1) != 0, np.bool_)


def _means(vectors: Vectors, owner: npt.NDArray[np.int64], n: int) -> Vectors:
    """The plain mean of each owner's vectors, (n, dim) float32; rows without any are 0."""
    total = np.zeros((n, vectors.shape[1]), np.float32)
    np.add.at(total, owner, vectors)
    counts = np.maximum(np.bincount(owner, minlength=n), 1).astype(np.float32)
    return np.asarray(total / counts[:, None], np.float32)
