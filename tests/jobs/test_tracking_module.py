"""What objects remember stays out of the text that a real module embeds, when an application PATCHes them."""

import uuid
from typing import Any

import httpx
import pyarrow as pa
import pytest

from jobs.incremental import tracked
from pipelines.targets.messages import messages
from schemas.columns import FINGERPRINTS, UUID
from schemas.fingerprints import STORED, STORED_JOB
from tests.pipelines.test_weaviate_texts_server import MODULE, Setting, definition, setting  # noqa: F401  (a fixture)

JOB = "nightly-job"
PRINTS = [bytes(range(16)), bytes(range(16, 32))]


@pytest.mark.parametrize("unnamed", [False, True])
def test_a_patch_embeds_neither_fingerprints_nor_the_job(setting: Setting, unnamed: bool) -> None:  # noqa: F811
    name = f"Tracked{'Unnamed' if unnamed else 'Named'}"
    collection = setting.create(tracked(definition(name, {"vectorizeClassName": False}, {}, unnamed)))
    key = uuid.uuid4()
    columns: dict[str, Any] = {
        UUID: pa.array([key.bytes], pa.binary(16)),
        "title": pa.array(["before"]),
        "abc": pa.array(["kept"]),
        FINGERPRINTS: pa.array([PRINTS], pa.list_(pa.binary(16))),
    }
    made = messages(pa.RecordBatch.from_pydict(columns), name, [collection.properties[n] for n in ("title", "abc")], {}, job=JOB)
    assert setting.insert(made) == {}
    url = f"{setting.server.url}/v1/objects/{name}/{key}"
    asked = len(setting.recorder.texts)
    httpx.patch(url, json={"class": name, "properties": {"title": "after"}}, timeout=60).raise_for_status()
    stored = httpx.get(url, timeout=60).raise_for_status().json()["properties"]
    assert stored[STORED] == [str(uuid.UUID(bytes=p)) for p in PRINTS] and stored[STORED_JOB] == JOB and stored["title"] == "after"
    assert setting.recorder.texts[asked:] == ["kept after"]


def test_without_skip_the_server_would_embed_them(setting: Setting) -> None:  # noqa: F811
    """The guard is needed: without it the same PATCH sends both."""
    plain = tracked(definition("Unguarded", {"vectorizeClassName": False}, {}, False))
    plain["properties"] = [{k: v for k, v in p.items() if k != "moduleConfig"} for p in plain["properties"]]
    setting.create(plain)
    body = {"class": "Unguarded", "properties": {"title": "before", STORED: [str(uuid.UUID(bytes=PRINTS[0]))], STORED_JOB: JOB}}
    made = httpx.post(f"{setting.server.url}/v1/objects", json=body, timeout=60).raise_for_status().json()
    asked = len(setting.recorder.texts)
    change = {"class": "Unguarded", "properties": {"title": "after"}}
    httpx.patch(f"{setting.server.url}/v1/objects/Unguarded/{made['id']}", json=change, timeout=60).raise_for_status()
    assert JOB in setting.recorder.texts[asked:][0], MODULE
