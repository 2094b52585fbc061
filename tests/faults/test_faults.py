"""The short set: one run of each kind of disturbance, all but one between the first and the last acknowledged write.

`python -m tests.faults.harness` runs fifty.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.compare import difference
from tests.faults.disturb import KINDS
from tests.faults.harness import Line, Reference, disturbed, plan, reference
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
