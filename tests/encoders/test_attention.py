"""Attention over texts that stand end to end in one row is each text's own attention, whatever its neighbours are."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from encoders.backends import attention
from encoders.backends.packing import pack

HEADS, WIDTH = 3, 8
NAMES = ("query", "key", "value")


class Layer(torch.nn.Module):
    is_causal = False


def tokens_of(lengths: list[int], seed: int) -> tuple[list[torch.Tensor], list[slice], tuple[attention.Run, ...]]:
    """Query, key and value (1, heads, tokens, width) as a linear layer leaves them, where each text is, and the runs."""
    packed = pack([[0] * n for n in lengths])
    torch.manual_seed(seed)
    rows = [torch.randn(1, sum(lengths), HEADS * WIDTH).unflatten(-1, (HEADS, WIDTH)).transpose(1, 2) for _ in NAMES]
    return rows, [slice(int(a), int(b)) for a, b in zip(packed.starts, packed.starts[1:], strict=False)], packed.runs


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=12).map(sorted), st.booleans(), st.integers(0, 9))
def test_each_text_sees_itself_alone(lengths: list[int], near: bool, seed: int) -> None:
    """With `near`, tokens see only tokens at most three away, as in a model with local attention."""
    rows, texts, runs = tokens_of(lengths, seed)
    masks = None
    if near:
        masks = tuple((torch.arange(r.length)[:, None] - torch.arange(r.length)).abs()[None, None] <= 3 for r in runs)
    with torch.inference_mode(), attention.running(runs):
        found = attention.attention(Layer(), *rows, masks)[0]
        for text in texts:
            q, k, v = (x[:, :, text] for x in rows)
            length = q.shape[2]
            own = (torch.arange(length)[:, None] - torch.arange(length)).abs() <= 3 if near else None
            expected = scaled_dot_product_attention(q, k, v, attn_mask=own).transpose(1, 2)
            np.testing.assert_allclose(found[:, text], expected, atol=2e-6)


def test_the_kernel_gets_whole_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run that has neighbours is computed with a number of keys that LANES divides; one without them is left as it is."""
    seen: list[tuple[int, int]] = []

    def noted(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **options: object) -> torch.Tensor:
        seen.append((q.shape[2], k.shape[2]))
        return scaled_dot_product_attention(q, k, v, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", noted)
    with torch.inference_mode():
        for lengths in ([5, 5, 31, 31, 48, 50], [37]):
            rows, _, runs = tokens_of(lengths, 0)
            with attention.running(runs):
                attention.attention(Layer(), *rows, None)
    assert seen == [(5, 16), (31, 32), (48, 48), (50, 64), (37, 37)]
