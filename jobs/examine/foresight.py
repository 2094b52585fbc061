"""What a run will meet in the rows of a sample: what Weaviate would fail on or do surprisingly, and what becomes of it here.

The rules are those of Weaviate's modules and their containers. They are looked at by counting; what only encoding can
tell comes from the values that were encoded to measure the time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from encoders.base import Encoder
from encoders.imagebind.sizes import CONTEXT
from pipelines.compose import MEDIA, Parts
from pipelines.compose_weaviate import BLOBS
from schemas.columns import KEY
from schemas.errors import RowError
from schemas.job import VectorSpec
from schemas.modules import Module, MultiModule, TextModule

Found = tuple[str, npt.NDArray[np.int64], str, str, str]  # code, positions, and the words of a Finding
FAILS, REJECTED, SAME = "fails on such an object", "rejected", "the same"
OURS = frozenset(
    {"image_too_large", "cannot_encode", "media_too_large", "media_too_long", "decoder_timeout"}
)  # codes of limits that only Warpbeam has


@dataclass(frozen=True)
class Finding:
    """Rows of the sample that have one thing in common; `code` is what a run would call it."""

    vector: str
    code: str
    rows: int
    of: int  # rows that were looked at
    key: str | None  # of the first of them
    what: str  # is the matter with them
    weaviate: str  # what the server does with them; "" where it has no part in it
    warpbeam: str  # what a run does with them

    def __str__(self) -> str:
        """One line."""
        first = f" (such as {self.key})" if self.key else ""
        weaviate = f"; Weaviate: {self.weaviate}" if self.weaviate else ""
        return f"{self.vector}: {self.rows:,} of {self.of:,} rows{first}: {self.what}{weaviate}; here: {self.warpbeam} ({self.code})"


def foresee(
    objects: pa.RecordBatch, name: str, spec: VectorSpec, encoder: Encoder, parts: Sequence[Parts], tokens: Sequence[int] | None
) -> list[Finding]:
    """What the module of the vector `name` makes of `objects`, of which `parts` are composed; a native vector has none of this.

    `tokens` are those of each text in `parts`, untruncated; None where the model cannot be asked. Nothing is encoded.
    """
    module = spec.module
    if module is None:
        return []
    found = [*_without_part(objects, module, parts)]
    if isinstance(module, TextModule):
        found += [*_blank_texts(spec, encoder, parts), *_blobs(objects, module)]
    else:
        found += [*_too_many(objects, module, parts), *_long_texts(encoder, parts, tokens)]
        found += [*_cut_alike(encoder, parts, tokens), *_neighbours(encoder, parts, tokens)]
    keys = _keys(objects)
    return [_finding(name, code, keys, keys, rows, words) for code, rows, *words in found if len(rows)]


def failing_values(
    objects: pa.RecordBatch, name: str, module: Module | None, errors: Mapping[int, RowError], tried: Sequence[int]
) -> list[Finding]:
    """What encoding said: `errors` by position in `objects`, of which those in `tried` were encoded; one finding a code."""
    keys = _keys(objects)
    by_code: dict[str, list[int]] = {}
    for i in sorted(errors):
        by_code.setdefault(errors[i].code, []).append(i)
    looked_at = [keys[i] for i in sorted(set(tried))]
    return [
        _finding(
            name, code, keys, looked_at, rows, (f"cannot be encoded: {errors[rows[0]].reason}", FAILS * _fails_too(module, code), REJECTED)
        )
        for code, rows in by_code.items()
    ]


def _fails_too(module: Module | None, code: str) -> bool:
    return module is not None and code not in OURS


def _finding(name: str, code: str, keys: list[Any], looked_at: list[Any], rows: Sequence[int] | Any, words: Sequence[str]) -> Finding:
    """Counted in rows of the source: a row that is cut into chunks is one."""
    first = keys[int(rows[0])]
    return Finding(name, code, len({keys[int(i)] for i in rows}), len(set(looked_at)), first, *words)


def _keys(objects: pa.RecordBatch) -> list[Any]:
    keys: list[Any] = objects.column(KEY).to_pylist()
    return keys


def _owners(parts: Sequence[Parts], modality: str | None = None) -> npt.NDArray[np.int64]:
    """Whose each value is (m,), of one modality or of all."""
    return np.concatenate([np.zeros(0, np.int64), *(p.owner for p in parts if modality in (None, p.modality))])


def _texts(parts: Sequence[Parts]) -> list[str]:
    return [text for p in parts if p.modality == "text" for text in p.values]


def _without_part(objects: pa.RecordBatch, module: Module, parts: Sequence[Parts]) -> Iterator[Found]:
    """Objects of which the module reads nothing."""
    rows = np.setdiff1d(np.arange(objects.num_rows), _owners(parts))
    fields = ", ".join(module.fields) or "no property"
    if isinstance(module, TextModule):
        yield "without_vector", rows, f"no text in {fields}", "stored without this vector", SAME
    elif module.unnamed:
        yield "without_vector", rows, f"none of {fields}", "stored without a vector", SAME
    else:
        yield "no_fields", rows, f"none of {fields}", "its index refuses such an object", REJECTED


def _too_many(objects: pa.RecordBatch, module: MultiModule, parts: Sequence[Parts]) -> Iterator[Found]:
    """Objects with more values than weights."""
    counts = np.bincount(_owners(parts), minlength=objects.num_rows)
    rows = np.flatnonzero(counts > len(module.weights)) if module.weights else counts[:0]
    what = f"more values to combine than the collection has weights ({len(module.weights)})"
    yield "more_vectors_than_weights", rows, what, "every object of the same request fails", REJECTED


def _long_texts(encoder: Encoder, parts: Sequence[Parts], tokens: Sequence[int] | None) -> Iterator[Found]:
    """Texts that the container refuses for their length; other models cut them."""
    limit = getattr(encoder, "max_tokens", None)
    if limit and tokens and getattr(encoder, "refuses_long", False):
        rows = np.unique(_owners(parts, "text")[np.array(tokens) > limit])
        yield "text_too_long", rows, f"a text over the model's {limit} tokens", FAILS, REJECTED


def _cut_alike(encoder: Encoder, parts: Sequence[Parts], tokens: Sequence[int] | None) -> Iterator[Found]:
    """Texts of which ImageBind's container loses the end token, so that only the start token is left to pool."""
    if tokens and getattr(encoder, "preset", None) == "container":
        rows = np.unique(_owners(parts, "text")[np.array(tokens) > CONTEXT])
        what = f"a text over {CONTEXT - 2} tokens, of which the container loses the end: all such texts get one and the same vector"
        yield "texts_alike", rows, what, "stored with that vector, which says nothing of the text", SAME


def _neighbours(encoder: Encoder, parts: Sequence[Parts], tokens: Sequence[int] | None) -> Iterator[Found]:
    """Objects with texts of different lengths, where the model pads all to the longest and looks at the padding."""
    if not tokens or not encoder.grouped:
        return
    seen = np.minimum(tokens, getattr(encoder, "max_tokens", None) or np.iinfo(np.int64).max)
    owner, place = np.unique(_owners(parts, "text"), return_inverse=True)
    longest = np.zeros(len(owner), np.int64)
    np.maximum.at(longest, place, seen)
    rows = owner[np.unique(place[seen < longest[place]])]
    what = "a text whose vector depends on a longer text beside it (SigLIP pads to the longest)"
    yield "depends_on_neighbours", rows, what, "a query for that text alone has another vector", SAME


def _blank_texts(spec: VectorSpec, encoder: Encoder, parts: Sequence[Parts]) -> Iterator[Found]:
    """Texts without a sentence; other modes than huggingface with splitting encode them."""
    model = spec.model
    if model is None or model.direct or model.prefixes or getattr(encoder, "mode", None) != "huggingface":
        return
    blank = np.array([not text.strip() for text in _texts(parts)], bool)
    yield "no_sentence", _owners(parts, "text")[blank], "nothing but white space to encode", FAILS, REJECTED


def _blobs(objects: pa.RecordBatch, module: TextModule) -> Iterator[Found]:
    """Blobs are strings to the server: their base64 stands in the text."""
    for field, prop in module.properties.items():
        column = next((c for c in (MEDIA + field, field) if c in objects.schema.names), None)
        if column and prop.scalar in BLOBS and field in module.fields:
            rows = np.flatnonzero(objects.column(column).is_valid().to_numpy(zero_copy_only=False))
            way = "taking it out of `properties`" if module.source else "`skip: true`"
            what = f"the blob {field} becomes part of the text, as base64 ({way} in the collection keeps it out)"
            yield "blob_in_text", rows, what, "it is encoded as words", SAME
