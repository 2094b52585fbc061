"""Matrix products of the model's shapes, in torch: what the machine can do at all, in GFLOP/s. `variant` is the rows of a product.

`steady_s` is the time of 100,000 tokens' products.
"""

import json
import time
from pathlib import Path

from benchmarks.peers.watching import given, tell

SECONDS = 3.0
TOKENS = 100_000


def shapes(config: dict[str, int]) -> list[tuple[int, int]]:
    """(in, out) of every product of one layer that each token goes through: query, key, value, output, and the two of the feed-forward."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    return [(hidden, hidden)] * 4 + [(hidden, inner), (inner, hidden)]


def flop_a_token(config: dict[str, int]) -> int:
    """Floating-point operations that a token costs besides attention between tokens."""
    return 2 * config["num_hidden_layers"] * sum(a * b for a, b in shapes(config))


def main() -> None:
    import torch

    job = given()
    config = json.loads((Path(job["model"]) / "config.json").read_text())
    rows = job["variant"]
    pairs = [(torch.randn(rows, a), torch.randn(a, b)) for a, b in shapes(config)]
    out = [torch.empty(rows, b.shape[1]) for _, b in pairs]
    for (a, b), o in zip(pairs, out, strict=True):
        torch.mm(a, b, out=o)
    start, times = time.time(), 0
    while time.time() - start < SECONDS:
        for (a, b), o in zip(pairs, out, strict=True):
            torch.mm(a, b, out=o)
        times += 1
    steady = (time.time() - start) / (times * rows) * config["num_hidden_layers"] * TOKENS
    each = flop_a_token(config)
    tell({"steady_s": steady, "gflop": TOKENS * each / 1e9, "flop_a_token": each, "precision": "float32"})


if __name__ == "__main__":
    main()
