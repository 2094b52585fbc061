"""Texts on a GPU: plain encode, Warpbeam's encoder, and the forward pass alone; in one process, in turn, round by round.

    python benchmarks/device.py [--device cuda] [--dtype float16] [--rounds 5] [--share 1] [--model FOLDER --texts FILE]

It needs no Weaviate and no Beam, so that it runs on a machine that has only the model libraries and pydantic:
- encode: `SentenceTransformer.encode` at its best batch size;
- encoder: Warpbeam's encoder, from texts to vectors, in windows of 4,096 as in a job, the next one tokenised meanwhile;
- forward: batches that are tokenised, sorted and on the device already, the model alone, each vector copied back at the end.
Texts: every n-th of the standard library's docstrings (--share n), or the lines of --texts. Model: the genuine
all-MiniLM-L6-v2, or --model. Vectors are compared with those of plain encode in float32 on the same device.
Prints a table; writes benchmarks/results/device-DEVICE-DTYPE.json.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.figures import machine, ratio, spread, store, worst_cosine  # noqa: E402

os.environ.setdefault("HF_HUB_OFFLINE", "1")
WINDOW = 4096
ENCODE, FORWARD = (32, 128, 512, 1024), (1 << 13, 1 << 14, 1 << 15, 1 << 16, 1 << 17)  # texts, and padded tokens, a batch


def texts_of(options: argparse.Namespace) -> list[str]:
    """The texts to encode."""
    if options.texts:
        return Path(options.texts).read_text(encoding="utf-8").splitlines()
    from benchmarks.texts import docstrings

    return [text for _, text in docstrings()][:: options.share]


def model_of(options: argparse.Namespace) -> str:
    """The model's folder."""
    if options.model:
        return str(Path(options.model).resolve())
    from benchmarks.texts import STDLIB

    return str(STDLIB / "model")


def waited(device: str) -> None:
    """Wait until the device has nothing to do."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def encoded(encoder: Any, texts: Sequence[str]) -> Any:
    """Vectors (n, dim) of windows of `texts`, which two threads hand over, as `pipelines.vectorize` does."""
    windows = [texts[i : i + WINDOW] for i in range(0, len(texts), WINDOW)]
    with ThreadPoolExecutor(encoder.callers) as threads:
        return np.concatenate([found.vectors for found in threads.map(encoder.encode, windows)])


def forward_of(model: Any, texts: Sequence[str], tokens: int, device: str) -> Callable[[], Any]:
    """The forward pass of batches that are on the device."""
    import torch

    from encoders.backends.packing import padded_rows
    from encoders.batching import plan_batches

    ids = model.tokenizer(list(texts), truncation=True, max_length=model.max_seq_length)["input_ids"]
    batches = plan_batches([len(i) for i in ids], tokens, 1 << 20)
    ready = []
    for batch in batches:
        rows, mask = (torch.from_numpy(x).to(device) for x in padded_rows([ids[i] for i in batch], model.tokenizer.pad_token_id or 0))
        ready.append({"input_ids": rows, "attention_mask": mask, "modality": "text"})

    def run() -> Any:
        vectors = np.empty((len(texts), model.get_embedding_dimension()), np.float32)
        with torch.inference_mode():
            for batch, found in zip(batches, [model(dict(f))["sentence_embedding"] for f in ready], strict=True):
                vectors[batch] = found.float().cpu().numpy()
        return vectors

    return run


def clocked(work: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Seconds of `work`, and what it gave."""
    waited(device)
    start = time.perf_counter()
    found = work()
    waited(device)
    return time.perf_counter() - start, found


def best(ways: dict[int, Callable[[], Any]], device: str) -> tuple[int, Callable[[], Any]]:
    """The fastest of several sizes, each tried twice; one for which there is no room is left out."""
    seconds = {}
    for size, work in ways.items():
        try:
            seconds[size] = min(clocked(work, device)[0] for _ in range(2))
        except RuntimeError as error:
            print(f"{size}: {str(error).splitlines()[0]}", flush=True)
    size = min(seconds, key=lambda s: seconds[s])
    return size, ways[size]


def main() -> None:
    """Measure, print the table, keep the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="float16", choices=("float32", "float16", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--share", type=int, default=1, metavar="N", help="every N-th text")
    parser.add_argument("--model", help="a folder")
    parser.add_argument("--texts", help="a file with a text a line")
    options = parser.parse_args()
    device, texts, name = options.device, texts_of(options), model_of(options)

    from sentence_transformers import SentenceTransformer

    from encoders.text import TextEncoder
    from schemas.models import ModelSpec

    where = machine() | {"device": device_name(device)}
    wanted = SentenceTransformer(name, device=device).encode(texts, batch_size=128, show_progress_bar=False)
    plain = SentenceTransformer(name, device=device, model_kwargs={"dtype": options.dtype}).eval()
    encoder = TextEncoder(ModelSpec(name=name, device=device, dtype=options.dtype), {})
    how = encoder.backend
    encodes = {n: (lambda n=n: plain.encode(texts, batch_size=n, show_progress_bar=False)) for n in ENCODE}
    passes = {n: forward_of(plain, texts, n, device) for n in FORWARD}
    sizes, rows = {}, {"encoder": lambda: encoded(encoder, texts)}
    sizes["encode"], rows["encode"] = best(encodes, device)
    sizes["forward"], rows["forward"] = best(passes, device)
    for _ in range(3):  # the encoder finds its own size of batch meanwhile
        encoded(encoder, texts)
    sizes["encoder"] = encoder.budget.tokens
    seconds: dict[str, list[float]] = {row: [] for row in rows}
    cosines = {}
    for i in range(options.rounds):
        for row in (list(rows), list(rows)[::-1])[i % 2]:
            took, vectors = clocked(rows[row], device)
            seconds[row].append(took)
            cosines[row] = worst_cosine(vectors, wanted)
    print(f"\n{len(texts):,} texts, {options.dtype} on {where['device']}; {how}\n")
    print(f"{'':10}{'batch':>8}{'median s':>10}{'min..max s':>18}{'texts/s':>10}{'x encode':>10}{'x forward':>10}{'worst cosine':>14}")
    result: dict[str, Any] = {}
    for row, took in seconds.items():
        s = spread(took)
        times = {base: ratio(took, seconds[base]) for base in ("encode", "forward")}
        result[row] = {"batch": sizes[row], "seconds": took, "spread": s, "times": times, "worst_cosine_to_float32": cosines[row]}
        print(
            f"{row:10}{sizes[row]:>8}{s['median']:10.3f}{s['min']:9.3f}..{s['max']:7.3f}{len(texts) / s['median']:10,.0f}"
            f"{times['encode']:10.2f}{times['forward']:10.2f}{cosines[row]:14.7f}"
        )
    name = f"device-{device.replace(':', '')}-{options.dtype}"
    store(name, {"machine": where, "texts": len(texts), "dtype": options.dtype, "how": how, "rounds": options.rounds, "rows": result})


def device_name(device: str) -> str:
    """What stands behind torch's word for a device."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


if __name__ == "__main__":
    main()
