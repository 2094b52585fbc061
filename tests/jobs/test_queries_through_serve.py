"""Weaviate's own queries, vectorized by its modules through `warpbeam serve`, find what is nearest by our own vectors.

Text is encoded by the genuine MiniLM, pictures by a tiny CLIP; the collection is loaded by `warpbeam run`. Sources of
the formulas: Weaviate's usecases/modulecomponents/arguments/nearText and entities/additional/distance.go.
"""

import base64
import builtins
import inspect
import json
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import weaviate
from typer.testing import CliRunner
from weaviate.classes.query import HybridFusion, HybridVector, MetadataQuery, Move
from weaviate.util import generate_uuid5

from examples.shapes import draw_all, png
from jobs.cli import app
from jobs.job_file import load_job
from jobs.search import encode_value, spec_of
from schemas.collection import LEGACY
from tests.conftest import Load
from tests.loopback import Loopback, Reply, Request, loopback
from tests.served import Modules

NAME = "BuiltinDoc"
NEAR = 1e-4
QUESTION = "Return the number of items of a string or a list"
Vector = npt.NDArray[Any]


@dataclass
class Library:
    """A collection that `warpbeam run` loaded, what it holds by our own vectors, and what its modules asked."""

    found: Any  # weaviate-client's collection
    job: Path
    asked: Loopback | None
    vectors: dict[str, dict[str, Vector]] = field(default_factory=dict)  # vector -> id -> numbers

    def ours(self, value: str | bytes, vector: str = "text") -> Vector:
        """Our own vector of a query."""
        return np.asarray(encode_value(spec_of(load_job(self.job), vector), "text" if isinstance(value, str) else "image", value), float)

    def mean(self, *values: str, vector: str = "text") -> Vector:
        return np.asarray(np.mean([self.ours(v, vector) for v in values], axis=0))

    def distances(self, query: Vector, vector: str = "text") -> dict[str, float]:
        """The cosine distance of every object."""
        return {k: 1 - float(v @ query / np.linalg.norm(v) / np.linalg.norm(query)) for k, v in self.vectors[vector].items()}


def rows() -> list[dict[str, Any]]:
    """What Python says about its built-in names, and a picture for each."""
    docs = {n: inspect.getdoc(getattr(builtins, n)) for n in dir(builtins) if not n.startswith("_")}
    pictures = pictures_drawn(len(docs))
    return [{"key": n, "body": (d or n)[:400], "photo": p} for (n, d), p in zip(docs.items(), pictures, strict=True)]


def pictures_drawn(n: int) -> list[bytes]:
    return [png(p.image) for p in draw_all(-(-n // 40), random.Random(1))][:n]


def forwarded(serve: str) -> Any:
    def answer(request: Request) -> Reply:
        reply = httpx.post(serve + request.path, content=request.raw, timeout=60)
        return Reply(reply.status_code, reply.content)

    return answer


@pytest.fixture(scope="module")
def library(modules: Modules, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    load = Load(tmp_path_factory.mktemp("library"), modules.server, NAME)
    with loopback(forwarded(modules.serve)) as asked:
        named = {
            "text": {"text2vec-transformers": {"inferenceUrl": f"{asked.url}/minilm", "properties": ["body"], "vectorizeClassName": False}},
            "looks": {"multi2vec-clip": {"inferenceUrl": f"{asked.url}/looks", "imageFields": ["photo"]}},
        }
        properties = [
            {"name": "key", "dataType": ["text"]},
            {"name": "body", "dataType": ["text"]},
            {"name": "photo", "dataType": ["blob"]},
        ]
        vectors = {n: {"vectorizer": v, "vectorIndexType": "flat"} for n, v in named.items()}
        load.create({"properties": properties, "vectorConfig": vectors})
        models = {"text": {"model": modules.models["minilm"]}, "looks": {"model": modules.models["looks"]}}
        job = load.job(load.parquet(pa.Table.from_pylist(rows())), models)
        assert load.run(job)[0] == 0
        assert not asked.requests, "the load itself asks no container"
        stored = {k: o["vectors"] for k, o in load.objects().items()}
        with closing(connected(modules)) as client:
            yield Library(client.collections.use(NAME), job, asked, {n: {k: np.array(v[n]) for k, v in stored.items()} for n in named})
    httpx.delete(f"{modules.server.url}/v1/schema/{NAME}", timeout=60).raise_for_status()


def connected(modules: Modules) -> Any:
    port, grpc = (int(address.rpartition(":")[2]) for address in (modules.server.url, modules.server.grpc))
    return weaviate.connect_to_local("127.0.0.1", port, grpc)


def nearest(reply: Any, expected: dict[str, float], limit: int) -> None:
    """`reply` has the `limit` nearest objects in their order, with their distances; equal ones in any order."""
    got = {str(o.uuid): o.metadata for o in reply.objects}
    assert len(reply.objects) == len(got) == min(limit, len(expected))
    assert max(abs(expected[k] - m.distance) for k, m in got.items()) <= NEAR
    assert max(abs(1 - expected[k] / 2 - m.certainty) for k, m in got.items()) <= NEAR
    own = [expected[k] for k in got]
    assert all(a <= b + NEAR for a, b in pairwise(own))
    assert all(d >= own[-1] - NEAR for k, d in expected.items() if k not in got)


def near_text(library: Library, query: str | list[str], vector: str = "text", limit: int = 20, **more: Any) -> Any:
    return library.found.query.near_text(
        query, target_vector=vector, limit=limit, return_metadata=MetadataQuery(distance=True, certainty=True), **more
    )


def test_the_stored_vectors_are_not_of_length_1(library: Library) -> None:
    """Otherwise moving between them would not tell a scaled vector from one as the model made it."""
    lengths = [float(np.linalg.norm(v)) for v in library.vectors["text"].values()]
    assert max(lengths) > 1.5 and max(lengths) - min(lengths) > 0.1


@pytest.mark.parametrize("concepts", [["open a file"], ["a list of numbers", "sorting. In order!"], ["a", "b c", "Exception", "日本"]])
def test_near_text(library: Library, concepts: list[str]) -> None:
    nearest(near_text(library, concepts), library.distances(library.mean(*concepts)), 20)


ID = generate_uuid5("sorted"), generate_uuid5("ZeroDivisionError")
MOVES = [
    (0.85, ["division"], []),
    (0.3, ["numbers", "floating point"], []),
    (1.0, [], [ID[0]]),
    (0.5, [], list(ID)),
    (0.7, ["arithmetic"], list(ID)),
]


@pytest.mark.parametrize("move", MOVES)
def test_move_to(library: Library, move: tuple[float, list[str], list[str]]) -> None:
    force, concepts, objects = move
    target = between(library, concepts, objects)
    query = library.ours("an error") * (1 - force / 2) + target * force / 2
    reply = near_text(library, "an error", move_to=moving(move))
    nearest(reply, library.distances(query), 20)


@pytest.mark.parametrize("move", [*MOVES, (1.8, ["warning"], [])])
def test_move_away(library: Library, move: tuple[float, list[str], list[str]]) -> None:
    force, concepts, objects = move
    source, target = library.ours("an error"), between(library, concepts, objects)
    reply = near_text(library, "an error", move_away=moving(move))
    nearest(reply, library.distances(source + (source - target) * force / 2), 20)


def test_first_moved_to_then_away(library: Library) -> None:
    start, to, away = library.mean("an error", "failure"), library.ours("numbers"), library.ours("warnings")
    there = start * 0.6 + to * 0.4
    reply = near_text(
        library, ["an error", "failure"], move_to=Move(force=0.8, concepts="numbers"), move_away=Move(force=0.6, concepts="warnings")
    )
    nearest(reply, library.distances(there + (there - away) * 0.3), 20)


def between(library: Library, concepts: list[str], objects: list[str]) -> Vector:
    """Where a move goes: the mean of the concepts' own mean and the objects' vectors."""
    means = [library.mean(*concepts)] if concepts else []
    return np.asarray(np.mean([*means, *(library.vectors["text"][o] for o in objects)], axis=0))


def moving(move: tuple[float, list[str], list[str]]) -> Move:
    force, concepts, objects = move
    return Move(force=force, concepts=concepts or None, objects=objects or None)


@pytest.mark.parametrize("kept", [1, 7, 40])
@pytest.mark.parametrize("cut", ["distance", "certainty"])
def test_cut_offs(library: Library, cut: str, kept: int) -> None:
    expected = library.distances(library.ours("read a line of text"))
    ranked = sorted(expected.values())
    border = (ranked[kept - 1] + ranked[kept]) / 2
    cuts: dict[str, Any] = {cut: border if cut == "distance" else 1 - border / 2}
    reply = near_text(library, "read a line of text", limit=1000, **cuts)
    near = {k: d for k, d in expected.items() if d <= border}
    assert len(near) == kept
    nearest(reply, near, kept)


@pytest.mark.parametrize("cut", [{}, {"distance": 0.3}, {"certainty": 0.9}])
def test_near_image(library: Library, cut: dict[str, float]) -> None:
    picture = pictures_drawn(300)[290]  # not among the stored ones
    expected = library.distances(library.ours(picture, "looks"), "looks")
    border = cut.get("distance", 2 * (1 - cut.get("certainty", -9)))
    near = {k: d for k, d in expected.items() if d <= border}
    reply = library.found.query.near_image(
        base64.b64encode(picture).decode(),
        target_vector="looks",
        limit=1000,
        return_metadata=MetadataQuery(distance=True, certainty=True),
        **cut,
    )
    assert near and (not cut or len(near) < len(expected))
    nearest(reply, near, 1000)


def test_several_concepts_are_one_request_to_clip_and_several_to_the_text_container(library: Library) -> None:
    assert library.asked
    concepts = ["a red circle", "green", "blue. A star!"]
    for vector, requests in (("looks", [{"texts": concepts}]), ("text", [{"text": c} for c in concepts])):
        before = len(library.asked.requests)
        nearest(near_text(library, concepts, vector), library.distances(library.mean(*concepts, vector=vector), vector), 20)
        asked = library.asked.requests[before:]
        assert [r.path for r in asked] == [f"/{'looks/vectorize' if vector == 'looks' else 'minilm/vectors'}"] * len(requests)
        assert [{k: r.body.get(k) for k in ("text", "texts") if r.body.get(k)} for r in asked] == requests


def hybrid(library: Library, alpha: float, limit: int = 20, vector: Any = None, fusion: Any = HybridFusion.RELATIVE_SCORE) -> Any:
    return library.found.query.hybrid(
        QUESTION,
        alpha=alpha,
        vector=vector,
        target_vector="text",
        limit=limit,
        fusion_type=fusion,
        return_metadata=MetadataQuery(score=True),
    ).objects


def scores(objects: Any) -> dict[str, float]:
    return {str(o.uuid): o.metadata.score for o in objects}


def spread(values: dict[str, float]) -> dict[str, float]:
    """Scaled to 0 ... 1, as relative score fusion does."""
    low, high = min(values.values()), max(values.values())
    return {k: (v - low) / (high - low) for k, v in values.items()}


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_hybrid(library: Library, alpha: float) -> None:
    """The fused score is that of our own distances and of Weaviate's keyword search."""
    near = spread({k: -d for k, d in library.distances(library.ours(QUESTION)).items()})
    words = scores(library.found.query.bm25(QUESTION, limit=1000, return_metadata=MetadataQuery(score=True)).objects)
    keyed = spread(words)
    expected = {k: alpha * near[k] + (1 - alpha) * keyed.get(k, 0) for k in near}
    got = scores(hybrid(library, alpha, limit=1000))
    assert len(words) > 20 and len(got) == len(expected)
    assert max(abs(expected[k] - s) for k, s in got.items()) <= NEAR
    own = [expected[k] for k in got]
    assert all(a >= b - NEAR for a, b in pairwise(own))


@pytest.mark.parametrize("fusion", [HybridFusion.RANKED, HybridFusion.RELATIVE_SCORE])
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_hybrid_with_our_own_vector_is_the_same(library: Library, alpha: float, fusion: Any) -> None:
    ours = library.ours(QUESTION)
    by_module, by_vector = (scores(hybrid(library, alpha, 20, v, fusion)) for v in (None, ours.tolist()))
    assert list(by_module) == list(by_vector)
    assert by_module == pytest.approx(by_vector, abs=NEAR)


def test_hybrid_moved(library: Library) -> None:
    moved = HybridVector.near_text("sort", move_to=Move(force=0.9, concepts="numbers"))
    query = library.ours("sort") * 0.55 + library.ours("numbers") * 0.45
    expected = spread({k: -d for k, d in library.distances(query).items()})
    got = scores(hybrid(library, 1.0, 1000, moved))
    assert max(abs(expected[k] - s) for k, s in got.items()) <= NEAR


def test_warpbeam_search_finds_the_same(library: Library) -> None:
    """Whoever asks without the module, with the job alone, gets the same objects."""
    arguments = ["search", str(library.job), "open a file", "--vector", "text", "--limit", "20", "--json"]
    found = json.loads(CliRunner().invoke(app, arguments).output)
    expected = library.distances(library.ours("open a file"))
    assert [f["uuid"] for f in found] == [str(o.uuid) for o in near_text(library, ["open a file"]).objects]
    assert all(abs(f["distance"] - expected[f["uuid"]]) <= NEAR for f in found)


@pytest.mark.parametrize(
    ("vector", "module", "config"),
    [("prefixed", "text2vec-transformers", {}), ("looks", "multi2vec-clip", {"textFields": ["key"], "imageFields": ["photo"]})],
)
def test_the_unnamed_vector_of_an_old_class(vectorized: Load, modules: Modules, vector: str, module: str, config: dict[str, Any]) -> None:
    texts = [{"name": n, "dataType": ["text"]} for n in ("key", "body")]
    made_by = {"vectorizer": module, "moduleConfig": modules.vectorizer(vector, module, **config), "vectorIndexType": "flat"}
    vectorized.create({"properties": [*texts, {"name": "photo", "dataType": ["blob"]}]} | made_by)
    job = vectorized.job(vectorized.parquet(pa.Table.from_pylist(rows()[:40])), {LEGACY: {"model": modules.models[vector]}})
    assert vectorized.run(job)[0] == 0
    stored = {k: np.array(o["vector"]) for k, o in vectorized.objects().items()}
    with closing(connected(modules)) as client:
        library = Library(client.collections.use(vectorized.collection), job, None, {LEGACY: stored})
        query = library.mean("an error", "a list", vector=LEGACY) * 0.75 + library.ours("names", LEGACY) * 0.25
        move = Move(force=0.5, concepts="names")
        metadata = MetadataQuery(distance=True, certainty=True)
        reply = library.found.query.near_text(["an error", "a list"], move_to=move, limit=15, return_metadata=metadata)
        nearest(reply, library.distances(query, LEGACY), 15)
