"""Runs that are killed or disturbed at a random moment, each followed by a clean one: is the collection the same as ever?

    python -m tests.faults.harness [--runs 50] [--seed 0] [--out benchmarks/results/faults.json]

A real Weaviate, REST and gRPC through toxiproxy, the job a process of its own. Three of five runs are disturbed between
the first and the last acknowledged write, the others at any moment from the start. The clean run has to encode and
write exactly what is not there, and leave what an undisturbed run would have left.

Weaviate can leave objects of the requests in flight stored and not indexed, when it is killed and also when its client
is: then no search, or no filter, finds them, and writing the same again changes nothing. A run mends what it lost, and the
next one what a killed run left; so none may stay so (`unindexed`: all that no filter finds; `deaf`: of a large
sample, not found by their own vector).
"""

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pipelines.vectorize import WINDOW_ROWS
from tests.faults.compare import difference
from tests.faults.disturb import KINDS
from tests.faults.loads import FILES, Load, loads
from tests.faults.world import World, world

ROOT = Path(__file__).parent.parent.parent
RESULT = ROOT / "benchmarks" / "results" / "faults.json"
STUCK_S = 180
SAMPLE = 2000  # objects that are searched for by their own vector
CHUNKS_EVERY = 4  # a run of so many has chunks


@dataclass
class Started:
    """A job that runs as a process of its own."""

    process: "subprocess.Popen[bytes]"
    folder: Path

    @classmethod
    def of(cls, job: Path, name: str) -> "Started":
        folder = job.parent / name
        folder.mkdir()
        command = [sys.executable, "-m", "tests.faults.probed", "run", str(job), "--set", f"report={folder}"]
        env = {**os.environ, "FIGURES": str(folder / "figures"), "HF_HUB_OFFLINE": "1"}
        with (folder / "output").open("wb") as out:
            return cls(subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out), folder)

    def figures(self) -> Counter[str]:
        """What was encoded and acknowledged so far."""
        path, figures = self.folder / "figures", Counter[str]()
        for line in path.read_text().splitlines() if path.exists() else ():
            name, _, n = line.partition(" ")
            figures[name] += int(n)
        return figures

    def ended(self) -> int:
        """The exit code; a job that hangs is killed, and that is a finding."""
        try:
            return self.process.wait(STUCK_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return 999

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text(errors="replace")

    @property
    def report(self) -> dict[str, Any]:
        path = self.folder / "report.json"
        report: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return report


@dataclass(frozen=True)
class Reference:
    """What an undisturbed run leaves, and how long it takes."""

    load: Load
    objects: list[dict[str, Any]]
    seconds: float

    @property
    def total(self) -> int:
        return len(self.objects)


@dataclass
class Line:
    """One disturbed run and the clean one after it."""

    run: int
    load: str
    kind: str
    middle: bool  # disturbed between the first and the last acknowledged write
    what: str = ""
    stored_at_the_moment: int = 0
    exit_code: int = 0
    told_to_go_on: bool = True
    acknowledged: int = 0
    objects: int = 0  # when all is done
    stored: int = 0  # before the clean run
    texts_cut_in_two: int = 0  # of which some chunks were there before the clean run, and some not
    clean_exit_code: int = 0
    clean_unchanged: int = 0
    clean_encoded: int = 0
    encoded_twice: int = 0
    unindexed: int = 0  # stored, and found by no filter
    deaf: int = 0  # of a sample: not found by their own vector
    difference: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0


def reference(there: World, load: Load, folder: Path) -> Reference:
    """An undisturbed run."""
    name = f"Undisturbed{load.name.title()}"
    started = time.monotonic()
    job = Started.of(load.write(folder / name, there, name), "run")
    assert job.ended() == 0, job.output
    seconds = time.monotonic() - started
    objects = there.objects(name)
    there.forget(name)
    assert job.figures()["objects/written"] == len(objects)
    return Reference(load, objects, seconds)


def disturbed(there: World, right: Reference, line: Line, folder: Path, draw: random.Random) -> Line:
    """One run that is disturbed, then a clean one; `line` with what came of it."""
    started = time.monotonic()
    name = f"Disturbed{line.run}"
    patience = {"retry_s": draw.choice([1, 60]), "timeout_s": draw.choice([2, 5])}
    job = right.load.write(folder / name, there, name, **patience)
    first = Started.of(job, "first")
    line.stored_at_the_moment = _moment(there, name, first, right, line.middle, draw)
    line.what = KINDS[line.kind](there, first.process, draw) + f"; {patience}"
    line.exit_code = first.ended()
    line.told_to_go_on = line.exit_code != 3 or "again" in first.output
    there.heal()
    line.acknowledged, line.stored, line.objects = first.figures()["objects/written"], there.settled_count(name), right.total
    line.texts_cut_in_two = _cut_in_two(there.objects(name) if line.stored and line.load == "chunks" else [], right)
    again = Started.of(job, "again")
    line.clean_exit_code = again.ended()
    line.clean_encoded = again.figures()["encoded/v"]
    line.clean_unchanged = again.figures()["objects/unchanged"]
    line.encoded_twice = first.figures()["encoded/v"] + line.clean_encoded - right.total
    objects = there.objects(name)
    found = difference(objects, right.objects)
    line.unindexed = there.unindexed(name, objects)
    line.difference, line.deaf = asdict(found), there.deaf(name, draw.sample(objects, min(SAMPLE, len(objects))))
    line.faults = list(_faults(line, right, found.nothing))
    if line.faults:
        line.faults.append(f"first run: {first.output[-1500:]}\nagain: {again.output[-1500:]}")
    there.forget(name)
    line.seconds = round(time.monotonic() - started, 1)
    return line


def _cut_in_two(stored: list[dict[str, Any]], right: Reference) -> int:
    chunks, there = (Counter(o["properties"].get("parent") for o in objects) for objects in (right.objects, stored))
    return sum(parent is not None and n < chunks[parent] for parent, n in there.items())


def _moment(there: World, name: str, job: Started, right: Reference, middle: bool, draw: random.Random) -> int:
    """Wait for the moment: a share of the objects is there, or any time; gives how many are."""
    share, seconds, start = draw.uniform(0.01, 0.9), draw.uniform(0, right.seconds), time.monotonic()
    while job.process.poll() is None:
        if (there.count(name) >= share * right.total) if middle else (time.monotonic() - start >= seconds):
            break
        time.sleep(draw.uniform(0.005, 0.05))
    return there.count(name)


def _faults(line: Line, right: Reference, same: bool) -> Any:
    """What must not be."""
    if not same:
        yield "the collection differs from that of an undisturbed run"
    if line.exit_code not in ({-9, 0} if line.kind == "kill_job" else {0, 3}) or line.clean_exit_code != 0:
        yield f"exit codes {line.exit_code}, then {line.clean_exit_code}"
    if not line.told_to_go_on:
        yield "a stop that does not say that running again goes on"
    if line.acknowledged > line.stored:
        yield f"{line.acknowledged} objects were acknowledged, {line.stored} are there"
    most = in_flight(right)
    if line.clean_unchanged != line.stored or line.clean_encoded != right.total - line.clean_unchanged:
        yield f"of {line.stored} stored objects {line.clean_unchanged} are unchanged; of {right.total} {line.clean_encoded} were encoded"
    if line.unindexed or line.deaf:
        yield f"{line.unindexed} objects are stored and found by no filter, {line.deaf} not found by their own vector"
    if line.encoded_twice > most:
        yield f"{line.encoded_twice} objects were encoded twice; at most {most} can be in flight"


def in_flight(right: Reference) -> int:
    """The most objects that can be encoded and not acknowledged: of each of two threads a window being encoded and one being written."""
    return 2 * (2 * WINDOW_ROWS + 2 * right.total // FILES)


def plan(runs: int, draw: random.Random, names: list[str]) -> list[Line]:
    """Which runs there are: every kind as often, three of five in the middle, one of four with chunks."""
    kinds = list(KINDS)
    lines = [
        Line(
            n, names[-1] if n % CHUNKS_EVERY == CHUNKS_EVERY - 1 else names[0], kinds[n % len(kinds)], middle=n * 3 // 5 != (n + 1) * 3 // 5
        )
        for n in range(runs)
    ]
    draw.shuffle(lines)
    return lines


def run_all(there: World, folder: Path, model: str, args: argparse.Namespace) -> dict[str, Any]:
    """All runs, one after the other; the result is written after each, so that nothing is lost here either."""
    started, runs, seed = time.monotonic(), args.runs, args.seed
    draw = random.Random(seed)
    kinds = loads(model)
    right = {name: reference(there, load, folder) for name, load in kinds.items()}
    lines = []
    for line in plan(runs, draw, list(kinds)):
        lines.append(disturbed(there, right[line.load], line, folder, draw))
        shutil.rmtree(folder / f"Disturbed{line.run}")
        sys.stderr.write(f"{len(lines)}/{runs} {line.load} {line.what}: {'; '.join(line.faults) or 'right'} ({line.seconds} s)\n")
        result = summary(lines, seed, time.monotonic() - started)
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    return result


def summary(lines: list[Line], seed: int, seconds: float) -> dict[str, Any]:
    """The result as JSON."""
    return {
        "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "seed": seed,
        "seconds": round(seconds),
        "runs": len(lines),
        "in_the_middle": sum(0 < line.stored_at_the_moment < line.objects for line in lines),
        "with_chunks": sum(line.load == "chunks" for line in lines),
        "with_texts_cut_in_two": sum(line.texts_cut_in_two > 0 for line in lines),
        "kinds": dict(Counter(line.kind for line in lines)),
        "exit_codes": {str(k): n for k, n in Counter(line.exit_code for line in lines).items()},
        "wrong": sum(bool(line.faults) for line in lines),
        **{key: sum(line.difference[key] for line in lines) for key in ("lost", "surplus", "double", "properties", "vectors")},
        "worst_vector": max(line.difference["worst"] for line in lines),
        "unindexed": sum(line.unindexed for line in lines),
        "deaf": sum(line.deaf for line in lines),
        "most_encoded_twice": max(line.encoded_twice for line in lines),
        "lines": [asdict(line) for line in lines],
    }


def main() -> int:
    from tests.golden import models

    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="warpbeam-faults-") as name, world(Path(name) / "world") as there:
        result = run_all(there, Path(name), str(models.build("bert-tiny", Path(name) / "model")), args)
    print(json.dumps({k: v for k, v in result.items() if k != "lines"}, indent=1))
    return 1 if result["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
