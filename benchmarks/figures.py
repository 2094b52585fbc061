"""What the benchmarks have in common: medians and spreads, ratios by rounds, the machine, and where results are kept."""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest of `values`."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(ours: Sequence[float], base: Sequence[float]) -> float | None:
    """How many times as fast as `base`, in seconds: the median over rounds, each against the same round; None without a common round."""
    pairs = [b / o for o, b in zip(ours, base, strict=False)]
    return statistics.median(pairs) if pairs else None


def cosines(ours: Any, theirs: Any) -> Any:
    """The cosine (n,) of each row of two (n, d) arrays, in float64; NaN for a row that is missing (NaN). Raises ValueError."""
    import numpy as np

    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"vectors of shape {a.shape} against {b.shape}")
    return np.sum(a * b, axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def worst_cosine(ours: Any, theirs: Any) -> float:
    """The smallest of the rows' cosines; a missing row counts as -1."""
    import numpy as np

    return float(np.nan_to_num(cosines(ours, theirs), nan=-1.0).min())


def outside(span: tuple[float, float], intervals: Sequence[tuple[float, float]]) -> float:
    """The length of `span` that none of `intervals` covers; they may overlap each other and lie partly outside."""
    covered, end = 0.0, span[0]
    for start, stop in sorted(intervals):
        start, stop = max(start, end), min(stop, span[1])
        if stop > start:
            covered, end = covered + stop - start, stop
    return span[1] - span[0] - covered


def in_own_process(script: str, *arguments: str, cwd: Path = ROOT) -> Any:
    """The JSON that `script`, run with `arguments` in a process of its own, prints as its last line; ends this process where that fails."""
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, cwd=cwd, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def machine() -> dict[str, Any]:
    """The machine and the versions that a figure belongs to."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in ("apache-beam", "pyarrow", "torch", "transformers", "sentence-transformers", "weaviate-client"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "missing"
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        processor = names[0] if names else processor
    load = os.getloadavg()[0]
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_at_start": load,
        "versions": versions,
    }


def store(name: str, content: dict[str, Any]) -> Path:
    """Keep `content` as benchmarks/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path
