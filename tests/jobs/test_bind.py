"""multi2vec-bind: a real Weaviate asks `warpbeam serve` with a small ImageBind, and `warpbeam run` loads the same objects.

Every vector has to be the same, and the same objects have to be refused; then queries of every modality find what is
nearest by our own vectors. The files are made here: tones, moving squares, noise.
"""

import base64
import csv
import io
import json
import random
import subprocess
import sys
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
import torch
import weaviate
import yaml
from PIL import Image
from typer.testing import CliRunner
from weaviate.classes.query import MetadataQuery
from weaviate.collections.classes.grpc import NearMediaType
from weaviate.util import generate_uuid5

from encoders.remote import RemoteEncoder
from encoders.sharing import shared_encoder
from jobs.cli import app
from jobs.examine.foresight import foresee
from jobs.job_file import load_job
from jobs.modules import module_remarks
from jobs.search import encode_value, query_value, spec_of
from jobs.server import Server, free_ports, start_server
from pipelines.one_vector import parts_of
from schemas.collection import Property, parse_collection
from schemas.errors import JobError
from schemas.job import VectorSpec
from schemas.modules import MultiModule, module_of
from tests.conftest import Load
from tests.encoders.imagebind import recordings, small
from tests.served import relative, serving

NAME = "Recording"
OBJECTS = 60
NEAR = 1e-4
BLOBS = {"image": "photo", "audio": "sound", "video": "film", "imu": "moves", "thermal": "heat", "depth": "range"}  # modality -> property
BAD = {
    "image": b"no picture",
    "audio": b"RIFF\0\0",
    "video": b"\0\0\0\x18ftypmp42",
    "imu": b"a,b\n1,2\n",
    "thermal": b"GIF89a",
    "depth": b"\x89PNG",
}
Vector = npt.NDArray[Any]


def png(seed: int, mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (20 + seed, 40, 3), np.uint8)
    picture = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 200) if mode == "I;16" else Image.fromarray(pixels).convert(mode)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def table(seed: int, rows: int, columns: int = 6) -> bytes:
    file = io.StringIO()
    numbers = np.random.default_rng(seed).normal(size=(rows, columns)).round(4).tolist()
    csv.writer(file).writerows([[f"axis{i}" for i in range(columns)], *numbers])
    return file.getvalue().encode()


def files(modality: str) -> list[bytes]:
    """Three small files of a modality; the last is the one that is asked for."""
    tone, squares = recordings.tone, recordings.textured
    made: dict[str, list[bytes]] = {
        "image": [png(1), png(9, "L"), png(20)],
        "audio": [
            recordings.sound_file(tone(440, 0.5, 8000), 8000),
            recordings.sound_file(np.stack([tone(900, 2.6, 16000), tone(200, 2.6, 16000)]), 16000),
            recordings.sound_file(tone(1500, 1, 22050), 22050),
        ],
        "video": [recordings.video_file(squares(n, 24, 32, n), rate) for n, rate in ((5, 5), (14, 4), (8, 6))],
        "imu": [table(1, 30), table(2, 2300), table(3, 500)],
        "thermal": [png(3, "L"), png(4), png(5, "L")],
        "depth": [png(6, "I;16"), png(7, "L"), png(8, "L")],
    }
    return made[modality]


def rows() -> list[dict[str, Any]]:
    """Random objects: most properties of most are null; then one without any, and six with one file each that is none."""
    chance = random.Random(5)
    stored = {modality: files(modality)[:2] for modality in BLOBS}
    made: list[dict[str, Any]] = []
    for i in range(OBJECTS - len(BAD) - 1):
        row: dict[str, Any] = {"key": f"k{i}", "caption": chance.choice([None, "", "a dog barks", "Rain. And thunder!", "word " * 90])}
        row["tags"] = chance.choice([None, [], ["red"], ["a car", "b", ""]])
        row |= {p: chance.choice(stored[m]) if chance.random() < 0.3 else None for m, p in BLOBS.items()}
        made.append(row)
    empty = dict.fromkeys(("tags", *BLOBS.values()))
    bad = [{"key": f"bad {m}", "caption": "a cat"} | empty | {BLOBS[m]: data} for m, data in BAD.items()]
    return [*made, {"key": "nothing", "caption": None} | empty, *bad]


SCHEMA = pa.schema(
    {"key": pa.string(), "caption": pa.string(), "tags": pa.list_(pa.string())} | dict.fromkeys(BLOBS.values(), pa.binary())  # type: ignore[arg-type]
)


def definition() -> dict[str, Any]:
    """A class with a vector of everything, and one whose fields have weights."""
    fields = {f"{m}Fields": [p] for m, p in BLOBS.items()}
    every = {"textFields": ["tags", "caption"]} | fields
    weighed = {"textFields": ["caption"]} | fields
    weighed["weights"] = {key: [0.1 * i] for i, key in enumerate(weighed, 1)}  # type: ignore[assignment]
    types = {"caption": "text", "tags": "text[]"} | dict.fromkeys(BLOBS.values(), "blob")
    return {
        "class": NAME,
        "properties": [{"name": n, "dataType": [t]} for n, t in types.items()],
        "vectorConfig": {
            n: {"vectorizer": {"multi2vec-bind": config}, "vectorIndexType": "flat"} for n, config in (("all", every), ("weighed", weighed))
        },
    }


@dataclass
class World:
    """A collection of which the server made all vectors, and then, emptied, `warpbeam run`."""

    load: Load
    job: Path
    serve: str
    model: dict[str, Any]
    refused: set[str]
    theirs: dict[str, dict[str, Any]]
    found: Any = None  # weaviate-client's collection
    ours: dict[str, dict[str, Any]] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)

    def query(self, modality: str, value: str | bytes) -> dict[str, float]:
        """The cosine distance of every object's vector `all` from our own vector of a query."""
        query = np.asarray(encode_value(spec_of(load_job(self.job), "all"), modality, value), float)
        stored = {k: np.asarray(o["all"], float) for k, o in self.ours.items()}
        return {k: 1 - float(v @ query / np.linalg.norm(v) / np.linalg.norm(query)) for k, v in stored.items()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("bind")
    model = {"imagebind": str(small.make(folder / "imagebind")), "device": "cpu"}
    (folder / "class.json").write_text(json.dumps(definition()))
    port = free_ports().http
    serve = f"http://127.0.0.1:{port}"
    job = {
        "source": {"parquet": "rows.parquet", "key": "key"},
        "target": {"weaviate": "http://127.0.0.1:9", "collection": NAME, "create": "class.json"},
        "vectors": {"all": {"model": model}, "weighed": {"model": model}},
    }
    (folder / "serve.yaml").write_text(yaml.safe_dump(job))
    env = {"ENABLE_MODULES": "multi2vec-bind", "BIND_INFERENCE_API": f"{serve}/all"}
    with serving(folder, port), start_server(folder / "data", env=env, log=folder / "server.log") as server:
        yield from loaded(folder, server, serve, model)


def loaded(folder: Path, server: Server, serve: str, model: dict[str, Any]) -> Iterator[World]:
    load = Load(folder, server, NAME)
    load.create(definition())
    refused = by_server(server, rows())
    theirs = {k: o["vectors"] for k, o in load.objects().items()}
    httpx.delete(f"{server.url}/v1/schema/{NAME}", timeout=60).raise_for_status()
    source = load.parquet(pa.Table.from_pylist(rows(), SCHEMA))
    vectors = {name: {"model": model} for name in ("all", "weighed")}
    job = load.job(source, vectors, {"create": "class.json"}, failures={"path": "failures", "allowed_share": 1})
    code, report = load.run(job)
    assert code == 0, report
    ours = {k: o["vectors"] for k, o in load.objects().items()}
    http, grpc = (int(address.rpartition(":")[2]) for address in (server.url, server.grpc))
    with closing(weaviate.connect_to_local("127.0.0.1", http, grpc)) as client:
        yield World(load, job, serve, model, refused, theirs, client.collections.use(NAME), ours, report)


def by_server(server: Server, objects: list[dict[str, Any]]) -> set[str]:
    """Let the server vectorize `objects`; the ids that it refused."""
    given = [{k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in o.items() if v is not None} for o in objects]
    sent = [{"class": NAME, "id": generate_uuid5(o.pop("key")), "properties": o} for o in given]
    answer = httpx.post(f"{server.url}/v1/batch/objects", json={"objects": sent}, timeout=300).raise_for_status().json()
    return {o["id"] for o in answer if o["result"].get("errors")}


def test_run_makes_the_vectors_that_the_server_would_have_made(world: World) -> None:
    assert set(world.ours) == set(world.theirs) - world.refused
    assert {generate_uuid5(r["key"]) for r in rows()} == set(world.ours) | world.refused
    assert {generate_uuid5(k) for k in ("nothing", *(f"bad {m}" for m in BAD))} <= world.refused
    assert len(world.ours) > 0.7 * OBJECTS
    for name in ("all", "weighed"):
        own = {k: v[name] for k, v in world.ours.items()}
        assert relative(own, {k: world.theirs[k][name] for k in own}) <= 1e-5


def test_what_is_refused_is_named_with_its_reason(world: World) -> None:
    failed = {r["key"]: r for r in world.load.failures()}
    assert {generate_uuid5(k) for k in failed} == world.refused
    codes = {m: failed[f"bad {m}"]["code"] for m in BAD}
    assert codes == {
        "image": "image_unreadable",
        "audio": "audio_unreadable",
        "video": "video_unreadable",
        "imu": "imu_shape",
        "thermal": "image_unreadable",
        "depth": "image_unreadable",
    }
    assert {r["code"] for k, r in failed.items() if not k.startswith("bad")} == {"no_fields"}
    assert world.report["counts"]["read"] == OBJECTS == len(world.ours) + len(failed)


def nearest(reply: Any, expected: dict[str, float], limit: int) -> None:
    """`reply` has the `limit` nearest objects in their order, with their distances; equal ones in any order."""
    got = {str(o.uuid): o.metadata.distance for o in reply.objects}
    assert len(got) == limit < len(expected)
    assert max(abs(expected[k] - d) for k, d in got.items()) <= NEAR
    own = [expected[k] for k in got]
    assert all(a <= b + NEAR for a, b in pairwise(own))
    assert all(d >= own[-1] - NEAR for k, d in expected.items() if k not in got)


@pytest.mark.parametrize("modality", BLOBS)
def test_queries_of_every_modality_find_what_is_nearest(world: World, modality: str) -> None:
    asked = files(modality)[2]
    more: dict[str, Any] = {"target_vector": "all", "limit": 12, "return_metadata": MetadataQuery(distance=True)}
    encoded = base64.b64encode(asked).decode()
    if modality == "image":
        reply = world.found.query.near_image(encoded, **more)
    else:
        reply = world.found.query.near_media(encoded, NearMediaType[modality.upper()], **more)
    nearest(reply, world.query(modality, asked), 12)


def test_near_text_finds_what_is_nearest(world: World) -> None:
    reply = world.found.query.near_text("a dog", target_vector="all", limit=12, return_metadata=MetadataQuery(distance=True))
    nearest(reply, world.query("text", "a dog"), 12)


@pytest.mark.parametrize("modality", ["text", *BLOBS])
def test_warpbeam_search_finds_the_same(world: World, tmp_path: Path, modality: str) -> None:
    asked: str | bytes = "a dog" if modality == "text" else files(modality)[2]
    if isinstance(asked, bytes):
        (tmp_path / "asked").write_bytes(asked)
    value = ["a dog"] if modality == "text" else [f"--{modality}", str(tmp_path / "asked")]
    done = CliRunner().invoke(app, ["search", str(world.job), *value, "--vector", "all", "--limit", "12", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    expected = world.query(modality, asked)
    assert sorted(expected.values())[:12] == pytest.approx([f["distance"] for f in found], abs=NEAR)
    assert all(abs(f["distance"] - expected[f["uuid"]]) <= NEAR for f in found)


def test_check_proves_the_vectors_and_foresees_what_fails(world: World) -> None:
    done = CliRunner().invoke(app, ["check", str(world.job), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert "CC BY" not in done.stdout
    foreseen = {(f["vector"], f["code"]): f["rows"] for f in told["sample"]["foreseen"]}
    long = sum(r["caption"] is not None and len(r["caption"]) > 400 for r in rows())
    assert foreseen["all", "texts_alike"] == foreseen["weighed", "texts_alike"] == long > 0
    assert (foreseen["all", "no_fields"], foreseen["all", "imu_shape"], foreseen["all", "image_unreadable"]) == (1, 1, 3)


def test_check_names_the_preset_that_matches(world: World) -> None:
    done = CliRunner().invoke(app, ["check", str(world.job), "--set", "vectors.all.model.preset=upstream"])
    assert done.exit_code == 2
    assert "they match with preset: container" in " ".join(done.output.split())


def test_one_value_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"sound")
    nothing = dict.fromkeys(BLOBS)
    assert query_value("text", nothing) == ("text", "text")
    assert query_value(None, nothing | {"audio": tmp_path / "a.wav"}) == ("audio", b"sound")
    for text, given in ((None, {}), ("a", {"imu": tmp_path / "a.wav"}), (None, {"depth": tmp_path, "video": tmp_path})):
        with pytest.raises(JobError, match=r"either a text, or one of --image FILE, --audio FILE"):
            query_value(text, nothing | given)
    with pytest.raises(JobError, match=r"--thermal .*none cannot be read: No such file"):
        query_value(None, nothing | {"thermal": tmp_path / "none"})


def test_what_search_cannot_do_is_said(world: World, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"no sound")
    for options, said in ((["--hybrid", "0.5"], "needs a text, and this is audio"), ([], "no sound")):
        done = CliRunner().invoke(app, ["search", str(world.job), "--audio", str(tmp_path / "bad"), "--vector", "all", *options])
        assert done.exit_code == 2 and said in done.output


def test_the_licence_is_said_once_and_not_in_the_data(world: World) -> None:
    command = [sys.executable, "-m", "jobs.cli", "encode", str(world.job), "a dog", "--vector", "all", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)) == small.DIM
    assert done.stderr.count("CC BY-NC-SA 4.0") == 1
    assert (world.load.folder / "serve.log").read_text().count("CC BY-NC-SA 4.0") == 1


def test_serve_says_how_weaviate_is_told(world: World) -> None:
    log = (world.load.folder / "serve.log").read_text()
    assert f"all as multi2vec-bind: POST {world.serve}/all/vectors and {world.serve}/all/vectorize" in log
    assert f"BIND_INFERENCE_API={world.serve}/all" in log
    assert "inferenceUrl" not in log


def vectorize(world: World, body: Any) -> httpx.Response:
    return httpx.post(f"{world.serve}/all/vectorize", content=json.dumps(body), timeout=60)


def test_every_list_is_answered_in_order(world: World) -> None:
    keys = {"text": "texts", "image": "images"} | {m: m for m in ("audio", "video", "imu", "thermal", "depth")}
    values: dict[str, list[Any]] = {"text": ["a dog", "a cat"]} | {m: files(m)[:2] for m in BLOBS}
    sent = {keys[m]: [v if isinstance(v, str) else base64.b64encode(v).decode() for v in values[m]] for m in values}
    answer = vectorize(world, sent).raise_for_status().json()
    assert set(answer) == {f"{m}Vectors" for m in keys}
    spec = spec_of(load_job(world.job), "all")
    for modality, given in values.items():
        own = {str(i): encode_value(spec, modality, v, "document") for i, v in enumerate(given)}
        assert relative(own, {str(i): v for i, v in enumerate(answer[f"{modality}Vectors"])}) <= 1e-5
    empty = vectorize(world, {}).raise_for_status().json()
    assert empty == {key: [] for key in answer}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"texts": ["a dog"], "audio": [base64.b64encode(b"no sound").decode()]}, "no sound"),
        ({"imu": ["é"]}, r"imu\[0\] is no base64"),
        ({"depth": "abc"}, "depth is text; expected a list"),
        ({"video": [None]}, r"video\[0\] is null"),
        ([], "the body is a list"),
    ],
)
def test_any_failure_is_500_for_the_whole_request(world: World, body: Any, said: str) -> None:
    answer = vectorize(world, body)
    assert answer.status_code == 500
    assert set(answer.json()) == {"error"}
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(answer.json()["error"])


def test_serve_without_a_collection_takes_imagebind_for_multi2vec_bind(tmp_path: Path, world: World) -> None:
    from jobs.serve import served_vectors

    job = {
        "source": {"parquet": "rows.parquet", "key": "key"},
        "target": {"weaviate": "http://127.0.0.1:9", "collection": "Any"},
        "vectors": {"all": {"model": world.model}},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    assert served_vectors(load_job(tmp_path / "job.yaml"))["all"].module == MultiModule("multi2vec-bind", "Any", {})


def test_a_container_that_runs_gives_the_same_vectors(world: World) -> None:
    own = spec_of(load_job(world.job), "all")
    far = own.model_copy(update={"model": VectorSpec.model_validate({"model": {"inference_url": f"{world.serve}/all"}}).model})
    with closing(RemoteEncoder(far)) as encoder:
        assert encoder.dim == small.DIM
        for modality in BLOBS:
            given, bad = files(modality)[:2], BAD[modality]
            encoding = encoder.encode([*given, bad], modality)
            expected = {str(i): encode_value(own, modality, v, "document") for i, v in enumerate(given)}
            assert relative({str(i): encoding.vectors[i] for i in range(2)}, expected) <= 1e-5
            assert encoding.errors.keys() == {2} and "fail with status 500" in encoding.errors[2].reason
        native = VectorSpec.model_validate({"model": {"inference_url": world.serve}, "audio_fields": ["sound"]})
        assert RemoteEncoder(native).modalities == encoder.modalities


def test_a_self_provided_vector_of_media_behind_uris(world: World, tmp_path: Path) -> None:
    """Files are fetched; each bad one is one rejected row with its reason, and the others are loaded."""
    media = {m: [*files(m)[:2], BAD[m], b""] for m in ("audio", "video", "imu", "depth", "thermal")}
    for modality, contents in media.items():
        for i, data in enumerate(contents):
            (tmp_path / f"{modality}{i}").write_bytes(data)
    empty: dict[str, Any] = dict.fromkeys(BLOBS[m] for m in media)
    found = [{"key": f"{m}{i}"} | empty | {BLOBS[m]: str(tmp_path / f"{m}{i}")} for m, c in media.items() for i in range(len(c))]
    found.append({"key": "mixed"} | empty | {BLOBS[m]: str(tmp_path / f"{m}0") for m in ("audio", "depth")})
    found.append({"key": "away"} | empty | {"sound": "/etc/hostname"})
    load = Load(tmp_path, world.load.server, "Native")
    load.create(
        {
            "properties": [{"name": "key", "dataType": ["text"]}],
            "vectorConfig": {"v": {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}},
        }
    )
    vector = (
        {"model": world.model}
        | {f"{m}_fields": [BLOBS[m]] for m in media}
        | {"audio_fields": {"sound": 3.0}, "depth_fields": {"range": 1.0}}
    )
    fetched = {p: {"fetch": [str(tmp_path)]} for p in empty}
    table = pa.Table.from_pylist(found, pa.schema(dict.fromkeys(("key", *empty), pa.string())))  # type: ignore[arg-type]
    job = load.job(load.parquet(table), {"v": vector}, media=fetched, failures={"path": "failures", "allowed_share": 1})
    code, report = load.run(job)
    assert code == 0, report
    spec = load_job(job).vectors["v"]
    own = {f"{m}{i}": encode_value(spec, m, c[i], "document") for m, c in media.items() for i in range(2)}
    own["mixed"] = unit(0.75 * unit(own["audio0"]) + 0.25 * unit(own["depth0"]))  # weights mean what they say, whatever the scales
    stored = {o["properties"]["key"]: o["vectors"]["v"] for o in load.objects().values()}
    assert relative(stored, own) <= 1e-5
    failed = {r["key"]: r["code"] for r in load.failures()}
    assert failed.keys() == {f"{m}{i}" for m in media for i in (2, 3)} | {"away"}
    assert failed["away"] == "uri_not_allowed"
    assert all(code.partition("_")[0] in (m, "image", "imu", "depth") for m in media for i in (2, 3) for code in [failed[f"{m}{i}"]])


def unit(vector: Vector) -> Vector:
    return np.asarray(vector / np.linalg.norm(vector))


def spec_with(settings: dict[str, Any], model: dict[str, Any]) -> VectorSpec:
    types = {"caption": Property("caption", "text")} | {p: Property(p, "blob") for p in BLOBS.values()}
    made = {"class": NAME, "vectorConfig": {"v": {"vectorizer": {"multi2vec-bind": settings}}}}
    return VectorSpec.model_validate({"model": model, "module": module_of(made, "v", types, False)})


def remarks(settings: dict[str, Any], **model: Any) -> list[str]:
    spec = spec_with(settings, {"imagebind": "huge.pth"} | model)
    return list(module_remarks(spec, "v", parse_collection(definition()), frozenset()))


def test_what_goes_wrong_in_silence_is_remarked() -> None:
    assert remarks({"textFields": ["caption"]}) == []
    (imu,) = remarks({"textFields": ["caption"], "IMUFields": ["moves"]})
    assert imu.startswith("vectors.v: the collection says IMUFields (moves), as the Python client writes it")
    weights = {"textFields": [1], "audioFields": [0.5, 0.2], "depthFields": [0.1]}
    found = remarks({"textFields": ["caption"], "audioFields": ["sound"], "videoFields": ["film"], "weights": weights})
    counts = [r.partition(";")[0] for r in found if "by position and" in r]
    assert counts == [
        "vectors.v: weights.audioFields has 2 for 1 fields (sound)",
        "vectors.v: weights.videoFields has 0 for 1 fields (film)",
        "vectors.v: weights.depthFields has 1 for 0 fields (none)",
    ]
    (preset,) = remarks({"textFields": ["caption"]}, preset="upstream")
    assert "preset upstream" in preset


def test_texts_that_the_container_makes_alike_are_foreseen(tmp_path: Path) -> None:
    texts = ["word " * 75, "word " * 76, "other " * 90, "short"]
    batch = pa.RecordBatch.from_pydict({"@key": ["a", "b", "c", "d"], "caption": texts})
    folder = str(small.make(tmp_path / "imagebind"))
    for preset, alike in (("container", 2), ("upstream", 0), (None, 2)):
        spec = spec_with({"textFields": ["caption"]}, {"imagebind": folder, "preset": preset, "device": "cpu"})
        parts = parts_of(batch, spec)
        with shared_encoder(spec) as encoder:
            tokens = encoder.count_tokens(texts)  # type: ignore[attr-defined]
            found = {f.code: f for f in foresee(batch, "v", spec, encoder, parts, tokens)}
            vectors = encoder.encode(texts, "text").vectors
        assert (found["texts_alike"].rows if alike else len(found)) == alike
        assert np.array_equal(vectors[1], vectors[2]) == bool(alike)
        assert np.allclose(vectors[0], vectors[1]) == (not alike)  # both are cut to the same 75 tokens, with their end
