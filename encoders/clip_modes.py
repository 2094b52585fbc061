"""How Weaviate's multi2vec-clip container would run a model, and where the parts of the model lie.

The container looks at its folder `models`: `openai_clip`, `openclip`, `siglip`, `colpali_engine_model`, or else `clip` and
`text`. A model's name may be that folder, taken out of an image; a folder with one saved model; or a hub name.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoders.models import is_folder
from schemas.errors import JobError
from schemas.models import ModelSpec

MODES = ("sentence-transformers", "openai", "openclip", "siglip")
SUBFOLDERS = {"openai_clip": "openai", "openclip": "openclip", "siglip": "siglip", "colpali_engine_model": "colpali"}  # first match wins
MODEL_TYPES = {"clip": "openai", "metaclip_2": "openai", "siglip": "siglip"}  # the image loads MetaCLIP 2 as a CLIP
EXPECTED = (
    "the `models` folder of a multi2vec-clip image, a saved sentence-transformers model (modules.json), a Hugging Face CLIP "
    "or SigLIP (config.json), or an OpenCLIP model (open_clip_config.json)"
)


@dataclass(frozen=True)
class Parts:
    """What one container holds: folders or hub names; None where a part is absent."""

    mode: str
    text: str | None
    image: str | None
    processor: str | None = None  # tokenizer and image processor, where they lie apart from the model
    pretrained: str | None = None  # OpenCLIP's word for the weights: a tag or a file
    cache: str | None = None  # where OpenCLIP's weights were downloaded to


def mode_of(model: ModelSpec) -> str:
    """The container's mode for `model`, a name in MODES.

    Raises JobError for a model that no container takes, or whose output cannot be repeated.
    """
    return parts_of(model).mode


def parts_of(model: ModelSpec) -> Parts:
    """Mode and whereabouts of a container's models. Raises JobError as `mode_of`, and where a folder is not what it should be."""
    parts = _find(model)
    if parts.mode not in MODES:
        raise JobError(
            f"multi2vec-clip runs {model.prebuilt or model.name!r} in the mode {parts.mode!r}, which Warpbeam does not have: its vectors "
            f"are made by a library of its own (ColPali's by colpali-engine); name the running container as inference_url instead"
        )
    return parts


def _find(model: ModelSpec) -> Parts:
    if model.text or model.image:
        if model.mode not in (None, "sentence-transformers"):
            raise JobError(f"a pair {{text, image}} runs in the mode sentence-transformers, not {model.mode!r}; name one model instead")
        return Parts("sentence-transformers", _plain(model.text), _plain(model.image))
    if model.name and is_folder(model.name):
        return _in_folder(Path(model.name).expanduser(), model)
    return _by_name(model)


def _plain(name: str | None) -> str | None:
    return str(Path(name).expanduser()) if name and is_folder(name) else name


def _by_name(model: ModelSpec) -> Parts:
    """A prebuilt image, or a hub name as the container's build step treats it."""
    from encoders.prebuilt import prebuilt_image

    name = model.prebuilt or model.name or ""
    image = prebuilt_image(name)
    if image is not None and image.image == "multi2vec-clip":
        mode = model.mode or image.mode
        text = image.text_model if mode == "sentence-transformers" else None
        return Parts(mode, text or image.model, image.model, pretrained=image.pretrained)
    if model.prebuilt:
        raise JobError(
            f"{model.prebuilt!r} is no prebuilt image of multi2vec-clip; give one such as multi2vec-clip:sentence-transformers-clip-ViT-B-32"
        )
    return Parts(model.mode or _mode_by_name(name), name, name)


def _mode_by_name(name: str) -> str:
    if name.startswith(("openai/", "facebook/metaclip")):
        return "openai"
    return "siglip" if "siglip" in name.rsplit("/", 1)[-1].lower() else "sentence-transformers"


def _in_folder(folder: Path, model: ModelSpec) -> Parts:
    if not folder.is_dir():
        raise JobError(f"the model folder {str(folder)!r} is missing; expected {EXPECTED}")
    root = folder / "models" if (folder / "models").is_dir() else folder
    found = [mode for name, mode in SUBFOLDERS.items() if (root / name).exists()]
    if found and model.mode not in (None, found[0]):
        raise JobError(f"{str(root)!r} holds an image of the mode {found[0]}, but the job says mode {model.mode!r}; leave it out")
    if found:
        return _of_image(root, found[0])
    if (root / "clip").is_dir() and (root / "text").is_dir():
        return Parts("sentence-transformers", str(root / "text"), str(root / "clip"))
    return Parts(model.mode or _prebuilt_mode(model) or _mode_by_files(folder), str(folder), str(folder))


def _of_image(root: Path, mode: str) -> Parts:
    """The parts of an image whose `models` folder is `root`."""
    if mode == "openai":
        return Parts(mode, str(root / "openai_clip"), str(root / "openai_clip"), processor=str(root / "openai_clip_processor"))
    if mode == "openclip":
        config = _json(root / "openclip" / "config.json")
        name, pretrained = config.get("model_name"), config.get("pretrained")
        if not (isinstance(name, str) and isinstance(pretrained, str)):
            raise JobError(f"{root / 'openclip' / 'config.json'} has no model_name and pretrained, as the image's build step writes them")
        return Parts(mode, name, name, pretrained=pretrained, cache=str(root / "openclip"))
    return Parts(mode, str(root / "siglip"), str(root / "siglip"), processor=_siglip_processor(root / "siglip"))


def _siglip_processor(folder: Path) -> str:
    """The image has the processor in a hub cache beside the weights."""
    places = [folder, *sorted(folder.glob("models--*/snapshots/*"))]
    found = [place for place in places if (place / "preprocessor_config.json").exists()]
    if not found:
        raise JobError(
            f"{folder} holds no preprocessor_config.json, neither itself nor in models--*/snapshots/*; take the whole folder out of the image"
        )
    return str(found[0])


def _prebuilt_mode(model: ModelSpec) -> str | None:
    """The mode of the image that `prebuilt` names, where `name` says that its model lies in a folder."""
    return _by_name(model).mode if model.prebuilt else None


def _mode_by_files(folder: Path) -> str:
    if (folder / "modules.json").is_file():
        return "sentence-transformers"
    if (folder / "open_clip_config.json").is_file():
        return "openclip"
    kind = _json(folder / "config.json").get("model_type")
    if kind not in MODEL_TYPES:
        raise JobError(f"the folder {str(folder)!r} holds a model of type {kind!r}; expected {EXPECTED}")
    return MODEL_TYPES[kind]


def _json(file: Path) -> dict[str, Any]:
    try:
        read = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise JobError(f"the folder {str(file.parent)!r} is no model ({type(error).__name__}: {error}); expected {EXPECTED}") from error
    if not isinstance(read, dict):
        raise JobError(f"{file} holds no JSON object; expected {EXPECTED}")
    return read
