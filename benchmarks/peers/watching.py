"""What a peer measures about itself: when a model was loaded, and the tokens and the padding of each forward pass.

Every peer is a process of its own: `python -m benchmarks.peers.NAME '{"texts": ..., "out": ..., ...}'`. Its last line is
JSON. `steady_s` is the time from texts in Parquet to the last vector (or, where it writes, the last acknowledged object)
without the time in which a model was being loaded.
"""

import functools
import json
import sys
import threading
import time
from typing import Any

from benchmarks.figures import outside


class Watch:
    """Times and tokens of this process's sentence-transformers models."""

    def __init__(self) -> None:
        """Begin to watch every model that is loaded from now on."""
        from sentence_transformers import SentenceTransformer

        self.loads: list[tuple[float, float]] = []
        self.tokens = self.padded = 0
        self._lock = threading.Lock()
        SentenceTransformer.__init__ = self._timed(SentenceTransformer.__init__)
        SentenceTransformer.forward = self._counted(SentenceTransformer.forward)

    def _timed(self, load: Any) -> Any:
        @functools.wraps(load)
        def loading(*args: Any, **kwargs: Any) -> None:
            start = time.time()
            load(*args, **kwargs)
            self.loads.append((start, time.time()))

        return loading

    def _counted(self, forward: Any) -> Any:
        @functools.wraps(forward)
        def counting(model: Any, features: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            tokens, padded = tokens_of(features)
            with self._lock:
                self.tokens, self.padded = self.tokens + tokens, self.padded + padded
            return forward(model, features, *args, **kwargs)

        return counting

    def told(self, start: float, end: float) -> dict[str, Any]:
        """The figures of what ran from `start` to `end` (time.time())."""
        steady = outside((start, end), self.loads)
        return {"steady_s": steady, "tokens": self.tokens, "padded": self.padded, "precision": "float32"}


def tokens_of(features: dict[str, Any]) -> tuple[int, int]:
    """(tokens, with padding) of a batch that goes into the model."""
    mask = features.get("attention_mask")
    if mask is not None and mask.dim() == 2:
        return int(mask.sum()), mask.numel()
    n = features["input_ids"].numel()  # a mask in another form, or none: the batch is not padded
    return n, n


def given() -> dict[str, Any]:
    """What the benchmark asks for: its one argument."""
    found: dict[str, Any] = json.loads(sys.argv[1])
    return found


def tell(figures: dict[str, Any], out: str | None = None, vectors: Any = None) -> None:
    """Print the figures as the last line; keep the vectors (n, d), in the order of the texts."""
    import numpy as np

    if out and vectors is not None:
        np.save(out, np.asarray(vectors, np.float32))
    print("\n" + json.dumps(figures), flush=True)
