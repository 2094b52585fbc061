"""Stored properties against the source's: what an application changed behind our back, fingerprints do not see."""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.examine.findings import Findings
from jobs.verify.findings import Check, Wrong
from jobs.verify.objects import Pass, mark
from pipelines.targets.stored import Kept, search_by_ids, uuid_of, values_of
from schemas.collection import Property
from schemas.columns import by_tenant
from schemas.objects import coerce, shorten

CLOSE = {"geoCoordinates": 1e-6}  # stored in 32 bits


def comparable(found: Findings) -> list[Property]:
    """The properties whose stored values can be compared: not what is fetched, nor what the server keeps as a hash."""
    assert found.layout and found.collection
    fetched = {n for n in found.layout.media if found.job.media[n].store}
    own = [p.name for p in found.layout.stored if p.name not in fetched]
    chunk = found.job.chunk
    own += [n for n in (chunk.number, chunk.parent) if n] if chunk else []
    there = [found.collection.properties[n] for n in dict.fromkeys(own) if n in found.collection.properties]
    return [p for p in there if p.scalar != "blobHash"]


def look_at_values(found: Findings, sample: pa.RecordBatch, result: Pass, wrong: Wrong) -> Check:
    """Compare the sampled objects' properties with what is stored; a difference is named with both values. Raises WorldError."""
    properties = comparable(found)
    stored = _stored(found, sample, properties)
    here = sorted(stored)
    rows = sample.take(pa.array(here, pa.int64()))
    different: set[int] = set()
    for prop in properties:
        theirs = coerce(pa.array([stored[i].get(prop.name) for i in here]), prop)[0].to_pylist()
        ours = rows.column(prop.name).to_pylist() if prop.name in rows.schema.names else [None] * len(here)
        at = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if not same(prop, a, b)]
        said = [f"the source has {shorten(ours[i])}, the collection {shorten(theirs[i])}" for i in at]
        if at:
            wrong.add_rows("property", rows.take(pa.array(at)), [prop.name] * len(at), said)
            different |= set(at)
    if different:
        mark(result, rows.take(pa.array(sorted(different))), distrusted=True)
    return _check(len(here), len(different), properties, wrong.named.get("property", []))


def _check(objects: int, different: int, properties: Sequence[Property], named: Sequence[dict[str, Any]]) -> Check:
    figures = {"objects": objects, "different": different, "properties": [p.name for p in properties]}
    if not different:
        return Check("properties", True if objects else None, f"{objects:,} objects of a sample are stored as the source has them", figures)
    first = named[0]
    said = f"{different:,} of {objects:,} objects of a sample differ, such as {first.get('key') or first['uuid']}: {first['where']}: {first['message']}"
    return Check("properties", False, said, figures)


def _stored(found: Findings, sample: pa.RecordBatch, properties: Sequence[Property]) -> dict[int, dict[str, Any]]:
    """The stored values of the objects of `sample`, by position."""
    assert found.target and found.collection
    kept = Kept.of(properties)
    known = {p.name: p for p in properties}
    stored: dict[int, dict[str, Any]] = {}
    for tenant, positions, uuids in by_tenant(sample, found.job.target.fixed_tenant):
        place = dict(zip(uuids, positions, strict=True))
        for result in search_by_ids(found.target.connection, found.collection, kept, uuids, tenant):
            stored[place[uuid_of(result)]] = dict(values_of(result.properties.non_ref_props, known))
    return stored


def same(prop: Property, ours: Any, theirs: Any) -> bool:
    """Whether two values of a property are one value: an empty list is as good as none, a date is a moment, floats are 32 bits where the server keeps 32."""
    if ours is None or theirs is None or ours == [] or theirs == []:
        return ours in (None, []) and theirs in (None, [])
    if prop.is_list:
        single = Property(prop.name, prop.data_type.removesuffix("[]"), prop.nested)
        return len(ours) == len(theirs) and all(same(single, a, b) for a, b in zip(ours, theirs, strict=True))
    return _same_scalar(prop, ours, theirs)


def _same_scalar(prop: Property, ours: Any, theirs: Any) -> bool:
    kind = prop.scalar
    if kind == "object":
        return all(same(p, ours.get(p.name), theirs.get(p.name)) for p in prop.nested)
    if kind == "geoCoordinates":
        return all(math.isclose(ours[k], theirs[k], rel_tol=1e-6, abs_tol=1e-6) for k in ("latitude", "longitude"))
    if kind == "phoneNumber":
        return bool(ours.get("input") == theirs.get("input"))
    if kind == "date":
        return bool(ours == theirs or moment(ours) == moment(theirs))
    if kind == "uuid":
        return bool(ours.lower() == theirs.lower())
    if kind == "number":
        return bool(ours == theirs or np.float64(ours) == np.float64(theirs))
    return bool(ours == theirs)


def moment(text: str) -> tuple[float, str]:
    """The second and the digits of its fraction: nanoseconds do not fit into a datetime."""
    head, _, tail = text.replace("Z", "+00:00").partition(".")
    digits = "".join(_leading_digits(tail))
    try:
        whole = datetime.fromisoformat(head + tail[len(digits) :] if tail else head)
    except ValueError:
        return 0.0, text
    return whole.timestamp(), digits.rstrip("0")


def _leading_digits(text: str) -> Iterator[str]:
    for letter in text:
        if not letter.isdigit():
            return
        yield letter
