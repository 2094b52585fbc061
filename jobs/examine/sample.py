"""A sample of the source: the first rows of shards spread over it, made into objects as a run would."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from jobs.examine.findings import Findings
from jobs.examine.foresight import Finding
from jobs.verify.stale import Staleness
from pipelines.layout import Layout
from pipelines.precomputed import usual_length
from pipelines.read import read_objects
from pipelines.sources import Shard, ShardError
from pipelines.targets.tenants import tenant_faults
from schemas.columns import TENANT, Rejection, concat
from schemas.errors import JobError
from schemas.job import TenantSpec

ROWS = 1000
SHARDS = 5


@dataclass
class Texts:
    """What a sample tells about the texts of one vector."""

    objects: int  # with such a vector
    tokens: list[int] = field(default_factory=list)  # of each text, untruncated
    limit: int | None = None
    seconds: float = 0.0  # that `timed` of the objects take
    timed: int = 0
    refused: bool = False  # a text over the limit is rejected, and not cut

    @property
    def over_limit(self) -> int:
        """Texts that the model does not see to the end."""
        return sum(t > self.limit for t in self.tokens) if self.limit else 0


@dataclass
class Sample:
    """Some rows of the source, and what became of them."""

    objects: pa.RecordBatch | None
    rejections: list[Rejection]
    rows: int
    texts: dict[str, Texts] = field(default_factory=dict)
    foreseen: list[Finding] = field(default_factory=list)  # what would fail, or surprise
    staleness: Staleness | None = None  # what a run would do with the objects, where the collection remembers what made its own


def spread(shards: list[Shard]) -> list[Shard]:
    """A few shards from all over the source, the first always among them."""
    if len(shards) <= SHARDS:
        return shards
    return [shards[int(i)] for i in np.linspace(0, len(shards) - 1, SHARDS)]


def raw_sample(found: Findings, columns: list[str], rows: int) -> Iterator[tuple[Shard, pa.RecordBatch | Rejection]]:
    """Source rows with `columns`, about `rows` in all. A shard that cannot be read becomes a remark."""
    assert found.source
    chosen = spread(found.shards)
    for shard in chosen:
        try:
            limited = replace(shard, limit=min(shard.limit or rows, -(-rows // len(chosen))))
            for item in found.source.read(limited, columns):
                yield shard, item
        except ShardError as error:
            found.remarks.append(f"part of the source cannot be read, its rows will fail: {error}")


def take_sample(found: Findings, rows: int = ROWS) -> Sample:
    """Read a sample, settle what only values can tell (the length of precomputed vectors), and make objects of it."""
    assert found.layout and found.schema is not None
    layout = found.layout.readable(found.schema)
    if layout is None:
        return Sample(None, [], 0)
    items = list(raw_sample(found, layout.columns, rows))
    batches = [(shard, item) for shard, item in items if isinstance(item, pa.RecordBatch)]
    layout = _with_dims(layout, [b for _, b in batches])
    found.layout = replace(found.layout, vectors=found.layout.vectors | layout.vectors)
    made = [read_objects(batch, layout, shard.name) for shard, batch in batches]
    rejections = [item for _, item in items if isinstance(item, Rejection)] + [r for _, rejected in made for r in rejected]
    objects = [o for o, _ in made if o.num_rows]
    sample = Sample(concat(_same_shards(objects)) if objects else None, rejections, sum(b.num_rows for _, b in batches))
    if sample.objects is not None:
        found.attempt(lambda: _check_sample(found, sample))
    return sample


def _same_shards(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Batches of several shards can be joined once their shard names are plain strings."""
    index = batches[0].schema.get_field_index("@shard")
    return [b.set_column(index, "@shard", b.column("@shard").cast(pa.string())) for b in batches]


def _with_dims(layout: Layout, batches: list[pa.RecordBatch]) -> Layout:
    """`layout` with the length of vectors that only values can tell."""
    vectors = dict(layout.vectors)
    for name, vector in vectors.items():
        if vector.dim is None and not vector.multi:
            columns = [b.column(vector.column) for b in batches]
            vectors[name] = replace(vector, dim=next((d for d in map(usual_length, columns) if d), None))
        elif vector.dim is None:
            firsts = (v[0] for b in batches for v in b.column(vector.column).to_pylist() if v and v[0])
            vectors[name] = replace(vector, dim=len(next(firsts, [])) or None)
    return replace(layout, vectors=vectors)


def _check_sample(found: Findings, sample: Sample) -> None:
    """Compare the sample with what the collection has: dimensions and tenants."""
    assert found.collection and found.target and found.layout and sample.objects
    faults: list[str] = []
    tenant = found.job.target.tenant
    if isinstance(tenant, TenantSpec) and not found.creates and TENANT in sample.objects.schema.names:
        status = found.target.tenants.status() if found.collection.multi_tenant else {}
        faults += tenant_faults(found.collection, found.job.target, sample.objects.column(TENANT).unique().to_pylist(), status)
    if not found.creates and not isinstance(tenant, TenantSpec):
        stored = found.target.stored_dims(tenant or "")
        for name, vector in found.layout.vectors.items():
            if vector.dim and name in stored and stored[name] != vector.dim:
                faults.append(
                    f"vectors.{name}: column {vector.column!r} has vectors of {vector.dim} numbers; collection {found.collection.name} has vectors of {stored[name]}"
                )
    if new := [f for f in faults if f not in found.faults]:
        raise JobError(*new)


def failing(sample: Sample) -> Counter[str]:
    """The sample's rejected rows by code."""
    return Counter(r.code for r in sample.rejections)
