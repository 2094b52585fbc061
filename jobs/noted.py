"""How far a run has come, in a file beside its rejected rows: what of it would be in doubt if it were killed now.

Not in the collection: a change of the class while objects are written can leave some of them out of its indexes (seen with
Weaviate 1.38: 1 to 3 of 20,000, with a change a second). Where the file is lost, all that the run wrote is in doubt.
"""

import hashlib
import json
import os
from contextlib import suppress
from datetime import datetime

from jobs.doubt import Doubt
from pipelines.storage import file_system, is_url, opened
from schemas.errors import JobError, WorldError
from schemas.job import Job


class Noted:
    """The file of one job and its collection."""

    def __init__(self, job: Job) -> None:
        """Nothing is read or written yet."""
        target = job.target
        which = hashlib.blake2b(f"{target.weaviate.url} {target.collection} {job.name}".encode(), digest_size=6).hexdigest()
        self.path = f"{job.resolve(job.failures.path).rstrip('/')}/open-run-{which}.json"
        self.options = job.failures.storage_options

    def write(self, begun: datetime, doubt: Doubt) -> None:
        """Note what of the run that began then is in doubt. Raises JobError, WorldError, OSError."""
        path = self.path if is_url(self.path) else f"{self.path}.new"  # a store has a file whole, or as it was before
        with opened(path, "w", self.options, "failures.path") as file:
            json.dump({"begun": begun.isoformat(), "doubt": str(doubt)}, file)
        if path != self.path:
            os.replace(path, self.path)

    def read(self, begun: datetime) -> Doubt | None:
        """What of the run that began then is in doubt; None where that was not noted, or cannot be read."""
        with suppress(JobError, WorldError, OSError, ValueError, KeyError, TypeError, AttributeError):
            with opened(self.path, "r", self.options, "failures.path") as file:
                found = json.load(file)
            if datetime.fromisoformat(found["begun"]) == begun:
                return Doubt.parse(found["doubt"])
        return None

    def forget(self) -> None:
        """Remove the file; where that fails, nobody asks for it any more."""
        with suppress(JobError, WorldError, OSError):
            fs, path = file_system(self.path, self.options, "failures.path")
            if fs.exists(path):
                fs.rm(path)
