"""The ids that the source should give, and which of them the collection has, read in ranges at the same time."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from encoders.chunking import Splitter
from jobs.examine.findings import Findings
from jobs.verify.id_sets import CollectionIds, SourceIds, compared, ids_of, ordered_ids, places, unmarked
from pipelines.chunk import cut_texts, splitter_of
from pipelines.identity import ids
from pipelines.layout import Layout
from pipelines.read import read_objects
from pipelines.sources import ShardError
from pipelines.targets.cursor import Ids, Range, as_ids, id_ranges, read_ids
from pipelines.targets.sampled import present
from schemas.columns import KEY, ROW, TENANT, Rejection, without
from schemas.objects import uuid5

READERS = 4  # ranges of the collection that are read at the same time
CHUNKS_A_STEP = 64  # ids of a text's chunks that are looked up at a time


def source_rows(found: Findings) -> SourceIds:
    """The rows of the source by the ids that they have uncut."""
    source = SourceIds(sorted(found.shards, key=lambda s: s.name))
    return unmarked(ordered_ids(source, [piece for n in range(len(source.shards)) for piece in _row_ids(found, source, n)]))


def source_ids(found: Findings) -> SourceIds:
    """What the source should give. Chunked texts are cut for it (no model runs but its tokenizer)."""
    source = source_rows(found)
    if found.job.chunk is None:
        return source
    splitter = splitter_of(found.job.chunk, found.job.vectors[found.job.chunk.model])
    pieces = [piece for n in range(len(source.shards)) for piece in _chunk_ids(found, source, n, splitter)]
    chunks = ordered_ids(SourceIds(source.shards), pieces)
    return replace(source, ids=chunks.ids, shard=chunks.shard, row=chunks.row)


def _row_ids(found: Findings, source: SourceIds, number: int) -> Iterator[tuple[int, Ids, npt.NDArray[np.int64]]]:
    """The ids of a shard's rows; rows without an id are counted."""
    assert found.source and found.layout
    try:
        deleted = found.job.source.deleted
        for raw in found.source.read(source.shards[number], [*found.layout.id_columns, *([deleted] if deleted else [])]):
            source.rows += 1 if isinstance(raw, Rejection) else raw.num_rows
            if isinstance(raw, Rejection):
                source.without_id += 1
                continue
            reasons: dict[int, tuple[str, str]] = {}
            batch = without(pa.RecordBatch.from_pydict(dict(ids(raw, found.layout, reasons)) | {ROW: raw.column(ROW)}), reasons)
            source.without_id += len(reasons)
            _note_marked(source, number, raw, deleted)
            yield number, ids_of(batch), batch.column(ROW).to_numpy().astype(np.int64)
    except ShardError as error:
        source.broken.append(str(error))


def _note_marked(source: SourceIds, number: int, raw: pa.RecordBatch, deleted: str | None) -> None:
    if deleted and (rows := raw.column(ROW).filter(raw.column(deleted)).to_numpy().astype(np.int64)).size:
        source.marked[number] = np.concatenate([source.marked.get(number, rows[:0]), rows])


def _chunk_ids(found: Findings, source: SourceIds, number: int, splitter: Splitter) -> Iterator[tuple[int, Ids, npt.NDArray[np.int64]]]:
    """The ids of the chunks of a shard's rows, key#0 and on."""
    for objects, counts in chunk_counts(found, source, number, splitter):
        keys = _chunk_keys(objects, counts, found.job.source.namespace)
        yield number, keys, np.repeat(objects.column(ROW).to_numpy().astype(np.int64), counts)


def chunk_counts(found: Findings, source: SourceIds, number: int, splitter: Splitter) -> Iterator[tuple[pa.RecordBatch, list[int]]]:
    """The texts of a shard with their keys, and the number of chunks of each; keys of texts that cannot be read are `excused`."""
    assert found.layout and found.job.chunk
    chunk, name = found.job.chunk, found.job.chunk.property
    slim = replace(found.layout, properties={name: found.layout.properties[name]}, vectors={}, media={})
    for objects, rejections in objects_in(found, source, number, slim):
        if objects.num_rows:
            cut = zip(objects.column(name).to_pylist(), cut_texts(objects, chunk, splitter), strict=True)
            yield objects, [len(pieces) if text else 1 for text, pieces in cut]
        source.excused += [r.key for r in rejections if r.key]


def _chunk_keys(objects: pa.RecordBatch, counts: Sequence[int], namespace: str) -> Ids:
    keys = objects.column(KEY).to_pylist()
    uuids = [uuid5(f"{key}#{n}", namespace) for key, c in zip(keys, counts, strict=True) for n in range(c)]
    if TENANT not in objects.schema.names:
        return as_ids(uuids)
    return compared(uuids, [t for t, c in zip(objects.column(TENANT).to_pylist(), counts, strict=True) for _ in range(c)])


def objects_in(
    found: Findings, source: SourceIds, number: int, layout: Layout | None = None
) -> Iterator[tuple[pa.RecordBatch, list[Rejection]]]:
    """The objects of a shard as a run would read them, rows that occur twice left out, and the rows that cannot be objects."""
    assert found.source and found.layout
    used = layout or found.layout
    none = np.zeros(0, np.int64)
    lost = np.concatenate([source.lost.get(number, none), source.marked.get(number, none)])
    try:
        for raw in found.source.read(source.shards[number], used.columns):
            if isinstance(raw, Rejection):
                yield pa.RecordBatch.from_pydict({}), [raw]
                continue
            kept = without(raw, np.flatnonzero(np.isin(raw.column(ROW).to_numpy(), lost)).tolist())
            yield read_objects(kept, used, source.shards[number].name)
    except ShardError:
        return  # `source_ids` has said so


def collection_ids(found: Findings, source: SourceIds, tenants: Sequence[str]) -> CollectionIds:
    """Which of the source's ids the collection has in `tenants` ("" where there are none), and which it has besides. Raises WorldError."""
    result = CollectionIds(np.zeros(len(source.ids), bool))
    excused = {tenant: np.sort(as_ids(list(_excused(found, source, tenant)))) for tenant in tenants}
    tasks = [(tenant, ids) for tenant in tenants for ids in id_ranges(READERS)]

    def read(task: tuple[str, Range]) -> int:
        assert found.target and found.collection
        pages = read_ids(found.target.connection, found.collection, *task)
        return sum(_enter(found, source, result, task[0], page, excused[task[0]]) for page in pages)

    with ThreadPoolExecutor(READERS, thread_name_prefix="ids") as readers:
        result.objects = sum(readers.map(read, tasks))
    return result


def _enter(found: Findings, source: SourceIds, result: CollectionIds, tenant: str, page: Ids, excused: Ids) -> int:
    """Compare a page of the collection's ids; how many there are."""
    assert found.layout
    own = page if not found.layout.tenant else compared(page.view("V16").tolist(), [tenant] * len(page))
    position, hit = places(source.ids, own)
    result.there[position[hit]] = True
    marked = places(source.marked_ids, own)[1]
    if marked.any():
        result.marked.setdefault(tenant, []).append(page[marked])
    rest = ~hit & ~marked & ~places(excused, page)[1]
    if rest.any():
        result.extra.setdefault(tenant, []).append(page[rest])
    return len(page)


def _excused(found: Findings, source: SourceIds, tenant: str) -> Iterator[bytes]:
    """The ids of the chunks that are there of texts that cannot be read any more: a failed row counts as present."""
    for key in source.excused:
        yield from chunks_there(found, key, tenant)


def chunks_there(found: Findings, key: str, tenant: str, first: int = 0) -> Iterator[bytes]:
    """The ids of the chunks of one text that the collection has, from number `first` on. Raises WorldError."""
    assert found.target and found.collection
    for start in range(first, first + (1 << 20), CHUNKS_A_STEP):
        uuids = [uuid5(f"{key}#{n}", found.job.source.namespace) for n in range(start, start + CHUNKS_A_STEP)]
        there = present(found.target.connection, found.collection, uuids, tenant)
        yield from there
        if len(there) < CHUNKS_A_STEP:
            return


def tenants_of(found: Findings) -> list[str]:
    """The tenants that can hold what the job writes; "" where the collection has none."""
    assert found.collection and found.target
    tenant = found.job.target.tenant
    if not found.collection.multi_tenant:
        return [""]
    awake = found.target.tenants.awake(found.target.tenants.status())
    return [t for t in awake if t == tenant] if isinstance(tenant, str) else awake
