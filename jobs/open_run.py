"""The mark of a run that has not ended: by it the next one knows that the server may have stored objects without indexing them.

It stands in the collection itself, in the description of the property `warpbeam_job`, so it is there whatever machine
runs next: for each job with an open run when that began, by the server's clock. It is written only while the run writes no
objects. How far the run has come is noted beside its rejected rows (jobs/noted.py). Before it is taken away, the server has
written out what it acknowledged, and has not been started anew meanwhile. See docs/decisions/0008-after-a-kill.md.
"""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from threading import Event, Thread
from typing import Any

from jobs.doubt import CLOCK, Doubt, joined
from jobs.examine.findings import Findings
from jobs.incremental import JOB_DESCRIPTION, is_tracked
from jobs.noted import Note, Noted
from jobs.telling import Say, counted
from jobs.verify.ids import READERS, tenants_of
from pipelines.metrics import live
from pipelines.targets.cursor import Range, id_ranges
from pipelines.targets.delivery import LOST, SETTLED
from pipelines.targets.flush import buffered_tenants, flush_indexes
from pipelines.targets.reindex import reindex
from pipelines.targets.weaviate import WeaviateTarget
from schemas.errors import JobError, WorldError
from schemas.fingerprints import STORED_JOB

OPEN = "; runs that have not ended, and since when: "
BEAT_S = 60.0
TRIES = 3  # to send again what is in doubt, while the server is started anew again and again
NOTICED = timedelta(minutes=10)  # before a cluster notices that a worker is lost: its heartbeats, a request's time, clocks that differ


def open_since(definition: Mapping[str, Any], job: str) -> datetime | None:
    """When the run of `job` began that has not ended, by the class's definition; None where its last run ended."""
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
        self.noted = Noted(found.job)
        self.figures = 0, 0
        self.flushes = True
        self.servers = self.target.connection.server_starts()
        self._starts()

    def _starts(self) -> None:
        self.begun = self._now()
        self.doubt = Doubt(self.begun)

    @property
    def _tenants(self) -> bool:
        """Whether what an earlier request left in a buffer may stay there: later ones write to other tenants."""
        assert self.found.collection
        return self.found.collection.multi_tenant

    def _now(self) -> datetime:
        return self.target.connection.server_time() - CLOCK

    def begin(self) -> None:
        """Mend what an earlier run left in doubt, then mark this one as open. Raises WorldError."""
        begun = open_since(self.target.connection.get(f"/v1/schema/{self.target.spec.collection}"), self.job) if self.marks else None
        if begun is not None:
            doubt, servers = self.noted.read(begun) or Note(Doubt(begun))
            if self._tenants and servers != self.servers:
                doubt = Doubt(begun)
            at = "at times when requests were lost, and " * bool(doubt.spans)
            self.say(
                f"The last run of this job did not end (or still runs): what it wrote {at}since {doubt.since:%Y-%m-%d %H:%M:%S} UTC is sent again."
            )
            self._mend("", doubt)
            self._starts()
        try:
            self._mark(self.begun)
        except JobError as error:
            self.marks = False
            self.say(f"Note: the collection does not take the mark of an open run ({error}); after a kill, use `warpbeam verify --repair`.")

    def end(self, counters: Mapping[str, int], broke: datetime | None = None) -> None:
        """Mend what this run left in doubt, and take the mark away. Raises WorldError.

        `broke`: when workers on other machines were lost first; what they had sent, nobody counted.
        """
        before = self.servers
        self._flush()
        doubt = self._moved(counters).ended()
        if counters.get(LOST):
            self._mend("Connections were lost: ", doubt)
        elif broke:
            since = self.begun if self.servers != before else max(self.begun, broke - NOTICED)
            self._mend("Workers were lost: ", Doubt(since))
        elif doubt.spans:
            self._mend("The server was started anew: ", doubt)
        self._mark(None)
        self.noted.forget()

    def _mend(self, why: str, doubt: Doubt) -> None:
        """Send again what is in `doubt`, until the server is not started anew meanwhile. Raises WorldError."""
        for _ in range(TRIES):
            before, begun = self.servers, self._now()
            sent = reindexed(self.found, doubt)
            self._flush()
            self.servers = self.target.connection.server_starts()
            self.say(f"{why}{counted(sent, 'object')} sent again, so that the server indexes them whole.")
            if self.servers == before:
                return
            doubt = replace(doubt, spans=joined([*doubt.spans, (begun, self._now() + 2 * CLOCK)]))
        raise WorldError(f"Weaviate was started anew {TRIES} times while objects were sent again; run again when it stays up")

    def _flush(self) -> None:
        """Have the server write out what it acknowledged. Raises WorldError."""
        if self.flushes:
            try:
                flushed(self.found)
            except JobError as error:
                self.flushes = False
                self.say(
                    "Note: this login may not ask for a delete, not even for its dry run, by which the server's indexes are written out "
                    f"({error}); if the server is killed soon after this run, use `warpbeam verify --repair`."
                )

    def _mark(self, since: datetime | None) -> None:
        if self.marks:
            _mark(self.target, self.job, since)

    @contextmanager
    def beating(self) -> Iterator[None]:
        """While the block lasts it is noted what was acknowledged, and when requests were lost."""
        stop = Event()
        thread = Thread(target=self._beat, args=(stop,), name="note", daemon=True)
        if self.beats:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            if self.beats:
                thread.join()

    def _beat(self, stop: Event) -> None:
        while not stop.wait(BEAT_S):
            with suppress(JobError, WorldError, OSError):  # an older note says more than is needed, and never less
                counters = live()
                if not self._tenants:
                    self._flush()
                self.noted.write(self.begun, Note(self._moved(counters), self.servers))

    def _moved(self, counters: Mapping[str, int]) -> Doubt:
        """What is in doubt now. The counters are older than the time that is asked for, so nothing falls between two spans.

        And that time is older than the answer whether a server was started anew, since when it may lack what it had not written out.
        """
        figures, now, servers = (counters.get(LOST, 0), counters.get(SETTLED, 0)), self._now(), self.target.connection.server_starts()
        anew = servers != self.servers
        troubled = anew or figures != self.figures or figures[0] != figures[1]
        if anew and self._tenants:
            self.doubt = replace(self.doubt, since=self.begun)
        self.doubt = self.doubt.moved_on(now, timedelta(seconds=self.target.spec.timeout_s), troubled, self._now() if anew else now)
        self.figures, self.servers = figures, servers
        return self.doubt


def flushed(found: Findings) -> None:
    """Have the server write out what it acknowledged of all that the job can write. Raises JobError (not allowed), WorldError."""
    assert found.target and found.collection
    connection, collection, tenants = found.target.connection, found.collection, tenants_of(found)
    if collection.multi_tenant:
        tenants = buffered_tenants(connection, collection, tenants)
    with ThreadPoolExecutor(READERS, thread_name_prefix="flush") as flushers:
        list(flushers.map(partial(flush_indexes, connection, collection), tenants))


def reindexed(found: Findings, doubt: Doubt) -> int:
    """Send again what of all that the job wrote is in `doubt`; gives how many objects. Raises WorldError."""
    assert found.collection
    collection = found.collection
    tasks = [(tenant, ids) for tenant in tenants_of(found) for ids in id_ranges(READERS)]

    def mend(task: tuple[str, Range]) -> int:
        with closing(WeaviateTarget(found.job.target, collection, found.job.name or "")) as target:
            return reindex(target, collection, found.job.name or "", *task, doubt.covers)

    with ThreadPoolExecutor(READERS, thread_name_prefix="mend") as menders:
        return sum(menders.map(mend, tasks))
