"""Everything side by side: the whole job into a real Weaviate, what others do with the same texts and model, and the limits.

    python benchmarks/speed.py [--texts docstrings] [--rounds 5] [--size 1500] [--only encode,warpbeam-flat]

Texts: docstrings, debian or long-tail (benchmarks/texts.py), a seeded sample of --size, in Parquet. Model: the genuine
all-MiniLM-L6-v2, float32, on the CPU. Each row of the table is a process of its own (benchmarks/peers/), all rows in
turn, round by round; with --slow-rounds, the other systems in the first ones only. Two times for everyone:
- whole: from the start of the process to its end: interpreter, imports, engine, model, reading, vectors and, where the
  row writes, the acknowledged objects. Of the row in which Weaviate vectorizes, also the start and end of its own server
  and endpoint; all others write into a server that runs already.
- without start: from reading the texts to the last vector or acknowledged object, less the time in which a model was
  being loaded (and, for Ray, its workers were being started). Plain encode and the forward pass read nothing: their
  texts lie in memory. Nobody is warmed up.
Where a row has variants (batch size, actors), each is tried once before, on a third of the texts, and the best is taken.
The vectors of every row are compared with those of plain encode. A row that fails is shown with its message.
Daft and Ray Data live in .venv-peers, made from benchmarks/peers.txt where it is missing, on top of .venv.
Writes benchmarks/results/speed-TEXTS.json after each round.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.figures import machine, store, worst_cosine  # noqa: E402
from benchmarks.speed_table import BACKEND, BASE, LIMIT, show  # noqa: E402
from benchmarks.texts import SETS, STDLIB, demo, read_texts, write_texts  # noqa: E402

TIMEOUT_S = 1800
BUSY = 0.5  # load average above which figures say little
PEERS_VENV = ROOT / ".venv-peers"
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "true", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}


@dataclass
class Row:
    """One row of the table: a module of benchmarks/peers, and what it is given."""

    key: str
    name: str
    module: str
    variants: Sequence[Any] = (None,)
    elsewhere: bool = False  # needs the peers' environment
    writes: bool = False  # into the server of this run
    slow: bool = False  # takes minutes a turn: --slow-rounds says how many
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"whole": [], "steady": []})
    figures: dict[str, Any] = field(default_factory=dict)  # of the last round
    tried: dict[str, float] = field(default_factory=dict)  # variant -> seconds
    variant: Any = None
    failed: str = ""


def table_rows() -> list[Row]:
    """All rows, in the order of the table."""
    return [
        Row("warpbeam-flat", "warpbeam run, flat index", "warpbeam_run", ("flat",), writes=True),
        Row("warpbeam-hnsw", "warpbeam run, HNSW index", "warpbeam_run", ("hnsw",), writes=True),
        Row(BASE, "SentenceTransformer.encode", "encode", (8, 16, 32, 64)),
        Row("daft", "Daft, embed_text", "daft_embed", elsewhere=True, slow=True),
        Row("ray", "Ray Data, map_batches", "ray_data", ([1, 1, os.cpu_count()], [2, 0.5, 1]), elsewhere=True, slow=True),
        Row("mltransform", "Beam's MLTransform, weaviate-client", "mltransform", writes=True, slow=True),
        Row("server", "Weaviate vectorizes, 1 text a request", "server_vectorizes", slow=True),
        Row("forward", "forward pass alone, torch", "forward", (1024, 2048, 4096, 8192)),
        Row(BACKEND, "forward pass alone, Warpbeam's", "backend"),
        Row(LIMIT, "matrix products of 100,000 tokens", "matrix", (1024, 4096)),
    ]


def peers_python() -> Path:
    """The interpreter with Daft and Ray; what .venv has is used from there, so that torch is not installed twice."""
    python = PEERS_VENV / "bin" / "python"
    if not (PEERS_VENV / "ready").exists():
        print(f"making {PEERS_VENV.name} from benchmarks/peers.txt", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(PEERS_VENV)], check=True)
        packages = next(p for p in sys.path if p.endswith("site-packages"))
        (next(PEERS_VENV.glob("lib/python3*/site-packages")) / "warpbeam.pth").write_text(f"{packages}\n")
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "benchmarks/peers.txt"]
        subprocess.run(command, check=True, cwd=ROOT)
        (PEERS_VENV / "ready").touch()
    return python


def run_peer(row: Row, asked: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """(seconds of the whole process, the figures it tells). Raises RuntimeError with its last words."""
    python = peers_python() if row.elsewhere else Path(sys.executable)
    command = [str(python), "-m", f"benchmarks.peers.{row.module}", json.dumps(asked)]
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=err, env={**os.environ, **ENVIRONMENT})
        try:
            code = process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait(60)
            raise RuntimeError(f"not done in {TIMEOUT_S} s") from None
        seconds = time.perf_counter() - start
        out.seek(0), err.seek(0)
        lines = [line for line in out.read().splitlines() if line.strip()]
        if code or not lines:
            words = [line for line in err.read().splitlines() if line.strip()] or lines or ["nothing said"]
            raise RuntimeError(f"exit code {code}: {words[-1][-300:]}")
    return seconds, json.loads(lines[-1])


class Speed:
    """One run of the benchmark: the texts, the server, and what was measured so far."""

    def __init__(self, rows: list[Row], texts: str, size: int, folder: Path, name: str) -> None:
        self.rows, self.folder, self.name = rows, folder, name
        self.path, self.few = folder / "texts.parquet", folder / "few.parquet"
        self.n = write_texts(texts, size, self.path)
        write_texts(texts, max(1, self.n // 3), self.few)
        self.keys = [k for k, _ in read_texts(self.path)]
        self.info: dict[str, Any] = {"set": texts, "texts": self.n, "machine": machine()}

    def asked(self, row: Row, server: Any) -> dict[str, Any]:
        """What the peer of `row` is given."""
        asked = {"texts": str(self.path), "n": self.n, "model": os.path.realpath(STDLIB / "model"), "variant": row.variant}
        asked |= {"out": str(self.vectors(row)), "folder": str(self.folder)}
        return asked | ({"url": server.url, "grpc": server.grpc} if server else {})

    def vectors(self, row: Row) -> Path:
        """Where the vectors of a row are kept."""
        return self.folder / f"{row.key}.npy"

    def choose(self, row: Row, server: Any) -> None:
        """Settle the variant: where there are several, the one that is fastest on a few texts."""
        row.variant = row.variants[0]
        for variant in row.variants if len(row.variants) > 1 else ():
            asked = self.asked(row, server) | {"texts": str(self.few), "variant": variant, "out": None}
            try:
                figures = run_peer(row, asked)[1]
            except RuntimeError as error:
                row.failed = str(error)
                return
            row.tried[str(variant)] = figures["steady_s"]
            if row.tried[str(variant)] == min(row.tried.values()):
                row.variant = variant
        if row.tried:
            print(f"{row.name}: {row.variant} of {', '.join(row.tried)}", flush=True)

    def measure(self, row: Row, server: Any) -> None:
        """One turn of one row."""
        if row.failed:
            return
        try:
            whole, row.figures = run_peer(row, self.asked(row, server))
            if row.writes:
                self.fetch(row, server)
        except (RuntimeError, KeyError) as error:
            row.failed = str(error)
            print(f"{row.name}: failed: {row.failed}", flush=True)
            return
        row.seconds["whole"].append(whole)
        row.seconds["steady"].append(row.figures["steady_s"])
        print(f"{row.name}: {row.figures['steady_s']:.1f} s, with start {whole:.1f} s", flush=True)

    def fetch(self, row: Row, server: Any) -> None:
        """Keep the vectors that the server has now. Raises KeyError for an object that is not there."""
        import numpy as np

        from benchmarks.peers.collection import stored

        found = stored(server.url)
        np.save(self.vectors(row), np.array([found[k] for k in self.keys], np.float32))

    def compare(self) -> None:
        """The worst cosine of each row against plain encode."""
        import numpy as np

        base = next((self.vectors(r) for r in self.rows if r.key == BASE), None)
        for row in self.rows:
            if base is not None and base.exists() and self.vectors(row).exists() and not row.failed:
                row.figures["worst_cosine"] = worst_cosine(np.load(self.vectors(row)), np.load(base))

    def keep(self) -> None:
        """Write what there is."""
        fields = ("name", "seconds", "figures", "tried", "variant", "failed")
        store(self.name, self.info | {"rows": {r.key: {f: getattr(r, f) for f in fields} for r in self.rows}})


def main() -> None:
    """All rounds, and the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", default="docstrings", choices=list(SETS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-rounds", type=int, help="rounds in which the other systems take part; default: all")
    parser.add_argument("--size", type=int, default=1500)
    parser.add_argument("--only", default="", help="keys of rows: " + ", ".join(r.key for r in table_rows()))
    parser.add_argument("--name", help="of the result file; default: speed-TEXTS")
    options = parser.parse_args()
    chosen = [k for k in options.only.split(",") if k]
    if strange := set(chosen) - {r.key for r in table_rows()}:
        parser.error(f"--only: no rows {sorted(strange)}; there are {', '.join(r.key for r in table_rows())}")
    if os.getloadavg()[0] > BUSY:
        print(f"the machine is busy (load average {os.getloadavg()[0]:.1f}): figures will say little", flush=True)
    from jobs.embedded import start_server

    demo()
    rows = [r for r in table_rows() if not chosen or r.key in chosen]
    with tempfile.TemporaryDirectory() as folder:
        speed = Speed(rows, options.texts, options.size, Path(folder), options.name or f"speed-{options.texts}")
        with start_server(Path(folder) / "data", log=Path(folder) / "server.log") as server:
            for row in rows:
                speed.choose(row, server)
            for turn in range(options.rounds):
                print(f"round {turn + 1} of {options.rounds}", flush=True)
                for row in rows:
                    if not row.slow or options.slow_rounds is None or turn < options.slow_rounds:
                        speed.measure(row, server)
                speed.compare()
                speed.keep()
    show(speed.name)


if __name__ == "__main__":
    main()
