"""`image_decoding: reduced` against `exact`: the CPU time of decoding and preparing a photograph, and what its vector loses.

    python benchmarks/decoding.py [--photos FOLDER] [--rounds 3]

The photographs of benchmarks/images.py, scaled up (or down) to the sizes of SIZES, with a camera's noise (a normal
deviation of 7 grey levels; without it, the files would be smaller than a camera's, and decoded faster), as JPEG of
quality 88. The model is its ViT-B/32 of random weights. One thread; each file in both ways in turn, the best of the
rounds, the mean over the files. Cosines are those between both vectors of a file; `around_mean` takes the mean of all
exact vectors off first, since photographs are alike to a model of random weights.
Prints a table, writes benchmarks/results/decoding.json. Needs `make env` and scikit-image.
"""

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figures import cosines, machine, store  # noqa: E402
from benchmarks.images import MODELS, PHOTOS, photos_folder, write_model  # noqa: E402

SIZES = ((4000, 3000), (3601, 3585), (1600, 1200), (800, 800))
NOISE = 7
WAYS = ("exact", "reduced")


def photographs(source: Path, size: tuple[int, int]) -> list[bytes]:
    """JPEG files of `size`."""
    from PIL import Image, ImageOps

    random, files = np.random.default_rng(0), []
    for name in PHOTOS:
        fitted = ImageOps.fit(Image.open(source / name).convert("RGB"), size, Image.Resampling.LANCZOS)
        noisy = np.asarray(fitted, np.float32) + NOISE * random.standard_normal((size[1], size[0], 3), np.float32)
        file = io.BytesIO()
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=88)
        files.append(file.getvalue())
    return files


def compared(files: list[bytes], tower: Any, rounds: int) -> dict[str, Any]:
    """Milliseconds of CPU a photo by way, and the cosines between the ways."""
    from encoders.images import open_image, reduced, upright_rgb

    treatments = {"exact": upright_rgb, "reduced": reduced(tower.scaling)}
    spent: dict[str, list[float]] = {way: [] for way in WAYS}
    vectors: dict[str, list[Any]] = {way: [] for way in WAYS}
    for data in files:
        best = dict.fromkeys(WAYS, float("inf"))
        for _ in range(rounds):
            for way in WAYS:
                start = time.thread_time()
                prepared = tower.prepare(open_image(data, treat=treatments[way]))
                best[way] = min(best[way], 1000 * (time.thread_time() - start))
                if len(vectors[way]) == len(spent[way]):
                    vectors[way].append(tower.pictures([prepared])[0])
        for way in WAYS:
            spent[way].append(best[way])
    exact, near = (np.array(vectors[way], np.float64) for way in WAYS)
    mean = exact.mean(0)
    return {
        "file_mb": round(sum(map(len, files)) / len(files) / 1e6, 2),
        "cpu_ms": {way: round(float(np.mean(spent[way])), 2) for way in WAYS},
        "cosine": summary(cosines(exact, near)),
        "around_mean": summary(cosines(exact - mean, near - mean)),
    }


def summary(values: Any) -> dict[str, float]:
    """The worst and the mean."""
    return {"worst": round(float(values.min()), 7), "mean": round(float(values.mean()), 7)}


def main() -> None:
    """Measure, print the table, keep the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    import torch

    from encoders.towers import load_tower
    from schemas.models import ModelSpec

    torch.set_num_threads(1)
    where, found = machine(), {}
    with tempfile.TemporaryDirectory() as name:
        write_model(Path(name) / "model", MODELS["vit-b-32"])
        tower = load_tower(str(Path(name) / "model"), ModelSpec(name="x", device="cpu"))
    print(f"{'size':>12}{'MB':>6}{'exact ms':>10}{'reduced ms':>12}{'times':>7}{'worst cosine':>14}{'around mean':>13}")
    for size in SIZES:
        rows = compared(photographs(photos_folder(options.photos), size), tower, options.rounds)
        found["x".join(map(str, size))] = rows
        ms = rows["cpu_ms"]
        print(
            f"{size[0]:>7}x{size[1]}{rows['file_mb']:6.1f}{ms['exact']:10.1f}{ms['reduced']:12.1f}{ms['exact'] / ms['reduced']:7.2f}"
            f"{rows['cosine']['worst']:14.7f}{rows['around_mean']['worst']:13.6f}"
        )
    store("decoding", {"machine": where, "photos": len(PHOTOS), "noise": NOISE, "rounds": options.rounds, "sizes": found})


if __name__ == "__main__":
    main()
