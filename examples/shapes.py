"""Draws coloured shapes, trains a small CLIP on them, and leaves a model folder and a Parquet file for `shapes.yaml`.

    python examples/shapes.py [--out .warpbeam/shapes]

Nothing is downloaded, and everything follows from one seed. One to two minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPProcessor, CLIPTokenizer

SIDE = 64  # pixels
SHAPES = ("circle", "square", "triangle", "star", "cross")
COLOURS = {
    "red": (215, 35, 35),
    "orange": (250, 140, 20),
    "yellow": (245, 225, 40),
    "green": (40, 150, 55),
    "blue": (40, 80, 215),
    "purple": (130, 45, 165),
    "black": (20, 20, 20),
    "white": (250, 250, 250),
}
PAIRS = [(colour, shape) for colour in COLOURS for shape in SHAPES]
PLAIN = "{a} {colour} {shape}"
TEMPLATES = (PLAIN, PLAIN, "a picture of {a} {colour} {shape}", "a {size} {colour} {shape}", "{colour} {shape}")
WORDS = ("a", "an", "picture", "of", "small", "large", *COLOURS, *SHAPES)
HELD_OUT = 15  # pictures of each pair
STEPS = 1600
PEAK_RATE = 2e-3


class Picture(NamedTuple):
    """A drawn shape: the 64 x 64 RGB image and what is on it."""

    image: Image.Image
    colour: str
    shape: str
    size: str  # small or large

    def caption(self, template: str = PLAIN) -> str:
        """What a person would write under the picture."""
        return template.format(a="an" if self.colour == "orange" else "a", colour=self.colour, shape=self.shape, size=self.size)


def outline(shape: str, centre: tuple[float, float], radius: float, turn: float) -> list[tuple[float, float]]:
    """The corners of `shape`, on a circle of `radius` around `centre`, turned by `turn` (radians)."""
    corners = {"circle": (48, (1.0,)), "square": (4, (1.0,)), "triangle": (3, (1.0,)), "star": (10, (1.0, 0.42))}
    if shape == "cross":
        points = [(0.95, side * 0.28) for side in (-1, 1)] + [(0.28, 0.28)]
        polar = [(math.hypot(x, y), math.atan2(y, x) + quarter * math.pi / 2) for quarter in range(4) for x, y in points]
    else:
        count, reach = corners[shape]
        start = -math.pi / 4 if shape == "square" else -math.pi / 2
        polar = [(reach[i % len(reach)], start + 2 * math.pi * i / count) for i in range(count)]
    return [(centre[0] + radius * r * math.cos(a + turn), centre[1] + radius * r * math.sin(a + turn)) for r, a in polar]


def draw(colour: str, shape: str, rng: random.Random) -> Picture:
    """A picture of one shape: size, place, turn, shade and background are drawn from `rng`."""
    radius = rng.uniform(14, 28)
    reach = min(8.0, SIDE / 2 - radius)  # how far from the middle the shape may stand
    centre = (SIDE / 2 + rng.uniform(-reach, reach), SIDE / 2 + rng.uniform(-reach, reach))
    shade = tuple(max(0, min(255, c + rng.randint(-12, 12))) for c in COLOURS[colour])
    background = tuple(rng.randint(105, 160) for _ in range(3))
    image = Image.new("RGB", (SIDE * 2, SIDE * 2), background)  # twice the size, so that edges come out smooth
    corners = outline(shape, centre, radius, rng.uniform(-0.25, 0.25))
    ImageDraw.Draw(image).polygon([(2 * x, 2 * y) for x, y in corners], fill=shade)
    size = "large" if radius > 21 else "small"
    return Picture(image.resize((SIDE, SIDE), Image.Resampling.BOX), colour, shape, size)


def draw_all(per_pair: int, rng: random.Random) -> list[Picture]:
    """`per_pair` pictures of every colour and shape, in rounds: each 40 in a row show every pair once."""
    return [draw(colour, shape, rng) for _ in range(per_pair) for colour, shape in PAIRS]


def merges_of(words: Sequence[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, in order, that make each of `words` one token: what is left of a word is joined from the left."""
    merges: list[tuple[str, str]] = []
    for word in words:
        pieces = [*word[:-1], word[-1] + "</w>"]
        for pair in merges:
            i = 0
            while i + 1 < len(pieces):
                if (pieces[i], pieces[i + 1]) == pair:
                    pieces[i : i + 2] = ["".join(pair)]
                i += 1
        merges += [("".join(pieces[:i]), pieces[i]) for i in range(1, len(pieces))]
    return merges


def word_tokenizer(words: Sequence[str], limit: int = 77) -> CLIPTokenizer:
    """CLIP's byte-pair tokenizer with a small vocabulary: all bytes, and `words`."""
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters, merges = list(bytes_to_unicode().values()), merges_of(words)
    joined = [left + right for left, right in merges]
    tokens = dict.fromkeys([*letters, *(letter + "</w>" for letter in letters), *joined, "<|startoftext|>", "<|endoftext|>"])
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=merges, model_max_length=limit)


def new_clip(seed: int) -> tuple[CLIPModel, CLIPProcessor]:
    """An untrained CLIP of about 2 MB for 64 x 64 pictures, with its processor."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor

    tokenizer = word_tokenizer(WORDS)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    text = {"vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4, "patch_size": 16}
    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(text_config={**text, **ids}, vision_config={**vision, "image_size": SIDE}, projection_dim=64))
    images = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    return model, CLIPProcessor(image_processor=images, tokenizer=tokenizer)


def train(steps: int, seed: int) -> tuple[CLIPModel, CLIPProcessor]:
    """A CLIP trained on `steps` freshly drawn batches, each with one picture of every pair, so that no caption fits two."""
    import torch

    torch.set_num_threads(1)  # the matrices are too small for more to help, and the result is the same on every machine
    rng = random.Random(seed)
    model, processor = new_clip(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=PEAK_RATE, total_steps=steps + 1, pct_start=0.1)
    model.train()
    for step in range(steps):
        pictures = draw_all(1, rng)
        captions = [picture.caption(rng.choice(TEMPLATES)) for picture in pictures]
        batch = processor(text=captions, images=[picture.image for picture in pictures], return_tensors="pt", padding=True)
        loss = model(**batch, return_loss=True).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            print(f"  batch {step} of {steps}: loss {loss.item():.2f}", flush=True)
    return model.eval(), processor


def save_model(model: CLIPModel, processor: CLIPProcessor, folder: Path) -> None:
    """Save as a sentence-transformers CLIP model: Hugging Face's files, and a modules.json that names the one module."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    module = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.CLIPModel"}
    (folder / "modules.json").write_text(json.dumps([module], indent=2))


def png(image: Image.Image) -> bytes:
    """`image` as the bytes of a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def save_pictures(pictures: Sequence[Picture], path: Path) -> None:
    """Write id, caption, colour, shape and image (PNG) as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"id": f"shape-{i:04}", "caption": p.caption(), "colour": p.colour, "shape": p.shape, "image": png(p.image)}
        for i, p in enumerate(pictures)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)


def main(out: Path, steps: int = STEPS, seed: int = 7) -> None:
    """Leave `out`/model and `out`/shapes.parquet, unless both are there."""
    model_folder, parquet = out / "model", out / "shapes.parquet"
    if (model_folder / "modules.json").exists() and parquet.exists():
        print(f"Everything is there already: {model_folder} and {parquet}. Delete {out} to make it again.")
        return
    out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    print(f"Training a small CLIP on {steps * len(PAIRS)} drawn pictures of {len(PAIRS)} kinds; one to two minutes on two cores.")
    model, processor = train(steps, seed)
    save_model(model, processor, model_folder)
    print(f"Saved the model in {model_folder} after {time.monotonic() - start:.0f} s.")
    save_pictures(draw_all(HELD_OUT, random.Random(seed + 1)), parquet)
    print(f"Drew {HELD_OUT * len(PAIRS)} pictures that the model has not seen: {parquet}.")
    print("Next: warpbeam run examples/shapes.yaml")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw coloured shapes and train a small CLIP on them.")
    parser.add_argument("--out", type=Path, default=Path(".warpbeam/shapes"), help="the folder to fill")
    main(parser.parse_args().out)
