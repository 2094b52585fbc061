"""The tiny models with which multi2vec-clip's containers were asked, and what they answered.

`clip.json.gz` holds the answers (groups), the images that were sent (base64), and each model's configuration and
tokenizer, from the project's golden set (multi2vec-clip-inference at commit 1d91296, transformers 4.57.3,
sentence-transformers 3.2.1, torch 2.6.0, torchvision 0.21.0, open-clip-torch 2.29.0, Pillow 13.0.0; CPU, float32).
Cases that test JSON or base64 only are left out. The weights are drawn by `recipe` and checked.

    python -m tests.golden.clip_models FOLDER
"""

import base64
import gzip
import json
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.golden.recipe import check, fill

if TYPE_CHECKING:
    import torch

DATA = Path(__file__).with_name("clip.json.gz")
MODELS = ("clip-tiny", "st-clip-tiny", "st-text-tiny", "siglip-tiny", "openclip-tiny")
WEIGHTS = {  # seed, scale, sha256
    "clip-tiny": (21, 0.2, "6995159f4c8619610dbc2c9ea7fd625aca595e27835f3d1004f35fcd607917c5"),
    "siglip-tiny": (22, 0.05, "e3d98367be9d2109357a3e642330a2a767fa057d8d5c8124c7fbff540ec9b7d4"),
    "openclip-tiny": (23, 0.2, "7f41f2ff79b01c4139b633ca13c712d10a3443a012f806c33f24de23679aaa7f"),
    "st-text-tiny": (24, 0.05, "77d923cf02cc5798dd8ce6d3350778fdefa85ec9f8559ba32f0cb179c1eaf5aa"),
    "dense": (25, 0.05, "d87b42a40b4df9868a152c56ac30680fc34f220e46db6adeabfcd9e1dc51e0a7"),
}


@cache
def data() -> dict[str, Any]:
    """The content of `clip.json.gz`: groups, images, files."""
    return json.loads(gzip.decompress(DATA.read_bytes()))


def image(name: str) -> bytes:
    """The bytes of an image as a case writes it: `img:NAME`, or base64."""
    return base64.b64decode(data()["images"][name[4:]] if name.startswith("img:") else name)


def vectors(packed: str, n: int) -> np.ndarray:
    """(n, dim) float32."""
    return np.frombuffer(base64.b64decode(packed), "<f4").reshape(n, -1)


def build(root: Path) -> Path:
    """Every model of MODELS in a folder of its name in `root`. Raises ValueError where weights are not the containers'."""
    for name in MODELS:
        for file, text in data()["files"][name].items():
            path = root / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(text[7:]) if text.startswith("base64:") else text.encode())
    _transformers(root)
    _dense(root / "st-text-tiny" / "2_Dense")
    _open_clip(root / "openclip-tiny")
    return root


def _transformers(root: Path) -> None:
    from transformers import BertConfig, BertModel, CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    for name, model in (
        ("clip-tiny", CLIPModel(CLIPConfig.from_pretrained(root / "clip-tiny"))),
        ("siglip-tiny", SiglipModel(SiglipConfig.from_pretrained(root / "siglip-tiny"))),
        ("st-text-tiny", BertModel(BertConfig.from_pretrained(root / "st-text-tiny"))),
    ):
        _save(root / name / "model.safetensors", _weights(name, model))
    (root / "st-clip-tiny" / "model.safetensors").write_bytes((root / "clip-tiny" / "model.safetensors").read_bytes())


def _dense(folder: Path) -> None:
    import torch

    _save(
        folder / "model.safetensors",
        {f"linear.{key}": value for key, value in _weights("dense", torch.nn.Linear(32, 24, bias=False)).items()},
    )


def _open_clip(folder: Path) -> None:
    import open_clip

    config = json.loads((folder / "ViT-tiny-golden.json").read_text())
    _save(folder / "open_clip_model.safetensors", _weights("openclip-tiny", open_clip.CLIP(**config)))
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))


def _weights(name: str, model: "torch.nn.Module") -> "dict[str, torch.Tensor]":
    seed, scale, sha256 = WEIGHTS[name]
    state = model.state_dict()
    fill(state, seed, scale)
    check(name, state, sha256)
    return state


def _save(file: Path, state: "dict[str, torch.Tensor]") -> None:
    from safetensors.torch import save_file

    save_file({key: value.contiguous() for key, value in state.items()}, file, metadata={"format": "pt"})


if __name__ == "__main__":
    build(Path(sys.argv[1]))
