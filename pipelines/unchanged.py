"""Unchanged: what the target has already, as it would be written, is not done again.

An object of which all fingerprints are stored is counted and nothing else. Of the others a vector whose fingerprint is
stored is read back instead of encoded: when only a price changed, no model runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.metrics import count, phase
from pipelines.precomputed import fixed
from pipelines.targets import Target
from schemas.columns import FINGERPRINTS, UNCHANGED, VECTOR, by_tenant, properties_of, set_column
from schemas.fingerprints import fingerprints
from schemas.job import VectorSpec

Prints = list[list[bytes]]


def split_unchanged(
    batch: pa.RecordBatch, prints: Prints, stored: Mapping[int, Sequence[bytes]]
) -> tuple[pa.RecordBatch | None, pa.RecordBatch | None, npt.NDArray[np.int64]]:
    """(rows that are there in full, the others with their fingerprints, the others' positions); `stored` by position in `batch`."""
    same = np.array([set(stored.get(i, ())) == set(own) for i, own in enumerate(prints)], bool)
    changed = np.flatnonzero(~same)
    unchanged = None
    if same.any():
        kept = batch.filter(pa.array(same))
        unchanged = set_column(kept, UNCHANGED, pa.repeat(True, kept.num_rows))
    if not len(changed):
        return unchanged, None, changed
    column = pa.array([prints[i] for i in changed], pa.list_(pa.binary(16)))
    return unchanged, set_column(batch.take(pa.array(changed)), FINGERPRINTS, column), changed


def reusable(names: Sequence[str], encoded: Sequence[str], prints: Prints, stored: Mapping[int, Sequence[bytes]]) -> dict[str, list[int]]:
    """For each of the `encoded` vectors the positions whose stored vector is the one that would be made; `names` in order."""
    found: dict[str, list[int]] = {}
    for number, name in enumerate(names, 1):
        if name in encoded and (rows := [i for i, known in stored.items() if prints[i][number] in known]):
            found[name] = rows
    return found


def vector_column(vectors: Mapping[int, npt.NDArray[np.float32]], rows: int, dim: int) -> pa.Array:
    """A column of `rows` vectors of `dim` numbers, null but at the positions in `vectors`."""
    values, valid = np.zeros((rows, dim), np.float32), np.zeros(rows, bool)
    for i, vector in vectors.items():
        values[i], valid[i] = vector, True
    return fixed(values, valid)


class SkipUnchanged(beam.PTransform):
    """Objects to objects: those that are there are marked, the others get fingerprints and the vectors that can be kept."""

    def __init__(
        self,
        target: Target,
        vectors: Mapping[str, VectorSpec],
        recipes: Mapping[str, bytes],
        dims: Mapping[str, int],
        tenant: str = "",
        adopt: bool = False,
        fresh: bool = False,
    ) -> None:
        """`recipes`: of each vector; `dims`: of those that have a model; `tenant`: of all objects without a column for it.

        `adopt`: an object without fingerprints counts as if it had those that its stored properties give, and is written.
        `fresh`: the target is known to be empty and is not asked; objects get their fingerprints.
        """
        super().__init__()
        self.target, self.tenant, self.adopt, self.fresh = target, tenant, adopt, fresh
        self.vectors, self.recipes, self.dims = dict(vectors), dict(recipes), dict(dims)

    def expand(self, objects: beam.PCollection[pa.RecordBatch]) -> Any:
        """Stays in the worker that read the objects."""
        do = beam.ParDo(_Skip(self.target, self.vectors, self.recipes, self.dims, self.tenant, self.adopt, self.fresh))
        return objects | "Skip" >> do.with_output_types(pa.RecordBatch)


class _Skip(beam.DoFn):
    def __init__(
        self,
        target: Target,
        vectors: dict[str, VectorSpec],
        recipes: dict[str, bytes],
        dims: dict[str, int],
        tenant: str,
        adopt: bool,
        fresh: bool,
    ) -> None:
        self.target, self.vectors, self.recipes, self.dims = target, vectors, recipes, dims
        self.tenant, self.adopt, self.fresh = tenant, adopt, fresh

    def teardown(self) -> None:
        self.target.close()

    def process(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        with phase("compare", batch):
            prints = fingerprints(batch, self.vectors, self.recipes)
            stored = {} if self.fresh else self._stored(batch)
            adopted = self._adopted(batch, stored) if self.adopt else {}
            unchanged, changed, positions = split_unchanged(batch, prints, stored)
            if changed is not None:
                changed = self._with_vectors(changed, positions, prints, stored | adopted)
        yield from (b for b in (unchanged, changed) if b is not None)

    def _stored(self, batch: pa.RecordBatch) -> dict[int, Sequence[bytes]]:
        """The stored fingerprints by position."""
        found: dict[int, Sequence[bytes]] = {}
        for tenant, rows, uuids in by_tenant(batch, self.tenant):
            known = self.target.fingerprints(uuids, tenant)
            found |= {i: known[u] for i, u in zip(rows, uuids, strict=True) if u in known}
        return found

    def _adopted(self, batch: pa.RecordBatch, stored: Mapping[int, Sequence[bytes]]) -> dict[int, Sequence[bytes]]:
        """For objects that are there without fingerprints those that their stored properties give."""
        found: dict[int, Sequence[bytes]] = {}
        for tenant, rows, uuids in by_tenant(batch, self.tenant, [i for i, known in stored.items() if not known]):
            order, objects = self.target.objects(uuids, tenant)
            names = [n for n in properties_of(objects.schema) if n in batch.schema.names]
            made = fingerprints(objects.select(names), self.vectors, self.recipes) if names else []
            by_uuid = dict(zip(order, made, strict=False))
            found |= {i: by_uuid[u] for i, u in zip(rows, uuids, strict=True) if u in by_uuid}
        return found

    def _with_vectors(
        self, changed: pa.RecordBatch, positions: npt.NDArray[np.int64], prints: Prints, stored: Mapping[int, Sequence[bytes]]
    ) -> pa.RecordBatch:
        """`changed` with a column for each vector that has a model: the stored one where it would be made again, else null."""
        place = {int(p): i for i, p in enumerate(positions)}
        wanted = reusable(sorted(self.vectors), list(self.dims), prints, {i: s for i, s in stored.items() if i in place})
        rows = sorted({place[i] for found in wanted.values() for i in found})
        read: dict[int, dict[str, npt.NDArray[np.float32]]] = {}
        for tenant, own, uuids in by_tenant(changed, self.tenant, rows):
            there = self.target.vectors(uuids, list(wanted), tenant)
            read |= {i: there.get(u, {}) for i, u in zip(own, uuids, strict=True)}
        for name, dim in self.dims.items():
            known = {place[i]: read[place[i]].get(name) for i in wanted.get(name, ())}
            vectors = {i: vector for i, vector in known.items() if vector is not None and len(vector) == dim}
            count(f"reused/{name}", len(vectors))
            changed = set_column(changed, VECTOR + name, vector_column(vectors, changed.num_rows, dim))
        return changed
