"""Loading a checkpoint of ImageBind that the user has: strictly by key and shape, and only the towers that are asked for.

A file `.pth` (read with weights_only, so no code of it runs), a file `.safetensors` with the same keys, or a folder with
`model.safetensors`. Sizes other than the published ones stand in `config.json` of the folder or in `<file>.json` beside the file.
"""

import logging
import pickle
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoders.imagebind.layout import Shapes, shapes, tower_of
from encoders.imagebind.model import ImageBind
from encoders.imagebind.sizes import TOWERS, Config, read_config
from encoders.models import EXTRA
from schemas.errors import JobError, raise_faults

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LICENCE = (
    "The weights of ImageBind are Meta's, under CC BY-NC-SA 4.0: non-commercial and share-alike; the model card says for research only. "
    "Warpbeam neither ships nor downloads them; to comply is yours."
)
LISTED = 5  # keys that a fault names
SUFFIXES = (".pth", ".pt", ".safetensors")
DRAFT = ("vision_model.", "text_model.", "audio_model.")

logger = logging.getLogger(__name__)
_told = threading.Event()


@dataclass(frozen=True)
class Stored:
    """What a file holds: the shape of each key, and how to get one tensor."""

    shapes: Shapes
    get: "Callable[[str], Tensor]"


def load(path: str, modalities: Iterable[str], dtype: str = "float32", device: str = "cpu") -> ImageBind:
    """The towers of `modalities` (text, image, audio, video, imu, thermal, depth) from the checkpoint `path`.

    Tensors are of `dtype` on `device`, the scales float32; float32 on the CPU stays in the mapped file and is read when it
    is used. Raises JobError for a path that is no checkpoint, and for keys that are missing, unknown or of another shape.
    """
    import torch

    file, config = locate(path)
    tell_licence()
    stored = _open(file)
    towers = tuple(dict.fromkeys(TOWERS[modality] for modality in modalities))
    expected = {key: shape for name in towers for key, shape in shapes(config, name).items()}
    raise_faults(_faults(file, stored.shapes, expected, config, towers))
    tensors = {key: stored.get(key) for key in expected}
    raise_faults(_value_faults(file, tensors))
    tensors.pop("modality_preprocessors.text.mask", None)
    return ImageBind(config, {key: _placed(key, tensor, getattr(torch, dtype), device) for key, tensor in tensors.items()})


def locate(path: str) -> tuple[Path, Config]:
    """The file of weights that `path` means, and the sizes that stand beside it. Raises JobError where there is none."""
    found = Path(path).expanduser()
    if found.is_dir():
        if not (found / "model.safetensors").is_file():
            raise JobError(f"model.imagebind: the folder {path!r} has no model.safetensors; name the file imagebind_huge.pth itself")
        return found / "model.safetensors", read_config(found / "config.json")
    if not found.is_file():
        raise JobError(f"model.imagebind: there is no {path!r}; give the local path of imagebind_huge.pth, which you fetch yourself")
    if found.suffix not in SUFFIXES:
        raise JobError(f"model.imagebind: {path!r} should end in {', '.join(SUFFIXES)}, or be a folder with model.safetensors")
    return found, read_config(found.with_name(f"{found.name}.json"))


def tell_licence() -> str:
    """The sentence on the licence of the weights; the first call in a process also logs it."""
    if not _told.is_set():
        _told.set()
        logger.warning(LICENCE)
    return LICENCE


def _open(file: Path) -> Stored:
    """What `file` holds, nothing of it read but names and shapes."""
    try:
        return _open_safetensors(file) if file.suffix == ".safetensors" else _open_pth(file)
    except ImportError as error:
        raise JobError(f"{EXTRA} ({error})") from error
    except (JobError, MemoryError):
        raise
    except pickle.UnpicklingError as error:
        raise JobError(f"model.imagebind: {file} is damaged, or holds more than tensors; what could run code is not loaded") from error
    except Exception as error:  # a file that is something else fails in as many ways as there are files
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise JobError(f"model.imagebind: {file} is no checkpoint, or it is cut short: {reason}") from error


def _open_safetensors(file: Path) -> Stored:
    from safetensors import safe_open

    opened: Any = safe_open(file, framework="pt", device="cpu")
    return Stored({key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}, opened.get_tensor)


def _open_pth(file: Path) -> Stored:
    import torch

    with file.open("rb") as start:
        zipped = start.read(4) == b"PK\x03\x04"  # torch's older format cannot be mapped
    tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
    if not isinstance(tensors, dict) or not tensors:
        raise JobError(f"model.imagebind: {file} holds a {type(tensors).__name__}; it should be a dictionary of tensors")
    strange = [f"{key!r} is {type(t).__name__}" for key, t in tensors.items() if not (isinstance(key, str) and torch.is_tensor(t))]
    if strange:
        raise JobError(f"model.imagebind: {file} should be a flat dictionary of tensors, but {_some(strange)}")
    return Stored({key: tuple(tensor.shape) for key, tensor in tensors.items()}, tensors.__getitem__)


def _faults(file: Path, found: Shapes, expected: Shapes, config: Config, towers: tuple[str, ...]) -> list[str]:
    """One sentence each for missing, unknown and wrongly shaped keys; of other towers nothing is asked."""
    if not any(tower_of(key) in config.towers for key in found):
        return [_foreign(file, list(found))]
    where = f"model.imagebind: {file}"
    missing = [key for key in expected if key not in found]
    others = [name for name in config.towers if name not in towers]
    extra = [key for key in found if key not in expected and tower_of(key) not in others]
    wrong = [f"{key} {found[key]} instead of {expected[key]}" for key in expected if key in found and found[key] != expected[key]]
    faults = [f"{where} has no {_some(missing)}"] if missing else []
    faults += [f"{where} has keys that ImageBind does not: {_some(extra)}"] if extra else []
    return faults + (
        [f"{where} has other shapes (sizes other than the published ones stand in a JSON file): {_some(wrong)}"] if wrong else []
    )


def _foreign(file: Path, keys: list[str]) -> str:
    """What to say of a file without any key of ImageBind's."""
    should = "give Meta's imagebind_huge.pth, or a .safetensors file with its keys (modality_trunks.vision.blocks.0. and so on)"
    if any(key.startswith(DRAFT) for key in keys):
        return f"model.imagebind: {file} has the layout of a draft for transformers, which no release can load; {should}"
    return f"model.imagebind: {file} is no ImageBind: it has {_some(keys) or 'nothing'}; {should}"


def _value_faults(file: Path, tensors: "dict[str, Tensor]") -> Iterator[str]:
    """What is wrong with the values: no floats, or another mask than the one that the model computes."""
    integers = [f"{key} ({tensor.dtype})" for key, tensor in tensors.items() if not tensor.is_floating_point()]
    if integers:
        yield f"model.imagebind: {file} should hold floats, but not so {_some(integers)}"
    mask = tensors.get("modality_preprocessors.text.mask")
    if mask is not None and not _is_causal(mask):
        yield f"model.imagebind: {file}: modality_preprocessors.text.mask is not causal (0 on and below the diagonal, -inf above)"


def _is_causal(mask: "Tensor") -> bool:
    """Whether the stored mask says what the model computes without it."""
    import torch

    above = torch.ones_like(mask, dtype=torch.bool).triu(1)
    return bool((mask[above] < -1e4).all() and (mask[~above] == 0).all())


def _placed(key: str, tensor: "Tensor", dtype: "torch.dtype", device: str) -> "Tensor":
    import torch

    return tensor.to(device, torch.float32 if key.endswith("log_logit_scale") else dtype)


def _some(names: list[str]) -> str:
    """The first few names, and how many there are besides."""
    rest = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {rest:,} more" if rest > 0 else "")
