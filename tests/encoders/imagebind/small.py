"""A small ImageBind made by a seeded rule: every tower, the published keys, inputs of the published sizes."""

import json
from pathlib import Path

import torch

from encoders.imagebind.layout import shapes
from encoders.imagebind.sizes import Config, config_of

DIM = 32
SIZES = {
    "dim": DIM,
    "towers": {
        "vision": {"width": 16, "blocks": 3, "heads": 2},
        "text": {"width": 12, "blocks": 2, "heads": 3},
        "audio": {"width": 16, "blocks": 2, "heads": 4},
        "depth": {"width": 8, "blocks": 2, "heads": 2},
        "thermal": {"width": 12, "blocks": 2, "heads": 2},
        "imu": {"width": 16, "blocks": 3, "heads": 2},
    },
}
SCALES = {"text": 1 / 0.07, "audio": 20.0, "depth": 5.0, "thermal": 10.0, "imu": 5.0}  # at construction


def config() -> Config:
    """The small sizes."""
    return config_of(SIZES, "small")


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    """The checkpoint of all towers, float32; no norm is the identity and no bias 0, so that a forgotten one shows."""
    torch.manual_seed(seed)
    keys = {key: shape for name in config().towers for key, shape in shapes(config(), name).items()}
    return {key: _made(key, shape) for key, shape in keys.items()}


def _made(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    if key.endswith(".mask"):
        return torch.full(shape, -torch.inf).triu(1)
    if key.endswith("log_logit_scale"):
        return torch.tensor(SCALES[key.split(".")[1]]).log()
    if key.endswith(".weight") and len(shape) == 1:
        return 1 + 0.2 * torch.randn(shape)
    fan = torch.Size(shape[1:]).numel() if key.endswith("weight") and "embedding" not in key else 9
    return torch.randn(shape) / fan**0.5


def make(folder: Path, seed: int = 0) -> Path:
    """The folder `folder` with model.safetensors and config.json: what `model.imagebind` takes."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors(seed), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(SIZES))
    return folder


def make_pth(file: Path, seed: int = 0) -> Path:
    """The same as a .pth, with its sizes beside it."""
    torch.save(tensors(seed), file)
    file.with_name(f"{file.name}.json").write_text(json.dumps(SIZES))
    return file
