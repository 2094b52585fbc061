"""ImageBind: objects per second by modality, what of it is decoding, and the resident set on 500 short videos against 50.

    python benchmarks/imagebind.py [--files 16] [--videos 50,500] [--minutes 2]

Decoding is measured on files made here (photographs of 640 x 480 in JPEG, sounds and videos of 5 s, 10 s of motion data).
The forward pass is that of the published size with random weights, for all modalities but video: on two cores one video
(15 clips) takes half a minute. Memory is that of `warpbeam run` with a small model, in a process of its own and with its
decoders' processes, into the embedded server. Beside each other on an idle machine only: a busy one is refused unless
--busy. Writes benchmarks/results/imagebind.json.
"""

import argparse
import io
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.figures import in_own_process  # noqa: E402

HOME = ROOT / ".warpbeam" / "imagebind"
RESULT = ROOT / "benchmarks" / "results" / "imagebind.json"
BUSY = 0.5  # load average above which a figure says nothing
MEDIA = ("image", "audio", "video", "imu", "thermal", "depth")
TEXT = "A dog runs over the wet grass behind the house, and barks at a car. " * 2


def files(modality: str, n: int) -> list[bytes]:
    """`n` files of the kind that people have."""
    from tests.encoders.imagebind import recordings

    random = np.random.default_rng(0)
    if modality == "audio":
        return [recordings.sound_file(np.stack([recordings.tone(200 + 40 * i, 5, 44100)] * 2), 44100) for i in range(n)]
    if modality == "video":
        moving = recordings.textured(125, 240, 320)
        return [recordings.video_file(moving, 25, codec="mpeg4", kind="mp4", pixels="yuv420p")] * n
    if modality == "imu":
        rows = random.normal(size=(2000, 6)).round(4).tolist()
        return ["\n".join(["gx,gy,gz,ax,ay,az", *(",".join(map(str, row)) for row in rows)]).encode()] * n
    return [picture(random, "L" if modality in ("thermal", "depth") else "RGB") for _ in range(n)]


def picture(random: np.random.Generator, mode: str) -> bytes:
    """A photograph-like picture as JPEG."""
    from PIL import Image

    rough = Image.fromarray(random.integers(0, 255, (30, 40, 3), np.uint8)).resize((640, 480)).convert(mode)
    file = io.BytesIO()
    rough.save(file, "JPEG")
    return file.getvalue()


def decoding(modality: str, n: int) -> float:
    """Seconds a file, decoded in parallel as a run does."""
    from encoders.imagebind.media import prepare

    values = files(modality, n)
    list(prepare(values[:4], modality))  # the decoders' processes are there
    start = time.perf_counter()
    assert all(isinstance(value, np.ndarray) for _, value in prepare(values, modality))
    return (time.perf_counter() - start) / n


def forward(modality: str, n: int) -> float:
    """Seconds a value of the forward pass of the published size, in one batch of `n`."""
    import torch

    from encoders.imagebind.layout import shapes
    from encoders.imagebind.media import prepare
    from encoders.imagebind.model import ImageBind
    from encoders.imagebind.sizes import HUGE, TOWERS
    from encoders.imagebind.tokens import Tokenizer

    model = ImageBind(HUGE, {key: torch.full(shape, 0.01).normal_(0, 0.02) for key, shape in shapes(HUGE, TOWERS[modality]).items()})
    if modality == "text":
        inputs = torch.from_numpy(Tokenizer()([TEXT] * n).ids)
    else:
        inputs = torch.from_numpy(np.stack([value for _, value in prepare(files(modality, n), modality)]))
    with torch.inference_mode():
        model.embed(modality, inputs[:1])
        start = time.perf_counter()
        model.embed(modality, inputs)
    return (time.perf_counter() - start) / n


def speeds(n: int, until: float) -> dict[str, dict[str, float | None]]:
    """Seconds a value by modality; what there is no time for is None."""
    found: dict[str, dict[str, float | None]] = {}
    for modality in ("imu", "depth", "thermal", "audio", "text", "video", "image"):
        decode = 0.0 if modality == "text" else decoding(modality, n)
        run = forward(modality, 4) if modality != "video" and time.perf_counter() < until else None
        found[modality] = {"decode_s": decode, "forward_s": run, "decoding_share": None if run is None else decode / (decode + run)}
        parts = "forward pass not measured" if run is None else f"forward pass {run:.3f} s, decoding {decode / (decode + run):.1%} of both"
        print(f"{modality:8} decoding {1e3 * decode:7.1f} ms a file on all cores; {parts}", flush=True)
    return found


def job(videos: int) -> Path:
    """A folder of short videos, and a job that loads them with a small model."""
    import yaml

    from tests.encoders.imagebind import recordings, small

    folder = HOME / f"videos-{videos}"
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(videos):
        moving = recordings.textured(30, 120, 160, i % 10)
        (folder / f"{i}.mp4").write_bytes(recordings.video_file(moving, 10, codec="mpeg4", kind="mp4", pixels="yuv420p"))
    name = f"Videos{videos}"
    vector = {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}
    definition = {"class": name, "properties": [{"name": "path", "dataType": ["text"]}], "vectorConfig": {"v": vector}}
    (HOME / f"{name}.json").write_text(json.dumps(definition))
    model = {"imagebind": str(small.make(HOME / "small")), "device": "cpu"}
    content = {
        "source": {"files": folder.name, "properties": {"path": "path", "film": "bytes"}},
        "target": {"weaviate": "embedded", "collection": name, "create": f"{name}.json", "incremental": False},
        "vectors": {"v": {"model": model, "video_fields": ["film"]}},
        "media": {"film": {}},
        "failures": {"path": "failures"},
        "report": f"report-{videos}",
    }
    path = HOME / f"job-{videos}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def memory(videos: int) -> dict[str, float]:
    """Peak resident sets in MB, and seconds, of one `warpbeam run`."""
    return in_own_process(__file__, "--one", str(job(videos)))


def one(path: str) -> None:
    """In a process of its own: the command, and what it cost."""
    import httpx
    import psutil
    from rich.console import Console

    from jobs.examine.findings import with_server
    from jobs.job_file import load_job
    from jobs.run import run

    loaded = load_job(path)
    url = f"{with_server(loaded).target.weaviate.url}/v1/schema/{loaded.target.collection}"
    httpx.delete(url, timeout=60)
    start = time.perf_counter()
    code = run(loaded, Console(file=sys.stderr))
    seconds = time.perf_counter() - start
    decoders = sum(peak_mb(c.pid) for c in psutil.Process().children() if "encoders.imagebind" in " ".join(c.cmdline()))
    peak = peak_mb(os.getpid())
    httpx.delete(url, timeout=600).raise_for_status()
    assert code == 0, code
    print(json.dumps({"peak_mb": peak, "decoders_mb": decoders, "seconds": seconds}))


def peak_mb(process: int) -> float:
    """The largest resident set that a process had (Linux). Unlike ru_maxrss it leaves out that of the process which started it."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """All figures, one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--videos", default="50,500")
    parser.add_argument("--minutes", type=float, default=2.0, help="for the forward passes")
    parser.add_argument("--busy", action="store_true", help="measure on a busy machine too, and write no result")
    parser.add_argument("--one")
    options = parser.parse_args()
    if options.one:
        one(options.one)
        return
    load = os.getloadavg()[0]
    if load > BUSY and not options.busy:
        sys.exit(f"the machine is busy (load average {load:.1f}); figures would say nothing")
    figures = speeds(options.files, time.perf_counter() + 60 * options.minutes)
    sets = {}
    for videos in map(int, options.videos.split(",")):
        sets[str(videos)] = memory(videos)
        row = sets[str(videos)]
        print(
            f"{videos:>6,} videos: {row['peak_mb']:6.0f} MB at the peak, decoders {row['decoders_mb']:.0f} MB, {row['seconds']:6.1f} s",
            flush=True,
        )
    peaks = [row["peak_mb"] for row in sets.values()]
    print(f"resident set, last against first: {peaks[-1] / peaks[0]:.2f}")
    if not options.busy:
        RESULT.parent.mkdir(exist_ok=True)
        machine = {"cores": os.cpu_count(), "python": platform.python_version(), "load": load}
        sizes = {"forward": "published size, random weights", "memory": "small"}
        RESULT.write_text(json.dumps({"speeds": figures, "resident_set": sets, "sizes": sizes, "machine": machine}, indent=2) + "\n")


if __name__ == "__main__":
    main()
