"""Tenants: which there are, which are cold, and those that a column names and the collection lacks."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pipelines.targets.connection import Connection
from schemas.collection import Collection
from schemas.job import TargetSpec, TenantSpec

AWAKE = frozenset({"HOT", "ACTIVE"})


class Tenants:
    """The tenants of one collection."""

    def __init__(self, connection: Connection, spec: TargetSpec) -> None:
        """Nothing is asked yet."""
        self.connection, self.spec = connection, spec
        self._known: set[str] = set()

    @property
    def _path(self) -> str:
        return f"/v1/schema/{self.spec.collection}/tenants"

    def status(self) -> dict[str, str]:
        """The state of each tenant, in the server's words."""
        return {t["name"]: t["activityStatus"] for t in self.connection.get(self._path)}

    def awake(self, status: dict[str, str]) -> list[str]:
        """The tenants that can be read and written."""
        return [name for name, state in status.items() if state in AWAKE]

    def has(self, name: str) -> bool:
        """Whether there is a tenant `name`; a new one is made when its first objects are written."""
        if name not in self._known:
            self._known |= self.status().keys()
        return name in self._known

    def ensure(self, names: Iterable[str]) -> None:
        """Make the tenants among `names` that are missing, if the job says so; otherwise the server refuses their rows."""
        new = set(names) - self._known
        if not new or not (isinstance(self.spec.tenant, TenantSpec) and self.spec.tenant.create):
            return
        missing = sorted(new - self.status().keys())
        if missing:
            self.create(missing)
        self._known |= new

    def create(self, names: Sequence[str]) -> None:
        """Make `names`; one that another worker made meanwhile is no error."""
        body: list[dict[str, Any]] = [{"name": name} for name in names]
        self.connection.post(self._path, body)


def tenant_faults(collection: Collection, spec: TargetSpec, used: Sequence[str], status: dict[str, str]) -> Iterator[str]:
    """What is wrong with the job's tenants: none named, one too many, missing or cold ones."""
    if not collection.multi_tenant:
        if spec.tenant is not None:
            yield f"target.tenant: collection {collection.name} has no tenants; leave it out"
        return
    if spec.tenant is None:
        yield f"target.tenant: collection {collection.name} is multi-tenant; name a tenant, or {{column: ...}}"
    may_create = collection.auto_tenant_creation or (isinstance(spec.tenant, TenantSpec) and spec.tenant.create)
    missing = [t for t in used if t not in status]
    if missing and not may_create:
        yield f"target.tenant: collection {collection.name} has no tenant {_listed(missing)}; make them, or say tenant: {{column: ..., create: true}}"
    cold = [f"{t} ({status[t]})" for t in used if t in status and status[t] not in AWAKE]
    if cold and not collection.auto_tenant_activation:
        yield f"target.tenant: {_listed(cold)} cannot be written to; activate them"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
