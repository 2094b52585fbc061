"""Switching a transformer to the fast way, for good if the vectors stay equal, and back otherwise."""

from collections.abc import Callable
from typing import Any

import numpy as np

from encoders.backends import attention, linear
from encoders.base import Vectors

CLOSE = 1e-5  # of a vector's length; rounding is some 1e-7 a layer


def switch(transformer: Any, compare: Callable[[], str]) -> tuple[linear.Swapped | None, str]:
    """The layers that were swapped in `transformer`, and how it runs now; None, and the reason, where it is as it was.

    `compare` runs the model in its new way, and says what differs from the old one; "" where nothing does.
    """
    before, reason = transformer.config._attn_implementation, ""
    if reason := _unfit(transformer, before):
        return None, reason
    attention.register()
    for pack_weights in (True, False):
        swapped: linear.Swapped = []
        try:
            transformer.set_attn_implementation(attention.NAME)
            swapped = linear.swap_layers(transformer) if pack_weights else []
            if not (reason := compare()):
                return swapped, "without padding" + (", weights packed" if pack_weights else "")
        except Exception as error:  # whatever a family, or another version of a library, does not take
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
        linear.put_back(swapped)
        transformer.set_attn_implementation(before)
    return None, reason


def _unfit(transformer: Any, implementation: str) -> str:
    """Why a transformer is not even tried; empty where it is."""
    if transformer.device.type != "cpu" or str(transformer.dtype) != "torch.float32":
        return f"{transformer.dtype} on {transformer.device}"
    if implementation != "sdpa" or not getattr(transformer, "_supports_attention_backend", False):
        return f"the attention of {transformer.config.model_type} models ({implementation}) cannot be exchanged"
    return ""


def close_for(dtype: Any) -> float:
    """How far two vectors of a model of this dtype may be apart when batches are cut in another way: some roundings."""
    import torch

    return max(CLOSE, 16 * float(torch.finfo(dtype).eps))


def difference(found: Vectors, wanted: Vectors, close: float = CLOSE) -> str:
    """What to say where vectors differ by more than rounding; empty where they do not."""
    apart = np.linalg.norm(found - wanted, axis=1) / np.maximum(np.linalg.norm(wanted, axis=1), 1e-30)
    return "" if apart.max() <= close else f"its vectors differ by {apart.max():.1e}"


def padding_place(model: Any) -> int | None:
    """The padding token by which a model of RoBERTa's kind offsets its position ids; None for others, which count from 0."""
    import torch

    for module in model.modules():
        padding = getattr(module, "padding_idx", None)
        if isinstance(padding, int) and isinstance(getattr(module, "position_embeddings", None), torch.nn.Embedding):
            return padding
    return None
