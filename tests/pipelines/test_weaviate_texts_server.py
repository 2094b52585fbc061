"""The strongest proof of our texts: a real Weaviate composes them from the objects that we send, and a recorder keeps what it asks."""

import json
import random
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx
import pyarrow as pa
import pytest
from weaviate.proto.v1 import batch_pb2, weaviate_pb2_grpc

from jobs.embedded import Server, start_server
from pipelines.compose_weaviate import compose_weaviate
from pipelines.targets.messages import messages, request
from pipelines.weaviate_texts import object_text
from schemas.collection import Collection, Property, parse_collection
from schemas.columns import UUID
from schemas.modules import TextModule, module_of
from schemas.objects import coerce

MODULE = "text2vec-transformers"
OBJECTS = 40  # of each class


@dataclass
class Recorder:
    """An inference container that keeps the texts; the first number of a vector is the number of its text."""

    texts: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def vector(self, text: str) -> list[float]:
        with self.lock:
            self.texts.append(text)
            return [float(len(self.texts)), 1.0, 0.0]


def handler(recorder: Recorder) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer({})

        def do_POST(self) -> None:
            text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"]
            self.answer({"text": text, "dim": 3, "vector": recorder.vector(text)})

        def answer(self, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@dataclass
class Setting:
    """A server whose module asks the recorder."""

    server: Server
    recorder: Recorder
    stub: Any

    def create(self, definition: dict[str, Any]) -> Collection:
        made = httpx.post(f"{self.server.url}/v1/schema", json=definition, timeout=60)
        assert made.status_code == 200, made.text
        name = definition["class"][:1].upper() + definition["class"][1:]
        return parse_collection(httpx.get(f"{self.server.url}/v1/schema/{name}", timeout=60).raise_for_status().json())

    def insert(self, made: list[bytes]) -> dict[int, str]:
        reply = self.stub.BatchObjects(batch_pb2.BatchObjectsRequest.FromString(request(made, "ONE")), timeout=60)
        return {e.index: e.error for e in reply.errors}

    def sent(self, collection: Collection, vector: str) -> dict[str, str]:
        """The text behind the vector of each object, by id; empty where there is no vector."""
        query = {"class": collection.name, "limit": 1000, "include": "vector"}
        found = httpx.get(f"{self.server.url}/v1/objects", params=query, timeout=60).raise_for_status().json()["objects"]
        unnamed = collection.vectors[vector].unnamed
        vectors = {o["id"]: o.get("vector") if unnamed else (o.get("vectors") or {}).get(vector) for o in found}
        return {i: self.recorder.texts[round(v[0]) - 1] if v else "" for i, v in vectors.items()}


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    folder: Path = tmp_path_factory.mktemp("module")
    recorder = Recorder()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(recorder)) as http:
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        env = {
            "ENABLE_MODULES": MODULE,
            "AUTOSCHEMA_ENABLED": "false",
            "TRANSFORMERS_INFERENCE_API": f"http://127.0.0.1:{http.server_address[1]}",
        }
        with start_server(folder / "data", env=env, log=folder / "server.log") as server, grpc.insecure_channel(server.grpc) as channel:
            yield Setting(server, recorder, weaviate_pb2_grpc.WeaviateStub(channel))
        http.shutdown()
        thread.join()


SCALARS = ("text", "int", "number", "boolean", "date", "uuid", "blob", "blobHash")
LISTS = ("text[]", "int[]", "number[]", "boolean[]", "date[]", "uuid[]")
LEAVES = [(f"{w.removesuffix('[]')}{'s' if w.endswith('[]') else ''}", w) for w in (*SCALARS, *LISTS)]
NESTED = [{"name": n, "dataType": [w]} for n, w in LEAVES] + [
    {"name": "UpperLeaf_2", "dataType": ["text"]},
    {
        "name": "inner",
        "dataType": ["object"],
        "nestedProperties": [{"name": "z", "dataType": ["int"]}, {"name": "a", "dataType": ["date"]}],
    },
    {
        "name": "inners",
        "dataType": ["object[]"],
        "nestedProperties": [{"name": "B", "dataType": ["text"]}, {"name": "a", "dataType": ["number"]}],
    },
]
PROPERTIES: list[dict[str, Any]] = [
    *({"name": n, "dataType": [w]} for n, w in LEAVES),
    *(
        {"name": n, "dataType": ["text"]}
        for n in ("Title", "bodyText", "a10", "a9", "aB", "a_b", "abc", "_x1", "gPT4All", "uRL", "string_prop2")
    ),
    {"name": "PDFLoader_v2", "dataType": ["text[]"]},
    {"name": "old", "dataType": ["string"]},
    {"name": "olds", "dataType": ["string[]"]},
    {"name": "geo", "dataType": ["geoCoordinates"]},
    {"name": "phone", "dataType": ["phoneNumber"]},
    {"name": "record", "dataType": ["object"], "nestedProperties": NESTED},
    {"name": "recordList2", "dataType": ["object[]"], "nestedProperties": NESTED},
]
NAMES = [p["name"][:1].lower() + p["name"][1:] for p in PROPERTIES]
TEXT = "aZ ß é İ Σ ǅ 日本 🎉 e\u0301 \n \t \r \b \f \x00 \x01 \x1f \x7f \x85 \u2028 \u2029 \u00a0 \ufeff \ufffd \uffff \ud7ff \ue000 < > & \" \\ / ' {".split(
    " "
)
NUMBERS = [0.0, -0.0, 1e-4, 9.9e-5, 1e-6, 9.9e-7, 1e20, 1e21, 1.5e300, 5e-324, 999999.0, 1e6, 1234567.0, 0.1, 100000.5, 12345678.5, -2.5]
INTS = [0, -5, 7, 2024, 999_999, 1_000_000, -123_456_789, 2**53, -(2**53)]


def value(r: random.Random, word: str, nested: tuple[Property, ...] = ()) -> Any:
    """A value of a Weaviate type as a source may have it."""
    if word.endswith("[]"):
        return [value(r, word[:-2], nested) for _ in range(r.choice([0, 1, 1, 2, 3]))]
    make = {
        "text": lambda: "".join(r.choice([*TEXT, " "]) for _ in range(r.choice([0, 1, 3, 12]))),
        "int": lambda: r.choice([*INTS, r.randint(-(2**53), 2**53)]),
        "number": lambda: r.choice([*NUMBERS, r.uniform(-1, 1) * 10 ** r.randint(-9, 24)]),
        "boolean": lambda: r.random() < 0.5,
        "date": lambda: date(r),
        "uuid": lambda: str(uuid.UUID(int=r.getrandbits(128))).upper(),
        "blob": lambda: r.randbytes(r.randint(1, 9)),
        "geoCoordinates": lambda: {"latitude": r.uniform(-90, 90), "longitude": 12.5},
        "phoneNumber": lambda: {"input": "0171 1234567", "defaultCountry": "DE"},
        "object": lambda: {p.name: optional(r, p) for p in nested},
    }
    make |= {"string": make["text"], "blobHash": make["blob"]}
    return make[word]()


def date(r: random.Random) -> str:
    fraction = r.choice(["", ".5", ".000", ".120", ".123456789", ".1234567891", ".000000001"])
    zone = r.choice(["Z", "+00:00", "-00:00", "+02:00", "-11:30", "+05:45", "+23:59", "+01:60"])
    return f"{r.choice([1, 1969, 2026, 9999]):04d}-0{r.randint(1, 9)}-1{r.randint(0, 9)}T0{r.randint(0, 9)}:59:{r.choice(['00', '59'])}{fraction}{zone}"


def optional(r: random.Random, prop: Property) -> Any:
    return None if r.random() < 0.35 else value(r, prop.data_type, prop.nested)


def typed(prop: Property) -> pa.DataType:
    """A source's type for `prop`, so that a column of nulls has one too."""
    words = {"int": pa.int64(), "number": pa.float64(), "boolean": pa.bool_(), "blob": pa.binary(), "blobHash": pa.binary()}
    records = {"geoCoordinates": ["latitude", "longitude"], "phoneNumber": ["input", "defaultCountry"]}
    scalar = words.get(prop.scalar, pa.string())
    if prop.scalar in records:
        scalar = pa.struct([(n, pa.float64() if prop.scalar == "geoCoordinates" else pa.string()) for n in records[prop.scalar]])
    if prop.scalar == "object":
        scalar = pa.struct([(p.name, typed(p)) for p in prop.nested])
    return pa.list_(scalar) if prop.is_list else scalar


def batch_of(rows: list[dict[str, Any]], collection: Collection) -> pa.RecordBatch:
    """`rows` as `read` would have them."""
    columns: dict[str, pa.Array] = {UUID: pa.array([uuid.uuid4().bytes for _ in rows], pa.binary(16))}
    for name, prop in collection.properties.items():
        columns[name], reasons = coerce(pa.array([row.get(name) for row in rows], typed(prop)), prop)
        assert not reasons, reasons
    return pa.RecordBatch.from_pydict(columns)


def module_in(collection: Collection) -> tuple[str, TextModule]:
    ((vector, config),) = collection.vectors.items()
    module = module_of(collection.definition, vector, collection.properties, config.unnamed)
    assert isinstance(module, TextModule)
    return vector, module


def ours(batch: pa.RecordBatch, module: TextModule) -> dict[str, str]:
    """The text of each object by id, composed in columns; empty where there is none."""
    texts = dict.fromkeys(range(batch.num_rows), "")
    for part in compose_weaviate(batch, module):
        texts |= dict(zip(part.owner.tolist(), part.values, strict=True))
    return {str(uuid.UUID(bytes=u)): texts[i] for i, u in enumerate(batch.column(UUID).to_pylist())}


def definition(name: str, settings: dict[str, Any], flags: dict[str, dict[str, Any]], unnamed: bool) -> dict[str, Any]:
    properties = [{**p, "moduleConfig": {MODULE: flags[p["name"]]}} if p["name"] in flags else p for p in PROPERTIES]
    if unnamed:
        return {"class": name, "properties": properties, "vectorizer": MODULE, "moduleConfig": {MODULE: settings}}
    return {"class": name, "properties": properties, "vectorConfig": {"v": {"vectorizer": {MODULE: settings}, "vectorIndexType": "flat"}}}


ALL_NAMED = {p["name"]: {"vectorizePropertyName": True} for p in PROPERTIES}
SOURCE = {"properties": [*NAMES[::-1], "nowhere"]}
CASES = [
    definition("ArticleDoc", {}, {}, True),
    definition("My_Class2B", {"vectorizeClassName": True}, ALL_NAMED, False),
    definition(
        "gPT4all", {"vectorizeClassName": False}, {"text": {"skip": True, "vectorizePropertyName": True}, "blob": {"skip": True}}, False
    ),
    definition("A", {"vectorizeClassName": False}, {n["name"]: {"skip": True} for n in PROPERTIES[::2]}, True),
    definition("PDFLoader9X", SOURCE, {}, True),
    definition("Sources_", SOURCE, ALL_NAMED, False),
    definition("BL99", {**SOURCE, "vectorizeClassName": False}, {n: {"skip": True} for n in NAMES}, False),
    definition(
        "Camel", {"properties": ["bodyText", "Title", "title", "uRL"], "vectorizeClassName": False}, {"bodyText": {"skip": True}}, False
    ),
    definition("One", {"properties": ["record"], "vectorizeClassName": False}, {}, False),
    definition("OneText", {"vectorizeClassName": False}, {p["name"]: {"skip": True} for p in PROPERTIES if p["name"] != "bodyText"}, True),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["class"])
def test_the_server_sends_the_texts_that_we_compose(setting: Setting, case: dict[str, Any]) -> None:
    collection = setting.create(case)
    vector, module = module_in(collection)
    r = random.Random(case["class"])
    share = [0.2, 0.7, 1.0]  # of properties that a row has at all
    rows = [{n: optional(r, p) for n, p in collection.properties.items() if r.random() < share[i % 3]} for i in range(OBJECTS - 1)] + [{}]
    batch = batch_of(rows, collection)
    errors = setting.insert(messages(batch, collection.name, list(collection.properties.values()), {}))
    assert errors == {}
    composed, sent = ours(batch, module), setting.sent(collection, vector)
    wrong = [(composed[i], sent[i], i) for i in composed if composed[i] != sent[i]]
    assert len(sent) == OBJECTS and not wrong, f"{len(wrong)} of {len(sent)} texts differ; ours, the server's: {wrong[0]!r}"
    by_row = [object_text(row, module) for row in batch.to_pylist()]
    assert by_row == list(composed.values())
