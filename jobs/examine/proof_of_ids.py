"""Proof that a load finds the objects that are there: some of the source's ids are looked up."""

import pyarrow as pa

from jobs.examine.findings import Findings
from jobs.examine.sample import Sample
from pipelines.targets.sampled import present
from schemas.columns import KEY, TENANT, UUID
from schemas.objects import uuid5


def prove_ids(found: Findings, sample: Sample, known: list[str], append: bool) -> None:
    """None of the source's ids there, although the collection holds objects, is a fault: a load would not replace but add.

    `known` are the tenants to look into; "" where the collection has none.
    """
    assert found.collection and found.target
    if sample.objects is None or append:
        return
    uuids = _ids(found, sample.objects)
    tenants = sample.objects.column(TENANT).to_pylist() if TENANT in sample.objects.schema.names else [known[0]] * len(uuids)
    there = sum(
        len(present(found.target.connection, found.collection, [u for u, t in zip(uuids, tenants, strict=True) if t == name], name))
        for name in known
    )
    if not there:
        found.faults.append(
            f"source.{'uuid' if found.job.source.uuid else 'key'}: the collection {found.collection.name} holds {found.objects_there():,} objects, and none of "
            f"{len(uuids):,} rows of the source is among them: the load would not replace but add. If their ids were made in another way "
            "(another key, a namespace), use that; if these rows are new, say --append"
        )
    elif there < len(uuids):
        found.remarks.append(f"of {len(uuids):,} rows in the sample {there:,} are in the collection already and will be replaced")


def _ids(found: Findings, objects: pa.RecordBatch) -> list[bytes]:
    """The ids that a load would write; of a text that is cut, that of its first piece."""
    if not found.job.chunk:
        uuids: list[bytes] = objects.column(UUID).to_pylist()
        return uuids
    assert found.layout
    return [uuid5(f"{key}#0", found.layout.namespace) for key in objects.column(KEY).to_pylist()]
