"""How near the encoder comes to the hardware: on the demo's texts against plain `encode`, a bare forward pass and a matrix product.

    python benchmarks/forward.py [--rounds 5] [--share 8]

In turn, round by round, in one process, on the same texts (every n-th of the demo's, `--share` n): plain `encode` (batch
size 8, its best), the bare forward pass on batches that are tokenised, sorted and padded beforehand, the encoder of
Warpbeam, and its parts: without packed weights, one batch at a time on all cores, other sizes of batch. Wall time and
process time; in a process time that others took from the machine is not counted. The limit is a matrix product of the
model's shapes in the same round. Vectors are compared. Needs `python examples/stdlib.py` and `make env`.
Prints a table; writes benchmarks/results/forward.json.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.texts import STDLIB, docstrings  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "forward.json"
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def matmul_rate(model: Any, tokens: int = 2048, times: int = 4) -> tuple[float, float]:
    """GFLOP/s, by wall time and by process time on all cores, of the products in one layer of `model` on random numbers."""
    import torch

    weights = [p.detach() for n, p in model.encoder.layer[0].named_parameters() if p.ndim == 2]
    inputs = {w.shape[1]: torch.randn(tokens, w.shape[1]) for w in weights}
    with torch.inference_mode():
        start, cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            for weight in weights:
                torch.mm(inputs[weight.shape[1]], weight.t())
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    work = 2e-9 * tokens * times * sum(w.numel() for w in weights)
    return work / seconds, work / cpu * torch.get_num_threads()


def work_of(model: Any, lengths: np.ndarray) -> float:
    """GFLOP that texts of these lengths need, padding not counted: linear layers, and attention's two products."""
    config = model.config
    linear = sum(p.numel() for n, p in model.encoder.named_parameters() if p.ndim == 2)
    return float(2e-9 * linear * lengths.sum() + 4e-9 * config.hidden_size * config.num_hidden_layers * (lengths**2).sum())


def variants(texts: list[str]) -> tuple[dict[str, Callable[[], Any]], Any, np.ndarray]:
    """What is measured, the bare transformer, and the texts' lengths in tokens."""
    import torch
    from sentence_transformers import SentenceTransformer

    from encoders.backends import linear
    from encoders.backends.unpadded import Unpadded
    from encoders.batching import Budget, plan_batches
    from encoders.text import TextEncoder
    from schemas.models import ModelSpec

    plain = SentenceTransformer(str(STDLIB / "model"), device="cpu", model_kwargs={"dtype": "float32"}).eval()
    features = plain.tokenizer(texts, truncation=True)
    lengths = np.array([len(i) for i in features["input_ids"]])
    batches = [
        plain.tokenizer.pad({k: [v[i] for i in b] for k, v in features.items()}, return_tensors="pt") | {"modality": "text"}
        for b in plan_batches(lengths, 2048)
    ]

    def bare() -> None:
        with torch.inference_mode():
            for batch in batches:
                plain(dict(batch))

    def encoder(tokens: int = 0, packed: bool = True, workers: int | None = None) -> Callable[[], Any]:
        made = TextEncoder(ModelSpec(name=str(STDLIB / "model"), device="cpu"), {})
        assert "without padding" in made.backend, made.backend
        if tokens:
            made.budget = Budget(tokens)
        if not packed and isinstance(made._way, Unpadded):
            linear.put_back(made._way.swapped)

        def run() -> Any:
            threads = torch.get_num_threads()
            made.workers = workers
            try:
                return made.encode(texts).vectors
            finally:
                torch.set_num_threads(threads)

        return run

    found = {
        "plain encode, batch size 8": lambda: plain.encode(texts, batch_size=8, show_progress_bar=False),
        "bare forward pass, padded batches": bare,
        "encoder": encoder(),
        "encoder, weights not packed": encoder(packed=False),
        "encoder, one batch on all cores": encoder(workers=1),
        **{f"encoder, batches of {n} tokens": encoder(n) for n in (512, 1024, 4096)},
    }
    return found, plain[0].model, lengths


def main() -> None:
    """Run all rounds and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--share", type=int, default=8, metavar="N", help="every N-th text")
    options = parser.parse_args()
    texts = [text for _, text in docstrings()][:: options.share]
    measured, model, lengths = variants(texts)
    wanted = measured["plain encode, batch size 8"]()
    apart = np.linalg.norm(measured["encoder"]() - wanted, axis=1).max()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in measured}
    rates = []
    for _ in range(options.rounds):
        for name, run in measured.items():
            start, cpu = time.perf_counter(), time.process_time()
            run()
            seconds[name].append((time.perf_counter() - start, time.process_time() - cpu))
        rates.append(matmul_rate(model))
    report(seconds, rates, work_of(model, lengths), {"texts": len(texts), "tokens": int(lengths.sum()), "largest_difference": float(apart)})


def report(seconds: dict[str, list[tuple[float, float]]], rates: list[tuple[float, float]], work: float, facts: dict[str, Any]) -> None:
    """Print the table and store it."""
    import torch

    base, threads = next(iter(seconds.values())), torch.get_num_threads()
    rate, cpu_rate = (statistics.median(r[i] for r in rates) for i in (0, 1))
    print(f"\n{facts}; a matrix product of the model's shapes: {rate:.0f} GFLOP/s, {cpu_rate:.0f} by process time\n")
    print(f"{'':36}{'wall s':>9}{'times encode':>14}{'of product':>12}{'process s':>12}{'times encode':>14}{'of product':>12}")
    rows = {}
    for name, values in seconds.items():
        wall, cpu = (statistics.median(v[i] for v in values) for i in (0, 1))
        faster, faster_cpu = (statistics.median(b[i] / v[i] for v, b in zip(values, base, strict=True)) for i in (0, 1))
        of, of_cpu = work / wall / rate, work / cpu * threads / cpu_rate
        rows[name] = {"seconds": values, "times_encode": [faster, faster_cpu], "of_matrix_product": [of, of_cpu]}
        print(f"{name:36}{wall:9.2f}{faster:14.2f}{of:12.2f}{cpu:12.2f}{faster_cpu:14.2f}{of_cpu:12.2f}")
    machine: dict[str, Any] = {
        "processor": platform.processor() or platform.machine(),
        "threads": threads,
        "python": platform.python_version(),
    }
    machine["load_average"] = os.getloadavg()[0]  # of others too: above the number of cores, wall times say little
    limit = {"wall": rate, "process": cpu_rate}
    found = {**facts, "gflop": work, "matrix_product_gflop_per_s": limit, "rows (wall, process)": rows, "machine": machine}
    RESULT.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
