"""OpenCLIP as Weaviate's container runs it: open_clip's own tokenizer and image steps, vectors normalised.

The container leaves the model in training mode. A ViT without dropout does not mind; a model with dropout, stochastic
depth (ConvNeXt) or batch statistics (ResNet) gives other vectors each time, which nobody can repeat: it is refused.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.base import Vectors
from encoders.clip_halves import Counts, Row
from encoders.clip_images import as_stored
from encoders.clip_modes import Parts
from encoders.clip_vision import IMAGES
from encoders.models import is_folder, model_options
from encoders.timing import timed
from schemas.errors import JobError
from schemas.models import ModelSpec

if TYPE_CHECKING:
    import torch
    from PIL import Image

RATES = ("drop_prob", "prob", "dropout", "attention_dropout", "activation_dropout", "dropout_prob", "layerdrop")


class OpenClipHalf:
    """A model of open_clip; in float32 also on a GPU, where the container would compute in half precision."""

    modalities = frozenset({"text", "image"})
    strict = together = False
    images = IMAGES
    treat = staticmethod(as_stored)

    def __init__(self, parts: Parts, spec: ModelSpec) -> None:
        """Load the model. Raises JobError where it cannot be had, or gives other vectors each time."""
        self._model, self._prepare, self._tokenizer = _load(parts, spec)
        reason = why_random(self._model)
        if reason:
            raise JobError(
                f"the vectors of the OpenCLIP model {parts.text!r} cannot be repeated: the container runs it in training mode, and {reason}"
            )
        self._model.eval()
        self._device = next(self._model.parameters()).device
        self.limit = int(self._tokenizer.context_length)
        self.dim = self.texts(self.tokenize([""])[0], self.limit).shape[1]

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Row], Counts]:
        """Rows of exactly `limit` tokens; uncut, a text has those of which the tokenizer tells."""
        with timed("tokenise"):
            ids = self._tokenizer(list(texts)).tolist()
        counts = [self._count(text, row) for text, row in zip(texts, ids, strict=True)]
        return [{"input_ids": row} for row in ids], np.array(counts, np.int64)

    def _count(self, text: str, row: list[int]) -> int:
        """Tokens that carry text; only a full row can have lost some."""
        used = len(row) - next((i for i, token in enumerate(reversed(row)) if token != 0), len(row))
        if used < self.limit:
            return used
        own = getattr(self._tokenizer, "tokenizer", None)  # a model with a tokenizer of transformers
        return len(own(text)["input_ids"]) if own else len(self._tokenizer.encode(text)) + 2

    def texts(self, rows: list[Row], length: int) -> Vectors:
        """Vectors (n, dim) float32."""
        import torch

        return self._features(self._model.encode_text, torch.tensor([row["input_ids"] for row in rows]))

    @property
    def device(self) -> str:
        """Where the model runs, in torch's word."""
        return str(self._device.type)

    def prepare(self, image: "Image.Image") -> "torch.Tensor":
        """The pixels (3, height, width), prepared by open_clip's own steps."""
        pixels: torch.Tensor = self._prepare(image)
        return pixels

    def pictures(self, images: "Sequence[torch.Tensor]") -> Vectors:
        """Vectors (n, dim) float32 of prepared images."""
        import torch

        return self._features(self._model.encode_image, torch.stack(list(images)).to(next(self._model.parameters()).dtype))

    def _features(self, method: Any, inputs: "torch.Tensor") -> Vectors:
        import torch

        with torch.inference_mode():
            out = method(inputs.to(self._device)).float()
            out = out / out.norm(dim=-1, keepdim=True)
        return np.asarray(out.cpu().numpy(), np.float32)


def why_random(model: "torch.nn.Module") -> str | None:
    """What makes `model` give other vectors each time or for other neighbours, in the mode in which it stands; None for nothing."""
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.nn.modules.dropout import _DropoutNd

    for name, module in model.named_modules():
        if not module.training:
            continue
        if isinstance(module, _BatchNorm):
            return f"its {name} normalises by the statistics of the batch (as ResNets do)"
        rates = {"p": module.p} if isinstance(module, _DropoutNd) else {rate: getattr(module, rate, 0) for rate in RATES}
        for rate, value in rates.items():
            if isinstance(value, (int, float)) and value > 0:
                return f"its {name} drops at random ({type(module).__name__}, {rate} {value:g})"
    return None


def _load(parts: Parts, spec: ModelSpec) -> tuple[Any, Any, Any]:
    """Model, image steps and tokenizer."""
    try:
        open_clip: Any = import_module("open_clip")
        from sentence_transformers.util import get_device_name
    except ImportError as error:
        raise JobError(f'open_clip is missing: pip install "warpbeam[openclip]" ({error})') from error
    name = _name(parts)
    precision = {"float32": "fp32", "float16": "pure_fp16", "bfloat16": "pure_bf16"}[model_options(spec)["model_kwargs"]["dtype"]]
    options = {"precision": precision, "device": spec.device or get_device_name(), "cache_dir": parts.cache}
    try:
        model, _, prepare = open_clip.create_model_and_transforms(name, pretrained=parts.pretrained, require_pretrained=True, **options)
        return model, prepare, open_clip.get_tokenizer(name)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise JobError(f"the OpenCLIP model {parts.text!r} ({parts.pretrained}) cannot be loaded: {reason}") from error


def _name(parts: Parts) -> str:
    """The model as open_clip names it: one of its own (with weights by tag or file), a folder, or a hub repository."""
    name = parts.text or ""
    if parts.pretrained:
        return name
    return f"local-dir:{Path(name).expanduser()}" if is_folder(name) else f"hf-hub:{name}"
