"""How Weaviate's text2vec-transformers container would run a model: its mode, and which files it reads."""

import json
from pathlib import Path

from encoders.models import is_folder
from schemas.errors import JobError
from schemas.models import ModelSpec

MODES = ("huggingface", "sentence-transformers", "onnx")
QUANTIZED = "model_quantized.onnx"
MARKS = ("config.json", "modules.json", "model_name", "onnx_runtime")


def mode_of(model: ModelSpec) -> str:
    """One of MODES: the job's `mode`, else as the prebuilt image or the container would choose.

    Raises JobError for a mode that is not this container's, and an image that is not known.
    """
    mode = model.mode or _mode(model)
    if mode not in MODES:
        raise JobError(f"model.mode {mode!r} is not a mode of text2vec-transformers; its modes are {', '.join(MODES)}")
    return mode


def weights_of(model: ModelSpec) -> tuple[str, str]:
    """The folders or hub names for objects and for queries; of most models the same."""
    if model.passage and model.query:
        return _weights(model.passage), _weights(model.query)
    if model.name:
        return _weights(model.name), _weights(model.name)
    if model.prebuilt is None:
        raise JobError("text2vec-transformers takes one model (a folder, a hub name, `prebuilt`) or `passage` and `query`")
    from encoders.prebuilt import prebuilt_image

    image = prebuilt_image(model.prebuilt)
    if image is None:
        raise JobError(f"model.prebuilt {model.prebuilt!r} is no image that is known, such as transformers-inference:<tag>")
    return image.passage_model or image.model, image.query_model or image.model


def lacks_quantized(model: ModelSpec) -> bool:
    """Whether the container would run a quantised model (ONNX) and only float weights are at hand."""
    return mode_of(model) == "onnx" and not all((Path(name) / QUANTIZED).is_file() for name in weights_of(model))


def _mode(model: ModelSpec) -> str:
    """The mode that the job leaves to Warpbeam."""
    from encoders.prebuilt import prebuilt_image

    name = model.prebuilt or model.name or model.passage or ""
    if model.prebuilt is None and is_folder(name):
        return _folder_mode(_installed(name))
    image = prebuilt_image(name)
    return image.mode if image else "huggingface"


def _folder_mode(folder: Path) -> str:
    """As the container chooses when it starts: by flag files, then by the model's type."""
    flag, config = folder / "onnx_runtime", folder / "config.json"
    if flag.is_file() and flag.read_text() == "true":
        return "onnx"
    is_t5 = config.is_file() and json.loads(config.read_text(encoding="utf-8")).get("model_type") == "t5"
    return "sentence-transformers" if is_t5 or (folder / "model_name").exists() else "huggingface"


def _installed(name: str) -> Path:
    """The folder that is the container's `models/model`: `name` itself, or within what was copied out of an image."""
    root = Path(name).expanduser()
    inside = (root, root / "model", root / "models" / "model")
    return next((f for f in inside if any((f / mark).is_file() for mark in MARKS)), root)


def _weights(name: str) -> str:
    """The folder with the weights; sentence-transformers images keep them as the hub's cache does."""
    if not is_folder(name):
        return name
    folder = _installed(name)
    if any((folder / mark).is_file() for mark in ("config.json", "modules.json")):
        return str(folder)
    return str(next(folder.glob("models--*/snapshots/*/"), folder))
