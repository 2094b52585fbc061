"""How far a run has come, in a file beside its rejected rows: what of it would be in doubt if it were killed now.

Not in the collection: a change of the class while objects are written can leave some of them out of its indexes (seen with
Weaviate 1.38: 1 to 3 of 20,000, with a change a second). Where the file is lost, all that the run wrote is in doubt.
"""

import hashlib
import json
import os
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from jobs.doubt import Doubt
from pipelines.storage import file_system, is_url, opened
from schemas.errors import JobError, WorldError
from schemas.job import Job


class Note(NamedTuple):
    """How far a run has come."""

    doubt: Doubt
    servers: str | None = None  # since when they run, as Connection.server_starts has it


class Noted:
    """The file of one job and its collection."""

    def __init__(self, job: Job) -> None:
        """Nothing is read or written yet."""
        target = job.target
        which = hashlib.blake2b(f"{target.weaviate.url} {target.collection} {job.name}".encode(), digest_size=6).hexdigest()
        self.path = f"{job.resolve(job.failures.path).rstrip('/')}/open-run-{which}.json"
        self.options = job.failures.storage_options

    def write(self, begun: datetime, note: Note) -> None:
        """Note how far the run has come that began then. Raises JobError, WorldError, OSError."""
        path = self.path if is_url(self.path) else f"{self.path}.new"  # a store has a file whole, or as it was before
        with opened(path, "w", self.options, "failures.path") as file:
            json.dump({"begun": begun.isoformat(), "doubt": str(note.doubt), "servers": note.servers}, file)
        if path != self.path:
            os.replace(path, self.path)

    def read(self, begun: datetime) -> Note | None:
        """How far the run came that began then; None where that was not noted, or cannot be read."""
        with suppress(JobError, WorldError, OSError, ValueError, KeyError, TypeError, AttributeError):
            with opened(self.path, "r", self.options, "failures.path") as file:
                found = json.load(file)
            if datetime.fromisoformat(found["begun"]) == begun:
                return Note(Doubt.parse(found["doubt"]), found.get("servers"))
        return None

    def forget(self) -> None:
        """Remove the file; where that fails, nobody asks for it any more."""
        with suppress(JobError, WorldError, OSError):
            fs, path = file_system(self.path, self.options, "failures.path")
            if fs.exists(path):
                fs.rm(path)
