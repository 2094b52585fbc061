"""Attention without padding, in transformers' own extension points: each run of equal lengths is a batch of its own.

A model that is switched to it computes linear layers, norms and activations on real tokens only. Outside `running`, it
works as with `sdpa`, so that everything else that uses the model goes on.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from encoders.backends.packing import Run

if TYPE_CHECKING:
    import torch

NAME = "warpbeam_unpadded"
UNKNOWN = ("position_bias", "softcap", "cache", "s_aux")  # what a family may add to attention and we do not compute
LANES = 16  # float32 numbers in the widest vector of a CPU
_here = threading.local()


@contextmanager
def running(runs: Sequence[Run]) -> Iterator[None]:
    """While the block lasts, models in this thread take one row of texts end to end, in these runs."""
    _here.runs = runs
    try:
        yield
    finally:
        _here.runs = None


def register() -> None:
    """Make the attention known to transformers under NAME."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, mask)


def mask(batch_size: int, q_length: int, kv_length: int, mask_function: Callable[..., Any], **options: Any) -> Any:
    """The mask of each run, as transformers makes it for a text alone; None where every token sees every other."""
    from transformers.masking_utils import bidirectional_mask_function, sdpa_mask

    runs = getattr(_here, "runs", None)
    if runs is None:
        return sdpa_mask(batch_size, q_length, kv_length, mask_function=mask_function, **options)
    if mask_function is bidirectional_mask_function:
        return None
    options |= {"attention_mask": None, "allow_is_causal_skip": False}
    return tuple(sdpa_mask(1, r.length, r.length, mask_function=mask_function, **options) for r in runs)


def attention(
    module: Any,
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> "tuple[torch.Tensor, None]":
    """The attention's output (1, tokens, heads, width) of `query`, `key` and `value` (1, heads, tokens, width).

    Raises NotImplementedError for what this attention does not compute.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    runs = getattr(_here, "runs", None)
    if runs is None:
        usual: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
        return usual
    odd = [name for name in UNKNOWN if options.get(name) is not None]
    causal = options.get("is_causal")
    if odd or query.shape != key.shape or (getattr(module, "is_causal", True) if causal is None else causal):
        raise NotImplementedError(f"attention with {', '.join(odd) or 'grouped heads or a causal mask'}")
    return _by_run(query[0], key[0], value[0], runs, attention_mask or (None,) * len(runs), scaling), None


def _by_run(query: Any, key: Any, value: Any, runs: Sequence[Run], masks: Sequence[Any], scaling: float | None) -> "torch.Tensor":
    """Attention (1, tokens, heads, width) of (heads, tokens, width), run by run."""
    heads, tokens, width = query.shape
    found = [_attend(query, key, value, run, one, scaling) for run, one in zip(runs, masks, strict=True)]
    if len(found) == 1:
        return found[0].view(1, tokens, heads, width)
    out = query.new_empty(1, tokens, heads, width)
    for (start, count, length), part in zip(runs, found, strict=True):
        out[0, start : start + count * length].view(count, length, heads, width).copy_(part)
    return out


def _attend(query: Any, key: Any, value: Any, run: Run, mask: Any, scaling: float | None) -> "torch.Tensor":
    """Attention (texts, length, heads, width) of one run.

    torch's kernel works in vectors of LANES numbers, and what is left over costs it more than whole ones: 31 keys take
    longer than 48. So each text is given some keys and values of its neighbours in the row, which the mask puts at weight 0.
    """
    from torch.nn.functional import scaled_dot_product_attention

    more = -run.length % LANES
    before = 0 if run.start + run.texts * run.length + more <= key.shape[1] else more
    if before > run.start:
        more = before = 0  # the row has no neighbours to lend
    q = _texts(query, run, 0, 0)
    k, v = (_texts(x, run, before, more) for x in (key, value))
    if more:
        mask = _widened(query, run.length, mask, before, more - before)
    found: torch.Tensor = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
    return found.transpose(1, 2)


def _texts(rows: Any, run: Run, before: int, more: int) -> "torch.Tensor":
    """The tokens (texts, heads, length + more, width) of each text of a run, beginning `before` tokens earlier; a view of `rows`."""
    heads, _, width = rows.shape
    per_head, per_token, per_number = rows.stride()
    begin = rows.storage_offset() + (run.start - before) * per_token
    shape = (run.texts, heads, run.length + more, width)
    found: torch.Tensor = rows.as_strided(shape, (run.length * per_token, per_head, per_token, per_number), begin)
    return found


def _widened(query: Any, length: int, mask: Any, before: int, after: int) -> "torch.Tensor":
    """A run's mask (1, 1, 1 or length, length), None for all tokens, with `before` and `after` tokens that nobody sees."""
    import torch

    if mask is None:
        mask = torch.ones(1, 1, 1, length, dtype=torch.bool, device=query.device)
    return torch.nn.functional.pad(mask, (before, after))
