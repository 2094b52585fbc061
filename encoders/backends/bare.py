"""The forward pass of a transformer without head on the CPU, without padding: what the huggingface mode runs."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from encoders.backends import attention
from encoders.backends.packing import pack
from encoders.backends.switch import difference, padding_place, switch
from encoders.base import Vectors

LENGTHS = (1, 2, 3, 3, 17, 40, 180)  # tokens of the texts of the comparison, as far as the model takes them
Padded = Callable[[list[list[int]], str], Vectors]


class Bare:
    """A transformer that computes real tokens only; use one from `bare`, which has compared it."""

    def __init__(self, model: Any) -> None:
        """Keep `model`, which has an attention without padding by now."""
        self.model, self.padding = model, padding_place(model)

    def pooled(self, ids: Sequence[Sequence[int]], pooling: str) -> Vectors:
        """The mean of each text's tokens, or for `cls` its first one, (n, dim) float32."""
        import torch

        packed = pack(ids, self.padding)
        row, places = (torch.from_numpy(x)[None] for x in (packed.ids, packed.places))
        with torch.inference_mode(), attention.running(packed.runs):
            hidden: Vectors = self.model(input_ids=row, position_ids=places)[0][0].numpy()
        if pooling == "cls":
            return hidden[packed.starts[:-1]]
        return np.asarray(np.add.reduceat(hidden, packed.starts[:-1], axis=0) / np.diff(packed.starts)[:, None], np.float32)


def bare(model: Any, padded: Padded) -> tuple[Bare | None, str]:
    """`model` without padding, and how it runs; None, and the reason, where it must run as it is. `padded` runs it so."""
    most = getattr(model.config, "max_position_embeddings", None) or max(LENGTHS)
    numbers = np.random.default_rng(0)
    ids = [numbers.integers(5, model.config.vocab_size, min(n, most - 2)).tolist() for n in LENGTHS]
    wanted = {pooling: padded(ids, pooling) for pooling in ("cls", "masked_mean")}

    def compare() -> str:
        return next((d for p, w in wanted.items() if (d := difference(Bare(model).pooled(ids, p), w))), "")

    swapped, how = switch(model, compare)
    return (None if swapped is None else Bare(model)), how
