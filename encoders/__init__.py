"""Values in, numpy out: one model family a file, behind one contract (`base.Encoder`); no Beam here."""

from importlib import import_module
from pathlib import Path

from encoders.base import Encoder
from encoders.fetched import with_local_files
from encoders.models import EXTRA, is_folder
from schemas.errors import JobError
from schemas.job import VectorSpec
from schemas.models import ModelSpec

ENCODERS = {
    "text": "encoders.text:TextEncoder",
    "clip": "encoders.clip:ClipEncoder",
    "fake": "encoders.fake:FakeEncoder",
    "remote": "encoders.remote:RemoteEncoder",
    "nvidia": "encoders.nvidia:NvidiaEncoder",
    "imagebind": "encoders.imagebind:ImageBindEncoder",
}
CONTAINERS = {  # what Weaviate's modules ask, by module
    "text2vec-transformers": "encoders.transformers_inference:TransformersInference",
    "multi2vec-clip": "encoders.clip_inference:ClipInference",
    "multi2vec-bind": "encoders.imagebind:ImageBindEncoder",
}


def family(spec: VectorSpec) -> str:
    """Which file encodes for `spec`: a name in ENCODERS or CONTAINERS."""
    model = with_local_files(spec.model or ModelSpec(name=""))
    if model.fake:
        return "fake"
    if model.inference_url or model.nvidia:
        return "remote" if model.inference_url else "nvidia"
    if spec.module and spec.module.name in CONTAINERS:
        return spec.module.name
    if model.imagebind:
        return "imagebind"
    return "clip" if model.text or model.image or spec.image_fields or _is_clip(model.name or "") else "text"


def _is_clip(name: str) -> bool:
    """Whether a hub name or folder says that it is CLIP."""
    if not is_folder(name):
        return "clip" in name.lower()
    files = [f for f in (Path(name) / "config.json", Path(name) / "modules.json") if f.is_file()]
    return any('"model_type": "clip"' in text or "CLIPModel" in text for text in (f.read_text(errors="replace") for f in files))


def _check_family(name: str, model: ModelSpec) -> None:
    """Raise JobError where `model` asks for what only another family has."""
    if name != "text" and (model.dtype == "int8" or model.backend == "openvino"):
        asked = "dtype: int8" if model.dtype == "int8" else "backend: openvino"
        raise JobError(f"{asked} is for sentence-transformers models of texts, whose vectors no module of Weaviate's makes; leave it out")
    if name != "clip" and model.image_decoding == "reduced":
        raise JobError("image_decoding: reduced is for CLIP models whose vectors no module of Weaviate's makes; leave it out")


def encoder_of(spec: VectorSpec) -> Encoder:
    """The encoder for one vector of a job; its model is loaded when it is first used. Raises JobError where libraries are missing, or a model of this kind cannot be had so."""
    name = family(spec)
    if spec.model:
        _check_family(name, spec.model)
    spec = spec.model_copy(update={"model": spec.model and with_local_files(spec.model)})
    module, kind = (ENCODERS | CONTAINERS)[name].split(":")
    try:
        make = getattr(import_module(module), kind)
    except ImportError as error:
        raise JobError(f"{EXTRA} ({error})") from error
    made: Encoder = make(spec.model, dict(spec.prompts), spec.long_text) if name in ("text", "clip", "fake") else make(spec)
    return made
