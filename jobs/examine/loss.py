"""What int8 loses: the job's own rows encoded in float32 and in int8, compared before a run uses it."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from encoders import encoder_of
from encoders.base import Encoder, Vectors
from encoders.sharing import shared_encoder
from jobs.examine.findings import Findings
from jobs.examine.measure import in_chunks
from jobs.examine.sample import Sample
from pipelines.one_vector import parts_of
from schemas.errors import JobError
from schemas.job import VectorSpec

TEXTS = 256  # of the sample that are compared, at most
SECONDS = 20.0  # after which no more are encoded in float32
STEP = 32
NEAREST = 10
LEAST = 0.99  # mean cosine: below, an application would notice that other objects are found


@dataclass(frozen=True)
class Loss:
    """How far int8 vectors are from those in float32."""

    texts: int
    mean_cosine: float
    worst_cosine: float
    recall: float | None  # of the `nearest` of each text among the others, the share that stays; None with too few texts
    nearest: int = NEAREST

    def __str__(self) -> str:
        """One line."""
        kept = f", {self.recall:.1%} of the {self.nearest} nearest neighbours stay" if self.recall is not None else ""
        return f"int8 against float32 on {self.texts} texts of the sample: cosine {self.mean_cosine:.4f} in the mean, {self.worst_cosine:.4f} at worst{kept}"


def measure_losses(found: Findings, sample: Sample) -> None:
    """Measure what int8 loses on the sample, for `found.losses`. Raises JobError where it is too much."""
    for name, spec in found.job.vectors.items():
        if spec.model and spec.model.dtype == "int8" and name in found.dims and sample.objects is not None:
            loss = _measured(spec, _texts(found, sample, spec))
            if loss is None:
                continue
            if loss.mean_cosine < LEAST:
                raise JobError(f"vectors.{name}.model.dtype: {loss}; a mean below {LEAST} is refused: leave out dtype: int8")
            found.losses[name] = asdict(loss)
            found.remarks.append(f"vectors.{name}: {loss}")


def _texts(found: Findings, sample: Sample, spec: VectorSpec) -> list[str]:
    """Distinct texts of the sample, from all over it."""
    chunked = found.job.chunk.property if found.job.chunk else None
    parts = parts_of(in_chunks(found, sample.objects), spec, chunked)
    distinct = list(dict.fromkeys(text for p in parts if p.modality == "text" for text in p.values))
    return [distinct[int(i)] for i in np.random.default_rng(0).permutation(len(distinct))[:TEXTS]]


def _measured(spec: VectorSpec, texts: Sequence[str]) -> Loss | None:
    """None where there is no text to compare."""
    assert spec.model
    exact = encoder_of(spec.model_copy(update={"model": spec.model.model_copy(update={"dtype": "float32", "backend": "torch"})}))
    wanted = _encoded(exact, texts, SECONDS)
    with shared_encoder(spec) as encoder:
        found = encoder.encode(texts[: len(wanted)], "text").vectors
    there = np.isfinite(wanted).all(axis=1) & np.isfinite(found).all(axis=1)  # a text over the limit may be refused
    return loss_of(wanted[there], found[there]) if there.any() else None


def _encoded(encoder: Encoder, texts: Sequence[str], seconds: float) -> Vectors:
    """The vectors of as many texts as the time allows."""
    made, start = [np.zeros((0, encoder.dim), np.float32)], time.perf_counter()
    for i in range(0, len(texts), STEP):
        made.append(encoder.encode(texts[i : i + STEP], "text").vectors)
        if time.perf_counter() - start > seconds:
            break
    return np.concatenate(made)


def loss_of(exact: Vectors, found: Vectors) -> Loss:
    """How far `found` (n, dim) is from `exact` (n, dim), n at least 1."""
    a, b = _unit(exact), _unit(found)
    cosines = np.sum(a * b, axis=1)
    return Loss(len(a), float(cosines.mean()), float(cosines.min()), _recall(a, b) if len(a) > 2 * NEAREST else None)


def _unit(vectors: Vectors) -> Any:
    wide = vectors.astype(np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-30)


def _recall(a: Any, b: Any) -> float:
    """The share of the NEAREST of each row of `a` among its others that are also nearest in `b`."""
    nearest = []
    for unit in (a, b):
        scores = unit @ unit.T
        np.fill_diagonal(scores, -np.inf)
        nearest.append(np.argpartition(-scores, NEAREST, axis=1)[:, :NEAREST])
    return float(np.mean([len(np.intersect1d(x, y)) / NEAREST for x, y in zip(*nearest, strict=True)]))
