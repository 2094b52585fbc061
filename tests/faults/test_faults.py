"""The short set: one run of each kind of disturbance, all but one between the first and the last acknowledged write.

`python -m tests.faults.harness` runs fifty.
"""

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.faults.compare import difference
from tests.faults.disturb import KINDS
from tests.faults.harness import Line, Reference, Started, disturbed, plan, reference
from tests.faults.loads import loads
from tests.faults.world import World, world
from tests.golden import models


@dataclass
class Place:
    there: World
    folder: Path
    model: str
    known: dict[str, Reference] = field(default_factory=dict)

    def right(self, name: str) -> Reference:
        if name not in self.known:
            self.known[name] = reference(self.there, loads(self.model, rows=4000)[name], self.folder)
        return self.known[name]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("faults")
    with world(folder / "world") as there:
        yield Place(there, folder, str(models.build("bert-tiny", folder / "model")))


@pytest.mark.parametrize(
    ("run", "kind", "load", "middle"),
    [
        (0, "kill_job", "plain", True),
        (1, "kill_job", "chunks", True),
        (2, "cut", "plain", True),
        (3, "half_open", "plain", True),
        (4, "reset", "plain", False),
        (5, "kill_server", "plain", True),
    ],
)
def test_a_disturbed_run_and_a_clean_one_leave_what_an_undisturbed_one_does(
    place: Place, run: int, kind: str, load: str, middle: bool
) -> None:
    line = disturbed(place.there, place.right(load), Line(run, load, kind, middle), place.folder, random.Random(run))
    assert not line.faults, json.dumps(line.__dict__, indent=1)
    assert line.clean_unchanged + line.clean_encoded == place.right(load).total
    if middle and kind == "kill_job":
        assert line.exit_code == -9 and 0 < line.stored < place.right(load).total


def written(job: Started, objects: int) -> None:
    """Wait until so many are acknowledged."""
    while job.process.poll() is None and job.figures()["objects/written"] < objects:
        time.sleep(0.002)


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("index", ["flat", "hnsw"])
def test_what_was_acknowledged_before_the_server_is_killed_is_found_by_its_vector(place: Place, index: str, ended: bool) -> None:
    """Weaviate acknowledges objects before it writes the log of their vector index out; no request is lost here that would tell."""
    there, name = place.there, f"Killed{index.title()}{ended}"
    path = loads(place.model, rows=2000)["plain"].write(place.folder / name, there, name, retry_s=60, timeout_s=5)
    definition = json.loads((path.parent / "class.json").read_text())
    definition["vectorConfig"]["v"]["vectorIndexType"] = index
    (path.parent / "class.json").write_text(json.dumps(definition))
    job = Started.of(path, "run")
    written(job, 2000)
    if ended:
        assert job.ended() == 0, job.output
    there.kill_server()
    there.restart_server()
    assert job.ended() == 0, job.output
    objects = there.objects(name)
    assert len(objects) == 2000 and there.unindexed(name, objects) == 0
    assert there.deaf(name, objects) == 0, job.output
    there.forget(name)


def test_the_last_of_a_tenant_outlives_a_server_that_is_killed_while_another_is_written(place: Place) -> None:
    """Nothing is written to the first tenant any more that would empty its buffers, and no request to it is lost."""
    there, name, rows = place.there, "KilledTenants", 7000
    plain = loads(place.model, rows=rows)["plain"]
    path = plain.write(place.folder / name, there, name, retry_s=60, timeout_s=1)
    folder = path.parent
    for file in (folder / "rows").iterdir():
        file.unlink()
    table = plain.table().append_column("who", pa.array(["a"] * 500 + ["b"] * (rows - 500)))
    pq.write_table(table, folder / "rows" / "all.parquet", row_group_size=250)
    definition = json.loads((folder / "class.json").read_text()) | {"multiTenancyConfig": {"enabled": True}}
    (folder / "class.json").write_text(json.dumps(definition))
    spec = yaml.safe_load(path.read_text())
    spec["target"] |= {"tenant": {"column": "who", "create": True}, "max_objects_per_s": 1000}
    path.write_text(yaml.safe_dump(spec))
    job = Started.of(path, "run")
    written(job, 6000)
    there.kill_server()
    there.restart_server()
    assert job.ended() == 0, job.output
    for tenant, count in (("a", 500), ("b", rows - 500)):
        objects = there.objects(name, tenant)
        assert len(objects) == count
        assert there.deaf(name, objects[:1000], tenant) == 0, job.output
    there.forget(name)


def test_the_comparison_sees_each_difference() -> None:
    def object_(i: int, price: float = 1.0, vector: float = 1.0) -> dict[str, object]:
        return {"id": str(i), "properties": {"price": price}, "vectors": {"v": [vector, 2.0], "w": []}}

    right = [object_(i) for i in range(4)]
    assert difference(right, right).nothing
    assert difference(right[1:], right).lost == 1 == difference(right, right[1:]).surplus
    assert difference([*right, right[0]], right).double == 1
    assert difference([object_(0, price=2.0), *right[1:]], right).properties == 1
    assert difference([object_(0, vector=1.00001), *right[1:]], right).vectors == 1
    assert difference([object_(0, vector=1.0000001), *right[1:]], right).nothing
    bare = [{**object_(0), "vectors": {"v": [], "w": []}}, *right[1:]]
    assert difference(bare, right).vectors == 1 == difference(right, bare).vectors


@pytest.mark.parametrize("runs", [50, 60])
def test_three_of_five_runs_are_in_the_middle_and_every_kind_comes_up(runs: int) -> None:
    lines = plan(runs, random.Random(0), ["plain", "chunks"])
    assert sum(line.middle for line in lines) == runs * 3 // 5
    assert {line.kind for line in lines} == set(KINDS) == {line.kind for line in lines if line.middle}
    assert {line.load for line in lines} == {"plain", "chunks"}
