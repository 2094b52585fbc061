"""The program that a Flex Template of Dataflow starts: it submits the job and ends; nobody waits for the pipeline.

`deploy/dataflow/metadata.json` describes its parameters. See docs/dataflow.md.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import fsspec
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, StandardOptions
from rich.console import Console

from jobs.dataflow import ONE_A_CORE, ONE_MODEL
from jobs.job_file import load_job, parse_yaml
from jobs.run import Options, run
from schemas.errors import JobError, WarpbeamError, WorldError
from schemas.job import Job


def parameters() -> argparse.ArgumentParser:
    """The parameters that the template takes besides Beam's own; `deploy/dataflow/metadata.json` describes them."""
    parser = argparse.ArgumentParser(prog="launch.py", allow_abbrev=False)
    parser.add_argument("--job", required=True)
    parser.add_argument("--set", default="")
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--only", default=None)
    parser.add_argument("--adopt", default="false", choices=("true", "false"))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Submit the job that the template's parameters name, and do not wait for it; the exit code as of `warpbeam run`."""
    known, beam_args = parameters().parse_known_args(arguments)
    console, flags = Console(stderr=True, soft_wrap=True), with_defaults(beam_args)
    try:
        with tempfile.TemporaryDirectory() as folder:
            job = load_job(fetched_job(known.job, Path(folder)), [s for s in known.set.split(";") if s])
            _check_nothing_follows(job)
            return run(job, console, Options(known.limit, known.only or None, known.adopt == "true", wait=False), flags)
    except WarpbeamError as error:
        console.print(str(error), style="red", markup=False)
        return 3 if isinstance(error, WorldError) else 2


def with_defaults(beam_args: Sequence[str]) -> list[str]:
    """Beam's own flags with what the template adds: Dataflow's runner, and one model a machine, unless they say otherwise."""
    options = PipelineOptions(list(beam_args))
    said = options.view_as(DebugOptions).experiments or []
    runner = [] if options.view_as(StandardOptions).runner else ["--runner=DataflowRunner"]
    return [*runner, *beam_args, *([] if {ONE_MODEL, ONE_A_CORE} & set(said) else [f"--experiments={ONE_MODEL}"])]


def fetched_job(url: str, folder: Path) -> Path:
    """A copy in `folder` of the job file at `url`, and beside it of the class definition it names. Raises JobError."""
    path = _copied(url, folder / url.rstrip("/").rsplit("/", 1)[-1], "the job file")
    target = parse_yaml(path).get("target")
    create = target.get("create") if isinstance(target, dict) else None
    if isinstance(create, str) and "://" not in create and not create.startswith("/"):
        (folder / create).parent.mkdir(parents=True, exist_ok=True)
        _copied(f"{url.rsplit('/', 1)[0]}/{create}", folder / create, "target.create")
    return path


def _copied(url: str, to: Path, what: str) -> Path:
    try:
        with fsspec.open(url, "rb") as file:
            to.write_bytes(file.read())
    except Exception as error:  # each file system has errors of its own
        raise JobError(f"{what} {url} cannot be read: {type(error).__name__}: {error}") from error
    return to


def _check_nothing_follows(job: Job) -> None:
    """Refuse what a run does when the pipeline is done: nobody is there any more."""
    if job.target.delete != "never":
        raise JobError(
            f"target.delete: {job.target.delete}: objects are deleted after the load, and a template does not wait for it; "
            "start the job with `warpbeam run JOB -- --runner=DataflowRunner` from a machine that stays"
        )
