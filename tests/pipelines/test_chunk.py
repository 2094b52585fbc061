"""An object per chunk."""

import uuid
from typing import Any

import pyarrow as pa
import pytest

from pipelines.chunk import chunk_objects
from schemas.columns import BATCH_ROWS, CHUNK, CHUNKS, KEY, ROW, UUID, concat
from schemas.job import ChunkSpec
from schemas.objects import uuid5

CHUNKS_OF = [["a0", "a1", "a2"], ["b0"], [""], [""]]


def batch() -> pa.RecordBatch:
    keys = ["a", "b", "c", "d"]
    columns = {KEY: keys, UUID: pa.array([uuid5(k) for k in keys], pa.binary(16)), ROW: [4, 5, 6, 7], "title": [f"t{k}" for k in keys]}
    return pa.RecordBatch.from_pydict(columns | {"body": pa.array(["a0 a1 a2", "b0", None, ""])})


def chunked(namespace: str = "", **keys: Any) -> pa.RecordBatch:
    spec = ChunkSpec.model_validate({"property": "body", "model": "m", **keys})
    return concat(list(chunk_objects(batch(), spec, CHUNKS_OF, namespace)))


def test_chunks_replace_the_text() -> None:
    assert chunked().column("body").to_pylist() == ["a0", "a1", "a2", "b0", None, ""]


def test_numbers_start_at_0_in_each_row() -> None:
    assert chunked().column(CHUNK).to_pylist() == [0, 1, 2, 0, 0, 0]
    assert chunked().column(CHUNKS).to_pylist() == [3, 3, 3, 1, 1, 1]


@pytest.mark.parametrize("namespace", ["", "shop"])
def test_ids_are_of_key_and_number(namespace: str) -> None:
    found = chunked(namespace).column(UUID).to_pylist()
    assert found == [
        uuid.uuid5(uuid.NAMESPACE_DNS, f"{namespace}{k}#{n}").bytes for k, n in [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("c", 0), ("d", 0)]
    ]


def test_other_columns_are_kept() -> None:
    found = chunked()
    assert found.column("title").to_pylist() == ["ta", "ta", "ta", "tb", "tc", "td"]
    assert found.column(ROW).to_pylist() == [4, 4, 4, 5, 6, 7]
    assert found.column(KEY).to_pylist() == ["a", "a", "a", "b", "c", "d"]


def test_number_and_parent_become_properties() -> None:
    found = chunked(number="n", parent="of")
    assert found.column("n").to_pylist() == [0, 1, 2, 0, 0, 0]
    assert found.column("n").type == pa.int64()
    assert found.column("of").to_pylist() == ["a", "a", "a", "b", "c", "d"]


def test_number_replaces_a_column_of_that_name() -> None:
    found = chunked(number="title")
    assert found.column("title").to_pylist() == [0, 1, 2, 0, 0, 0]
    assert found.schema.names.count("title") == 1


def test_input_is_left_alone() -> None:
    before = batch()
    list(chunk_objects(before, ChunkSpec.model_validate({"property": "body", "model": "m"}), CHUNKS_OF))
    assert before.equals(batch())


def test_slice_is_chunked_as_its_rows() -> None:
    spec = ChunkSpec.model_validate({"property": "body", "model": "m"})
    found = concat(list(chunk_objects(batch().slice(1, 2), spec, CHUNKS_OF[1:3])))
    assert found.column(KEY).to_pylist() == ["b", "c"]


def test_empty_batch_gives_nothing() -> None:
    assert list(chunk_objects(batch().slice(0, 0), ChunkSpec.model_validate({"property": "body", "model": "m"}), [])) == []


def test_many_chunks_are_cut_into_bounded_batches() -> None:
    spec = ChunkSpec.model_validate({"property": "body", "model": "m"})
    pieces = [[f"p{i}" for i in range(3 * BATCH_ROWS)], ["b0"]]
    found = list(chunk_objects(batch().slice(0, 2), spec, pieces))
    assert all(b.num_rows <= BATCH_ROWS for b in found)
    assert concat(found).column("body").to_pylist() == pieces[0] + pieces[1]
    assert len(set(concat(found).column(UUID).to_pylist())) == 3 * BATCH_ROWS + 1
