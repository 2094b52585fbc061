"""The public transforms in a Beam user's own pipeline, against a real Weaviate."""

import re
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import httpx
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.ml.rag.ingestion.base import VectorDatabaseWriteTransform
from apache_beam.ml.rag.types import Chunk, Content, Embedding
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.display import DisplayData
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from weaviate.util import generate_uuid5

from schemas.errors import JobError
from tests.conftest import Load
from warpbeam import VectorizeObjects, WeaviateVectorWriterConfig, WriteToWeaviate

NONE = {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}
TITLE = {"properties": [{"name": "title", "dataType": ["text"]}, {"name": "year", "dataType": ["int"]}], "vectorConfig": {"v": NONE}}
FAKE = {"v": {"model": {"fake": 4}, "text_fields": ["title"]}}


class Book(NamedTuple):
    id: str
    title: str
    year: int


LOCAL = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def pipeline() -> TestPipeline:
    return TestPipeline(runner=LOCAL, options=PipelineOptions(["--direct_running_mode=in_memory"]))


def writer(load: Load, **more: Any) -> WriteToWeaviate:
    return WriteToWeaviate(load.server.url, load.collection, grpc=load.server.grpc, **more)


KINDS = {
    "dicts": [{"id": f"k{i}", "title": f"title {i}", "year": 2000 + i} for i in range(5)],
    "named tuples": [Book(f"k{i}", f"title {i}", 2000 + i) for i in range(5)],
    "beam.Row": [beam.Row(id=f"k{i}", title=f"title {i}", year=2000 + i) for i in range(5)],
    "batches": [pa.RecordBatch.from_pylist([{"id": f"k{i}", "title": f"title {i}", "year": 2000 + i} for i in range(5)])],
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_rows_are_vectorized_and_written(load: Load, kind: str) -> None:
    load.create(TITLE)
    with pipeline() as p:
        made = p | beam.Create(KINDS[kind], reshuffle=False) | VectorizeObjects(FAKE)
        result = made.objects | writer(load)
        assert_that(result.written, equal_to([5]), "written")
        assert_that(result.rejected, equal_to([]), "rejected")
    found = load.objects()
    assert set(found) == {generate_uuid5(f"k{i}") for i in range(5)}
    assert found[generate_uuid5("k3")]["properties"] == {"title": "title 3", "year": 2003}
    assert all(len(o["vectors"]["v"]) == 4 for o in found.values())


def test_vectors_that_are_there_and_rows_that_cannot_be(load: Load) -> None:
    load.create(TITLE)
    rows = [{"sku": "a", "title": "x", "e": [1.0, 2.0]}, {"sku": None, "title": "y", "e": [1.0, 2.0]}, {"sku": "c", "e": [0.0, 0.0]}]
    rows.append({"sku": "d", "title": "z", "year": "no year", "e": np.array([3.0, 4.0], np.float32)})
    with pipeline() as p:
        result = p | beam.Create(rows, reshuffle=False) | writer(load, key="sku", vectors={"v": "e"})
        assert_that(result.rejected | beam.Map(lambda r: r["code"]), equal_to(["no_key", "vector_zero", "wrong_type"]), "codes")
        assert_that(result.written, equal_to([1]), "written")
    assert {k: o["vectors"]["v"] for k, o in load.objects().items()} == {generate_uuid5("a"): [1.0, 2.0]}


def test_rows_with_vectors_go_elsewhere_too(load: Load) -> None:
    with pipeline() as p:
        made = p | beam.Create(KINDS["dicts"], reshuffle=False) | VectorizeObjects(FAKE)
        assert_that(made.rows | beam.Map(lambda r: (r["id"], r["year"], len(r["v"]))), equal_to([(f"k{i}", 2000 + i, 4) for i in range(5)]))


def test_a_windowed_collection_is_written(load: Load) -> None:
    load.create(TITLE)
    with pipeline() as p:
        rows = p | beam.Create(KINDS["dicts"], reshuffle=False) | beam.Map(lambda r: TimestampedValue(r | {"e": [1.0]}, r["year"]))
        result = rows | beam.WindowInto(FixedWindows(2)) | writer(load, vectors={"v": "e"})
        assert_that(result.written, equal_to([5]))
    assert len(load.objects()) == 5


def test_what_cannot_be_is_named(load: Load) -> None:
    load.create(TITLE)
    with pytest.raises(JobError, match="either `key`"):
        writer(load, key="a", uuid="b")
    for row, sentence in (({"id": "a", "colour": "red"}, "has no property 'colour'"), ({"title": "a"}, "no column 'id'")):
        with pytest.raises(Exception, match=sentence), pipeline() as p:
            _ = p | beam.Create([row], reshuffle=False) | writer(load)


def test_flags_say_where_to_write(load: Load) -> None:
    load.create(TITLE)
    flags = [f"--weaviate_url={load.server.url}", f"--weaviate_grpc={load.server.grpc}", f"--weaviate_collection={load.collection}"]
    options = PipelineOptions(["--direct_running_mode=in_memory", *flags])
    with TestPipeline(runner=LOCAL, options=options) as p:
        written = p | beam.Create([{"id": "k1", "title": "a", "year": 1}]) | WriteToWeaviate.of_options(p.options)
        assert_that(written.written, equal_to([1]))
    assert set(load.objects()) == {generate_uuid5("k1")}


def test_a_flag_that_is_missing_is_named() -> None:
    with pytest.raises(JobError, match="--weaviate_collection is missing"):
        WriteToWeaviate.of_options(PipelineOptions(["--weaviate_url=http://localhost:8080"]))


def test_a_collection_that_is_missing_is_named(load: Load) -> None:
    with pytest.raises(Exception, match=f"collection '{load.collection}' is missing on {load.server.url}; make it before"), pipeline() as p:
        _ = p | beam.Create(KINDS["dicts"], reshuffle=False) | writer(load)


def test_no_secret_is_shown_or_stored_in_the_graph(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "kept-in-the-dark")
    made = writer(load, api_key="${SHOP_KEY}")
    p = beam.Pipeline()
    _ = p | beam.Create(KINDS["dicts"]) | made
    shown = str(DisplayData.create_from(made).items)
    assert load.collection in shown and "dark" not in shown and "SHOP_KEY" not in shown
    assert b"kept-in-the-dark" not in p.to_runner_api().SerializeToString()


def test_chunks_of_beams_own_rag(load: Load) -> None:
    properties = [{"name": "content", "dataType": ["text"]}, {"name": "source", "dataType": ["text"]}, {"name": "n", "dataType": ["int"]}]
    load.create({"properties": properties, "vectorConfig": {"v": NONE}})
    ids = [str(uuid.UUID(int=i + 1)) for i in range(3)]
    chunks = [
        Chunk(Content(text=f"text {i}"), id=ids[i], index=i, metadata={"source": "a.txt", "more": 1}, embedding=Embedding([1.0, float(i)]))
        for i in range(3)
    ]
    config = WeaviateVectorWriterConfig(
        load.server.url,
        load.collection,
        grpc=load.server.grpc,
        vector="v",
        index_property="n",
        metadata_properties=["source"],
        ids_are_uuids=True,
    )
    with pipeline() as p:
        result = p | beam.Create(chunks, reshuffle=False) | VectorDatabaseWriteTransform(config)
        assert_that(result.written, equal_to([3]))
    found = load.objects()
    assert set(found) == set(ids)
    assert found[ids[2]]["properties"] == {"content": "text 2", "source": "a.txt", "n": 2}
    assert found[ids[2]]["vectors"]["v"] == [1.0, 2.0]


def test_the_examples_of_the_page_run(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    load.create({"properties": TITLE["properties"], "vectorConfig": {"text": NONE}})
    page = (Path(__file__).parent.parent.parent / "docs" / "in-your-pipeline.md").read_text()
    first, options, second = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    here = first.replace('"./minilm"', '{"fake": 4}').replace(
        '"http://localhost:8080", "Book"', f'"{load.server.url}", "{load.collection}", grpc="{load.server.grpc}"'
    )
    exec(here.replace("beam.Pipeline()", f'beam.Pipeline("{LOCAL}")'), {"__name__": "page"})
    names: dict[str, Any] = {"__name__": "page", "WriteToWeaviate": WriteToWeaviate}
    exec(options, names)
    assert names["write"].target.collection == "Book"
    exec(second, {"__name__": "page"})
    assert set(load.objects()) == {generate_uuid5("b1")}
    assert capsys.readouterr().out.split() == ["1"]


def test_the_old_unnamed_vector_gets_a_chunks_embedding(load: Load) -> None:
    load.create({"properties": [{"name": "content", "dataType": ["text"]}], "vectorizer": "none"})
    config = WeaviateVectorWriterConfig(load.server.url, load.collection, grpc=load.server.grpc)
    with pipeline() as p:
        _ = (
            p
            | beam.Create([Chunk(Content(text="a"), id="x", embedding=Embedding([1.0, 2.0]))], reshuffle=False)
            | VectorDatabaseWriteTransform(config)
        )
    (found,) = httpx.get(f"{load.server.url}/v1/objects", params={"class": load.collection, "include": "vector"}).json()["objects"]
    assert (found["id"], found["vector"]) == (generate_uuid5("x"), [1.0, 2.0])
