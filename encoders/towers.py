"""The halves of a CLIP: a loaded model that turns token ids or pictures into vectors, in one of two saved forms."""

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from encoders.backends.flight import own_stream, to_device, to_host
from encoders.base import Vectors
from encoders.clip_vision import IMAGES, LeanClip, lean_clip
from encoders.images import Scaling
from encoders.models import EXTRA, is_folder, load_sentence_transformer, model_options
from schemas.errors import JobError
from schemas.models import ModelSpec

if TYPE_CHECKING:
    import torch
    from PIL import Image

EXPECTED = 'a saved sentence-transformers model (modules.json) or a Hugging Face CLIP folder (config.json with "model_type": "clip")'
UNLIMITED = 10**9  # tokenizers without a limit of their own say 10**30


class Tower(Protocol):
    """A loaded model; `dim` is its full dimension, `limit` the tokens it takes of a text, special ones included."""

    name: str
    dim: int
    limit: int
    modalities: frozenset[str]
    tokenizer: Any

    def texts(self, features: Mapping[str, "torch.Tensor"]) -> Vectors:
        """Vectors (n, dim) float32 of tokenised texts; `features` is what the tokenizer's `pad` gives."""
        ...

    images: int
    scaling: Scaling | None  # of pictures, before anything else; None where that is not known

    @property
    def device(self) -> str:
        """Where the model runs, in torch's word."""
        ...

    def prepare(self, image: "Image.Image") -> Any:
        """What `pictures` takes for an RGB image."""
        ...

    def pictures(self, images: Sequence[Any]) -> Vectors:
        """Vectors (n, dim) float32 of prepared images."""
        ...


class _Seeing:
    """What towers that see share: a way with less work, where it gives the same vectors, and the library's own."""

    images = IMAGES
    scaling: Scaling | None = None
    _lean: LeanClip | None = None
    model: Any

    @property
    def device(self) -> str:
        """Where the model runs, in torch's word."""
        return str(self.model.device.type)

    def look_for_less(self, model: Any, processor: Any) -> None:
        """Take the way with less work of `model`, a transformers CLIP, and its `processor`, if there is one."""
        self._lean = lean_clip(model, processor, self._pictures)
        self.images = self._lean.images if self._lean else IMAGES
        self.scaling = _scaling(processor)

    def prepare(self, image: "Image.Image") -> Any:
        """What `pictures` takes for an RGB image."""
        return self._lean.prepare(image) if self._lean else image

    def pictures(self, images: Sequence[Any]) -> Vectors:
        """Vectors (n, dim) float32 of prepared images."""
        return self._lean.vectors(images) if self._lean else self._pictures(images)

    def _pictures(self, images: "Sequence[Image.Image]") -> Vectors:
        """Vectors of RGB images, as the library makes them."""
        raise NotImplementedError


class SentenceTower(_Seeing):
    """A sentence-transformers model: CLIP, or any text model built on a transformer; its output is not normalised by us."""

    def __init__(self, name: str, spec: ModelSpec) -> None:
        """Load the model. Raises JobError where it cannot be had."""
        self.name, self.model = name, load_sentence_transformer(name, spec)
        _prepare_by_pillow(getattr(self.model[0], "processor", None))
        self.model.truncate_dim = None  # the two halves are compared in full; ClipEncoder cuts
        self.dim = int(self.model.get_embedding_dimension() or 0)
        self.modalities = frozenset(str(m) for m in self.model.modalities) & {"text", "image"}
        self.tokenizer = self.model.tokenizer
        self.limit = _text_limit(self.tokenizer, getattr(self.model[0], "config", None))
        if "image" in self.modalities and len(self.model) == 1:
            self.look_for_less(self.model[0].model, self.model[0].processor.image_processor)

    def texts(self, features: Mapping[str, "torch.Tensor"]) -> Vectors:
        """Vectors (n, dim) float32 of tokenised texts."""
        return self._forward({**features, "modality": "text"})

    def _pictures(self, images: "Sequence[Image.Image]") -> Vectors:
        return self._forward(self.model.preprocess(list(images)))

    def _forward(self, features: dict[str, Any]) -> Vectors:
        import torch

        device = self.model.device
        with torch.inference_mode(), own_stream(device):
            there = {k: to_device(v, device) if isinstance(v, torch.Tensor) else v for k, v in features.items()}
            return to_host(self.model(there)["sentence_embedding"])


class ClipTower(_Seeing):
    """A Hugging Face CLIP: the projected features of texts and images, as they are (not normalised).

    Images are prepared by Pillow, as everywhere here: see `_prepare_by_pillow`.
    """

    modalities = frozenset({"text", "image"})

    def __init__(self, name: str, spec: ModelSpec) -> None:
        """Load model, tokenizer and image processor. Raises JobError where they cannot be had."""
        self.name = name
        self.model, self.tokenizer, self.processor = _load_clip(name, spec)
        self.dim = int(self.model.config.projection_dim)
        self.limit = _text_limit(self.tokenizer, self.model.config)
        self.look_for_less(self.model, self.processor)

    def texts(self, features: Mapping[str, "torch.Tensor"]) -> Vectors:
        """Vectors (n, dim) float32 of tokenised texts."""
        return self._features(self.model.get_text_features, features)

    def _pictures(self, images: "Sequence[Image.Image]") -> Vectors:
        pixels = self.processor(images=list(images), return_tensors="pt")["pixel_values"]
        return self._features(self.model.get_image_features, {"pixel_values": pixels.to(self.model.dtype)})

    def _features(self, method: Any, inputs: Mapping[str, "torch.Tensor"]) -> Vectors:
        import torch

        device = self.model.device
        with torch.inference_mode(), own_stream(device):
            out = method(**{name: to_device(tensor, device) for name, tensor in inputs.items()})
            return to_host(getattr(out, "pooler_output", out))  # transformers 5 wraps the projected features; 4 gave the bare tensor


def load_tower(name: str, spec: ModelSpec) -> Tower:
    """The model in folder `name` or of that hub name. Raises JobError where there is none, naming what was expected."""
    if is_folder(name):
        return _load_folder(Path(name).expanduser(), spec)
    try:
        from sentence_transformers.util import is_sentence_transformer_model
    except ImportError as error:
        raise JobError(f"{EXTRA} ({error})") from error
    try:  # a name without an owner is one of sentence-transformers' own
        saved = "/" not in name or is_sentence_transformer_model(name, revision=spec.revision)
    except Exception as error:  # whatever the hub's client raises, the user has the name to look at
        reason = f"no such folder, and the hub gives none ({type(error).__name__})"
        raise JobError(f"the model {name!r} cannot be had: {reason}; expected {EXPECTED}") from error
    return SentenceTower(name, spec) if saved else ClipTower(name, spec)


def _load_folder(folder: Path, spec: ModelSpec) -> Tower:
    if not folder.is_dir():
        raise JobError(f"the model folder {str(folder)!r} is missing; expected {EXPECTED}")
    if (folder / "modules.json").is_file():
        return SentenceTower(str(folder), spec)
    try:
        kind = json.loads((folder / "config.json").read_text())["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JobError(f"the folder {str(folder)!r} is no model ({type(error).__name__}: {error}); expected {EXPECTED}") from error
    if kind != "clip":
        raise JobError(f"the folder {str(folder)!r} holds a model of type {kind!r}; expected {EXPECTED}")
    return ClipTower(str(folder), spec)


def _load_clip(name: str, spec: ModelSpec) -> tuple[Any, Any, Any]:
    """Model (in the job's dtype, not the checkpoint's), tokenizer and image processor."""
    try:
        transformers: Any = import_module("transformers")
        from sentence_transformers.util import get_device_name
    except ImportError as error:
        raise JobError(f"{EXTRA} ({error})") from error
    transformers.utils.logging.disable_progress_bar()
    dtype = model_options(spec)["model_kwargs"]["dtype"]
    hub = {"revision": spec.revision or "main", "trust_remote_code": spec.trust_remote_code}
    try:
        model = transformers.CLIPModel.from_pretrained(name, dtype=dtype, **hub).eval().to(spec.device or get_device_name())
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **hub)
        return model, tokenizer, transformers.AutoImageProcessor.from_pretrained(name, backend="pil", **hub)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise JobError(f"the model {name!r} cannot be loaded: {reason}; expected {EXPECTED}") from error


def _prepare_by_pillow(processor: Any) -> None:
    """Have images prepared by Pillow, also where torchvision is installed.

    The two differ by up to 3e-4 in a component when they resize, and a collection must not depend on which packages a
    worker has; transformers' own default (`use_fast`, now `backend`) depends on just that.
    """
    images = getattr(processor, "image_processor", None)
    by_pillow = getattr(import_module("transformers"), f"{type(images).__name__}Pil", None)
    if images is not None and by_pillow is not None:
        processor.image_processor = by_pillow.from_dict(images.to_dict())


def _text_limit(tokenizer: Any, config: Any) -> int:
    """The smaller of the tokenizer's limit and the positions of the text model; sentence-transformers looks at the former only."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    limits = (getattr(tokenizer, "model_max_length", None), getattr(text, "max_position_embeddings", None))
    return min([UNLIMITED, *(int(limit) for limit in limits if limit and limit > 0)])


def _scaling(processor: Any) -> Scaling | None:
    """How an image processor scales; None where it does not, or does not say it in these words."""
    settings = processor.to_dict()
    size = {name: int(edge) for name, edge in dict(settings.get("size") or {}).items() if edge}
    square, short = set(size) == {"height", "width"} and len({*size.values()}) == 1, set(size) == {"shortest_edge"}
    if not settings.get("do_resize") or settings.get("do_pad") or settings.get("resample") is None or not (square or short):
        return None
    return Scaling(max(size.values()), square, int(settings["resample"]))
