"""How vectors that a job makes compare with the stored ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from encoders.base import Vectors
from encoders.sharing import shared_encoder
from pipelines.one_vector import Outcome, encode_or_halve, vectorize_objects
from pipelines.targets.sampled import StoredSample
from schemas.job import VectorSpec

SAME = 1e-3  # relative difference: other machines, batches and library versions differ by less, other settings by more
ALIKE = 0.999  # cosine: half precision or a quantised model
MOST = 0.9  # of the objects have to match; an application may have changed some behind our back


@dataclass(frozen=True)
class Match:
    """How the vectors that a spec makes compare with the stored ones; arrays (n,), NaN where there is nothing to compare."""

    difference: npt.NDArray[np.float64]  # relative, of the vectors as they are
    cosine: npt.NDArray[np.float64]

    @property
    def compared(self) -> int:
        """Objects that have both."""
        return int(np.isfinite(self.cosine).sum())

    @property
    def same(self) -> bool:
        """Whether these are the stored vectors."""
        return self.compared > 0 and bool(np.sum(self.difference <= SAME) >= MOST * self.compared)

    @property
    def alike(self) -> bool:
        """Whether these point the same way, whatever their length."""
        return self.compared > 0 and bool(np.sum(self.cosine >= ALIKE) >= MOST * self.compared)


def compare(spec: VectorSpec, name: str, stored: StoredSample) -> Match:
    """What `spec` makes of the stored objects, against their stored vectors. Raises JobError."""
    return match(encoded(spec, stored.objects), stored.vectors.get(name) or [None] * len(stored.uuids))


def encoded(spec: VectorSpec, objects: pa.RecordBatch, chunked: str | None = None) -> list[Vectors | None]:
    """The vector that `spec` makes of each of the objects (n rows), None where it makes none. Raises JobError."""
    made: list[Vectors | None] = []
    with shared_encoder(spec) as encoder:

        def run(rows: pa.RecordBatch) -> Outcome:
            return vectorize_objects(rows, spec, encoder, chunked, zero_allowed=True)

        for rows, outcome in encode_or_halve(objects, run):
            column = outcome.column.to_pylist() if isinstance(outcome, Outcome) else [None] * rows.num_rows
            made += [None if v is None else np.asarray(v, np.float32) for v in column]
    return made


def match(made: Sequence[Vectors | None], stored: Sequence[Vectors | None]) -> Match:
    """Vectors against the stored ones, object by object."""
    difference, cosine = np.full(len(made), np.nan), np.full(len(made), np.nan)
    for i, (ours, theirs) in enumerate(zip(made, stored, strict=True)):
        if ours is not None and theirs is not None and len(ours) == len(theirs):
            a, b = ours.astype(float), theirs.astype(float)
            norms = float(np.linalg.norm(a)), float(np.linalg.norm(b))
            difference[i] = float(np.linalg.norm(a - b)) / (norms[1] or 1.0)
            cosine[i] = float(a @ b) / ((norms[0] * norms[1]) or 1.0)
    return Match(difference, cosine)
