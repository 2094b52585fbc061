"""Rows as a Beam user has them become the objects that travel: dicts, named tuples, `beam.Row` and record batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows

import pipelines.coders  # noqa: F401  (registers the coder of what travels)
from pipelines.failures import REJECTED_TAG, rejected_output
from pipelines.identity import add_reasons, ids
from pipelines.layout import Layout
from pipelines.precomputed import as_multi_vectors, as_vectors, usual_length
from schemas.collection import Collection, Property
from schemas.columns import BATCH_BYTES, ROW, SHARD, VECTOR, bounded, reject, without
from schemas.errors import JobError
from schemas.objects import Reasons, coerce, type_fault

PIPELINE = "pipeline"  # the shard of rows that come from no file of ours


@dataclass(frozen=True)
class RowSpec:
    """What the columns of a row are: the one that names it, those with vectors, the rest are properties."""

    key: str | None = None  # absent, and no `uuid` either: the column `id`
    uuid: str | None = None
    namespace: str = ""
    properties: Mapping[str, str] | None = None  # property -> column; None: every column under its own name
    vectors: Mapping[str, str] = field(default_factory=dict)  # vector -> column
    tenant: str | None = None

    def __post_init__(self) -> None:
        """Raise JobError where both `key` and `uuid` are named."""
        if self.key is not None and self.uuid is not None:
            raise JobError("name either `key` (the column that names a row) or `uuid` (a column of uuids)")

    @property
    def layout(self) -> Layout:
        """The same, as the stages know it."""
        key = next(name for name in (self.key, self.uuid, "id") if name is not None)
        return Layout(key=key, key_is_uuid=self.uuid is not None, namespace=self.namespace, tenant=self.tenant)


def as_dict(row: Any) -> dict[str, Any]:
    """A row of a user's pipeline as a dict. Raises JobError for what is no row."""
    if isinstance(row, Mapping):
        return dict(row)
    if hasattr(row, "_asdict"):  # named tuples and beam.Row
        return dict(row._asdict())
    raise JobError(f"a row is a dict, a named tuple, a beam.Row or a pyarrow RecordBatch, and not {type(row).__name__}")


def batch_of(rows: Sequence[Any]) -> pa.RecordBatch:
    """Rows as one record batch: the union of their columns. Raises pa.ArrowInvalid or pa.ArrowTypeError where one column has two types."""
    dicts = [as_dict(row) for row in rows]
    names = dict.fromkeys(name for row in dicts for name in row)
    return pa.RecordBatch.from_pydict({name: pa.array([row.get(name) for row in dicts]) for name in names})


def batches_of(rows: Sequence[Any]) -> Iterator[pa.RecordBatch]:
    """`rows` as record batches: one, or where their types do not go together, as many as that needs."""
    if not rows:
        return
    try:
        yield from bounded(batch_of(rows))
    except pa.ArrowException:
        if len(rows) == 1:
            raise
        yield from batches_of(rows[: len(rows) // 2])
        yield from batches_of(rows[len(rows) // 2 :])


def objects_of(raw: pa.RecordBatch, spec: RowSpec, collection: Collection | None) -> tuple[pa.RecordBatch, list[Any]]:
    """Objects of `raw`, as `read` makes them, and the rejected rows. Without a collection properties keep their Arrow types."""
    reasons: Reasons = {}
    _require(raw, spec)
    columns: dict[str, pa.Array] = dict(ids(raw, spec.layout, reasons))
    columns[SHARD] = pa.array([PIPELINE] * raw.num_rows).dictionary_encode()
    columns[ROW] = raw.column(ROW) if ROW in raw.schema.names else pa.array(range(raw.num_rows), pa.int64())
    for name, column in _mapping(raw, spec, collection).items():
        values = raw.column(column)
        if collection is not None:
            values, bad = _coerced(values, column, collection.properties[name])
            add_reasons(reasons, bad)
        columns[name] = values
    for name, column in _vector_columns(raw, spec).items():
        columns[VECTOR + name], bad = _vectors(raw.column(column), name, collection)
        add_reasons(reasons, {i: (code, f"column {column!r}: {message}") for i, (code, message) in bad.items()})
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return without(batch, reasons), reject(batch, reasons, "read")


def _coerced(values: pa.Array, column: str, prop: Property) -> tuple[pa.Array, Reasons]:
    """`values` as Weaviate has them; where their type fits no value of `prop`, all that are there are rejected."""
    if fault := type_fault(column, values.type, prop):
        return pa.nulls(len(values)), {i: ("wrong_type", fault) for i, there in enumerate(values.is_valid().to_pylist()) if there}
    return coerce(values, prop)


def _vector_columns(raw: pa.RecordBatch, spec: RowSpec) -> dict[str, str]:
    """Vector -> column: the spec's, and those that VectorizeObjects has made."""
    made = {name.removeprefix(VECTOR): name for name in raw.schema.names if name.startswith(VECTOR)}
    return made | {name: column for name, column in spec.vectors.items() if column in raw.schema.names}


def _require(raw: pa.RecordBatch, spec: RowSpec) -> None:
    wanted = [spec.layout.key, *([spec.tenant] if spec.tenant else [])]
    if missing := [name for name in wanted if name not in raw.schema.names]:
        raise JobError(f"the rows have no column {missing[0]!r}; they have {', '.join(raw.schema.names)}")


def _mapping(raw: pa.RecordBatch, spec: RowSpec, collection: Collection | None) -> dict[str, str]:
    """Property -> column, of those that are there. Raises JobError where the collection has no such property."""
    if spec.properties is not None:
        found = {name: column for name, column in spec.properties.items() if column in raw.schema.names}
    else:
        used = {spec.tenant, *spec.vectors.values()} | ({spec.layout.key} - set(collection.properties) if collection else set())
        found = {name: name for name in raw.schema.names if name not in used and not name.startswith("@")}
    if collection and (unknown := [name for name in found if name not in collection.properties]):
        known = ", ".join(collection.properties) or "none"
        raise JobError(f"column {found[unknown[0]]!r} has no property {unknown[0]!r} in collection {collection.name}, which has {known}")
    return found


def _vectors(column: pa.Array, name: str, collection: Collection | None) -> tuple[pa.Array, Reasons]:
    config = collection.vectors.get(name) if collection else None
    if collection is not None and config is None:
        raise JobError(f"collection {collection.name} has no vector {name!r}; it has {', '.join(collection.vectors) or 'none'}")
    if config and config.multi:
        lengths = [len(v[0]) for v in column.to_pylist() if v]
        return as_multi_vectors(column, lengths[0] if lengths else 1)
    zero_allowed = config is not None and config.distance != "cosine"
    return as_vectors(column, usual_length(column) or 1, zero_allowed)


class RowsToObjects(beam.PTransform):
    """Rows to batches of objects, and the rejected rows beside them, in the global window.

    Rows are put together by `BatchElements`; record batches are taken as they are.
    """

    def __init__(self, spec: RowSpec, collection: Any = None, batch_rows: int = 1024) -> None:
        """`collection`: gives the Collection on the worker, or None: properties keep their types."""
        super().__init__()
        self.spec, self.collection, self.batch_rows = spec, collection, batch_rows

    def expand(self, rows: beam.PCollection[Any]) -> Any:
        """Objects as the main output `objects`."""
        size = self.batch_rows
        batches = beam.BatchElements(min_batch_size=size, max_batch_size=size, element_size_fn=_weight(size), record_metrics=False)
        return (
            rows
            | "GlobalWindow" >> beam.WindowInto(GlobalWindows())
            | "Batch" >> batches
            | "ToObjects"
            >> beam.ParDo(_ToObjects(self.spec, self.collection))
            .with_output_types(pa.RecordBatch)
            .with_outputs(REJECTED_TAG, main="objects")
        )


def _weight(batch_rows: int) -> Any:
    """A record batch fills a batch by itself, and so do rows with many bytes (pictures)."""

    def weight(row: Any) -> int:
        if isinstance(row, pa.RecordBatch):
            return batch_rows
        size = sum(len(value) for value in as_dict(row).values() if isinstance(value, str | bytes))
        return min(batch_rows, 1 + size * batch_rows // BATCH_BYTES)

    return weight


class _ToObjects(beam.DoFn):
    def __init__(self, spec: RowSpec, collection: Any) -> None:
        self.spec, self.collection = spec, collection

    def process(self, rows: list[Any]) -> Iterator[Any]:
        collection = self.collection() if self.collection is not None else None
        ready = [row for row in rows if isinstance(row, pa.RecordBatch)]
        made = batches_of([row for row in rows if not isinstance(row, pa.RecordBatch)])
        for batch in [piece for whole in (*ready, *made) for piece in bounded(whole, size=BATCH_BYTES)]:
            objects, rejections = objects_of(batch, self.spec, collection)
            yield from rejected_output(rejections)
            if objects.num_rows:
                yield objects


def rows_of(rejected: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of a batch of rejections."""
    rows: list[dict[str, Any]] = rejected.to_pylist()
    return rows
