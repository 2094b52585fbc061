"""What ids and fingerprints say, as checks: the source, missing and surplus objects, stale ones."""

from typing import Any

from jobs.examine.findings import Findings
from jobs.incremental import is_tracked
from jobs.open_run import open_since
from jobs.telling import counted
from jobs.verify.findings import Check, Wrong, uuids_in
from jobs.verify.id_sets import CollectionIds, SourceIds
from jobs.verify.objects import Pass
from pipelines.targets.cursor import Ids, read_jobs

SUMMARY = 3  # keys that a line names


def source_check(source: SourceIds) -> Check:
    """Whether all of the source can be read, and what it has."""
    figures = {"rows": source.rows, "objects": len(source.ids), "duplicate": source.duplicates, "without_id": source.without_id}
    if source.broken:
        return Check("source", False, f"part of it cannot be read: {source.broken[0]}", figures | {"broken": source.broken})
    more = {"occur twice": source.duplicates, "have no id": source.without_id, "are marked as deleted": len(source.marked_ids)}
    notes = "".join(f"; {n:,} {words}" for words, n in more.items() if n)
    return Check("source", True, f"{source.rows:,} rows, {len(source.ids):,} objects{notes}", figures)


def missing_check(source: SourceIds, there: CollectionIds, result: Pass, wrong: Wrong) -> Check:
    """Whether the collection has every object of the source that can be loaded."""
    present = int(there.there.sum())
    missing = len(source.ids) - present - result.failed
    known = f"; {result.failed:,} more cannot be loaded, as is known" if result.failed else ""
    figures = {"expected": len(source.ids), "present": present, "missing": missing, "known_failures": result.failed}
    if not missing:
        return Check("missing", True, f"none: {present:,} objects of the source are there{known}", figures)
    keys = [row.get("key") or row["uuid"] for row in wrong.named.get("missing", [])[:SUMMARY]]
    return Check("missing", False, f"{missing:,} of {len(source.ids):,} objects, such as {', '.join(keys)}{known}", figures)


def surplus_check(found: Findings, source: SourceIds, there: CollectionIds, wrong: Wrong) -> Check:
    """Whether the collection has what this job wrote and the source does not have (any more)."""
    assert found.collection
    marks = found.job.target.delete == "marked"
    for tenant, pages in (there.marked if marks else there.extra).items():
        for page in pages:
            uuids = _own(found, page, tenant)
            wrong.add("surplus", uuids, [tenant or None] * len(uuids))
    surplus = wrong.counts["surplus"]
    others = sum(len(p) for pages in there.extra.values() for p in pages) - (0 if marks else surplus)
    figures = {"objects": there.objects, "surplus": surplus, "others": others}
    if source.broken and not marks:
        return Check("surplus", None, "it cannot be told, since part of the source cannot be read", figures)
    if not surplus:
        rest = f"; {others:,} objects are not this job's" if others else ""
        return Check("surplus", True, f"none among {there.objects:,} objects of the collection{rest}", figures)
    first = ", ".join(row["uuid"] for row in wrong.named["surplus"][:SUMMARY])
    how = "the source marks them as deleted" if marks else "not in the source; a run with `target.delete: missing` removes them"
    return Check("surplus", False, f"{counted(surplus, 'object')}, such as {first}: {how}", figures)


def _own(found: Findings, page: Ids, tenant: str) -> list[bytes]:
    """Those of the ids that this job wrote; all where objects do not say who wrote them."""
    assert found.target and found.collection
    uuids = uuids_in(page)
    if not is_tracked(found.collection):
        return uuids
    wrote = read_jobs(found.target.connection, found.collection, uuids, tenant)
    return [u for u in uuids if wrote.get(u) == (found.job.name or "")]


def indexed_check(found: Findings, wrong: Wrong) -> Check:
    """Whether the server may have stored objects without indexing them: a run did not end, or filters do not find what is there."""
    assert found.collection
    since = open_since(found.collection.definition, found.job.name or "")
    hidden = wrong.counts["unindexed"]
    figures = {"open_since": since.isoformat() if since else None, "unindexed": hidden}
    said = []
    if since is not None:
        said.append(f"a run that began at {since:%Y-%m-%d %H:%M:%S} UTC did not end (or still runs); the next run mends what it left")
    if hidden:
        said.append(f"{counted(hidden, 'object')} are stored, and no filter finds them; `warpbeam verify --repair` sends them again")
    return Check("indexed", not said, "; ".join(said) or "the last run ended, and filters find what is there", figures)


def stale_check(result: Pass, recipes: dict[str, bytes]) -> Check:
    """Whether objects are what the job would make of the source as it is now."""
    if not recipes:
        return Check("stale", None, "the collection does not remember what made its objects (target.incremental)")
    s = result.staleness
    figures: dict[str, Any] = {
        "compared": s.objects,
        "all": result.full,
        "unchanged": s.unchanged,
        "changed": s.changed,
        "remade": s.remade,
    }
    figures |= {"untracked": s.untracked, "vectors": dict(s.vectors)}
    of = f"{s.objects:,} objects" if result.full else f"a sample of {s.objects:,} objects"
    if not (s.stale or s.untracked):
        return Check("stale", True, f"none of {of}", figures)
    again = ", ".join(f"{n:,} {name}" for name, n in s.vectors.items())
    parts = [
        f"{s.changed:,} changed in the source" if s.changed else "",
        f"{s.remade:,} were made by another model or with other settings" if s.remade else "",
        f"{s.untracked:,} do not say what made them" if s.untracked else "",
        f"vectors to make again: {again}" if again else "",
    ]
    return Check("stale", False, f"of {of} " + "; ".join(p for p in parts if p), figures)
