"""ImageBind's forward pass, written as functions over the tensors of a checkpoint under their published keys.

A tower is a stem (values to tokens), a trunk of pre-norm transformer blocks, a head (one token to a vector), and a fixed
length of the vector: 1 for vision, else min(exp(log_logit_scale), 100). The towers share nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING

from encoders.imagebind.layout import HEAD_NORMS, HEADS, STEMS, positions, stem
from encoders.imagebind.sizes import TOWERS, Config, Tower

if TYPE_CHECKING:
    from torch import Tensor

EPS, STEM_EPS = 1e-6, 1e-5
LARGEST_SCALE = 100.0


@dataclass(frozen=True)
class Weights:
    """The tensors whose keys begin with `prefix`."""

    tensors: "Mapping[str, Tensor]"
    prefix: str = ""

    def below(self, name: str) -> "Weights":
        """Those one level down."""
        return Weights(self.tensors, f"{self.prefix}{name}.")

    def __getitem__(self, name: str) -> "Tensor":
        """One tensor."""
        return self.tensors[self.prefix + name]

    def linear(self, name: str, x: "Tensor") -> "Tensor":
        """The linear layer `name` of x (..., inputs), with bias where it has one."""
        from torch.nn.functional import linear

        return linear(x, self[f"{name}.weight"], self.tensors.get(f"{self.prefix}{name}.bias"))

    def norm(self, name: str, x: "Tensor", eps: float = EPS) -> "Tensor":
        """The layer norm `name` of x (..., width)."""
        from torch.nn.functional import layer_norm

        return layer_norm(x, x.shape[-1:], self[f"{name}.weight"], self[f"{name}.bias"], eps)


@dataclass(frozen=True)
class ImageBind:
    """A model of some towers: sizes, and tensors under the published keys, all on one device and of one dtype but the scales."""

    config: Config
    tensors: "Mapping[str, Tensor]"

    def embed(self, modality: str, inputs: "Tensor") -> "Tensor":
        """Vectors (B, dim) float32, as long as the model makes them, of `inputs` on the model's device and of its dtype.

        Text: token ids (B, L <= 77) int64; image (B, 3, H, W); video (B, S, 3, T, H, W); audio (B, 1, 128, 204) or with clips
        (B, S, 1, 128, 204); depth and thermal (B, 1, 224, 224); imu (B, 6, 2000). Of five or more dimensions the first two are
        values and clips, and a value's vector is the mean over its clips. Raises ValueError for another shape.
        """
        clips = inputs.shape[:2] if inputs.ndim >= 5 else None
        out = _scaled(self.tensors, TOWERS[modality], self._run(TOWERS[modality], inputs.flatten(0, 1) if clips else inputs))
        return out.unflatten(0, clips).mean(1) if clips else out

    def _run(self, name: str, inputs: "Tensor") -> "Tensor":
        """Vectors (B, dim) of the tower's head."""
        import torch

        tower, weights = self.config.towers[name], Weights(self.tensors)
        x = _text_tokens(weights, tower, inputs) if name == "text" else _patch_tokens(weights, name, tower, inputs)
        x = _trunk(weights.below("modality_trunks").below(name), name, tower, x)
        head = weights.below("modality_heads").below(name)
        # of a text the end token counts: its id is the largest, and argmax gives the first
        x = x[torch.arange(len(x), device=x.device), inputs.argmax(-1)] if name == "text" else x[:, 0]
        return head.linear(HEADS.get(name, "2"), head.norm(HEAD_NORMS.get(name, "0"), x))


def _scaled(tensors: "Mapping[str, Tensor]", name: str, x: "Tensor") -> "Tensor":
    """X (B, dim) with the tower's length, float32."""
    from torch.nn.functional import normalize

    x = normalize(x.float(), dim=-1)
    return (
        x if name == "vision" else x * tensors[f"modality_postprocessors.{name}.1.log_logit_scale"].float().exp().clamp(max=LARGEST_SCALE)
    )


def _text_tokens(weights: Weights, tower: Tower, ids: "Tensor") -> "Tensor":
    """Tokens (B, L, width); what comes after a text's end does not matter, so L may be shorter than the context."""
    from torch.nn.functional import embedding

    if ids.ndim != 2 or not 1 <= ids.shape[1] <= tower.tokens:
        raise ValueError(f"text is {tuple(ids.shape)}; it should be token ids (B, 1 to {tower.tokens})")
    own = weights.below("modality_preprocessors").below("text")
    return embedding(ids, own["token_embedding.weight"]) + own[positions("text")][:, : ids.shape[1]]


def _patch_tokens(weights: Weights, name: str, tower: Tower, inputs: "Tensor") -> "Tensor":
    """Tokens (B, 1 + patches, width) with the class token first."""
    import torch

    own = weights.below("modality_preprocessors").below(name)
    cut = _patches(_with_frames(inputs) if name == "vision" else inputs, name, tower)
    x = torch.nn.functional.linear(cut, own[f"{stem(name)}.weight"].flatten(1))
    if name != "vision":
        x = own.norm(f"{STEMS[name]}.norm_layer", x, STEM_EPS)
    x = torch.cat([own["cls_token"].expand(len(x), -1, -1), x], 1)
    return x + _positions_for(own[positions(name)], x.shape[1] - 1)


def _with_frames(images: "Tensor") -> "Tensor":
    """Images (B, 3, H, W) or clips of one frame as two equal frames (B, 3, 2, H, W); longer clips as they are."""
    clips = images.unsqueeze(2) if images.ndim == 4 else images
    return clips.expand(-1, -1, 2, -1, -1) if clips.ndim == 5 and clips.shape[2] == 1 else clips


def _patches(x: "Tensor", name: str, tower: Tower) -> "Tensor":
    """Patches (B, N, channels * kernel), row by row, each channel by channel; what is left at the ends falls away.

    A convolution is this and a matrix product. Raises ValueError where the number of patches is not what the tower takes:
    other sizes go only for vision, if they are square and of one clip's frames.
    """
    if x.ndim != len(tower.item) + 1 or x.shape[1] != tower.item[0] or any(n < k for n, k in zip(x.shape[2:], tower.kernel, strict=True)):
        raise ValueError(f"{name} is {tuple(x.shape)}; it should be (B, {', '.join(map(str, tower.item))})")
    axes = len(tower.kernel)
    for axis, (kernel, stride) in enumerate(zip(tower.kernel, tower.stride, strict=True), 2):
        x = x.unfold(axis, kernel, stride)
    grid = x.shape[2 : 2 + axes]
    square = name == "vision" and grid[0] == 1 and grid[1] == grid[2]
    if not square and (name == "vision" or grid.numel() != tower.patches):
        raise ValueError(
            f"{name} gives {' x '.join(map(str, grid))} patches; it should be {tower.patches} of (B, {', '.join(map(str, tower.item))})"
        )
    return x.permute(0, *range(2, 2 + axes), 1, *range(2 + axes, 2 + 2 * axes)).flatten(1 + axes).flatten(1, axes)


def _positions_for(table: "Tensor", patches: int) -> "Tensor":
    """The position embedding (1, 1 + patches, width); resized bicubically where the model was trained on another number."""
    import torch

    trained = table.shape[1] - 1
    if patches == trained:
        return table
    side, new = isqrt(trained), isqrt(patches)
    grid = table[:, 1:].float().transpose(1, 2).unflatten(2, (side, side))
    resized = torch.nn.functional.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], resized.flatten(2).transpose(1, 2).to(table.dtype)], 1)


def _trunk(weights: Weights, name: str, tower: Tower, x: "Tensor") -> "Tensor":
    """X (B, tokens, width) after all blocks."""
    from torch.nn.functional import gelu

    if name == "vision":
        x = weights.norm("pre_transformer_layer.0", x)
    for n in range(tower.blocks):
        block = weights.below(f"blocks.{n}")
        x = x + _attention(block.below("attn"), block.norm("norm_1", x), tower, causal=name == "text")
        x = x + block.linear("mlp.fc2", gelu(block.linear("mlp.fc1", block.norm("norm_2", x))))
    return x


def _attention(weights: Weights, x: "Tensor", tower: Tower, causal: bool) -> "Tensor":
    """Attention of x (B, tokens, width) to itself, and to the block's own key where it has one."""
    import torch
    from torch.nn.functional import linear, scaled_dot_product_attention

    query, key, value = linear(x, weights["in_proj_weight"], weights["in_proj_bias"]).chunk(3, -1)
    if tower.extra_key:  # after the projection: it does not go through it
        key = torch.cat([key, weights["bias_k"].expand(len(x), -1, -1)], 1)
        value = torch.cat([value, weights["bias_v"].expand(len(x), -1, -1)], 1)
    query, key, value = (y.unflatten(-1, (tower.heads, -1)).transpose(1, 2) for y in (query, key, value))
    out = scaled_dot_product_attention(query, key, value, is_causal=causal)
    return weights.linear("out_proj", out.transpose(1, 2).flatten(2))
