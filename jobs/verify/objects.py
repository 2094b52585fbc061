"""One pass over the source: missing objects get their keys, fingerprints are compared, and a sample is kept."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.examine.findings import Findings
from jobs.incremental import recipes_of
from jobs.verify.findings import Wrong
from jobs.verify.id_sets import CollectionIds, SourceIds, ids_of, places
from jobs.verify.ids import objects_in
from jobs.verify.stale import Staleness
from pipelines.chunk import chunk_objects, cut_texts, splitter_of
from pipelines.targets.cursor import Ids
from pipelines.targets.fingerprints import read_fingerprints
from schemas.columns import ROW, SHARD, UUID, Rejection, by_tenant, concat, set_column
from schemas.fingerprints import fingerprints

FULL = 1_000_000  # objects; of more only a sample's fingerprints are compared
VALUES = 1000  # objects whose properties are compared
SHARDS = 8  # from which a sample is taken


@dataclass
class Pass:
    """What the pass found; `bad` are the rows to load again, by shard, and `distrusted` the ids whose fingerprints do not say what is there."""

    full: bool
    staleness: Staleness = field(default_factory=Staleness)
    batches: list[pa.RecordBatch] = field(default_factory=list)
    failed: int = 0  # missing objects of rows that are rejected when they are read
    bad: dict[str, list[npt.NDArray[np.int64]]] = field(default_factory=dict)
    distrusted: set[bytes] = field(default_factory=set)

    @property
    def rows_again(self) -> dict[str, npt.NDArray[np.int64]]:
        """The rows to load again, by shard, each once."""
        return {shard: np.unique(np.concatenate(rows)) for shard, rows in self.bad.items()}

    @property
    def sample(self) -> pa.RecordBatch | None:
        """The sampled objects."""
        return concat(self.batches) if self.batches else None


@dataclass(frozen=True)
class Wanted:
    """What to look at: ids in ascending order and positions of shards."""

    missing: Ids
    sample: Ids
    compare: Ids | None  # None: all
    shards: list[int]
    failures: Mapping[tuple[str, int], str] = field(default_factory=dict)  # (shard, row) of the last run's failed rows -> why


def wanted(source: SourceIds, there: CollectionIds, sample: int | None, failures: Mapping[tuple[str, int], str]) -> Wanted:
    """Objects to look at: all up to a million, else `sample` of them from a few shards; and the shards of what is missing."""
    rng = np.random.default_rng()
    full = sample is None and len(source.ids) <= FULL
    used = np.unique(source.shard)
    chosen = used if full else rng.permutation(used)[:SHARDS]
    known = np.flatnonzero(there.there & np.isin(source.shard, chosen))
    picked = np.sort(rng.permutation(known)[: sample or VALUES])
    also = np.unique(source.shard[~there.there])
    shards = sorted({int(s) for s in chosen} | {int(s) for s in also})
    ids = source.ids[picked]
    return Wanted(source.ids[~there.there], ids[np.sort(rng.permutation(len(ids))[:VALUES])], None if full else ids, shards, failures)


def look_at_objects(found: Findings, source: SourceIds, want: Wanted, recipes: dict[str, bytes], wrong: Wrong) -> Pass:
    """Read the wanted shards, and compare. Raises WorldError."""
    result = Pass(full=want.compare is None)
    pieces = _cutter(found)
    for number in want.shards:
        for objects, rejections in objects_in(found, source, number):
            _known_failures(source, want, number, rejections, result, wrong)
            for batch in pieces(objects) if objects.num_rows else ():
                _look_at(found, batch, want, recipes, result, wrong)
    return result


def _cutter(found: Findings) -> Callable[[pa.RecordBatch], Iterable[pa.RecordBatch]]:
    """What gives the objects that a run would write for rows."""
    spec, layout = found.job.chunk, found.layout
    if spec is None:
        return lambda objects: [objects]
    assert layout
    splitter = splitter_of(spec, found.job.vectors[spec.model])
    return lambda objects: chunk_objects(objects, spec, cut_texts(objects, spec, splitter), layout.namespace)


def _known_failures(source: SourceIds, want: Wanted, number: int, rejections: list[Rejection], result: Pass, wrong: Wrong) -> None:
    """Rows that cannot be objects: what is missing of them is no surprise."""
    if not rejections or not len(want.missing):
        return
    position = places(source.ids, want.missing)[0]
    rows = source.row[position[source.shard[position] == number]]
    for rejection in rejections:
        count = int((rows == rejection.row).sum())
        if count and rejection.uuid:
            result.failed += count
            wrong.add("failed", [rejection.uuid], None, [rejection.key], None, [rejection.message])


def _look_at(found: Findings, batch: pa.RecordBatch, want: Wanted, recipes: dict[str, bytes], result: Pass, wrong: Wrong) -> None:
    own = ids_of(batch)
    missing = places(want.missing, own)[1]
    if missing.any():
        _name_missing(batch.filter(pa.array(missing)), want, result, wrong)
    sampled = places(want.sample, own)[1]
    if sampled.any():
        result.batches.append(_plain(batch.filter(pa.array(sampled))))
    if recipes:
        chosen = ~missing if want.compare is None else places(want.compare, own)[1]
        if chosen.any():
            _compare(found, batch.filter(pa.array(chosen)), recipes, result, wrong)


def _name_missing(gone: pa.RecordBatch, want: Wanted, result: Pass, wrong: Wrong) -> None:
    """Objects that are missing: of rows that failed in the last run it is known why, the others are to be loaded."""
    rows = zip(gone.column(SHARD).to_pylist(), gone.column(ROW).to_pylist(), strict=True)
    why = [want.failures.get(row) for row in rows]
    known, unknown = ([i for i, w in enumerate(why) if (w is None) == new] for new in (False, True))
    result.failed += len(known)
    wrong.add_rows("failed", gone.take(pa.array(known, pa.int64())), None, [why[i] or "" for i in known])
    lost = gone.take(pa.array(unknown, pa.int64()))
    wrong.add_rows("missing", lost)
    mark(result, lost)


def _compare(found: Findings, batch: pa.RecordBatch, recipes: dict[str, bytes], result: Pass, wrong: Wrong) -> None:
    """Fingerprints that the job would give against those that are stored."""
    names = sorted(found.job.vectors)
    prints = fingerprints(batch, found.job.vectors, recipes)
    stored = stored_prints(found, batch)
    stale, untracked = result.staleness.add(names, prints, stored)
    hidden = [i for i in range(batch.num_rows) if i not in stored]  # the cursor lists them, and no filter finds them
    if hidden:
        wrong.add_rows("unindexed", batch.take(pa.array(hidden)))
    for problem, positions in (("stale", stale), ("untracked", untracked)):
        if positions:
            rows = batch.take(pa.array(positions))
            wrong.add_rows(problem, rows)
            mark(result, rows)


def stored_prints(found: Findings, batch: pa.RecordBatch, readable: Sequence[str] | None = None) -> dict[int, list[bytes]]:
    """The stored fingerprints of the objects of `batch`, by position; of tenants that are not `readable`, none. Raises WorldError."""
    assert found.target and found.collection
    stored: dict[int, list[bytes]] = {}
    for tenant, positions, uuids in by_tenant(batch, found.job.target.fixed_tenant):
        if readable is not None and tenant not in readable:
            continue
        known = read_fingerprints(found.target.connection, found.collection, uuids, tenant)
        stored |= {i: known[u] for i, u in zip(positions, uuids, strict=True) if u in known}
    return stored


def mark(result: Pass, objects: pa.RecordBatch, distrusted: bool = False) -> None:
    """Remember the rows of these objects, to be loaded again; `distrusted`: whatever their fingerprints say."""
    shards, rows = objects.column(SHARD).cast(pa.string()), objects.column(ROW).to_numpy().astype(np.int64)
    for shard in shards.unique().to_pylist():
        result.bad.setdefault(shard, []).append(rows[pa.compute.equal(shards, shard).to_numpy(zero_copy_only=False)])
    if distrusted:
        result.distrusted |= set(objects.column(UUID).to_pylist())


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Batches of several shards can be joined once their shard names are plain strings."""
    return set_column(batch, SHARD, batch.column(SHARD).cast(pa.string()))


def sample_staleness(found: Findings, objects: pa.RecordBatch) -> Staleness | None:
    """What a run would do with these rows, where objects remember what made them; None where they do not. Raises WorldError."""
    assert found.collection and found.target
    recipes = {} if found.creates else recipes_of(found.job, found.collection)
    if not recipes:
        return None
    tenants = found.target.tenants
    readable = tenants.awake(tenants.status()) if found.collection.multi_tenant else None
    result = Staleness()
    for batch in _cutter(found)(objects):
        prints = fingerprints(batch, found.job.vectors, recipes)
        result.add(sorted(found.job.vectors), prints, stored_prints(found, batch, readable))
    return result
