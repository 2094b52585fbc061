"""ImageBind: text, image, audio, video, imu, thermal and depth in one space, from the user's own checkpoint.

Written from a sheet of facts, without the original's source. `sizes` says how large a model is, `layout` names the
checkpoint's keys, `checkpoint` loads them, `model` is the forward pass, `tokens` and `media` prepare values.
Vectors are as long as the model makes them: image 1, text up to 100, audio up to 20, thermal 10, depth and imu 5.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from encoders.base import Encoding, Groups, LoadedLate, Progress, Role, Vectors
from encoders.batching import Positions, padded_tokens, plan_batches, run_batches
from encoders.imagebind.sizes import CLIPS, CONTEXT, TOWERS
from encoders.imagebind.tokens import Tokenizer
from encoders.models import model_options
from encoders.timing import timed
from schemas.errors import JobError, RowError
from schemas.job import VectorSpec
from schemas.models import ModelSpec
from schemas.modules import MODALITIES

if TYPE_CHECKING:
    from encoders.imagebind.model import ImageBind

CPU_TOKENS, GPU_TOKENS = 4096, 32768  # a batch: 15 images or one video; 127 images or 8 videos
ROWS = 256

Prepared = npt.NDArray[np.float32]
T = TypeVar("T")


class ImageBindEncoder(LoadedLate):
    """One ImageBind; each part of it is loaded when its first value comes."""

    modalities = frozenset(MODALITIES)
    max_tokens = CONTEXT  # of a text, special ones included; a longer one is cut

    def __init__(self, spec: VectorSpec) -> None:
        """Keep what is needed to load the model; nothing is loaded yet. Raises JobError for settings that ImageBind does not have."""
        self.spec, self.model_spec = spec, _checked(spec)
        self.path = str(self.model_spec.imagebind)
        self.preset = self.model_spec.preset or ("container" if spec.module else "upstream")
        self._towers: dict[str, ImageBind] = {}
        self._tokenizer: Tokenizer | None = None
        self._loading = threading.Lock()

    @property
    def dim(self) -> int:
        """The length of a vector; loads nothing. Raises JobError where there is no checkpoint."""
        from encoders.imagebind.checkpoint import locate

        return locate(self.path)[1].dim

    @property
    def licence(self) -> str:
        """The sentence on the licence of the weights; logged once a process."""
        from encoders.imagebind.checkpoint import tell_licence

        return tell_licence()

    @property
    def device(self) -> str:
        """Where the model runs."""
        import torch

        automatic = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return self.model_spec.device or automatic

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, made once. Raises JobError where there is no vocabulary."""
        with self._loading:
            if self._tokenizer is None:
                self._tokenizer = Tokenizer(self.model_spec.vocabulary, self.preset)
            return self._tokenizer

    def tower(self, modality: str) -> "ImageBind":
        """The part of the model for `modality`, loaded once. Raises JobError for a checkpoint that does not fit."""
        from encoders.imagebind.checkpoint import load

        with self._loading:
            name = TOWERS[modality]
            if name not in self._towers:
                dtype = model_options(self.model_spec)["model_kwargs"]["dtype"]  # half precision on a CPU is refused here
                self._towers[name] = load(self.path, [modality], dtype, self.device)
            return self._towers[name]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, special ones included, not truncated."""
        return [int(n) for n in self.tokenizer(texts).counts]

    def encode(
        self, values: Sequence[Any], modality: str, role: Role = "document", progress: Progress | None = None, groups: Groups | None = None
    ) -> Encoding:
        """Vectors (n, dim) float32 for str (`text`) or the bytes of files (the other modalities).

        A text over 77 tokens is cut, and named in `truncated`; a value that cannot be read, or whose vector is not finite,
        has a RowError. Raises JobError for a modality that ImageBind does not have.
        """
        if modality not in self.modalities:
            raise JobError(f"ImageBind has no part for {modality}, only for {', '.join(MODALITIES)}")
        result = Encoding(np.full((len(values), self.dim), np.nan, np.float32))
        if modality == "text" and len(values):
            prompt = self.spec.prompts.get(role, "")
            self._encode_texts([prompt + value for value in values], result, progress or _ignore)
        elif len(values):
            self._encode_media(values, modality, result, progress or _ignore)
        _mark_not_finite(result)
        return result

    def _encode_texts(self, texts: list[str], result: Encoding, progress: Progress) -> None:
        tokens = self.tokenizer(texts)
        over = [int(i) for i in np.flatnonzero(tokens.counts > CONTEXT)]
        if self.spec.long_text == "fail":
            result.errors = {i: RowError("text_too_long", f"{tokens.counts[i]} tokens, but ImageBind takes {CONTEXT}") for i in over}
            progress(len(over))
        else:
            result.truncated = over
        keep = np.setdiff1d(np.arange(len(texts)), list(result.errors))
        batches = [keep[batch] for batch in plan_batches(tokens.used[keep], self._tokens(), ROWS)]

        def forward(batch: Positions) -> Vectors:
            return self._forward("text", tokens.ids[batch, : tokens.used[batch].max()])

        run_batches(batches, forward, result.vectors, progress)
        result.tokens, result.padded = int(tokens.used[keep].sum()), padded_tokens(tokens.used, batches)

    def _encode_media(self, values: Sequence[bytes], modality: str, result: Encoding, progress: Progress) -> None:
        """Fill `result` batch by batch: while the model runs, the next values are being prepared."""
        from encoders.imagebind.media import prepare

        each = CLIPS.get(modality, 1) * self.tower(modality).config.towers[TOWERS[modality]].tokens
        size = min(ROWS, max(1, self._tokens() // each))
        prepared = iter(prepare(values, modality, self.preset))
        while taken := _taken(prepared, size):
            self._encode_prepared(taken, modality, result)
            progress(len(taken))

    def _encode_prepared(self, taken: Iterable[tuple[int, Prepared | RowError]], modality: str, result: Encoding) -> None:
        good: dict[int, Prepared] = {}
        for i, item in taken:
            if isinstance(item, RowError):
                result.errors[i] = item
            else:
                good[i] = item
        batches = [np.array(list(good), np.int64)] if good else []
        run_batches(batches, lambda batch: self._forward(modality, np.stack([good[int(i)] for i in batch])), result.vectors, None)

    def _forward(self, modality: str, inputs: npt.NDArray[Any]) -> Vectors:
        import torch

        tower = self.tower(modality)
        weight = next(iter(tower.tensors.values()))
        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(inputs)).to(weight.device)
            out = tower.embed(modality, given if modality == "text" else given.to(weight.dtype))
        return np.asarray(out.cpu().numpy(), np.float32)

    def _tokens(self) -> int:
        """Tokens a batch."""
        return CPU_TOKENS if self.device == "cpu" else GPU_TOKENS


def _checked(spec: VectorSpec) -> ModelSpec:
    """The model of `spec`. Raises JobError for settings that ImageBind does not have."""
    model, faults = spec.model, []
    if model is None or model.imagebind is None:
        raise JobError("multi2vec-bind needs ImageBind's weights: give model: {imagebind: PATH}, the path of imagebind_huge.pth")
    if model.dimensions is not None:
        faults.append(f"model.dimensions {model.dimensions}: ImageBind's vectors are not cut; leave it out")
    if spec.long_text == "mean":
        faults.append("long_text mean: ImageBind does not average windows; leave it out, or say fail")
    if spec.module and spec.prompts:
        faults.append(f"prompts {spec.prompts}: multi2vec-bind puts nothing before texts; leave them out")
    if faults:
        raise JobError(*faults)
    return model


def _taken(prepared: Iterator[T], size: int) -> list[T]:
    """The next values; waiting for their decoders counts as decoding."""
    with timed("decode"):
        return list(islice(prepared, size))


def _mark_not_finite(result: Encoding) -> None:
    """Make values whose vectors have infinities or NaN into errors."""
    for i in np.flatnonzero(~np.isfinite(result.vectors).all(1)):
        reason = "the model's vector has numbers that are not finite: the value's are too large, or the dtype too small (try float32)"
        result.errors.setdefault(int(i), RowError("not_finite", reason))
        result.vectors[i] = np.nan


def _ignore(done: int) -> None:
    """Progress that nobody wants."""
