"""Rows from Arrow's types to messages: random values of any type against a property of each Weaviate type, also nested."""

import random

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.layout import Layout, Precomputed
from pipelines.precomputed import is_multi, vector_type_fault
from pipelines.read import read_objects
from schemas.collection import Property
from schemas.columns import ROW
from schemas.objects import type_fault
from tests.fuzz.accounts import TYPES, name_of, send
from tests.fuzz.amounts import fuzz, tally
from tests.fuzz.child import child
from tests.fuzz.values import FITS, OTHERS, VECTORS, column, kind_for

RANDOM = st.randoms(use_true_random=True)
MULTI = (pa.list_(pa.list_(pa.float32())), pa.list_(pa.list_(pa.float64(), 3)), pa.binary(), pa.large_list(pa.list_(pa.int16())))
INSIDE = [t for t in TYPES if t not in ("geoCoordinates", "phoneNumber")]  # what Weaviate takes inside an object
EVERY = [kind for kinds in FITS.values() for kind in kinds] + list(OTHERS) + list(VECTORS)


def nested(kind: pa.DataType, r: random.Random) -> tuple[Property, ...]:
    """Properties for the fields of `kind`, where it is a struct: of any type."""
    inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
    fields = list(inner) if pa.types.is_struct(inner) else []
    return tuple(Property(f.name, r.choice(INSIDE), nested(f.type, r)) for f in fields)


def property_for(data_type: str, r: random.Random) -> tuple[pa.DataType, Property]:
    kind = kind_for(data_type, r) if r.random() < 0.9 else r.choice(EVERY)
    if "object" in data_type and r.random() < 0.7:
        names = r.sample(INSIDE, r.randrange(1, 4))
        parts = [(name_of(t), kind_for(t, r)) for t in names]
        struct = pa.struct(parts)
        inner = tuple(Property(name_of(t), t, nested(k, r)) for t, (_, k) in zip(names, parts, strict=True))
        return (pa.list_(struct) if data_type.endswith("[]") else struct), Property(name_of(data_type), data_type, inner)
    return kind, Property(name_of(data_type), data_type, nested(kind, r))


def random_rows(seed: int, rows: int) -> tuple[int, int]:
    """How many of `rows` random rows became objects, and how many were rejected; sources hand on no text that is not UTF-8."""
    r = random.Random(seed)
    columns = {"id": column(r.choice((pa.string(), pa.int64(), pa.dictionary(pa.int32(), pa.string()), pa.large_string())), rows, r, 0)}
    if columns["id"].type == pa.string():
        columns["id"] = pa.array([f"k{i}" if r.random() < 0.9 else None for i in range(rows)], pa.string())
    properties, vectors = {}, {}
    for data_type in r.sample(TYPES, r.randrange(1, 6)):
        kind, prop = property_for(data_type, r)
        columns[prop.name] = column(kind, rows + 2, r, 0).slice(1, rows)
        if type_fault(prop.name, kind, prop) is None:
            properties[prop.name] = (prop.name, prop)
    for name, kinds in (("one", VECTORS), ("many", MULTI)):
        kind = r.choice(kinds)
        multi = name == "many"
        if r.random() < 0.5 and vector_type_fault(name, kind, multi) is None and (not multi or is_multi(kind) or kind == pa.binary()):
            columns[name] = column(kind, rows, r, 0)
            vectors[name] = Precomputed(name, 3, multi, zero_allowed=r.random() < 0.5)
    raw = pa.RecordBatch.from_pydict(columns | {ROW: pa.array(np.arange(rows), pa.int64())})
    layout = Layout("id", r.random() < 0.1, "", "text" if r.random() < 0.1 and "text" in properties else None, properties, vectors=vectors)
    batch, rejected = read_objects(raw, layout, "shard")
    batch.validate(full=True)
    assert sorted(batch.column(ROW).to_pylist() + [x.row for x in rejected]) == list(range(rows))
    assert all(x.code and x.message for x in rejected)
    assert send(batch, layout) == batch.num_rows
    return batch.num_rows, len(rejected)


@fuzz(2500)
@given(seed=st.integers(0, 2**48), rows=st.integers(0, 30))
def test_every_row_is_an_object_or_rejected(seed: int, rows: int) -> None:
    tally("rows of objects", rows)
    tally("batches of objects")
    good, rejected = child.ask(random_rows, seed, rows)
    assert good + rejected == rows
