"""`python -m jobs.flink start|stop|jar [--home .warpbeam/flink]`: a Flink cluster on this machine, or the jar that it runs."""

import argparse
import shlex
import sys
from pathlib import Path

from jobs.flink.jar import find_jar
from jobs.flink.recorded import running_cluster, stop_running
from schemas.errors import JobError, WarpbeamError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m jobs.flink", description="A Flink cluster on this machine, for trying a job.")
    parser.add_argument("command", choices=["start", "stop", "jar"])
    parser.add_argument(
        "--home", type=Path, default=Path(".warpbeam/flink"), help="the folder of its configuration and logs (default: %(default)s)"
    )
    args = parser.parse_args(arguments)
    try:
        sys.stdout.write(f"{_run(args.command, args.home)}\n")
    except WarpbeamError as error:
        sys.stderr.write(f"warpbeam: {error}\n")
        return 2 if isinstance(error, JobError) else 3
    return 0


def _run(command: str, home: Path) -> str:
    """Run one command; gives what it has to say."""
    if command == "jar":
        return str(find_jar())
    if command == "stop":
        return "stopped" if stop_running(home) else "no cluster was running"
    flags = running_cluster(home).beam_args()
    return "warpbeam run JOB -- " + " ".join(shlex.quote(flag) for flag in flags)


if __name__ == "__main__":
    sys.exit(main())
