"""The ids of source rows: `@key`, `@uuid` and `@tenant`, the same in every stage that needs them."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipelines.layout import Layout
from schemas.columns import KEY, TENANT, UUID
from schemas.objects import Reasons, as_uuid, uuid5


def ids(raw: pa.RecordBatch, layout: Layout, reasons: Reasons) -> Iterator[tuple[str, pa.Array]]:
    """The columns `@key`, `@uuid` and `@tenant`; a row without an id goes to `reasons`."""
    values = raw.column(layout.key).to_pylist()
    keys = [None if v is None else str(v.hex() if isinstance(v, bytes) else v) for v in values]
    uuids = [_uuid(value, key, layout, i, reasons) for i, (value, key) in enumerate(zip(values, keys, strict=True))]
    yield KEY, pa.array(keys, pa.string())
    yield UUID, pa.array(uuids, pa.binary(16))
    if layout.tenant:
        tenants = [str(t) if t is not None else "" for t in raw.column(layout.tenant).to_pylist()]
        missing = {
            i: ("no_tenant", f"column {layout.tenant!r} is null or empty; every row needs a tenant") for i, t in enumerate(tenants) if not t
        }
        add_reasons(reasons, missing)
        yield TENANT, pa.array(tenants, pa.string())


def _uuid(value: Any, key: str | None, layout: Layout, i: int, reasons: Reasons) -> bytes | None:
    if key is None or key == "":
        reasons[i] = ("no_key", f"column {layout.key!r} is null or empty; every row needs its own id")
        return None
    if not layout.key_is_uuid:
        return uuid5(key, layout.namespace)
    try:
        return as_uuid(value).bytes
    except (ValueError, AttributeError):
        reasons[i] = ("bad_uuid", f"column {layout.key!r} has {key!r}; a uuid is 16 bytes or 32 hexadecimal digits")
        return None


def add_reasons(reasons: Reasons, more: Reasons) -> None:
    """A row with several faults keeps the first code and all messages."""
    for i, (code, message) in more.items():
        first = reasons.get(i)
        reasons[i] = (first[0], f"{first[1]}; {message}") if first else (code, message)
