"""`make demo`: the docstrings of Python's standard library into a real Weaviate, and three questions to it.

Everything here is the command line that a user has. A second run loads nothing that is there already: it compares the
collection with the last report, and asks its questions again.
"""

import json
import os
import sys
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from examples.stdlib import main as write_docstrings  # noqa: E402
from jobs.cli import app  # noqa: E402
from jobs.examine import with_server  # noqa: E402
from jobs.job_file import load_job  # noqa: E402
from pipelines.targets.weaviate import WeaviateTarget  # noqa: E402
from schemas.errors import WarpbeamError  # noqa: E402

JOB = ROOT / "examples" / "stdlib.yaml"
HOME = ROOT / ".warpbeam" / "stdlib"
REPORT = HOME / "report" / "report.json"
QUESTIONS = ("parse command line arguments", "run a command in a child process", "compress data with gzip")


def overrides() -> list[str]:
    """The server that WEAVIATE_URL names, if it names one."""
    url = os.environ.get("WEAVIATE_URL")
    return [f"target.weaviate={url}"] if url else []


def is_loaded() -> bool:
    """Whether the last run loaded these docstrings, and the collection still has as many objects as it wrote."""
    made_from = (JOB, JOB.with_suffix(".json"), HOME / "stdlib.parquet")
    if not REPORT.exists() or REPORT.stat().st_mtime < max(p.stat().st_mtime for p in made_from):
        return False
    report = json.loads(REPORT.read_text())
    job = with_server(load_job(JOB, overrides()))
    with closing(WeaviateTarget(job.target)) as target:
        collection = target.collection()
    if collection is None or report["exit_code"] != 0:
        return False
    with closing(WeaviateTarget(job.target, collection)) as target:
        return target.count() == report["counts"]["objects_written"] == report["counts"]["read"]


def warpbeam(*arguments: str) -> None:
    """Run the command line, in this process, so that the model is loaded once; its exit code is ours if it is not 0."""
    command = ["warpbeam", *arguments, *(word for o in overrides() for word in ("--set", o))]
    print("\n$", " ".join(f"'{c}'" if " " in c else c for c in command), flush=True)
    if code := app(command[1:], standalone_mode=False):
        sys.exit(code)


def main() -> None:
    """Write the data, load it unless it is there, ask, and say where things lie."""
    print("1. The data: docstrings of Python's standard library, and the model all-MiniLM-L6-v2", flush=True)
    write_docstrings()
    print("\n2. A real Weaviate, and the docstrings in it", flush=True)
    if is_loaded():
        print("Already loaded: the collection has every object of the last run. (`make clean` removes it.)")
    else:
        warpbeam("run", "examples/stdlib.yaml")
    print("\n3. Questions")
    for question in QUESTIONS:
        warpbeam("search", "examples/stdlib.yaml", question, "--limit", "3")
    print(f"\nThe report: {REPORT}\nYour own job: copy examples/stdlib.yaml; docs/job-file.md explains every key.")


if __name__ == "__main__":
    os.chdir(ROOT)
    try:
        main()
    except WarpbeamError as error:
        sys.exit(f"{error}")
