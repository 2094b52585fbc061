"""ImageBind's forward pass: against a plain second implementation, and every number of the sheet that needs no checkpoint."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from encoders.imagebind.layout import shapes
from encoders.imagebind.model import ImageBind
from encoders.imagebind.sizes import HUGE, TOWERS
from tests.encoders.imagebind import plain, small

TOLERANCE = 1e-5  # relative
ITEMS = {
    "text": (77,),
    "image": (3, 224, 224),
    "video": (3, 3, 2, 224, 224),  # three clips: fifteen differ in nothing but time
    "audio": (3, 1, 128, 204),
    "depth": (1, 224, 224),
    "thermal": (1, 224, 224),
    "imu": (6, 2000),
}
NORMS = {"image": 1, "text": 1 / 0.07, "audio": 20, "depth": 5, "thermal": 10, "imu": 5}
BLOCKS = {"vision": (1280, 32), "text": (1024, 24), "audio": (768, 12), "depth": (384, 12), "thermal": (768, 12), "imu": (512, 6)}
COUNTS = {
    "vision": 632_829_440,
    "text": 354_038_570,
    "audio": 86_235_649,
    "depth": 21_871_873,
    "thermal": 86_211_073,
    "imu": 19_600_385,
}
PREPROCESSORS = {
    "vision": {
        "cls_token": (1, 1, 1280),
        "rgbt_stem.proj.1.weight": (1280, 3, 2, 14, 14),
        "pos_embedding_helper.pos_embed": (1, 257, 1280),
    },
    "text": {"pos_embed": (1, 77, 1024), "mask": (77, 77), "token_embedding.weight": (49408, 1024)},
    "audio": {
        "cls_token": (1, 1, 768),
        "rgbt_stem.proj.weight": (768, 1, 16, 16),
        "rgbt_stem.norm_layer.weight": (768,),
        "rgbt_stem.norm_layer.bias": (768,),
        "pos_embedding_helper.pos_embed": (1, 229, 768),
    },
    "depth": {
        "cls_token": (1, 1, 384),
        "depth_stem.proj.weight": (384, 1, 16, 16),
        "depth_stem.norm_layer.weight": (384,),
        "depth_stem.norm_layer.bias": (384,),
        "pos_embedding_helper.pos_embed": (1, 197, 384),
    },
    "thermal": {
        "cls_token": (1, 1, 768),
        "rgbt_stem.proj.weight": (768, 1, 16, 16),
        "rgbt_stem.norm_layer.weight": (768,),
        "rgbt_stem.norm_layer.bias": (768,),
        "pos_embedding_helper.pos_embed": (1, 197, 768),
    },
    "imu": {
        "cls_token": (1, 1, 512),
        "pos_embed": (1, 251, 512),
        "imu_stem.proj.weight": (512, 48),
        "imu_stem.norm_layer.weight": (512,),
        "imu_stem.norm_layer.bias": (512,),
    },
}
HEADS = {
    "vision": ("0", "2"),
    "audio": ("0", "2"),
    "depth": ("0", "2"),
    "thermal": ("0", "2"),
    "imu": ("0", "3"),
    "text": ("proj.0", "proj.1"),
}


@pytest.fixture(scope="module", autouse=True)
def few_threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return small.tensors()


@pytest.fixture(scope="module")
def model(weights: dict[str, torch.Tensor]) -> ImageBind:
    return ImageBind(small.config(), weights)


def values(modality: str, n: int = 2, item: tuple[int, ...] | None = None) -> torch.Tensor:
    """n seeded inputs of a modality; a text is a start, words, an end in another place each, and zeros."""
    rng = np.random.default_rng(7)
    if modality != "text":
        return torch.from_numpy(rng.standard_normal((n, *(item or ITEMS[modality])), np.float32))
    ids = np.zeros((n, 77), np.int64)
    for i, row in enumerate(ids):
        row[: 6 + 5 * i] = [49406, *rng.integers(0, 49406, 4 + 5 * i), 49407]
    return torch.from_numpy(ids)


def plainly(weights: dict[str, torch.Tensor], modality: str, inputs: torch.Tensor) -> np.ndarray:
    tower = small.config().towers[TOWERS[modality]]
    doubles = {key: tensor.double().numpy() for key, tensor in weights.items()}
    given = inputs.numpy() if modality == "text" else inputs.double().numpy()
    return plain.embed(doubles, modality, given, tower.heads, tower.blocks)


def difference(got: torch.Tensor, want: np.ndarray | torch.Tensor) -> float:
    """The worst relative difference of a row."""
    want = np.asarray(want, np.float64)
    return float((np.linalg.norm(got.numpy() - want, axis=1) / np.linalg.norm(want, axis=1)).max())


@pytest.mark.parametrize("modality", ITEMS)
def test_each_modality_equals_the_plain_implementation(model: ImageBind, weights: dict[str, torch.Tensor], modality: str) -> None:
    inputs = values(modality)
    got = model.embed(modality, inputs)
    assert got.dtype == torch.float32 and got.shape == (2, small.DIM)
    assert difference(got, plainly(weights, modality, inputs)) <= TOLERANCE


@pytest.mark.parametrize("size", [196, 238, 256, 280, 336])
def test_positions_of_other_squares_are_resized(model: ImageBind, weights: dict[str, torch.Tensor], size: int) -> None:
    inputs = values("image", 1, (3, size, size))
    assert difference(model.embed("image", inputs), plainly(weights, "image", inputs)) <= TOLERANCE


@pytest.mark.parametrize(
    ("modality", "item"),
    [
        ("image", (3, 224, 280)),
        ("image", (1, 224, 224)),
        ("image", (3, 8, 8)),
        ("video", (3, 2, 224, 224)),  # without clips: misread as three clips of two channels
        ("video", (1, 3, 4, 224, 224)),
        ("audio", (1, 128, 195)),
        ("audio", (1, 128, 206)),
        ("audio", (128, 204)),
        ("depth", (1, 240, 240)),
        ("thermal", (3, 224, 224)),
        ("imu", (6, 1999)),
        ("imu", (6, 2008)),
        ("imu", (2000, 6)),
        ("text", (78,)),
    ],
)
def test_another_shape_is_named(model: ImageBind, modality: str, item: tuple[int, ...]) -> None:
    inputs = torch.zeros((1, *item), dtype=torch.int64 if modality == "text" else torch.float32)
    with pytest.raises(ValueError, match="it should be"):
        model.embed(modality, inputs)


@pytest.mark.parametrize("samples", [2000, 2007])
def test_the_tail_of_imu_falls_away(model: ImageBind, samples: int) -> None:
    inputs = values("imu", 1, (6, 2007))
    assert torch.equal(model.embed("imu", inputs[..., :samples]), model.embed("imu", inputs[..., :2000]))


@pytest.mark.parametrize("frames", [196, 205])
def test_audio_of_19_columns_passes(model: ImageBind, frames: int) -> None:
    inputs = values("audio", 1, (1, 128, frames))
    assert torch.equal(model.embed("audio", inputs), model.embed("audio", inputs[..., :196]))


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_frames_of_a_clip(model: ImageBind, weights: dict[str, torch.Tensor], frames: int) -> None:
    inputs = values("video", 1, (1, 3, frames, 224, 224))
    assert difference(model.embed("video", inputs), plainly(weights, "video", inputs)) <= TOLERANCE


def test_an_image_is_a_clip_of_the_same_frame_twice(model: ImageBind) -> None:
    images = values("image")
    clips = images[:, None, :, None].expand(-1, 1, -1, 2, -1, -1)
    assert difference(model.embed("video", clips), model.embed("image", images)) <= 1e-6


@pytest.mark.parametrize("modality", ["image", "audio", "depth", "thermal"])
def test_one_clip_equals_no_clip_axis(model: ImageBind, modality: str) -> None:
    inputs = values(modality)
    inputs = inputs[:, 0] if modality == "audio" else inputs
    assert torch.equal(model.embed(modality, inputs[:, None]), model.embed(modality, inputs))


def test_the_mean_over_clips_comes_after_the_scale_and_is_not_normalised(model: ImageBind) -> None:
    inputs = values("audio")
    clips = torch.stack([model.embed("audio", inputs[:, s]) for s in range(3)])
    got = model.embed("audio", inputs)
    assert difference(got, clips.mean(0)) <= 1e-6
    assert (got.norm(dim=1) < 20).all() and torch.allclose(clips.norm(dim=2), torch.tensor(20.0))


@pytest.mark.parametrize("modality", NORMS)
def test_lengths_of_vectors_at_construction(model: ImageBind, modality: str) -> None:
    inputs = values(modality)
    norms = model.embed(modality, inputs[:, 0] if modality == "audio" else inputs).norm(dim=1)
    assert norms.tolist() == pytest.approx([NORMS[modality]] * 2, rel=1e-5)


@pytest.mark.parametrize(("stored", "length"), [(math.log(42.0), 42.0), (math.log(250.0), 100.0)])
@pytest.mark.parametrize("modality", ["text", "depth", "thermal", "imu"])
def test_scales_are_read_and_capped(weights: dict[str, torch.Tensor], modality: str, stored: float, length: float) -> None:
    changed = {**weights, f"modality_postprocessors.{modality}.1.log_logit_scale": torch.tensor(stored)}
    norms = ImageBind(small.config(), changed).embed(modality, values(modality)).norm(dim=1)
    assert norms.tolist() == pytest.approx([length] * 2, rel=1e-5)


def test_what_follows_the_end_of_a_text_does_not_matter(model: ImageBind) -> None:
    ids = values("text", 1)
    padded = ids.clone()
    padded[ids == 0] = 49407
    assert torch.equal(model.embed("text", ids), model.embed("text", padded))
    assert difference(model.embed("text", ids[:, :6]), model.embed("text", ids)) <= 1e-6


def test_a_value_does_not_depend_on_its_neighbours(model: ImageBind) -> None:
    inputs = values("imu", 4)
    assert difference(model.embed("imu", inputs[2:3]), model.embed("imu", inputs)[2:3]) <= 1e-6


def published() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every key of the published checkpoint, written from the sheet's tables."""
    for name, (width, blocks) in BLOCKS.items():
        yield from ((f"modality_preprocessors.{name}.{key}", shape) for key, shape in PREPROCESSORS[name].items())
        extra = {"attn.bias_k": (1, 1, width), "attn.bias_v": (1, 1, width)} if name not in ("vision", "text") else {}
        block = {
            "attn.in_proj_weight": (3 * width, width),
            "attn.in_proj_bias": (3 * width,),
            **extra,
            "attn.out_proj.weight": (width, width),
            "attn.out_proj.bias": (width,),
            "norm_1.weight": (width,),
            "norm_1.bias": (width,),
            "mlp.fc1.weight": (4 * width, width),
            "mlp.fc1.bias": (4 * width,),
            "mlp.fc2.weight": (width, 4 * width),
            "mlp.fc2.bias": (width,),
            "norm_2.weight": (width,),
            "norm_2.bias": (width,),
        }
        yield from ((f"modality_trunks.{name}.blocks.{n}.{key}", shape) for n in range(blocks) for key, shape in block.items())
        norm, linear = HEADS[name]
        yield from ((f"modality_heads.{name}.{norm}.{part}", (width,)) for part in ("weight", "bias"))
        yield f"modality_heads.{name}.{linear}.weight", (1024, width)
        if name != "vision":
            yield f"modality_postprocessors.{name}.1.log_logit_scale", ()
    yield from ((f"modality_trunks.vision.pre_transformer_layer.0.{part}", (1280,)) for part in ("weight", "bias"))


def test_all_published_keys_and_shapes() -> None:
    found = [(key, shape) for name in HUGE.towers for key, shape in shapes(HUGE, name).items()]
    assert len(found) == 1311 and dict(found) == dict(published())
    groups = [key.partition(".")[0] for key, _ in found]
    assert [groups.count(f"modality_{g}") for g in ("preprocessors", "trunks", "heads", "postprocessors")] == [26, 1262, 18, 5]


def test_numbers_of_values() -> None:
    counts = {name: sum(math.prod(shape) for shape in shapes(HUGE, name).values()) for name in HUGE.towers}
    assert counts == COUNTS and sum(counts.values()) == 1_200_786_990


def test_numbers_of_tokens() -> None:
    found = {name: tower.tokens for name, tower in HUGE.towers.items()}
    assert found == {"vision": 257, "text": 77, "audio": 229, "depth": 197, "thermal": 197, "imu": 251}


@pytest.mark.parametrize("modality", ITEMS)
def test_the_published_size_runs_on_the_meta_device(modality: str) -> None:
    """Shapes fit from the stem to the head: nothing is computed, and each tower has only its own tensors."""
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes(HUGE, TOWERS[modality]).items()}
    out = ImageBind(HUGE, tensors).embed(modality, values(modality).to("meta"))
    assert out.shape == (2, 1024) and out.dtype == torch.float32


def test_bfloat16_comes_near(weights: dict[str, torch.Tensor], model: ImageBind) -> None:
    """The arithmetic in half precision, the length of the vector in float32."""
    half = {key: tensor if key.endswith("scale") else tensor.bfloat16() for key, tensor in weights.items()}
    inputs = values("imu")
    got = ImageBind(small.config(), half).embed("imu", inputs.bfloat16())
    assert got.dtype == torch.float32 and got.norm(dim=1).tolist() == pytest.approx([5.0] * 2, rel=1e-5)
    assert difference(got, model.embed("imu", inputs)) < 0.1
