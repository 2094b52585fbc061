"""How far the vectors of Weaviate's container are from the model's own: all-MiniLM-L6-v2 on the demo's docstrings.

    python benchmarks/native_against_module.py [--texts 1000]

The container splits a text into sentences and takes the mean of their vectors, not normalised (mode huggingface); the
model's own way is one vector of the whole text, scaled to length 1. Prints the cosines between the two, the lengths,
and how many of the ten nearest of each docstring are the same. Writes benchmarks/results/native_against_module.json.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
DATA = ROOT / ".warpbeam" / "stdlib"
RESULT = ROOT / "benchmarks" / "results" / "native_against_module.json"


def main() -> None:
    """Encode in both ways and compare."""
    import pyarrow.parquet as pq

    from encoders import encoder_of
    from encoders.punkt import sentences as split_sentences
    from schemas.job import VectorSpec
    from schemas.modules import TextModule

    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=1000)
    table = pq.read_table(DATA / "stdlib.parquet", columns=["docstring"])
    chosen = np.random.default_rng(0).permutation(table.num_rows)[: parser.parse_args().texts]
    texts = table.take(chosen).column(0).to_pylist()
    spec = VectorSpec.model_validate({"model": str(DATA / "model")})
    module = spec.model_copy(update={"module": TextModule("text2vec-transformers", "Docstring", ("docstring",))})
    native, container = (encoder_of(s).encode(texts, "text").vectors for s in (spec, module))
    lengths = np.linalg.norm(container, axis=1)
    directions = container / lengths[:, None]
    cosines = np.sum(native * directions, axis=1)
    sentences = np.array([len(split_sentences(t)) for t in texts])
    figures = {
        "texts": len(texts),
        "cosine of one sentence, median": float(np.median(cosines[sentences == 1])),
        "cosine of several sentences, median": float(np.median(cosines[sentences > 1])),
        "cosine of several sentences, 5th percentile": float(np.percentile(cosines[sentences > 1], 5)),
        "length in the container, 5th to 95th percentile": [float(x) for x in np.percentile(lengths, [5, 95])],
        "of the ten nearest the same": float(
            np.mean([len(set(a) & set(b)) for a, b in zip(nearest(native), nearest(directions), strict=True)])
        ),
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(figures, indent=2) + "\n")


def nearest(vectors: np.ndarray) -> np.ndarray:
    """The ten nearest others of each (n, 10)."""
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -1)
    return np.argsort(-similar, axis=1)[:, :10]


if __name__ == "__main__":
    main()
