"""The forward pass of a sentence-transformers model on a GPU: tokenised once, padded, two batches in flight.

The library's `encode` tokenises a batch, copies it, computes it, waits for it and copies it back, one after the other.
Here tokenising is done for a whole window beforehand, and the GPU is never waited for while there is a next batch.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from encoders.backends.flight import in_flight, own_stream, to_device, to_host
from encoders.backends.packing import padded_rows
from encoders.backends.switch import close_for
from encoders.backends.unpadded import OnTokens, differs, encoded, unfit
from encoders.base import Vectors
from encoders.batching import run_padded

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class OnDevice(OnTokens):
    """A sentence-transformers model that computes where it is; use one from `on_device`, which has compared it."""

    pads = True

    def forward(self, ids: Sequence[Sequence[int]], prompt: str = "") -> Vectors:
        """Vectors (n, dim) float32 of texts by their token ids, `prompt` included; not cut to the job's `dimensions`."""
        import torch

        rows, mask = (torch.from_numpy(x) for x in padded_rows(ids, self.tokenizer.pad_token_id or 0))
        device = self.model.device
        with torch.inference_mode(), own_stream(device):
            tokens = {"input_ids": to_device(rows, device), "attention_mask": to_device(mask, device)}
            return to_host(self.model({**tokens, "modality": "text", **self.prompt_length(prompt)})["sentence_embedding"])

    def runner(self, workers: int | None) -> Callable[..., int]:
        """As `OnTokens.runner`, with two batches in flight; cores do not count here."""
        return partial(run_padded, pool=in_flight(str(self.model.device)))


def on_device(model: "SentenceTransformer") -> tuple[OnDevice | None, str]:
    """`model` with batches in flight, and how it runs; None, and the reason, where the library must run it."""
    if reason := unfit(model):
        return None, f"{model.device}, by the library: {reason}"
    dtype = model[0].model.dtype
    where = f"{str(dtype).removeprefix('torch.')} on {model.device}"
    try:
        fast = OnDevice(model)
        reason = differs(fast, encoded(model), close_for(dtype))
    except Exception as error:  # whatever a family, or another version of a library, does not take
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return (None, f"{where}, by the library: {reason}") if reason else (fast, f"{where}, batches in flight")
