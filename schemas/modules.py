"""What Weaviate's vectorizer modules read of an object, taken from the collection as the server would read it.

Sources of the rules: Weaviate's modules text2vec-transformers, text2vec-nvidia, multi2vec-clip, multi2vec-bind and
multi2vec-nvidia. Settings of a module stand at the class or the named vector; flags of a property stand under the
module's name, so two named vectors of one module share them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from schemas.collection import Property, class_name, property_name
from schemas.errors import JobError

MODALITIES = ("text", "image", "audio", "video", "imu", "thermal", "depth")  # in the order of vectors and weights
TEXT_MODULES = ("text2vec-transformers", "text2vec-nvidia")
MULTI_MODULES = {
    "multi2vec-clip": ("text", "image"),
    "multi2vec-nvidia": ("text", "image"),
    "multi2vec-bind": MODALITIES,
}
TEXT_LIKE = frozenset({"text", "text[]", "string", "string[]", "blob", "blobHash"})  # a blob is a string to the server


@dataclass(frozen=True)
class TextModule:
    """A text2vec module: an object becomes one text."""

    name: str
    collection: str  # as the server resolves it: what stands in the text
    fields: tuple[str, ...]  # the properties that it reads, in the order of their bytes
    class_name: bool = True  # whether the collection's name starts the text
    source: bool = False  # `fields` were listed as source properties: other types than text count, and nothing falls back
    named: frozenset[str] = frozenset()  # fields whose name goes before each value
    lower: bool = False  # servers up to 1.26, or LOWERCASE_VECTORIZATION_INPUT
    settings: dict[str, Any] = field(default_factory=dict)  # the class-level JSON, verbatim
    properties: dict[str, Property] = field(default_factory=dict)  # of `fields`: in Arrow a date looks like a text

    kind = "text"


@dataclass(frozen=True)
class MultiModule:
    """A multi2vec module: each value of each field becomes a vector, and these one vector."""

    name: str
    collection: str
    by_modality: dict[str, tuple[str, ...]]  # modality -> its fields, in the order of the settings
    weights: tuple[float, ...] = ()  # of all modalities one after the other, as they are written; () where there are none
    settings: dict[str, Any] = field(default_factory=dict)
    unnamed: bool = False  # the one unnamed vector of an old class: an object without any field is stored without a vector
    properties: dict[str, Property] = field(default_factory=dict)  # of `fields`

    kind = "multi"

    @property
    def fields(self) -> tuple[str, ...]:
        """The properties that it reads, each once."""
        return tuple(dict.fromkeys(f for fields in self.by_modality.values() for f in fields))


Module = TextModule | MultiModule


def module_of(definition: dict[str, Any], vector: str, properties: dict[str, Property], unnamed: bool) -> Module | None:
    """The module that makes `vector` in the class `definition`; None for `none` and modules that Warpbeam does not know.

    Raises JobError where the settings are such that the server could not read them.
    """
    name, settings = _settings(definition, vector, unnamed)
    if name in TEXT_MODULES:
        return _text_module(definition, name, settings, properties)
    if name in MULTI_MODULES:
        return _multi_module(definition, name, settings, properties, unnamed)
    return None


def _settings(definition: dict[str, Any], vector: str, unnamed: bool) -> tuple[str, dict[str, Any]]:
    """Module and its class-level settings."""
    if unnamed:
        name = definition.get("vectorizer") or "none"
        return name, (definition.get("moduleConfig") or {}).get(name) or {}
    vectorizer = (definition["vectorConfig"][vector] or {}).get("vectorizer") or {"none": {}}
    name = next(iter(vectorizer))
    return name, vectorizer[name] or {}


def _flags(definition: dict[str, Any], module: str) -> dict[str, dict[str, Any]]:
    """Property -> its flags for `module`."""
    return {property_name(p["name"]): (p.get("moduleConfig") or {}).get(module) or {} for p in definition.get("properties") or []}


def _text_module(definition: dict[str, Any], name: str, settings: dict[str, Any], properties: dict[str, Property]) -> TextModule:
    flags = _flags(definition, name)
    listed = settings.get("properties") or []
    read = listed or [n for n, p in properties.items() if p.data_type in TEXT_LIKE and flags.get(n, {}).get("skip") is not True]
    with_name = settings.get("vectorizeClassName")
    default = name != "text2vec-nvidia"
    return TextModule(
        name,
        class_name(definition["class"]),
        tuple(sorted(set(read), key=str.encode)),
        class_name=with_name if isinstance(with_name, bool) else default,
        source=bool(listed),
        named=frozenset(n for n in read if flags.get(n, {}).get("vectorizePropertyName") is True),
        settings=settings,
        properties={n: p for n, p in properties.items() if n in read},
    )


def _multi_module(
    definition: dict[str, Any], name: str, settings: dict[str, Any], properties: dict[str, Property], unnamed: bool
) -> MultiModule:
    listed = {m: tuple(settings.get(f"{m}Fields") or ()) for m in MULTI_MODULES[name]}
    by_modality = {m: fields for m, fields in listed.items() if fields}
    read = {f: properties[f] for fields in by_modality.values() for f in fields if f in properties}
    weights = tuple(w for m in MULTI_MODULES[name] for w in _weights(definition, name, settings, f"{m}Fields"))
    return MultiModule(name, class_name(definition["class"]), by_modality, weights, settings, unnamed, read)


def _weights(definition: dict[str, Any], module: str, settings: dict[str, Any], key: str) -> Iterator[float]:
    """The weights of one modality: numbers, or numbers in strings."""
    for weight in (settings.get("weights") or {}).get(key) or ():
        try:
            number = float(weight)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if math.isnan(number):
            raise JobError(f"collection {definition['class']}: {module}.weights.{key} has {weight!r}, which is no number")
        yield number
