"""CLIP's vision tower with less work for the same vectors.

What differs from transformers' own forward pass, none of it more than rounding:
- the last layer computes only the token from which the vector is read; the others give it their keys and values;
- query, key and value are one matrix product; residuals are added by the products that end in them;
- the quick GELU, x * sigmoid(1.702 x), is SiLU of 1.702 x, its factors taken up by the products around it.

It is taken only after a comparison with the model's own vectors; else the library's forward pass runs.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from encoders.backends.flight import own_stream, to_device, to_host
from encoders.backends.switch import close_for, difference
from encoders.base import Vectors
from encoders.clip_pixels import ClipPixels, Pixels

if TYPE_CHECKING:
    import torch

QUICK_GELU = 1.702
TOKENS = 600  # a batch: more do not stay in a core's cache
IMAGES, ON_DEVICE = 12, 32  # a batch, of the library's forward pass on a CPU, and on a GPU
SAMPLES = ((340, 250), (250, 333))  # sizes of the pictures of the comparison


class ClipVision:
    """The vision tower of a transformers CLIP; it holds the model's own weights, not copies."""

    def __init__(self, model: Any) -> None:
        """Take the parts of `model`. Raises AttributeError or ValueError where it has others."""
        import torch

        tower = model.vision_model
        config = tower.config
        if model.dtype is not torch.float32 or model.training or config.hidden_act not in ("quick_gelu", "gelu"):
            raise ValueError(f"{model.dtype} with {config.hidden_act}")
        self.embeddings, self.first, self.last = tower.embeddings, tower.pre_layrnorm, tower.post_layernorm
        factor = QUICK_GELU if config.hidden_act == "quick_gelu" else None
        self.layers = [_Layer(layer, config.num_attention_heads, factor) for layer in tower.encoder.layers]
        self.project, self.device = model.visual_projection, model.device
        self.images = max(4, min(32, TOKENS // int(tower.embeddings.num_positions)))  # a batch of a core

    def __call__(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """Vectors (n, dim) of pixels (n, 3, height, width), projected, not normalised."""
        x = self.first(self.embeddings(pixels)).contiguous()
        for layer in self.layers[:-1]:
            x = layer(x, x.shape[1])
        found: torch.Tensor = self.project(self.last(self.layers[-1](x, 1)[:, 0]))
        return found


class _Layer:
    """One layer of the tower; `factor` is the quick GELU's, None for the exact GELU."""

    def __init__(self, layer: Any, heads: int, factor: float | None) -> None:
        attention = layer.self_attn
        self.norm1, self.norm2, self.heads, self.factor = layer.layer_norm1, layer.layer_norm2, heads, factor
        self.weight, self.bias = _joined([attention.q_proj, attention.k_proj, attention.v_proj])
        self.out, self.fc1, self.fc2, self.scale = attention.out_proj, layer.mlp.fc1, layer.mlp.fc2, float(attention.scale)

    def __call__(self, x: "torch.Tensor", tokens: int) -> "torch.Tensor":
        """The first `tokens` of each picture after this layer (n, tokens, width); `x` (n, all tokens, width) may be overwritten."""
        n, _, width = x.shape
        attended = self._attended(self.norm1(x), tokens)
        rest = x[:, :tokens].reshape(-1, width)
        rest.addmm_(attended, self.out.weight.T).add_(self.out.bias)
        return self._mlp(rest).view(n, tokens, width)

    def _attended(self, x: "torch.Tensor", tokens: int) -> "torch.Tensor":
        """What the first `tokens` of each picture see (n * tokens, width)."""
        from torch.nn.functional import linear, scaled_dot_product_attention

        width = x.shape[-1]
        if tokens == x.shape[1]:
            q, k, v = self._by_head(linear(x, self.weight, self.bias), 3)
        else:
            (q,) = self._by_head(linear(x[:, :tokens], self.weight[:width], self.bias[:width]), 1)
            k, v = self._by_head(linear(x, self.weight[width:], self.bias[width:]), 2)
        return scaled_dot_product_attention(q, k, v, scale=self.scale).transpose(1, 2).reshape(-1, width)

    def _by_head(self, x: "torch.Tensor", parts: int) -> "torch.Tensor":
        """(parts, n, heads, tokens, width of a head) of (n, tokens, parts * width)."""
        return x.unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def _mlp(self, x: "torch.Tensor") -> "torch.Tensor":
        """`x` (m, width) with what its feed-forward part adds, in place."""
        from torch import addmm
        from torch.nn.functional import gelu, linear, silu

        inner = self.norm2(x)
        if self.factor is None:
            inner = gelu(linear(inner, self.fc1.weight, self.fc1.bias))
        else:
            inner = silu(addmm(self.factor * self.fc1.bias, inner, self.fc1.weight.T, alpha=self.factor), inplace=True)
        return x.addmm_(inner, self.fc2.weight.T, alpha=1 / (self.factor or 1.0)).add_(self.fc2.bias)


def _joined(layers: Sequence[Any]) -> "tuple[torch.Tensor, torch.Tensor]":
    """Weights and biases below one another; the layers keep them as parts of these, so that nothing is held twice."""
    import torch

    weight, bias = torch.cat([x.weight.detach() for x in layers]), torch.cat([x.bias.detach() for x in layers])
    for layer, w, b in zip(layers, weight.chunk(len(layers)), bias.chunk(len(layers)), strict=True):
        layer.weight.data, layer.bias.data = w, b
    return weight, bias


class LibraryVision:
    """The library's own forward pass, in the model's dtype: what runs in half precision, and where a family has other parts."""

    images = IMAGES

    def __init__(self, model: Any) -> None:
        """Of a transformers CLIP."""
        self.features, self.dtype, self.device = model.get_image_features, model.dtype, model.device

    def __call__(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """Vectors (n, dim) of pixels (n, 3, height, width), projected, not normalised."""
        out = self.features(pixel_values=pixels.to(self.dtype))
        found: torch.Tensor = getattr(out, "pooler_output", out)  # transformers 4 gave the bare tensor
        return found


class LeanClip:
    """Prepares pictures and turns them into vectors; use one from `lean_clip`, which has compared it."""

    def __init__(self, pixels: ClipPixels, vision: ClipVision | LibraryVision) -> None:
        """Prepare by `pixels`, compute by `vision`."""
        self.pixels, self.vision = pixels, vision
        self.images = vision.images if vision.device.type == "cpu" else ON_DEVICE

    def prepare(self, image: Image.Image) -> Pixels:
        """The pixels (3, height, width) float32 of an RGB image."""
        return self.pixels(image)

    def vectors(self, pictures: Sequence[Pixels]) -> Vectors:
        """Vectors (n, dim) float32 of prepared pictures."""
        import torch

        device = self.vision.device
        with torch.inference_mode(), own_stream(device):
            return to_host(self.vision(to_device(torch.from_numpy(np.stack(pictures)), device)))


def lean_clip(model: Any, processor: Any, own: Callable[[Sequence[Image.Image]], Vectors]) -> LeanClip | None:
    """`model` with less work, where it gives the vectors of `own`, the way of the library; else None."""
    noise = np.random.default_rng(0)
    pictures = [Image.fromarray(noise.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in SAMPLES]
    with suppress(Exception):  # whatever another family, or another version of a library, does not have
        pixels, wanted = ClipPixels(processor), own(pictures)
        for vision in (ClipVision, LibraryVision):
            with suppress(Exception):  # the same
                lean = LeanClip(pixels, vision(model))
                found = lean.vectors([lean.prepare(p) for p in pictures])
                if found.shape == wanted.shape and not difference(found, wanted, close_for(model.dtype)):
                    return lean
    return None
