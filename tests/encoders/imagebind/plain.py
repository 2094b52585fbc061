"""ImageBind a second time, as plainly as it can be said: numpy float64, one value and one head at a time, from the sheet."""

import math
from collections.abc import Callable

import numpy as np

Array = np.ndarray
Tensors = dict[str, Array]

TOWER = {"image": "vision", "video": "vision"}


def embed(t: Tensors, modality: str, inputs: Array, heads: int, blocks: int) -> Array:
    """Vectors (B, dim) of a batch; of video and audio files the mean over clips."""
    name = TOWER.get(modality, modality)
    if inputs.ndim >= 5:
        return np.stack([np.mean([one(t, name, clip, heads, blocks) for clip in value], axis=0) for value in inputs])
    return np.stack([one(t, name, value, heads, blocks) for value in inputs])


def one(t: Tensors, name: str, value: Array, heads: int, blocks: int) -> Array:
    """The scaled vector (dim,) of one input."""
    x = tokens(t, name, value)
    if name == "vision":
        x = layer_norm(x, t, "modality_trunks.vision.pre_transformer_layer.0", 1e-6)
    for n in range(blocks):
        key = f"modality_trunks.{name}.blocks.{n}"
        x = x + attention(t, key + ".attn", layer_norm(x, t, key + ".norm_1", 1e-6), heads, name)
        hidden = gelu(linear(layer_norm(x, t, key + ".norm_2", 1e-6), t, key + ".mlp.fc1"))
        x = x + linear(hidden, t, key + ".mlp.fc2")
    out = head(t, name, x, value)
    out = out / max(math.sqrt(float(out @ out)), 1e-12)
    if name == "vision":
        return out
    return out * min(math.exp(float(t[f"modality_postprocessors.{name}.1.log_logit_scale"])), 100.0)


def head(t: Tensors, name: str, x: Array, value: Array) -> Array:
    key = f"modality_heads.{name}"
    if name == "text":
        ids = [int(i) for i in value]
        pooled = x[ids.index(max(ids))][None]
        return (layer_norm(pooled, t, f"{key}.proj.0", 1e-6) @ t[f"{key}.proj.1.weight"].T)[0]
    number = 3 if name == "imu" else 2
    return layer_norm(x, t, f"{key}.0", 1e-6)[0] @ t[f"{key}.{number}.weight"].T


def tokens(t: Tensors, name: str, value: Array) -> Array:
    return {"vision": vision, "text": text, "imu": imu}.get(name, lambda t, v: picture(t, name, v))(t, value)


def vision(t: Tensors, value: Array) -> Array:
    if value.ndim == 3:
        value = np.stack([value, value], axis=1)
    elif value.shape[1] == 1:
        value = np.concatenate([value, value], axis=1)
    weight = t["modality_preprocessors.vision.rgbt_stem.proj.1.weight"]
    rows = []
    for y in range(value.shape[2] // 14):
        for x in range(value.shape[3] // 14):
            rows.append(np.einsum("cthw,octhw->o", value[:, :2, 14 * y : 14 * y + 14, 14 * x : 14 * x + 14], weight))
    return with_class(t, "vision", np.array(rows), "pos_embedding_helper.pos_embed")


def picture(t: Tensors, name: str, value: Array) -> Array:
    stem = "depth_stem" if name == "depth" else "rgbt_stem"
    stride = 10 if name == "audio" else 16
    weight = t[f"modality_preprocessors.{name}.{stem}.proj.weight"]
    rows = []
    for top in range(0, value.shape[1] - 15, stride):
        for left in range(0, value.shape[2] - 15, stride):
            rows.append(np.einsum("chw,ochw->o", value[:, top : top + 16, left : left + 16], weight))
    x = layer_norm(np.array(rows), t, f"modality_preprocessors.{name}.{stem}.norm_layer", 1e-5)
    return with_class(t, name, x, "pos_embedding_helper.pos_embed")


def imu(t: Tensors, value: Array) -> Array:
    windows = np.zeros((250, 48))
    for w in range(250):
        for channel in range(6):
            for sample in range(8):
                windows[w, 8 * channel + sample] = value[channel, 8 * w + sample]
    x = windows @ t["modality_preprocessors.imu.imu_stem.proj.weight"].T
    return with_class(t, "imu", layer_norm(x, t, "modality_preprocessors.imu.imu_stem.norm_layer", 1e-5), "pos_embed")


def text(t: Tensors, ids: Array) -> Array:
    table = t["modality_preprocessors.text.token_embedding.weight"]
    return np.stack([table[int(i)] for i in ids]) + t["modality_preprocessors.text.pos_embed"][0]


def with_class(t: Tensors, name: str, x: Array, positions: str) -> Array:
    first = t[f"modality_preprocessors.{name}.cls_token"][0]
    table = t[f"modality_preprocessors.{name}.{positions}"][0]
    if len(table) != len(x) + 1:
        table = np.concatenate([table[:1], resized(table[1:], math.isqrt(len(x)))])
    return np.concatenate([first, x]) + table


def resized(table: Array, new: int) -> Array:
    """A square table of positions (n * n, width) at new * new places: bicubic, pixel centres at halves, the border repeated."""
    old = math.isqrt(len(table))
    matrix = np.zeros((new, old))
    for i in range(new):
        at = (i + 0.5) * old / new - 0.5
        for j in range(math.floor(at) - 1, math.floor(at) + 3):
            matrix[i, min(max(j, 0), old - 1)] += cubic(abs(at - j))
    return np.einsum("ai,bj,ijw->abw", matrix, matrix, table.reshape(old, old, -1)).reshape(new * new, -1)


def cubic(d: float, a: float = -0.75) -> float:
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def attention(t: Tensors, key: str, x: Array, heads: int, name: str) -> Array:
    width = x.shape[1]
    packed = x @ t[f"{key}.in_proj_weight"].T + t[f"{key}.in_proj_bias"]
    q, k, v = packed[:, :width], packed[:, width : 2 * width], packed[:, 2 * width :]
    if name not in ("vision", "text"):
        k, v = np.concatenate([k, t[f"{key}.bias_k"][0]]), np.concatenate([v, t[f"{key}.bias_v"][0]])
    size, parts = width // heads, []
    for h in range(heads):
        own = slice(h * size, (h + 1) * size)
        logits = q[:, own] @ k[:, own].T / math.sqrt(size)
        if name == "text":
            logits = logits + t["modality_preprocessors.text.mask"][: len(x), : len(x)]
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        parts.append(shares / shares.sum(axis=1, keepdims=True) @ v[:, own])
    return linear(np.concatenate(parts, axis=1), t, f"{key}.out_proj")


def linear(x: Array, t: Tensors, key: str) -> Array:
    return x @ t[f"{key}.weight"].T + t[f"{key}.bias"]


def layer_norm(x: Array, t: Tensors, key: str, eps: float) -> Array:
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * t[f"{key}.weight"] + t[f"{key}.bias"]


erf: Callable[[Array], Array] = np.vectorize(math.erf)


def gelu(x: Array) -> Array:
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))
