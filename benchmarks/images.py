"""Photographs through CLIP: plain encode, Warpbeam's encoder, the whole job into a real Weaviate, and the bare forward pass.

    python benchmarks/images.py [--photos FOLDER] [--n 192] [--rounds 5] [--models small,vit-b-32]

The photographs are those that scikit-image ships (its folder `data`; --photos names another folder), cut and mirrored by
a seeded rule and saved as JPEG of 800 x 800 and 1600 x 1200. The models are of random weights, seeded: a small CLIP
(4 layers of 256, patches of 32) and a ViT-B/32. In turn, round by round, each in a process of its own, the model loaded
and warm before the clock starts:
- encode: `SentenceTransformer.encode` of pictures that Pillow opened, at the best of several batch sizes;
- encoder: Warpbeam's encoder, from the bytes of the files;
- reduced: the same with `image_decoding: reduced`, whose vectors differ a little;
- job: `warpbeam run`, from Parquet to the last acknowledged object, into a flat index;
- forward: the model alone on prepared pixels, with the library's forward pass, at the best of several batch sizes.
Prints a table with medians, spreads and CPU time; writes benchmarks/results/images.json. Needs `make env` and scikit-image.
"""

import argparse
import importlib
import importlib.util
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figures import in_own_process, machine, ratio, spread, store, worst_cosine  # noqa: E402

PHOTOS = (
    "astronaut.png chelsea.png coffee.png motorcycle_left.png motorcycle_right.png rocket.jpg retina.jpg hubble_deep_field.jpg "
    "brick.png grass.png gravel.png ihc.png"
).split()
SIZES = ((800, 800), (1600, 1200))
MODELS = {
    "small": {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 4},
    "vit-b-32": {},
}
ROWS = ("encode", "encoder", "reduced", "job", "forward")
BATCHES = (4, 8, 16, 32)


def photos_folder(named: str | None) -> Path:
    """Where the photographs lie. Exits where there are none."""
    spec = importlib.util.find_spec("skimage")
    found = Path(named) if named else Path(str(spec.origin)).parent / "data" if spec else None
    if found is None or not all((found / name).is_file() for name in PHOTOS):
        sys.exit(f"no photographs in {found}: install scikit-image into a place of your own, and name its folder skimage/data as --photos")
    return found


def write_photos(source: Path, folder: Path, n: int) -> None:
    """`n` JPEG files from the photographs of `source`, as Parquet with `key` and `photo`."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image, ImageOps

    random, files = np.random.default_rng(0), []
    for i in range(n):
        photo = Image.open(source / PHOTOS[i % len(PHOTOS)]).convert("RGB")
        width, height = (int(edge * random.uniform(0.6, 1)) for edge in photo.size)
        x, y = int(random.integers(0, photo.width - width + 1)), int(random.integers(0, photo.height - height + 1))
        photo = photo.crop((x, y, x + width, y + height))
        photo = ImageOps.mirror(photo) if random.random() < 0.5 else photo
        file = io.BytesIO()
        ImageOps.fit(photo, SIZES[i % len(SIZES)], Image.Resampling.BICUBIC).save(file, "JPEG", quality=88)
        files.append(file.getvalue())
    pq.write_table(pa.table({"key": [f"{i:05}" for i in range(n)], "photo": files}), folder / "photos.parquet", row_group_size=64)


def write_model(folder: Path, vision: dict[str, int]) -> None:
    """A sentence-transformers CLIP of seeded random weights."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor

    from examples.shapes import word_tokenizer

    torch.manual_seed(0)
    text = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2}
    CLIPModel(CLIPConfig(text_config=text, vision_config={"patch_size": 32, **vision}, projection_dim=512)).save_pretrained(folder)
    CLIPProcessor(image_processor=CLIPImageProcessorPil(), tokenizer=word_tokenizer(("a", "red"), 77)).save_pretrained(folder)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.CLIPModel"}]
    (folder / "modules.json").write_text(json.dumps(modules))


def clocked(work: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Seconds and CPU seconds of `work`, and what it gave."""
    start, cpu = time.perf_counter(), time.process_time()
    found = work()
    return {"seconds": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}, found


def encode(files: list[bytes], asked: dict[str, Any]) -> tuple[dict[str, float], Any]:
    """Plain encode of pictures that are opened, and decoded when the model asks for them."""
    from PIL import Image
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(asked["model"], device="cpu")

    def run(chosen: list[bytes]) -> Any:
        return model.encode([Image.open(io.BytesIO(f)) for f in chosen], batch_size=asked["batch"], show_progress_bar=False)

    run(files[:8])
    return clocked(lambda: run(files))


def encoder(files: list[bytes], asked: dict[str, Any]) -> tuple[dict[str, float], Any]:
    """Warpbeam's encoder."""
    from encoders.clip import ClipEncoder
    from schemas.models import ModelSpec

    made = ClipEncoder(ModelSpec(name=asked["model"], device="cpu", image_decoding="reduced" if asked["row"] == "reduced" else "exact"), {})
    made.encode(files[:8], "image")
    return clocked(lambda: made.encode(files, "image").vectors)


def forward(files: list[bytes], asked: dict[str, Any]) -> tuple[dict[str, float], Any]:
    """The library's forward pass on pixels that are there already."""
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, CLIPModel

    model = CLIPModel.from_pretrained(asked["model"], dtype="float32").eval()
    processor = AutoImageProcessor.from_pretrained(asked["model"], backend="pil")
    pixels = torch.cat([processor(images=[Image.open(io.BytesIO(f))], return_tensors="pt")["pixel_values"] for f in files])

    def run(chosen: Any) -> Any:
        with torch.inference_mode():
            return torch.cat([model.get_image_features(pixel_values=part).pooler_output for part in chosen.split(asked["batch"])]).numpy()

    run(pixels[:8])
    return clocked(lambda: run(pixels))


def job(files: list[bytes], asked: dict[str, Any]) -> tuple[dict[str, float], Any]:
    """The whole job, without starting Python and loading the model; the vectors are read back from Weaviate."""
    import httpx
    from rich.console import Console

    from encoders.sharing import shared_encoder
    from jobs.job_file import load_job

    httpx.delete(f"{asked['url']}/v1/schema/Photo", timeout=60).raise_for_status()
    loaded = load_job(job_file(asked))
    with shared_encoder(loaded.vectors["looks"]) as made:
        made.encode(files[:8], "image")
    spans: list[dict[str, float]] = []
    runs: Any = importlib.import_module("jobs.run")
    execute = runs.executed

    def timed(*args: Any, **options: Any) -> Any:
        figures, outcome = clocked(lambda: execute(*args, **options))
        spans.append(figures)
        return outcome

    runs.executed = timed
    assert runs.run(loaded, Console(file=sys.stderr)) == 0
    page = httpx.get(f"{asked['url']}/v1/objects?class=Photo&include=vector&limit={len(files)}", timeout=60).json()["objects"]
    found = {o["properties"]["key"]: o["vectors"]["looks"] for o in page}
    return spans[0], np.array([found[key] for key in sorted(found)], np.float32)


def job_file(asked: dict[str, Any]) -> Path:
    """The job and its class definition."""
    folder = Path(asked["folder"])
    vectors = {"looks": {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}}
    definition = {"class": "Photo", "properties": [{"name": "key", "dataType": ["text"]}], "vectorConfig": vectors}
    (folder / "class.json").write_text(json.dumps(definition))
    content = {
        "source": {"parquet": str(folder / "photos.parquet"), "key": "key"},
        "media": {"photo": {}},
        "target": {"weaviate": {"url": asked["url"], "grpc": asked["grpc"]}, "collection": "Photo", "create": "class.json"},
        "vectors": {"looks": {"model": {"name": asked["model"], "device": "cpu"}, "image_fields": ["photo"]}},
        "failures": {"path": "failures"},
        "report": "report",
    }
    path = folder / "job.yaml"
    path.write_text(json.dumps(content))  # JSON is YAML
    return path


def one(asked: dict[str, Any]) -> None:
    """One measurement, in this process; its last line is JSON."""
    import pyarrow.parquet as pq

    files = pq.read_table(Path(asked["folder"]) / "photos.parquet").column("photo").to_pylist()[: asked["n"]]
    figures, vectors = {"encode": encode, "encoder": encoder, "reduced": encoder, "job": job, "forward": forward}[asked["row"]](
        files, asked
    )
    np.save(Path(asked["folder"]) / f"{asked['row']}.npy", vectors)
    print("\n" + json.dumps(figures), flush=True)


def measured(asked: dict[str, Any]) -> dict[str, float]:
    """What a process of its own measures."""
    return in_own_process(__file__, "--one", json.dumps(asked), cwd=asked["folder"])


def compare(asked: dict[str, Any], rounds: int) -> dict[str, Any]:
    """All rows of one model."""
    batches = {}
    for row in ("encode", "forward"):
        tried = {size: measured(asked | {"row": row, "batch": size, "n": min(asked["n"], 64)})["seconds"] for size in BATCHES}
        batches[row] = min(tried, key=lambda size: tried[size])
    found: dict[str, list[dict[str, float]]] = {row: [] for row in ROWS}
    for i in range(rounds):
        for row in ROWS[i % 2 :] + ROWS[: i % 2]:
            found[row].append(measured(asked | {"row": row, "batch": batches.get(row, 0)}))
            print(f"{Path(asked['model']).name}, {row}: {found[row][-1]['seconds']:.2f} s", flush=True)
    plain = np.load(Path(asked["folder"]) / "encode.npy")
    seconds = {row: [f["seconds"] for f in figures] for row, figures in found.items()}
    return {
        row: {
            "batch": batches.get(row),
            "seconds": seconds[row],
            "seconds_spread": spread(seconds[row]),
            "cpu_s_spread": spread([f["cpu_s"] for f in figures]),
            "photos_per_s": asked["n"] / spread(seconds[row])["median"],
            "times_encode": ratio(seconds[row], seconds["encode"]),
            "worst_cosine_to_encode": worst_cosine(np.load(Path(asked["folder"]) / f"{row}.npy"), plain),
        }
        for row, figures in found.items()
    }


def show(name: str, rows: dict[str, Any]) -> None:
    """The table of one model."""
    print(f"\n{name:10}{'batch':>7}{'median s':>10}{'min..max s':>16}{'CPU s':>8}{'photos/s':>10}{'x encode':>10}{'worst cosine':>14}")
    for row, found in rows.items():
        s = found["seconds_spread"]
        print(
            f"{row:10}{found['batch'] or '':>7}{s['median']:10.2f}{s['min']:8.2f}..{s['max']:6.2f}{found['cpu_s_spread']['median']:8.2f}"
            f"{found['photos_per_s']:10.1f}{found['times_encode']:10.2f}{found['worst_cosine_to_encode']:14.7f}"
        )


def main() -> None:
    """Measure, print the tables, keep the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos")
    parser.add_argument("--n", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--one")
    options = parser.parse_args()
    if options.one:
        one(json.loads(options.one))
        return
    from jobs.server import start_server

    where, models = machine(), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(photos_folder(options.photos), folder, options.n)
        with start_server(folder / "data", log=folder / "server.log") as server:
            for model in options.models.split(","):
                write_model(folder / model, MODELS[model])
                asked = {"folder": name, "model": str(folder / model), "n": options.n, "url": server.url, "grpc": server.grpc}
                models[model] = compare(asked, options.rounds)
    for model, rows in models.items():
        show(model, rows)
    store("images", {"machine": where, "photos": options.n, "sizes": SIZES, "rounds": options.rounds, "dtype": "float32", "models": models})


if __name__ == "__main__":
    main()
