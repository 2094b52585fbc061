"""The tiny models that the text2vec-transformers container was asked with, drawn again: python -m tests.golden.models FOLDER."""

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.golden.carry import unpack
from tests.golden.recipe import check, fill

if TYPE_CHECKING:
    import torch

DENSE = {"st-bert-passage": "st-bert-passage (2_Dense)", "st-t5-tiny": "st-t5-dense (2_Dense of st-t5-tiny)"}


@cache
def _data() -> dict[str, Any]:
    return unpack("text2vec_models")


def names() -> list[str]:
    """Every model."""
    return sorted(_data()["files"])


def build(name: str, folder: Path) -> Path:
    """Make the model `name` in `folder`/`name`. Raises ValueError where the weights come out otherwise than they were."""
    target, files = folder / name, _data()["files"][name]
    _transformer(name, files, target)
    for path, text in files.items():  # after the library's own: what the container read
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(text, encoding="utf-8")
    if name in DENSE:
        _dense(DENSE[name], target / "2_Dense")
    return target


def _transformer(name: str, files: dict[str, str], target: Path) -> None:
    import transformers

    target.mkdir(parents=True)
    (target / "config.json").write_text(files["config.json"], encoding="utf-8")
    config = transformers.AutoConfig.from_pretrained(target)
    model = getattr(transformers, config.architectures[0])(config)
    same_as = {
        "st-bert-passage": "bert-tiny",
        "st-bert-prompts": "bert-tiny",
        "st-bert-exclude-prompt": "bert-tiny",
        "st-t5-tiny": "t5-tiny",
    }
    _draw(same_as.get(name, name), model.state_dict())
    model.save_pretrained(target)


def _dense(name: str, target: Path) -> None:
    import torch
    from safetensors.torch import save_file

    state = {key: torch.empty(shape) for key, shape, _ in _data()["weights"][name]["keys"]}
    save_file(_draw(name, state), target / "model.safetensors")


def _draw(name: str, state: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    weights = _data()["weights"][name]
    check(name, fill(state, weights["seed"], weights["scale"]), weights["sha256"])
    return state


if __name__ == "__main__":
    for model in names():
        print(build(model, Path(sys.argv[1])))
