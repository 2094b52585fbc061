"""Weights by a seed: the same bytes on every machine, so that no weights need to be stored."""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    State = dict[str, torch.Tensor]


def fill(state: "State", seed: int, scale: float) -> "State":
    """Draw every floating tensor of `state` (a `state_dict()`) in place, in sorted order of its keys, and give it back.

    A one-dimensional `.weight` (of a normalisation) is 1 + draw. A tensor that shares memory with an earlier one is
    skipped without a draw.
    """
    import torch

    random = np.random.RandomState(seed)
    seen: set[int] = set()
    with torch.no_grad():
        for key in _floating(state):
            tensor = state[key]
            if tensor.data_ptr() in seen:
                continue
            seen.add(tensor.data_ptr())
            drawn = np.asarray(random.standard_normal(tuple(tensor.shape)), np.float32) * np.float32(scale)
            value = drawn + np.float32(1) if key.endswith(".weight") and tensor.ndim == 1 else drawn
            tensor.copy_(torch.from_numpy(np.array(value, np.float32)))
    return state


def sha256(state: "State") -> str:
    """The check value: over the little-endian float32 bytes of all floating tensors in sorted order of their keys."""
    digest = hashlib.sha256()
    for key in _floating(state):
        digest.update(state[key].detach().cpu().numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def check(name: str, state: "State", expected: str) -> None:
    """Raise ValueError where `state` has not the weights that the containers were asked with."""
    found = sha256(state)
    if found != expected:
        raise ValueError(f"the weights of {name} have sha256 {found}, but the recipe gives {expected}")


def _floating(state: "dict[str, Any]") -> list[str]:
    return sorted(key for key, tensor in state.items() if tensor.is_floating_point())
