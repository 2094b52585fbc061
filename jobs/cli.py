"""The command line. Exit codes: 0 done, 1 rows failed beyond the allowed share, 2 the job is wrong, 3 the world is unreachable."""

import atexit
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from schemas.errors import JobError, RowError, WorldError

app = typer.Typer(
    help="Loads Weaviate at the speed of the model.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
console = Console(soft_wrap=False)
errors = Console(stderr=True)

JobPath = Annotated[Path, typer.Argument(metavar="JOB", help="The job file, YAML.", show_default=False)]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the job: --set target.tenant=acme.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
Name = Annotated[str | None, typer.Option("--vector", help="Which vector, where the job has several with a model.")]
Text = Annotated[str | None, typer.Argument(metavar="TEXT", help="A text.", show_default=False)]
Image = Annotated[Path | None, typer.Option("--image", help="An image file instead of a text.")]
Audio = Annotated[Path | None, typer.Option("--audio", help="A sound file instead of a text (ImageBind).")]
Video = Annotated[Path | None, typer.Option("--video", help="A video file instead of a text (ImageBind).")]
Depth = Annotated[Path | None, typer.Option("--depth", help="A depth map instead of a text (ImageBind).")]
Thermal = Annotated[Path | None, typer.Option("--thermal", help="A thermal image instead of a text (ImageBind).")]
Imu = Annotated[Path | None, typer.Option("--imu", help="A table of motion data instead of a text (ImageBind).")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        console.print(version("warpbeam"), highlight=False)
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and end.")] = False,
) -> None:
    """What goes before a command."""


@contextmanager
def _exit_codes() -> Iterator[None]:
    """A user's mistake is a sentence and an exit code, never a stack trace."""
    try:
        yield
    except (JobError, RowError) as error:
        _stop(error, 2)
    except WorldError as error:
        _stop(error, 3)
    except KeyboardInterrupt as error:
        errors.print(str(error) or "Stopped. What was written stays; run the job again to go on.", markup=False, soft_wrap=True)
        _leave(130)


def _stop(error: Exception, code: int) -> NoReturn:
    errors.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
    _leave(code)


def _leave(code: int) -> NoReturn:
    raise typer.Exit(code)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": False})
def run(
    context: typer.Context,
    job: JobPath,
    limit: Annotated[int | None, typer.Option(min=1, help="Load only the first so many rows.")] = None,
    only: Annotated[str | None, typer.Option(help="Load again exactly the rows in this folder of failures.")] = None,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take over objects that others loaded; what is right is not encoded again.")
    ] = False,
    set_: Sets = None,
    as_json: Json = False,
) -> None:
    """Create the collection if it is missing, load, and report. Beam's own flags go after `--`."""
    with _exit_codes():
        from jobs.job_file import load_job
        from jobs.run import Options
        from jobs.run import run as run_job

        _leave(run_job(load_job(job, set_ or ()), console, Options(limit, only, adopt), context.args, as_json))


@app.command(context_settings={"allow_extra_args": True})
def cancel(
    context: typer.Context, remote_job: Annotated[str, typer.Argument(metavar="ID", help="The job's id over there, as `run` named it.")]
) -> None:
    """Cancel a job that runs on a cluster. The flags that name the cluster go after `--`, as for `run`."""
    with _exit_codes():
        from jobs.remote import Service

        Service.of(context.args).cancel(remote_job)
        console.print(f"Job {remote_job} is cancelled. What was written stays; run the job again to go on.", highlight=False)


@app.command()
def check(
    job: JobPath,
    append: Annotated[
        bool, typer.Option("--append", help="The rows are new: it is right that the collection has none of their ids.")
    ] = False,
    set_: Sets = None,
    as_json: Json = False,
) -> None:
    """Name all faults of the job against data, models and server, or show the plan; write nothing."""
    with _exit_codes():
        from jobs.check import check as check_job
        from jobs.job_file import read_job

        _leave(check_job(*read_job(job, set_ or ()), console, as_json, append))


@app.command()
def report(
    job: JobPath,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's folder in `failures.path`, such as 20250131T020000-1a2b.")],
    set_: Sets = None,
    as_json: Json = False,
) -> None:
    """Write the report of a run again, where the launching machine has gone; the exit code is the run's."""
    with _exit_codes():
        from jobs.job_file import load_job
        from jobs.report import finish, tell_report
        from jobs.report.past import past_report

        found = finish(past_report(load_job(job, set_ or ()), run))
        tell_report(console, found, as_json)
        _leave(found.exit_code)


@app.command()
def search(
    job: JobPath,
    text: Text = None,
    image: Image = None,
    audio: Audio = None,
    video: Video = None,
    depth: Depth = None,
    thermal: Thermal = None,
    imu: Imu = None,
    limit: Annotated[int, typer.Option(min=1, help="How many answers.")] = 10,
    vector: Name = None,
    hybrid: Annotated[float | None, typer.Option(min=0, max=1, help="Mix in keyword search: 0 only words, 1 only vectors.")] = None,
    set_: Sets = None,
    as_json: Json = False,
) -> None:
    """Find the nearest objects to a text, an image or another file, with the job's own model."""
    with _exit_codes():
        from jobs.job_file import load_job
        from jobs.search import query_value, tell_results
        from jobs.search import search as search_job

        files = {"image": image, "audio": audio, "video": video, "depth": depth, "thermal": thermal, "imu": imu}
        modality, value = query_value(text, files)
        loaded = load_job(job, set_ or ())
        results = search_job(loaded, modality, value, limit, vector, hybrid)
        first = [field for spec in loaded.vectors.values() for field in spec.fields]
        _show(results, as_json, lambda: tell_results(console, text or str(files.get(modality)), results, first))


@app.command()
def encode(
    job: JobPath,
    text: Text = None,
    image: Image = None,
    audio: Audio = None,
    video: Video = None,
    depth: Depth = None,
    thermal: Thermal = None,
    imu: Imu = None,
    vector: Name = None,
    query: Annotated[bool, typer.Option("--query", help="As a question, with the model's query prompt; otherwise as a document.")] = False,
    set_: Sets = None,
    as_json: Json = False,
) -> None:
    """Show one value's vector: try a model before a run."""
    with _exit_codes():
        from jobs.job_file import load_job
        from jobs.search import encode_value, query_value, spec_of, tell_vector, vector_name

        loaded = load_job(job, set_ or ())
        files = {"image": image, "audio": audio, "video": video, "depth": depth, "thermal": thermal, "imu": imu}
        modality, value = query_value(text, files)
        made = encode_value(spec_of(loaded, vector_name(loaded, vector)), modality, value, "query" if query else "document")
        _show([float(x) for x in made], as_json, lambda: tell_vector(console, made))


@app.command()
def serve(
    job: JobPath,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 is every one that this machine has.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8081,
    vector: Annotated[str | None, typer.Option("--vector", help="The vector without a prefix, where the job has several.")] = None,
    token_env: Annotated[str | None, typer.Option(help="The environment variable that holds bearer tokens, with commas between.")] = None,
    set_: Sets = None,
) -> None:
    """Stand in for Weaviate's inference containers: the job's models, asked over HTTP."""
    with _exit_codes():
        from jobs.job_file import load_job
        from jobs.serve import serve as serve_job

        serve_job(load_job(job, set_ or ()), console, host, port, vector, token_env)


@app.command()
def verify(
    job: JobPath,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Compare only so many objects; otherwise the fingerprints of all, up to a million.")
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Load again what is missing, stale or different; nothing is deleted.")] = False,
    set_: Sets = None,
    as_json: Json = False,
) -> None:
    """Compare the collection with the source: ids, fingerprints, properties, vectors, answers; exit code 1 if something is wrong."""
    with _exit_codes():
        from jobs.job_file import load_job
        from jobs.verify.verify import Options
        from jobs.verify.verify import verify as verify_job

        _leave(verify_job(load_job(job, set_ or ()), console, Options(sample, repair), as_json))


@app.command()
def publish(
    job: JobPath,
    back: Annotated[bool, typer.Option("--back", help="Return to the version before.")] = False,
    set_: Sets = None,
) -> None:
    """Move the alias to the version that was verified; nothing is deleted."""
    with _exit_codes():
        from jobs.job_file import load_job
        from jobs.publish import publish as publish_job

        publish_job(load_job(job, set_ or ()), console, back)


def _show(data: Any, as_json: bool, tell: Callable[[], None]) -> None:
    if as_json:
        print(json.dumps(data, ensure_ascii=False, default=str))  # noqa: T201  (a program reads it: no colours, no wrapping)
    else:
        tell()


def _tell_licences() -> None:
    """Let an encoder say under which licence its weights are, once, on standard error."""
    licences = logging.getLogger("encoders.imagebind.checkpoint")
    licences.setLevel(logging.WARNING)
    licences.propagate = False
    licences.addHandler(said := logging.StreamHandler())
    said.setFormatter(logging.Formatter("Note: %(message)s"))


def main() -> None:
    """Run the command line; a foreign package that shadows one of ours is said at once."""
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s")  # libraries' warnings are not the user's
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")  # about the versions of one another
    import pipelines
    import schemas

    here = Path(__file__).parent.parent
    for package in (pipelines, schemas):
        if Path(str(package.__file__)).parent.parent != here:
            sys.exit(
                f"another package named {package.__name__!r} ({package.__file__}) hides Warpbeam's: give Warpbeam an environment of its own"
            )
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    _tell_licences()
    try:
        app()
    except SystemExit as end:
        _end(end.code)


def _end(code: str | int | None) -> NoReturn:
    """End at once: threads of Beam or gRPC that still run while the interpreter is taken down can abort it, with a code of their own."""
    if isinstance(code, str):
        errors.print(code, markup=False)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    main()
