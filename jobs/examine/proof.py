"""Proof on the user's own collection: stored objects are encoded again and compared, and some of the source's ids are looked up.

Both are asked before a job is let near a collection that holds objects: vectors made in two ways do not mix, and new
ids would double everything.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from jobs.examine.findings import Findings
from jobs.examine.matching import Match, compare
from jobs.examine.proof_of_ids import prove_ids
from jobs.examine.sample import Sample
from pipelines.targets.sampled import StoredSample, read_sample
from schemas.columns import TENANT
from schemas.errors import JobError
from schemas.job import VectorSpec
from schemas.modules import MultiModule, TextModule

OBJECTS = 48  # stored objects that are encoded again
TENANTS = 20  # of a column's tenants in which such objects are looked for


def prove(found: Findings, sample: Sample, append: bool) -> None:
    """Compare the job with the objects that are there; what speaks against it becomes a fault, the rest a remark."""
    if found.creates or found.collection is None or found.target is None:
        return
    tenants = tenants_written(found, sample)
    stored = stored_sample(found, tenants)
    if stored is None:
        return
    for name, spec in found.job.vectors.items():
        if spec.model:
            found.attempt(lambda name=name, spec=spec: _prove_vector(found, name, spec, stored))  # type: ignore[misc]
    prove_ids(found, sample, tenants, append)


def stored_sample(found: Findings, tenants: list[str]) -> StoredSample | None:
    """Some stored objects of the first of `tenants` that has any."""
    assert found.target and found.collection
    samples = (read_sample(found.target.connection, found.collection, OBJECTS, tenant) for tenant in tenants[:TENANTS])
    return next((s for s in samples if s.uuids), None)


def tenants_written(found: Findings, sample: Sample) -> list[str]:
    """The tenants that the job writes to, as far as they are there and awake; "" where the collection has none."""
    assert found.collection and found.target
    if not found.collection.multi_tenant:
        return [""]
    status = found.target.tenants.status()
    fixed = found.job.target.tenant
    if isinstance(fixed, str):
        return [fixed] if fixed in status else []
    awake = set(found.target.tenants.awake(status))
    return [t for t in sample.objects.column(TENANT).unique().to_pylist() if t in awake] if sample.objects is not None else []


def _prove_vector(found: Findings, name: str, spec: VectorSpec, stored: StoredSample) -> None:
    """Encode stored objects as the job would, and say whether the result is what is stored."""
    assert found.layout
    gone = [f for f in spec.fields if f in found.layout.unstored]
    if gone:
        found.remarks.append(f"vectors.{name}: not compared with what is stored, since {', '.join(gone)} is not stored")
        return
    match = compare(spec, name, stored)
    if not match.compared:
        return
    how = f"vectors.{name}: {match.compared} stored objects were encoded again"
    if match.same:
        found.remarks.append(f"{how}: the same vectors (relative difference {np.nanmedian(match.difference):.0e})")
    elif match.alike and spec.module is None:
        found.remarks.append(
            f"{how}: they point the same way (cosine {np.nanmedian(match.cosine):.4f}), but are of another length or precision"
        )
    elif spec.module is None:
        found.remarks.append(
            f"{how}, and the vectors are others (cosine {np.nanmedian(match.cosine):.2f} in the middle): another model or other fields made them; "
            "objects that this job does not replace keep theirs"
        )
    else:
        raise JobError(_mismatch(name, spec, stored, match))


def _mismatch(name: str, spec: VectorSpec, stored: StoredSample, match: Match) -> str:
    """The sentence for vectors that are not the module's: what would match, or what was tried."""
    said = (
        f"vectors.{name}: {match.compared} stored objects were encoded again, and the vectors are not those that are stored "
        f"(relative difference {np.nanmedian(match.difference):.2g}, cosine {np.nanmedian(match.cosine):.4f} in the middle)"
    )
    tried = []
    for words, variant in variants(spec):
        with suppress(JobError):  # a mode that this model cannot run in is no candidate
            other = compare(variant, name, stored)
            tried.append(words)
            if other.same:
                return f"{said}; they match with {words}"
            if other.alike and not match.alike:
                said += f"; with {words} they point the same way (cosine {np.nanmedian(other.cosine):.4f})"
    if match.alike:
        said += "; they point the same way, so a quantised model, half precision or another version of the container made them"
    return f"{said}; nothing that was tried matches: {', '.join(tried) or 'there is nothing to try'}. Another model made them, or another server"


def variants(spec: VectorSpec) -> Iterator[tuple[str, VectorSpec]]:
    """(words, spec) of other ways in which a container or a server could have made the vectors."""
    module, model = spec.module, spec.model
    assert model is not None
    if isinstance(module, TextModule):
        if model.name or model.prebuilt:
            for mode, direct, prefixes in MODES:
                if (mode, direct, prefixes) != (model.mode, model.direct, model.prefixes):
                    words = f"mode: {mode}" + ", direct: true" * direct + ", prefixes: true" * prefixes
                    yield words, _with_model(spec, mode=mode, direct=direct, prefixes=prefixes)
            yield "mode: huggingface and poolingStrategy cls", _with_model(_with_settings(spec, poolingStrategy="cls"), mode="huggingface")
        yield "a lower-cased text (LOWERCASE_VECTORIZATION_INPUT, or a server up to 1.26)", _with_module(spec, lower=True)
        yield "no collection name in the text", _with_module(spec, class_name=False)
        yield "the names of all properties in the text", _with_module(spec, named=frozenset(module.fields))
    elif isinstance(module, MultiModule):
        for mode in ("sentence-transformers", "openai", "siglip"):
            if mode != model.mode and not (model.inference_url or model.nvidia or model.imagebind):
                yield f"mode: {mode}", _with_model(spec, mode=mode)
        if model.imagebind:
            preset = "container" if model.preset == "upstream" else "upstream"
            yield f"preset: {preset}", _with_model(spec, preset=preset)
        if module.weights:
            yield "no weights", _with_module(spec, weights=())


MODES = (
    ("huggingface", False, False),
    ("sentence-transformers", False, False),
    ("huggingface", True, False),
    ("huggingface", False, True),
    ("sentence-transformers", False, True),
    ("onnx", False, False),
)


def _with_model(spec: VectorSpec, **changes: Any) -> VectorSpec:
    assert spec.model
    return spec.model_copy(update={"model": spec.model.model_copy(update=changes)})


def _with_module(spec: VectorSpec, **changes: Any) -> VectorSpec:
    assert spec.module
    return spec.model_copy(update={"module": replace(spec.module, **changes)})


def _with_settings(spec: VectorSpec, **changes: Any) -> VectorSpec:
    assert spec.module
    return _with_module(spec, settings=spec.module.settings | changes)
