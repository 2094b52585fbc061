"""Values of every type that were loaded compare as the same when they are read back, and others as different."""

import json
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa

from tests.conftest import Load
from tests.jobs.test_verify import bad, url, verify

NESTED = [{"name": "a", "dataType": ["text"]}, {"name": "n", "dataType": ["number[]"]}, {"name": "d", "dataType": ["date"]}]
VALUES: dict[str, tuple[Any, list[Any]]] = {  # data type -> (Arrow type, values)
    "text": (pa.string(), ["", "ß 日本 🎉", "  blank "]),
    "text[]": (pa.list_(pa.string()), [[], ["a", ""], None]),
    "int": (pa.int64(), [0, -(2**53), 2**53]),
    "int[]": (pa.list_(pa.int64()), [[], [1, -2], None]),
    "number": (pa.float64(), [0.1, -0.0, 1.5e300]),
    "number[]": (pa.list_(pa.float64()), [[0.1, 1e-9], [], None]),
    "boolean": (pa.bool_(), [True, False, None]),
    "boolean[]": (pa.list_(pa.bool_()), [[True, False], [], None]),
    "date": (pa.string(), ["2020-01-01T00:00:00Z", "1969-07-16T13:32:00.123456789+02:00", "9999-01-01T00:00:00.500Z"]),
    "date[]": (pa.list_(pa.string()), [["2020-01-01T00:00:00.10+05:30"], [], None]),
    "uuid": (pa.string(), ["00112233-4455-6677-8899-AABBCCDDEEFF", "00000000000000000000000000000001", None]),
    "uuid[]": (pa.list_(pa.string()), [["00112233-4455-6677-8899-AABBCCDDEEFF"], [], None]),
    "blob": (pa.binary(), [b"\x00\x01", b"bytes", None]),
    "geoCoordinates": (
        pa.struct({"latitude": pa.float64(), "longitude": pa.float64()}),
        [{"latitude": 52.3676, "longitude": -4.90417}] * 3,
    ),
    "phoneNumber": (
        pa.struct({"input": pa.string(), "defaultCountry": pa.string()}),
        [{"input": "0171 1234567", "defaultCountry": "DE"}, {"input": "+49 171 1234567", "defaultCountry": None}, None],
    ),
    "object": (
        pa.struct({"a": pa.string(), "n": pa.list_(pa.float64()), "d": pa.string()}),
        [{"a": "x", "n": [0.5], "d": "2020-01-01T00:00:00+00:00"}, {"a": None, "n": [], "d": None}, None],
    ),
    "object[]": (
        pa.list_(pa.struct({"a": pa.string(), "n": pa.list_(pa.float64()), "d": pa.string()})),
        [[{"a": "x", "n": [1.0], "d": None}, {"a": None, "n": None, "d": None}], [], None],
    ),
}


def name_of(data_type: str) -> str:
    return data_type.replace("[]", "s")


def all_types(load: Load) -> Path:
    properties = [{"name": name_of(t), "dataType": [t], **({"nestedProperties": NESTED} if "object" in t else {})} for t in VALUES]
    definition = {"properties": [*properties, {"name": "key", "dataType": ["text"]}], "vectorConfig": {"v": {"vectorizer": {"none": {}}}}}
    (load.folder / "class.json").write_text(json.dumps({"class": load.collection} | definition))
    columns = {name_of(t): pa.array(values, arrow) for t, (arrow, values) in VALUES.items()}
    table = pa.table(columns | {"key": ["a", "b", "c"]})
    return load.job(load.parquet(table), {"v": {"model": {"fake": 4}, "text_fields": ["key"]}}, {"create": "class.json"})


def test_every_type_that_was_loaded_is_the_same(load: Load) -> None:
    job = all_types(load)
    code, report = load.run(job)
    assert code == 0, report.get("failures")
    code, report = verify(load, job)
    assert (code, bad(report)) == (0, []), report["wrong"]
    assert set(report["properties"]["figures"]["properties"]) == {name_of(t) for t in VALUES} | {"key"}


def test_what_an_application_changes_is_named_for_every_type(load: Load) -> None:
    job = all_types(load)
    assert load.run(job)[0] == 0
    changed = {
        "text": "other",
        "texts": ["a", "b"],
        "int": 7,
        "ints": [7],
        "number": 0.25,
        "numbers": [0.1],
        "boolean": False,
        "booleans": [],
        "date": "2021-01-01T00:00:00Z",
        "dates": ["2021-01-01T00:00:00Z"],
        "uuid": "00112233-4455-6677-8899-aabbccddee00",
        "uuids": [],
        "blob": "AAAA",
        "geoCoordinates": {"latitude": 52.3, "longitude": -4.9},
        "phoneNumber": {"input": "0171 7654321", "defaultCountry": "DE"},
        "object": {"a": "y"},
        "objects": [{"a": "x", "n": [2.0]}],
    }
    body = {"class": load.collection, "properties": changed}
    httpx.patch(url(load, "a"), json=body, timeout=60).raise_for_status()
    code, report = verify(load, job)
    found = {r["where"] for r in report["wrong"]["property"]["first"]}
    assert (code, bad(report)) == (1, ["properties"])
    assert found == set(changed)
    assert verify(load, job, "--repair")[0] == 0
