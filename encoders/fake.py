"""Made-up vectors, for trying a pipeline where the model is not the point."""

import hashlib
import os
import time
from collections.abc import Sequence

import numpy as np

from encoders.base import Encoding, Groups, Progress, Role
from schemas.models import ModelSpec

SLOWNESS = "WARPBEAM_FAKE_MS_PER_VALUE"  # an environment variable: how long one value takes, asleep, as if a GPU had the work


class FakeEncoder:
    """Unit vectors that depend only on the value: equal values, equal vectors."""

    callers = 1
    grouped = False
    modalities = frozenset({"text", "image"})
    max_tokens = None

    def __init__(self, spec: ModelSpec, prompts: dict[str, str], long_text: str = "truncate") -> None:
        """Keep the dimension."""
        self.dim = int(spec.fake or 0)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The words of each text."""
        return [len(t.split()) for t in texts]

    def encode(
        self,
        values: Sequence[str | bytes],
        modality: str = "text",
        role: Role = "document",
        progress: Progress | None = None,
        groups: Groups | None = None,
    ) -> Encoding:
        """Vectors (n, dim) float32 drawn from a generator that the value's digest seeds."""
        vectors = np.empty((len(values), self.dim), np.float32)
        for i, value in enumerate(values):
            digest = hashlib.blake2b(value.encode() if isinstance(value, str) else value, digest_size=8).digest()
            vectors[i] = np.random.default_rng(int.from_bytes(digest, "big")).standard_normal(self.dim, np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        time.sleep(len(values) * float(os.environ.get(SLOWNESS) or 0) / 1000)
        if progress:
            progress(len(values))
        return Encoding(vectors, tokens=len(values), padded=len(values))
