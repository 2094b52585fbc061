"""What the collection says about vectors that Weaviate's modules make, put into the job, and what does not go with it."""

from collections.abc import Iterator

from schemas.collection import Collection
from schemas.errors import JobError
from schemas.job import Job, VectorSpec
from schemas.modules import MODALITIES, Module, MultiModule, module_of

CONTAINER_KEYS = ("mode", "direct", "prefixes", "prebuilt", "passage", "query")  # of a model: only a module's container knows them


def with_modules(job: Job, collection: Collection) -> tuple[Job, list[str]]:
    """`job` with every vector that a module makes following that module, and the sentences that say what does not fit."""
    vectors: dict[str, VectorSpec] = {}
    faults: list[str] = []
    for name, spec in job.vectors.items():
        vectors[name] = spec
        if spec.model is None or name not in collection.vectors:
            continue
        try:
            module = module_of(collection.definition, name, collection.properties, collection.vectors[name].unnamed)
        except JobError as error:
            faults += [f"vectors.{name}: {fault}" for fault in error.faults]
            continue
        faults += [f"vectors.{name}{fault}" for fault in _faults(spec, module)]
        vectors[name] = spec.model_copy(update={"module": module})
    return job.model_copy(update={"vectors": vectors}), faults


def _faults(spec: VectorSpec, module: Module | None) -> Iterator[str]:
    """What the job says about the vector that does not go with its module, or with its having none."""
    assert spec.model is not None
    if module is None:
        for key in CONTAINER_KEYS:
            if getattr(spec.model, key):
                yield f".model.{key}: only for vectors that a module such as text2vec-transformers makes; the collection says that this one is self-provided"
        return
    for key in (*(f"{m}_fields" for m in spec.own_fields), *(["prompts"] if spec.prompts else [])):
        yield f".{key}: the collection's {module.name} says what this vector is made of ({', '.join(module.fields) or 'no field'}); leave the key out"
    if spec.long_text != "truncate":
        yield f".long_text: {module.name} treats long texts in its own way; leave the key out"
    if spec.model.dimensions:
        yield f".model.dimensions: the collection's {module.name} says how many ({module.settings.get('dimensions', 'all')}); leave the key out"


def merge_faults(job: Job, collection: Collection, named: list[str]) -> Iterator[str]:
    """A merge keeps properties that the job does not name; a vector that reads one of them would not be the server's."""
    if job.target.write != "merge":
        return
    for name, spec in job.vectors.items():
        kept = [f for f in (spec.module.fields if spec.module else ()) if f in collection.properties and f not in named]
        if kept:
            yield (
                f"vectors.{name}: {spec.module.name if spec.module else ''} reads {', '.join(kept)}, which this job does not name and a merge keeps; "
                "name these properties too, so that the vector is made of all of them"
            )


def module_remarks(spec: VectorSpec, name: str, collection: Collection, unstored: frozenset[str]) -> Iterator[str]:
    """What the server does with such a vector that a person might not expect."""
    module = spec.module
    if not isinstance(module, MultiModule):
        return
    if module.name == "multi2vec-bind":
        yield from (f"vectors.{name}: {remark}" for remark in _bind_remarks(spec, module))
    gone = [f for f in module.fields if f in unstored]
    if gone:
        yield f"vectors.{name}: {', '.join(gone)} is encoded and not stored; a later PATCH of such an object would make its vector without it"
    if not module.weights:
        return
    order = [f for fields in module.by_modality.values() for f in sorted(fields, key=str.encode)]
    listed = [f for fields in module.by_modality.values() for f in fields]
    if order != listed:
        yield (
            f"vectors.{name}: the collection's weights stand in the order {', '.join(listed)}, but {module.name} takes vectors in the order "
            f"{', '.join(order)}: so the weights do not belong to the fields that they seem to"
        )
    lists = [f for f in module.fields if f in collection.properties and collection.properties[f].is_list]
    if lists:
        yield f"vectors.{name}: {', '.join(lists)} is a list, and each element takes the next weight; an object with more values than weights is refused"
    if len(module.by_modality) > 1 or len(listed) > 1:
        yield f"vectors.{name}: {module.name} divides the weighted sum by the number of values, and an absent field shifts the weights"


def _bind_remarks(spec: VectorSpec, module: MultiModule) -> Iterator[str]:
    """What goes wrong in silence with multi2vec-bind: a key that nobody reads, weights that nobody checks, another preset."""
    weights = module.settings.get("weights") or {}
    if "IMUFields" in module.settings or "IMUFields" in weights:
        listed = ", ".join(map(str, module.settings.get("IMUFields") or weights["IMUFields"]))
        yield f"the collection says IMUFields ({listed}), as the Python client writes it; the server reads imuFields only, so these add nothing"
    for modality in MODALITIES if module.weights else ():
        fields, given = module.by_modality.get(modality, ()), weights.get(f"{modality}Fields") or ()
        if len(given) != len(fields):
            yield (
                f"weights.{modality}Fields has {len(given)} for {len(fields)} fields ({', '.join(fields) or 'none'}); Weaviate takes weights "
                "by position and does not check this: later ones shift, and where they run out every object of the request fails"
            )
    if spec.model and spec.model.imagebind and spec.model.preset == "upstream":
        yield "preset upstream: sound, videos, motion, depth and thermal images get other vectors than in Weaviate's container, which answers queries"
