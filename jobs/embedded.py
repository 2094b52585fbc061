"""The real Weaviate server that `target.weaviate: embedded` means: it keeps running from one command to the next.

`python -m jobs.embedded start|stop|program [--home .warpbeam]` starts it, stops it, or prints the server program's path.
"""

import argparse
import json
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from jobs.server import Server, start_server
from jobs.server_program import find_program
from schemas.errors import JobError, WarpbeamError
from schemas.file_lock import locked

__all__ = ["Server", "find_program", "main", "running_server", "start_server", "stop_running"]


def running_server(home: Path) -> Server:
    """The server whose data lie in `home`/weaviate: the one that runs, or a new one that keeps running after this command."""
    folder = home / "weaviate"
    with locked(folder / "lock"):
        server = _recorded(folder)
        if server and server.runs() and server.answers():
            return server
        if server:
            server.stop()  # alive but deaf: it would hold the data
        server = start_server(folder / "data", log=folder / "server.log")
        fresh = folder / "server.json.new"
        fresh.write_text(json.dumps(asdict(server), indent=2) + "\n")
        fresh.replace(folder / "server.json")
        return server


def stop_running(home: Path) -> bool:
    """Stop the server of `home` and forget it; whether one ran."""
    folder = home / "weaviate"
    if not folder.exists():
        return False
    with locked(folder / "lock"):
        server = _recorded(folder)
        ran = server is not None and server.runs()
        if server:
            server.stop()
        (folder / "server.json").unlink(missing_ok=True)
        return ran


def _recorded(folder: Path) -> Server | None:
    """The server that was started last for `folder`, running or not."""
    with suppress(OSError, ValueError, TypeError):
        return Server(**json.loads((folder / "server.json").read_text()))
    return None


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m jobs.embedded", description="A real Weaviate server on this machine.")
    parser.add_argument("command", choices=["start", "stop", "program"])
    parser.add_argument("--home", type=Path, default=Path(".warpbeam"), help="the folder that holds its data (default: %(default)s)")
    args = parser.parse_args(arguments)
    try:
        text = _run(args.command, args.home)
    except WarpbeamError as error:
        sys.stderr.write(f"warpbeam: {error}\n")
        return 2 if isinstance(error, JobError) else 3
    sys.stdout.write(f"{text}\n")
    return 0


def _run(command: str, home: Path) -> str:
    """Run one command; gives what it has to say."""
    if command == "program":
        return str(find_program())
    if command == "start":
        return running_server(home).url
    return "stopped" if stop_running(home) else "no server was running"


if __name__ == "__main__":
    sys.exit(main())
