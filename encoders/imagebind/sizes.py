"""How large an ImageBind is: the published size, and smaller ones from a `config.json` of our own keys.

    {"dim": 32, "towers": {"vision": {"width": 16, "blocks": 2, "heads": 2}, ...}}

Every key may be left out, and then has the published value. A JSON file without `towers` was not written for Warpbeam (other
tools put a config.json beside weights as well): it says nothing, and the published size is meant.
"""

import json
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from schemas.errors import JobError, raise_faults

VOCABULARY = 49408  # entries
CONTEXT = 77  # tokens of a text, special ones included
TOWERS = {  # modality -> the part of the model that takes it
    "text": "text",
    "image": "vision",
    "audio": "audio",
    "video": "vision",
    "imu": "imu",
    "thermal": "thermal",
    "depth": "depth",
}
CLIPS = {"audio": 3, "video": 15}  # forward passes of one value; of other modalities 1
CHANGEABLE = ("width", "blocks", "heads")


@dataclass(frozen=True)
class Tower:
    """The sizes of one tower; `item` is the shape of one input without the batch, `kernel` and `stride` cut it into patches."""

    width: int
    blocks: int
    heads: int
    item: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    extra_key: bool = False  # each block has a learned key and value of its own

    @property
    def patches(self) -> int:
        """The patches of one input; 0 for text."""
        sizes = self.item[len(self.item) - len(self.kernel) :]
        return prod((n - k) // s + 1 for n, k, s in zip(sizes, self.kernel, self.stride, strict=True)) if self.kernel else 0

    @property
    def tokens(self) -> int:
        """The tokens of one input; the class token is one of them, but a text has none."""
        return self.patches + 1 if self.kernel else self.item[0]


@dataclass(frozen=True)
class Config:
    """The sizes of a model: `dim` of its vectors, and its towers by name."""

    dim: int
    towers: dict[str, Tower]


HUGE = Config(
    1024,
    {
        "vision": Tower(1280, 32, 16, (3, 2, 224, 224), (2, 14, 14), (2, 14, 14)),
        "text": Tower(1024, 24, 16, (CONTEXT,)),
        "audio": Tower(768, 12, 12, (1, 128, 204), (16, 16), (10, 10), extra_key=True),
        "depth": Tower(384, 12, 8, (1, 224, 224), (16, 16), (16, 16), extra_key=True),
        "thermal": Tower(768, 12, 12, (1, 224, 224), (16, 16), (16, 16), extra_key=True),
        "imu": Tower(512, 6, 8, (6, 2000), (8,), (8,), extra_key=True),
    },
)


def read_config(path: Path) -> Config:
    """The sizes that the JSON file `path` gives; the published ones where there is no such file. Raises JobError naming the wrong key."""
    if not path.is_file():
        return HUGE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise JobError(f"{path} is no JSON file: {error}") from error
    return config_of(found, str(path)) if isinstance(found, dict) and "towers" in found else HUGE


def config_of(keys: dict[str, Any], where: str) -> Config:
    """`HUGE` with the sizes in `keys`: `dim` and `towers`. Raises JobError naming each wrong key below `where`."""
    towers = keys.get("towers")
    if not isinstance(towers, dict) or not all(isinstance(sizes, dict) for sizes in towers.values()):
        raise JobError(
            f'{where}: towers is {towers!r}; it should be a map such as {{"vision": {{"width": 1280, "blocks": 32, "heads": 16}}}}'
        )
    raise_faults(_faults(keys, towers, where))
    sized = {name: replace(tower, **towers.get(name, {})) for name, tower in HUGE.towers.items()}
    uneven = [f"{where}: towers.{n}.width {t.width} is no multiple of its {t.heads} heads" for n, t in sized.items() if t.width % t.heads]
    raise_faults(uneven)
    return Config(keys.get("dim", HUGE.dim), sized)


def _faults(keys: dict[str, Any], towers: dict[str, dict[str, Any]], where: str) -> list[str]:
    """What is unknown or no size, one sentence each."""
    numbers = {f"towers.{tower}.{key}": n for tower, sizes in towers.items() for key, n in sizes.items()}
    unknown = [key for key in keys if key not in ("dim", "towers")] + [f"towers.{name}" for name in towers if name not in HUGE.towers]
    unknown += [key for key in numbers if key.rpartition(".")[2] not in CHANGEABLE]
    faults = [
        f"{where}: {key} is not known; a size has dim and towers of {', '.join(HUGE.towers)}, each with width, blocks, heads"
        for key in unknown
    ]
    numbers["dim"] = keys.get("dim", HUGE.dim)
    wrong = {key: n for key, n in numbers.items() if type(n) is not int or n < 1}
    return faults + [f"{where}: {key} is {n!r}; it should be a whole number from 1" for key, n in wrong.items()]
