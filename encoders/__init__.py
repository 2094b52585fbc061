"""Values in, numpy out: one model family a file, behind one contract (`base.Encoder`); no Beam here."""

from importlib import import_module
from pathlib import Path

from encoders.base import Encoder
from encoders.models import is_folder
from schemas.job import ModelSpec, VectorSpec

ENCODERS = {
    "text": "encoders.text:TextEncoder",
    "clip": "encoders.clip:ClipEncoder",
    "fake": "encoders.fake:FakeEncoder",
}


def family(spec: VectorSpec) -> str:
    """Which file encodes for `spec`: a name in ENCODERS."""
    model = spec.model or ModelSpec(name="")
    if model.fake:
        return "fake"
    return "clip" if model.text or model.image or spec.image_fields or _is_clip(model.name or "") else "text"


def _is_clip(name: str) -> bool:
    """Whether a hub name or folder says that it is CLIP."""
    if not is_folder(name):
        return "clip" in name.lower()
    files = [f for f in (Path(name) / "config.json", Path(name) / "modules.json") if f.is_file()]
    return any('"model_type": "clip"' in text or "CLIPModel" in text for text in (f.read_text(errors="replace") for f in files))


def encoder_of(spec: VectorSpec) -> Encoder:
    """The encoder for one vector of a job; its model is loaded when it is first used."""
    module, name = ENCODERS[family(spec)].split(":")
    made: Encoder = getattr(import_module(module), name)(spec.model, dict(spec.prompts), spec.long_text)
    return made
