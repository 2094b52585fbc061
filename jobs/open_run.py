"""The mark of a run that has not ended: by it the next one knows that the server may have stored objects without indexing them.

It stands in the collection itself, in the description of the property `warpbeam_job`, so it is there whatever machine
runs next: for each job with an open run the time since when what it wrote is in doubt, by the server's clock. A run in
this process moves the time on as long as no request was lost. See docs/decisions/0008-after-a-kill.md.
"""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta, timezone
from threading import Event, Thread
from typing import Any

from jobs.examine.findings import Findings
from jobs.incremental import JOB_DESCRIPTION, is_tracked
from jobs.telling import Say, counted
from jobs.verify.ids import READERS, tenants_of
from pipelines.metrics import live
from pipelines.targets.cursor import Range, id_ranges
from pipelines.targets.delivery import LOST
from pipelines.targets.reindex import reindex
from pipelines.targets.weaviate import WeaviateTarget
from schemas.errors import JobError, WorldError
from schemas.fingerprints import STORED_JOB

OPEN = "; runs that have not ended, and since when: "
BEAT_S = 60.0
CLOCK = timedelta(seconds=2)  # the server tells its time to the second
EVER = datetime(1970, 1, 1, tzinfo=timezone.utc)


def open_since(definition: Mapping[str, Any], job: str) -> datetime | None:
    """Since when what `job` wrote is in doubt, by the class's definition; None where its last run ended."""
    since = _marks(_description(definition)).get(job)
    return datetime.fromisoformat(since) if since else None


def _description(definition: Mapping[str, Any]) -> str:
    found = [p.get("description") for p in definition.get("properties") or [] if p.get("name") == STORED_JOB]
    return str(found[0] or "") if found else ""


def _marks(description: str) -> dict[str, str]:
    """The open runs by job; none where a person wrote something else there."""
    try:
        marks = json.loads(description.partition(OPEN)[2] or "{}")
        return {str(job): str(datetime.fromisoformat(since)) for job, since in marks.items()}
    except (ValueError, AttributeError, TypeError):
        return {}


def _mark(target: WeaviateTarget, job: str, since: datetime | None) -> None:
    """Write the mark of `job` into the collection, or take it away. Raises JobError (not allowed), WorldError."""
    path = f"/v1/schema/{target.spec.collection}"
    definition = target.connection.get(path)
    marks = {k: v for k, v in _marks(_description(definition)).items() if k != job}
    if since is not None:
        marks[job] = since.isoformat(timespec="seconds")
    text = JOB_DESCRIPTION + (OPEN + json.dumps(marks, sort_keys=True) if marks else "")
    if text != _description(definition):
        for prop in definition["properties"]:
            if prop["name"] == STORED_JOB:
                prop["description"] = text
        target.connection.put(path, definition)


class OpenRun:
    """A run between its mark and its end."""

    def __init__(self, found: Findings, say: Say, beats: bool) -> None:
        """`beats`: the run is in this process, and what it loses is known here at once."""
        assert found.collection and found.target
        self.found, self.say, self.beats = found, say, beats
        self.job, self.target = found.job.name or "", found.target
        self.marks = is_tracked(found.collection)
        self.since = self._now()

    def _now(self) -> datetime:
        return self.target.connection.server_time() - CLOCK

    def begin(self) -> None:
        """Mend what an earlier run left in doubt, then mark this one as open. Raises WorldError."""
        before = open_since(self.target.connection.get(f"/v1/schema/{self.target.spec.collection}"), self.job) if self.marks else None
        if before is not None:
            self.say(
                f"The last run of this job did not end (or still runs): what it wrote since {before:%Y-%m-%d %H:%M:%S} UTC is sent again."
            )
            self.say(f"{counted(reindexed(self.found, before), 'object')} sent again, so that the server indexes them whole.")
            self.since = self._now()
        try:
            self._store(self.since)
        except JobError as error:
            self.marks = False
            self.say(f"Note: the collection does not take the mark of an open run ({error}); after a kill, use `warpbeam verify --repair`.")

    def end(self, lost: bool) -> None:
        """Mend what this run left in doubt, and take the mark away. Raises WorldError."""
        if lost:
            sent = reindexed(self.found, self.since)
            self.say(f"Connections were lost: {counted(sent, 'object')} sent again, so that the server indexes them whole.")
        self._store(None)

    def _store(self, since: datetime | None) -> None:
        if self.marks:
            _mark(self.target, self.job, since)

    @contextmanager
    def beating(self) -> Iterator[None]:
        """While the block lasts the mark moves on: what was written before is acknowledged, unless a request was lost."""
        stop = Event()
        thread = Thread(target=self._beat, args=(stop,), name="mark", daemon=True)
        if self.beats:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            if self.beats:
                thread.join()

    def _beat(self, stop: Event) -> None:
        patience = timedelta(seconds=self.target.spec.timeout_s)
        while not stop.wait(BEAT_S):
            with suppress(JobError, WorldError):  # an older mark says more than is needed, and never less
                now = self._now()
                if live().get(LOST):
                    return
                since = max(self.since, now - patience)
                self._store(since)
                self.since = since


def reindexed(found: Findings, since: datetime) -> int:
    """Send again what the job wrote at `since` or later; gives how many objects. Raises WorldError."""
    assert found.collection
    collection, since_ms = found.collection, int(since.timestamp() * 1000)
    tasks = [(tenant, ids) for tenant in tenants_of(found) for ids in id_ranges(READERS)]

    def mend(task: tuple[str, Range]) -> int:
        with closing(WeaviateTarget(found.job.target, collection, found.job.name or "")) as target:
            return reindex(target, collection, found.job.name or "", *task, since_ms)

    with ThreadPoolExecutor(READERS, thread_name_prefix="mend") as menders:
        return sum(menders.map(mend, tasks))
