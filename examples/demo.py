"""`make demo`: the docstrings of Python's standard library into a real Weaviate, and three questions to it.

Everything here is the command line that a user has. A second run finds every object unchanged, and asks its questions again.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from examples.stdlib import main as write_docstrings  # noqa: E402
from jobs.cli import app  # noqa: E402
from schemas.errors import WarpbeamError  # noqa: E402

HOME = ROOT / ".warpbeam" / "stdlib"
REPORT = HOME / "report" / "report.html"
QUESTIONS = ("parse command line arguments", "run a command in a child process", "compress data with gzip")


def overrides() -> list[str]:
    """The server that WEAVIATE_URL names, if it names one."""
    url = os.environ.get("WEAVIATE_URL")
    return [f"target.weaviate={url}"] if url else []


def warpbeam(*arguments: str, beam_args: Sequence[str] = ()) -> None:
    """Run the command line, in this process, so that the model is loaded once; its exit code is ours if it is not 0."""
    command = ["warpbeam", *arguments, *(word for o in overrides() for word in ("--set", o)), *(["--", *beam_args] if beam_args else [])]
    print("\n$", " ".join(f"'{c}'" if " " in c else c for c in command), flush=True)
    if code := app(command[1:], standalone_mode=False):
        sys.exit(code)


def main(beam_args: Sequence[str] = ()) -> None:
    """Write the data, load it, ask, and say where things lie. `beam_args`: where the load runs, if not in this process."""
    print("1. The data: docstrings of Python's standard library, and the model all-MiniLM-L6-v2", flush=True)
    write_docstrings()
    print("\n2. A real Weaviate, and the docstrings in it", flush=True)
    warpbeam("run", "examples/stdlib.yaml", beam_args=beam_args)
    print("\n3. Questions")
    for question in QUESTIONS:
        warpbeam("search", "examples/stdlib.yaml", question, "--limit", "3")
    print(f"\nThe report: {REPORT}\nYour own job: copy examples/stdlib.yaml; docs/job-file.md explains every key.")


def start(script: Callable[[], None]) -> None:
    """Run `script` in the repository's root; what Warpbeam finds wrong is one sentence."""
    os.chdir(ROOT)
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s")  # libraries' warnings are not the user's
    try:
        script()
    except WarpbeamError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    start(main)
