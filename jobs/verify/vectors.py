"""A random sample of vectors made again and compared, and each object's own vector as a question: does the index find it?"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from encoders.base import Vectors
from jobs.examine.findings import Findings
from jobs.examine.matching import ALIKE, MOST, SAME, Match, encoded, match
from jobs.verify.findings import Check, Wrong
from jobs.verify.objects import Pass, mark
from pipelines.targets.fingerprints import read_vectors
from pipelines.targets.stored import uuid_of
from schemas.collection import VectorConfig
from schemas.columns import CHUNK, KEY, VECTOR, by_tenant
from schemas.job import VectorSpec

OBJECTS = 48  # whose vectors are made again
NEAREST = 20  # answers among which an object must find itself
FOUND = 0.95  # of the objects must find themselves where the index is approximate
CLOSE = 1e-5  # distances that count as the same, for vectors of length 1

Stored = Sequence[Vectors | None]


def look_at_vectors(found: Findings, sample: pa.RecordBatch, result: Pass, wrong: Wrong) -> list[Check]:
    """Two checks for each vector. Raises JobError, WorldError."""
    assert found.collection and found.layout
    chosen = sample.take(pa.array(np.sort(np.random.default_rng().permutation(sample.num_rows)[:OBJECTS])))
    checks = []
    for name, spec in found.job.vectors.items():
        config = found.collection.vectors[name]
        if config.multi:
            checks.append(Check(f"vector {name}", None, "a multi-vector is not compared"))
            continue
        if any(f in found.layout.media for f in spec.fields):
            checks.append(Check(f"vector {name}", None, "what it reads is fetched from elsewhere; it is not compared"))
            continue
        stored = _stored(found, chosen, name)
        made = _made(found, spec, name, chosen)
        checks.append(_compared(name, chosen, made, stored, result, wrong))
        ask = [a if a is not None and (b is None or len(a) == len(b)) else b for a, b in zip(made, stored, strict=True)]
        checks.append(
            _recalled(found, config, name, chosen, [a if b is not None else None for a, b in zip(ask, stored, strict=True)], wrong)
        )
    return checks


def _stored(found: Findings, rows: pa.RecordBatch, name: str) -> list[Vectors | None]:
    assert found.target and found.collection
    vectors: list[Vectors | None] = [None] * rows.num_rows
    for tenant, positions, uuids in by_tenant(rows, found.job.target.fixed_tenant):
        known = read_vectors(found.target.connection, found.collection, [name], uuids, tenant)
        for i, uuid in zip(positions, uuids, strict=True):
            vectors[i] = known.get(uuid, {}).get(name)
    return vectors


def _made(found: Findings, spec: VectorSpec, name: str, rows: pa.RecordBatch) -> list[Vectors | None]:
    """What the job would write: made again, or the column's own, which stays with the first chunk."""
    if spec.model is not None:
        return encoded(spec, rows, found.job.chunk.property if found.job.chunk else None)
    column = rows.column(VECTOR + name).to_pylist()
    later = rows.column(CHUNK).to_numpy() > 0 if CHUNK in rows.schema.names else np.zeros(rows.num_rows, bool)
    return [None if v is None or late else np.asarray(v, np.float32) for v, late in zip(column, later, strict=True)]


def wrong_vectors(made: Stored, stored: Stored, found: Match) -> dict[int, str]:
    """Positions whose vector is not what the job makes, and in which way."""
    alike = found.alike and not found.same  # all of another precision: no fault of single objects
    wrong = {}
    for i, (ours, theirs) in enumerate(zip(made, stored, strict=True)):
        if ours is None and theirs is None:
            continue
        if theirs is None:
            wrong[i] = "the job makes a vector, none is stored"
        elif ours is None:
            wrong[i] = "a vector is stored, the job makes none"
        elif len(ours) != len(theirs):
            wrong[i] = f"{len(theirs)} numbers are stored, the job makes {len(ours)}"
        elif found.cosine[i] < ALIKE or (found.difference[i] > SAME and not alike):
            wrong[i] = f"relative difference {found.difference[i]:.2g}, cosine {found.cosine[i]:.4f}"
    return wrong


def _compared(name: str, rows: pa.RecordBatch, made: Stored, stored: Stored, result: Pass, wrong: Wrong) -> Check:
    found = match(made, stored)
    different = wrong_vectors(made, stored, found)
    if different:
        bad = rows.take(pa.array(list(different)))
        wrong.add_rows("vector", bad, [name] * len(different), list(different.values()))
        mark(result, bad, distrusted=True)
    middle = float(np.nanmedian(found.difference)) if found.compared else None
    figures = {"compared": found.compared, "different": len(different), "relative_difference": middle}
    if different:
        at, first = next(iter(different.items()))
        said = f"{len(different):,} of {rows.num_rows:,} are not what the job makes, such as {rows.column(KEY)[at].as_py()}: {first}"
        return Check(f"vector {name}", False, said, figures)
    if middle is None:
        return Check(f"vector {name}", None, "no object of the sample has one", figures)
    words = "the same" if found.same or middle <= SAME else f"alike, but of another precision (more than {MOST:.0%} within cosine {ALIKE})"
    return Check(f"vector {name}", True, f"{found.compared:,} made again: {words} (relative difference {middle:.0e})", figures)


def _recalled(found: Findings, config: VectorConfig, name: str, rows: pa.RecordBatch, vectors: Stored, wrong: Wrong) -> Check:
    """Whether each object's own vector finds it, or one at the same distance, first."""
    check = f"recall {name}"
    if config.distance == "dot":
        return Check(check, None, "not asked: by dot product a longer vector may be nearer than the own one")
    asked, lost = 0, []
    for tenant, positions, uuids in by_tenant(rows, found.job.target.fixed_tenant):
        for i, uuid in zip(positions, uuids, strict=True):
            vector = vectors[i]
            if vector is not None:
                asked += 1
                if not finds_itself(uuid, nearest(found, config, vector, tenant), tolerance(config, vector)):
                    lost.append(i)
    if lost:
        wrong.add_rows("recall", rows.take(pa.array(lost)), [name] * len(lost))
    share = 1 - len(lost) / asked if asked else None
    good = None if share is None else share == 1 or (config.index != "flat" and share >= FOUND)
    said = f"{asked - len(lost):,} of {asked:,} objects are found by their own vector" if asked else "nothing to ask"
    return Check(check, good, said, {"asked": asked, "found": asked - len(lost)})


def tolerance(config: VectorConfig, vector: Vectors) -> float:
    """The difference of distances that counts as none."""
    return CLOSE if config.distance == "cosine" else CLOSE * max(1.0, float(np.sum(np.abs(vector.astype(float)) ** 2)))


def finds_itself(uuid: bytes, answers: Sequence[tuple[bytes, float]], close: float) -> bool:
    """Whether `uuid` is first among `answers` (uuid, distance), or as near as the first, or the first is as near as can be."""
    if not answers:
        return False
    first = answers[0][1]
    own = next((d for u, d in answers if u == uuid), None)
    return first <= close if own is None else own <= first + close


def nearest(found: Findings, config: VectorConfig, vector: npt.NDArray[np.float32], tenant: str) -> list[tuple[bytes, float]]:
    """(uuid, distance) of the objects nearest to `vector`. Raises WorldError."""
    from weaviate.proto.v1 import base_search_pb2, search_get_pb2

    assert found.target and found.collection
    question = base_search_pb2.NearVector(vector_bytes=vector.astype("<f4").tobytes())
    if not config.unnamed:
        question.targets.target_vectors.append(config.name)
    request = search_get_pb2.SearchRequest(
        collection=found.collection.name,
        tenant=tenant,
        limit=NEAREST,
        near_vector=question,
        metadata=search_get_pb2.MetadataRequest(uuid=True, distance=True),
        uses_123_api=True,
        uses_125_api=True,
        uses_127_api=True,
    )
    results = found.target.connection.call("Search", request).results
    return [(uuid_of(r), float(r.metadata.distance)) for r in results]
