"""Weaviate as a target: its schema by REST, objects by gRPC `BatchObjects`, acknowledged rows only."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from threading import Thread
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.targets.connection import Connection
from pipelines.targets.delivery import Delivery
from pipelines.targets.fingerprints import Known, read_fingerprints, read_vectors
from pipelines.targets.messages import merged, messages, pieces, uuid_text
from pipelines.targets.sampled import read_objects
from pipelines.targets.stored import kept_by_merge, read_kept
from pipelines.targets.tenants import Tenants
from schemas.collection import LEGACY, Collection, parse_collection
from schemas.columns import TENANT, by_tenant, properties_of
from schemas.errors import JobError, WorldError
from schemas.job import TargetSpec, TenantSpec
from schemas.objects import Reasons

MESSAGES = "weaviate.proto.v1"  # where the client has them; all of it is imported with them


@dataclass
class _Sent:
    """A request on the way: its messages, where they stand in the batch, and the reply to come."""

    start: int
    messages: list[bytes]
    reply: Any


@dataclass
class _Batch:
    """A batch whose requests are not all acknowledged yet."""

    batch: pa.RecordBatch
    sent: deque[_Sent] = field(default_factory=deque)
    reasons: Reasons = field(default_factory=dict)


class WeaviateTarget:
    """One collection of one server. `write` and `results` are for one thread; make one target a writer."""

    def __init__(self, spec: TargetSpec, collection: Collection | None = None, job: str = "") -> None:
        """Keep addresses; without a `collection` the live one is asked for when it is needed. `job`: the name that objects remember."""
        self.spec, self._collection, self.job = spec, collection, job
        self.connection = Connection(spec.weaviate, spec.timeout_s, spec.retry_s)
        self.tenants = Tenants(self.connection, spec)
        self.delivery = Delivery(self.connection, spec)
        self._waiting: deque[_Batch] = deque()

    def collection(self) -> Collection | None:
        """The collection as the server has it, or None. Raises JobError (a refused key), WorldError."""
        definition = self.connection.get(f"/v1/schema/{self.spec.collection}", missing_ok=True)
        return parse_collection(definition) if definition else None

    def create(self, definition: dict[str, Any]) -> Collection:
        """Make the collection from Weaviate's own JSON, and read back what the server made of it."""
        try:
            self.connection.post("/v1/schema", definition)
        except JobError:  # "already exists": an answer that got lost, or another launcher; anything else made nothing
            if self.collection() is None:
                raise
        made = self.collection()
        if made is None:
            raise WorldError(f"Weaviate accepted collection {self.spec.collection!r} and then did not have it")
        return made

    def add_properties(self, properties: Sequence[dict[str, Any]]) -> Collection:
        """Give the collection more properties (Weaviate's own JSON), and read back what the server made of it."""
        for definition in properties:
            try:
                self.connection.post(f"/v1/schema/{self.spec.collection}/properties", definition)
            except JobError:  # "already exists": an answer that got lost, or another launcher; anything else made nothing
                known = self.collection()
                if known is None or definition["name"] not in known.properties:
                    raise
        made = self.collection()
        if made is None:
            raise WorldError(f"collection {self.spec.collection!r} went away while it was given properties")
        return made

    def count(self) -> int:
        """How many objects the collection has, all tenants together."""
        from weaviate.proto.v1 import aggregate_pb2

        names: list[str] = self.tenants.awake(self.tenants.status()) if self.needed.multi_tenant else [""]
        requests = [aggregate_pb2.AggregateRequest(collection=self.needed.name, tenant=t, objects_count=True) for t in names]
        return sum(int(self.connection.call("Aggregate", request).single_result.objects_count) for request in requests)

    def stored_dims(self, tenant: str = "") -> dict[str, int]:
        """The length of each vector of the first object that is there; a multi-vector's is that of one of its vectors."""
        if tenant and tenant not in self.tenants.status():
            return {}  # it will be made
        found = self.connection.get(
            f"/v1/objects?class={self.spec.collection}&limit=1&include=vector" + (f"&tenant={tenant}" if tenant else "")
        )
        first: dict[str, Any] = next(iter(found.get("objects") or []), {})
        vectors = dict(first.get("vectors") or {}) | ({LEGACY: first["vector"]} if first.get("vector") else {})
        return {name: len(v[0]) if isinstance(v[0], list) else len(v) for name, v in vectors.items() if v}

    @property
    def needed(self) -> Collection:
        """The collection, asked for once unless it was given. Raises JobError if it is missing, WorldError."""
        if self._collection is None:
            self._collection = self.collection()
        if self._collection is None:
            raise JobError(f"collection {self.spec.collection!r} is missing on {self.spec.weaviate.url}; make it before the pipeline runs")
        return self._collection

    def get_ready(self) -> None:
        """Begin to import Weaviate's client beside the caller, who loads models: it takes half a second of one core."""
        Thread(target=partial(import_module, MESSAGES), name="import", daemon=True).start()

    def write(self, batch: pa.RecordBatch) -> None:
        """Send `batch`; at most four requests are on the way when this returns. Raises WorldError after the retries."""
        waiting = _Batch(batch)
        self._waiting.append(waiting)
        made = self._messages(batch)
        limit = min(int(self.connection.message_bytes * 0.95), self.connection.message_bytes - 4096)
        for start, group in pieces(made, self.delivery.pressure.objects):
            if len(group) == 1 and len(group[0]) > limit:
                waiting.reasons[start] = (
                    "object_too_large",
                    f"the object has {len(group[0])} bytes; the server takes messages of {self.connection.message_bytes}",
                )
                continue
            while sum(len(w.sent) for w in self._waiting) >= self.delivery.pressure.in_flight:
                self._settle_oldest()
            waiting.sent.append(_Sent(start, group, self.delivery.send(group)))

    def results(self, wait: bool) -> Sequence[tuple[pa.RecordBatch, Reasons]]:
        """The batches whose requests are all acknowledged, with the refused rows; all that were written if `wait`."""
        while wait and any(w.sent for w in self._waiting):
            self._settle_oldest()
        done = []
        while self._waiting and not self._waiting[0].sent:
            finished = self._waiting.popleft()
            done.append((finished.batch, finished.reasons))
        return done

    def fingerprints(self, uuids: Sequence[bytes], tenant: str = "") -> Known:
        """The stored fingerprints of those of `uuids` that are there; none of a tenant that is yet to be made. Raises WorldError."""
        if self.needed.multi_tenant and not self.tenants.has(tenant):
            return {}
        return read_fingerprints(self.connection, self.needed, uuids, tenant)

    def vectors(self, uuids: Sequence[bytes], names: Sequence[str], tenant: str = "") -> dict[bytes, dict[str, npt.NDArray[np.float32]]]:
        """The stored vectors of those of `uuids` that are there. Raises WorldError."""
        return read_vectors(self.connection, self.needed, names, uuids, tenant)

    def objects(self, uuids: Sequence[bytes], tenant: str = "") -> tuple[list[bytes], pa.RecordBatch]:
        """Those of `uuids` that are there, and their properties, a row each. Raises WorldError."""
        return read_objects(self.connection, self.needed, uuids, tenant)

    def close(self) -> None:
        """Close the connection."""
        self._waiting.clear()
        self.connection.close()

    def _messages(self, batch: pa.RecordBatch) -> list[bytes]:
        collection = self.needed
        if isinstance(self.spec.tenant, TenantSpec):
            self.tenants.ensure(batch.column(TENANT).unique().to_pylist())
        properties = [collection.properties[name] for name in properties_of(batch.schema) if name in collection.properties]
        made = messages(batch, collection.name, properties, collection.vectors, self.spec.fixed_tenant, self.job)
        if self.spec.write == "merge":
            self._merge(made, batch)
        return made

    def _merge(self, made: list[bytes], batch: pa.RecordBatch) -> None:
        """Add to each message what the stored object has and the job does not name."""
        vectors = [name for name in self.needed.vectors if f"@vector/{name}" in batch.schema.names]
        kept = kept_by_merge(self.needed, properties_of(batch.schema), vectors)
        if kept.nothing:
            return
        for tenant, positions, uuids in by_tenant(batch, self.spec.fixed_tenant):
            found = read_kept(self.connection, self.needed, kept, uuids, tenant)
            for i, uuid in zip(positions, uuids, strict=True):
                if uuid_text(uuid) in found:
                    made[i] = merged(made[i], found[uuid_text(uuid)])

    def _settle_oldest(self) -> None:
        waiting = next(w for w in self._waiting if w.sent)
        sent = waiting.sent.popleft()
        for position, reason in self.delivery.delivered(sent.messages, sent.reply).items():
            waiting.reasons[sent.start + position] = reason
