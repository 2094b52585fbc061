"""The ways in which a text model can compute on this CPU, side by side: torch without padding, OpenVINO, int8, the library.

    python benchmarks/backends.py [--rounds 7] [--share 12] [--models minilm,mpnet]

Each way has a process of its own, in which the model stays loaded; round by round each encodes the same texts in turn (every
n-th of the standard library's docstrings, `--share` n), and only one of them at a time. Wall time, and process time, in
which a time that others took from the machine is not counted. The first round, in which kernels are made for new shapes,
is told apart. Vectors are compared with those of plain `encode`, cosine and ten nearest neighbours.
`minilm` is the genuine all-MiniLM-L6-v2; `mpnet` has its sizes, the attention of MPNet (which cannot do without padding), and
random weights: only its times mean anything. Needs `python examples/stdlib.py` and `make env`. Prints a table; writes
benchmarks/results/backends.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.figures import machine, ratio, spread, store  # noqa: E402

os.environ.setdefault("HF_HUB_OFFLINE", "1")
PLAIN = "plain encode, batch size 8"
WAYS: dict[str, dict[str, str]] = {
    PLAIN: {},
    "backend: auto": {"backend": "auto"},
    "backend: torch": {"backend": "torch"},
    "backend: openvino": {"backend": "openvino"},
    "dtype: int8": {"dtype": "int8"},
}


def texts(share: int) -> list[str]:
    """Every n-th docstring."""
    from benchmarks.texts import docstrings

    return [text for _, text in docstrings()][::share]


def mpnet(folder: Path) -> Path:
    """A model of MPNet's kind with the sizes of MiniLM, its tokenizer, and random weights, in `folder`."""
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    from benchmarks.texts import STDLIB

    tokenizer = transformers.AutoTokenizer.from_pretrained(STDLIB / "model")
    sizes = {"num_hidden_layers": 6, "num_attention_heads": 12, "hidden_size": 384, "intermediate_size": 1536}
    torch.manual_seed(7)
    config = transformers.MPNetConfig(vocab_size=len(tokenizer), max_position_embeddings=514, initializer_range=0.05, **sizes)
    transformers.MPNetModel(config).save_pretrained(folder / "bare")
    tokenizer.save_pretrained(folder / "bare")
    modules = [Transformer(str(folder / "bare")), Pooling(384), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def serve(way: str, model: str, share: int, out: str) -> None:
    """Encode all texts once for each line of the standard input, and print the seconds; then keep the vectors as `out`."""
    from encoders.text import TextEncoder
    from schemas.models import ModelSpec

    values, vectors = texts(share), None
    spec = ModelSpec.model_validate({"name": model, "device": "cpu", **WAYS[way]})
    encoder = TextEncoder(spec, {})
    if way == PLAIN:
        from sentence_transformers import SentenceTransformer

        plain = SentenceTransformer(model, device="cpu", model_kwargs={"dtype": "float32"}).eval()
    how = "the library" if way == PLAIN else encoder.backend
    print(json.dumps(how), flush=True)
    for _ in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        vectors = plain.encode(values, batch_size=8, show_progress_bar=False) if way == PLAIN else encoder.encode(values).vectors
        print(json.dumps([time.perf_counter() - start, time.process_time() - cpu]), flush=True)
    np.save(out, vectors)


class Process:
    """One way in its own process."""

    def __init__(self, way: str, model: str, share: int, out: Path) -> None:
        arguments = [sys.executable, __file__, "--way", way, "--model", model, "--share", str(share), "--out", str(out)]
        self.out, self.rounds = out, []
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.how = self._answer()

    def _answer(self) -> Any:
        line = self.process.stdout.readline()
        return json.loads(line) if line else sys.exit(f"{self.process.args} ended")

    def round(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.rounds.append(self._answer())

    def seconds(self) -> dict[str, list[float]]:
        """Of every round but the first."""
        return {kind: [r[i] for r in self.rounds[1:]] for i, kind in enumerate(("wall", "process"))}

    def vectors(self) -> np.ndarray:
        self.process.stdin.close()
        self.process.wait()
        return np.load(self.out)


def measure(model: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All ways of one model, as figures."""
    processes = {way: Process(way, model, options.share, folder / f"{i}.npy") for i, way in enumerate(WAYS)}
    for number in range(options.rounds + 1):
        for way, process in processes.items():
            process.round()
            print(f"round {number}, {way}: {process.rounds[-1][0]:.2f} s", flush=True)
    from jobs.examine.loss import loss_of

    wanted, found = processes[PLAIN].vectors(), {}
    for way, process in processes.items():
        vectors = wanted if way == PLAIN else process.vectors()
        seconds, base, torch = (p.seconds() for p in (process, processes[PLAIN], processes["backend: torch"]))
        found[way] = {
            "how": process.how,
            "first_round_s": process.rounds[0],
            "seconds": {kind: {"rounds": values, **spread(values)} for kind, values in seconds.items()},
            "times_plain": {kind: ratio(values, base[kind]) for kind, values in seconds.items()},
            "times_torch": {kind: ratio(values, torch[kind]) for kind, values in seconds.items()},
            "largest_difference": float(np.linalg.norm(vectors - wanted, axis=1).max()),
            "against_plain": loss_of(wanted, vectors).__dict__,
        }
    return found


def table(found: dict[str, Any]) -> None:
    """Print the figures of one model."""
    print(
        f"\n{'':28}{'wall s':>8}{'process s':>11}{'x plain':>9}{'(process)':>10}{'x torch':>9}{'(process)':>10}{'cosine':>9}{'recall':>8}"
    )
    for way, row in found.items():
        wall, process = (row["seconds"][kind]["median"] for kind in ("wall", "process"))
        plain, torch = row["times_plain"], row["times_torch"]
        print(
            f"{way:28}{wall:8.2f}{process:11.2f}{plain['wall']:9.2f}{plain['process']:10.2f}{torch['wall']:9.2f}{torch['process']:10.2f}"
            f"{row['against_plain']['mean_cosine']:9.4f}{row['against_plain']['recall']:8.3f}  {row['how']}"
        )


def main() -> None:
    """Measure all models and keep the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--share", type=int, default=12, metavar="N", help="every N-th text")
    parser.add_argument("--models", default="minilm,mpnet")
    for hidden in ("--way", "--model", "--out"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        serve(options.way, options.model, options.share, options.out)
        return
    from benchmarks.texts import STDLIB, demo

    demo()
    about, models = machine(), {}
    about["versions"] |= {name: version(name) for name in ("openvino", "nncf")}
    with tempfile.TemporaryDirectory() as name:
        for model in options.models.split(","):
            folder = Path(name) / model
            folder.mkdir()
            models[model] = measure(str(STDLIB / "model") if model == "minilm" else str(mpnet(folder)), options, folder)
            table(models[model])
    load = os.getloadavg()[0]
    store(
        "backends", {"machine": about, "load_at_end": load, "texts": len(texts(options.share)), "rounds": options.rounds, "models": models}
    )


if __name__ == "__main__":
    main()
