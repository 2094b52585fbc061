"""The models of Weaviate's multi2vec-clip container, loaded: tokens and pictures in, the container's vectors out."""

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from encoders.base import Vectors
from encoders.clip_images import as_rgb, as_slow_processor
from encoders.clip_modes import Parts
from encoders.clip_vision import IMAGES
from encoders.images import Treatment
from encoders.models import EXTRA, model_options
from encoders.timing import timed
from encoders.towers import UNLIMITED, SentenceTower
from schemas.errors import JobError
from schemas.models import ModelSpec

if TYPE_CHECKING:
    import torch
    from PIL import Image

Row = dict[str, list[int]]
Counts = npt.NDArray[np.int64]


class Half(Protocol):
    """A loaded model of the container."""

    dim: int
    modalities: frozenset[str]
    limit: int  # tokens of a text, special ones included
    strict: bool  # a longer text is an error; else it is cut
    together: bool  # the texts of an object are padded to its longest one, and the vectors depend on it

    images: int  # a batch

    @property
    def device(self) -> str:
        """Where the model runs, in torch's word."""
        ...

    @property
    def treat(self) -> Treatment:
        """What becomes of an opened image file; what it raises are the container's words."""
        ...

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Row], Counts]:
        """The tokens of each text as the model takes them, and how many it has uncut (n,)."""
        ...

    def texts(self, rows: list[Row], length: int) -> Vectors:
        """Vectors (n, dim) float32 of tokenised texts, padded to `length` tokens."""
        ...

    def prepare(self, image: "Image.Image") -> Any:
        """What `pictures` takes for a treated image."""
        ...

    def pictures(self, images: Sequence[Any]) -> Vectors:
        """Vectors (n, dim) float32 of prepared images."""
        ...


def load_half(parts: Parts, name: str, spec: ModelSpec) -> Half:
    """The model `name` of `parts`. Raises JobError where it cannot be had, or gives other vectors each time."""
    if parts.mode == "sentence-transformers":
        return SentenceHalf(name, spec)
    if parts.mode == "openclip":
        from encoders.openclip import OpenClipHalf

        return OpenClipHalf(parts, spec)
    return TransformersHalf(parts, spec)


class _Tokenizing:
    """What the models with a transformers tokenizer share."""

    tokenizer: Any
    limit: int
    strict: bool

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Row], Counts]:
        """The tokens of each text, cut to `limit` unless `strict`, and how many it has uncut."""
        rows = self._rows(texts, truncation=False)
        counts = np.array([len(row["input_ids"]) for row in rows], np.int64)
        over = np.flatnonzero(counts > self.limit)
        if not self.strict and len(over):
            cut = self._rows([texts[int(i)] for i in over], truncation=True, max_length=self.limit)
            for i, row in zip(over, cut, strict=True):
                rows[i] = row
        return rows, counts

    def _rows(self, texts: Sequence[str], **options: Any) -> list[Row]:
        with timed("tokenise"):
            columns = self.tokenizer(list(texts), verbose=False, **options)
        return [{name: column[i] for name, column in columns.items()} for i in range(len(texts))]

    def _pad(self, rows: list[Row], length: int) -> "dict[str, torch.Tensor]":
        return dict(self.tokenizer.pad(rows, padding="max_length", max_length=length, return_tensors="pt", verbose=False))


class SentenceHalf(_Tokenizing):
    """A sentence-transformers model; its vectors are not normalised."""

    together = False
    treat = staticmethod(as_slow_processor)

    def __init__(self, name: str, spec: ModelSpec) -> None:
        """Load the model. Raises JobError where it cannot be had."""
        tower = self._tower = SentenceTower(name, spec)
        self.dim, self.modalities, self.tokenizer, self.images = tower.dim, tower.modalities, tower.tokenizer, tower.images
        self.strict = "image" in tower.modalities  # a CLIP; other text models cut
        longest = _positions(tower.model[0].config) if self.strict else tower.model.max_seq_length
        self.limit = int(longest or tower.limit)
        self._prompt = tower.model.prompts.get(tower.model.default_prompt_name or "", "")

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Row], Counts]:
        """As `_Tokenizing`, after what the library does to a text first."""
        texts = [self._prompt + text for text in texts]
        return super().tokenize(texts if self.strict else [self._clean(text) for text in texts])

    def _clean(self, text: str) -> str:
        text = text.strip()
        return text.lower() if getattr(self._tower.model[0], "do_lower_case", False) else text

    def texts(self, rows: list[Row], length: int) -> Vectors:
        """Vectors (n, dim) float32, as the model's own modules make them."""
        return self._tower.texts(self._pad(rows, length))

    @property
    def device(self) -> str:
        """Where the model runs, in torch's word."""
        return self._tower.device

    def prepare(self, image: "Image.Image") -> Any:
        """What `pictures` takes, prepared by Pillow."""
        return self._tower.prepare(image)

    def pictures(self, images: Sequence[Any]) -> Vectors:
        """Vectors (n, dim) float32 of prepared images."""
        return self._tower.pictures(images)


class TransformersHalf(_Tokenizing):
    """A Hugging Face CLIP (mode openai, normalised) or SigLIP (not normalised); images are prepared by torchvision."""

    modalities = frozenset({"text", "image"})
    treat = staticmethod(as_rgb)
    images = IMAGES

    def __init__(self, parts: Parts, spec: ModelSpec) -> None:
        """Load model, tokenizer and image processor. Raises JobError where they cannot be had."""
        self._normalised = self.strict = parts.mode == "openai"
        self.together = not self.strict
        self._model, self.tokenizer, self._processor = _load(parts, spec)
        text = self._model.config.get_text_config()
        self.dim = int(self._model.config.projection_dim if self.strict else text.projection_size)
        cut = min(self.tokenizer.model_max_length or UNLIMITED, UNLIMITED)
        self.limit = _positions(self._model.config) if self.strict else cut

    def texts(self, rows: list[Row], length: int) -> Vectors:
        """Vectors (n, dim) float32."""
        return self._features(self._model.get_text_features, self._pad(rows, length))

    @property
    def device(self) -> str:
        """Where the model runs, in torch's word."""
        return str(self._model.device.type)

    def prepare(self, image: "Image.Image") -> "torch.Tensor":
        """The pixels (3, height, width), prepared by torchvision."""
        pixels: torch.Tensor = self._processor(images=[image], return_tensors="pt")["pixel_values"][0]
        return pixels

    def pictures(self, images: "Sequence[torch.Tensor]") -> Vectors:
        """Vectors (n, dim) float32 of prepared images."""
        import torch

        return self._features(self._model.get_image_features, {"pixel_values": torch.stack(list(images)).to(self._model.dtype)})

    def _features(self, method: Any, inputs: "dict[str, torch.Tensor]") -> Vectors:
        import torch

        with torch.inference_mode():
            out = method(**{name: tensor.to(self._model.device) for name, tensor in inputs.items()}).pooler_output.float()
            if self._normalised:
                out = out / out.norm(dim=-1, keepdim=True)
        return np.asarray(out.cpu().numpy(), np.float32)


def _load(parts: Parts, spec: ModelSpec) -> tuple[Any, Any, Any]:
    """Model (in the job's dtype), tokenizer, and the image processor that needs torchvision."""
    try:
        transformers: Any = import_module("transformers")
        import_module("torchvision")
        from sentence_transformers.util import get_device_name
    except ImportError as error:
        raise JobError(f"{EXTRA} ({error})") from error
    transformers.utils.logging.disable_progress_bar()
    kind = transformers.CLIPModel if parts.mode == "openai" else transformers.SiglipModel
    name, rest = parts.text, parts.processor or parts.text
    hub = {"revision": spec.revision or "main", "trust_remote_code": spec.trust_remote_code}
    try:
        model = kind.from_pretrained(name, dtype=model_options(spec)["model_kwargs"]["dtype"], **hub).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(rest, **hub)
        images = transformers.AutoImageProcessor.from_pretrained(rest, backend="torchvision", **hub)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise JobError(f"the model {name!r} cannot be loaded as multi2vec-clip does in its mode {parts.mode}: {reason}") from error
    return model.to(spec.device or get_device_name()), tokenizer, images


def _positions(config: Any) -> int:
    return int(config.get_text_config().max_position_embeddings)
