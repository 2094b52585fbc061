"""An object's fields -> what is encoded: the native way, for vectors that Weaviate knows as self-provided.

A list of text fields is one text, joined by newlines in the given order. A map encodes each field apart and gives it
a weight. Image fields are always encoded apart. Null, empty and blank texts are absent, and so are null images.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.columns import CHUNK
from schemas.job import Fields, VectorSpec

MEDIA = "@media/"  # + property: the bytes behind a URI


@dataclass(frozen=True)
class Parts:
    """Values of one modality to encode; part i belongs to row `owner[i]` and counts with `weights[i]`."""

    modality: str
    values: list[Any]  # str for text, bytes for image
    owner: npt.NDArray[np.int64]  # (m,) row numbers, ascending
    weights: npt.NDArray[np.float32]  # (m,)


def compose(batch: pa.RecordBatch, spec: VectorSpec, chunked: str | None = None) -> list[Parts]:
    """What `spec` reads from each row of `batch`, by modality; `chunked` is the property that chunks replace, if any.

    A vector that does not read the chunked property stays with chunk 0.
    """
    rows = rows_with_vector(batch, spec.fields, chunked)
    found = []
    for modality, fields in spec.own_fields.items():
        columns = _texts(batch, fields) if modality == "text" else _media(batch, fields)
        found.append(merged(modality, [_parts(modality, column, weight) for column, weight in columns], rows))
    return [parts for parts in found if parts.values]


def rows_with_vector(batch: pa.RecordBatch, fields: Collection[str], chunked: str | None) -> npt.NDArray[np.bool_]:
    """Which rows have a vector that reads `fields` at all: (n,)."""
    if chunked is None or chunked in fields or CHUNK not in batch.schema.names:
        return np.ones(batch.num_rows, bool)
    return np.asarray(batch.column(CHUNK).to_numpy() == 0)


def _texts(batch: pa.RecordBatch, fields: Fields) -> Iterator[tuple[list[str | None], float]]:
    columns = {name: as_texts(batch.column(name)) for name in fields if name in batch.schema.names}
    if isinstance(fields, dict):
        yield from ((column, fields[name]) for name, column in columns.items())
    elif columns:
        joined = ("\n".join(v for v in row if v) for row in zip(*columns.values(), strict=True))
        yield [text or None for text in joined], 1.0


def _media(batch: pa.RecordBatch, fields: Fields) -> Iterator[tuple[list[bytes | None], float]]:
    for name in fields:
        source = MEDIA + name if MEDIA + name in batch.schema.names else name
        if source in batch.schema.names:
            yield batch.column(source).to_pylist(), fields[name] if isinstance(fields, dict) else 1.0


def as_texts(column: pa.Array) -> list[str | None]:
    """Each value as a text: lists joined by newlines, other types as Python writes them; blank is None."""
    return [_as_text(value) for value in column.to_pylist()]


def _as_text(value: Any) -> str | None:
    if isinstance(value, list):
        value = "\n".join(str(v) for v in value if v is not None)
    elif value is not None and not isinstance(value, str):
        value = str(value)
    return value if value and not value.isspace() else None


def _parts(modality: str, column: Sequence[Any], weight: float) -> Parts:
    owner = [i for i, value in enumerate(column) if value is not None]
    return Parts(modality, [column[i] for i in owner], np.array(owner, np.int64), np.full(len(owner), weight, np.float32))


def merged(modality: str, parts: list[Parts], rows: npt.NDArray[np.bool_]) -> Parts:
    """The parts of several fields as one, in row order, without the rows that have no such vector and weights of 0."""
    owner = np.concatenate([np.zeros(0, np.int64), *(p.owner for p in parts)])
    weights = np.concatenate([np.zeros(0, np.float32), *(p.weights for p in parts)])
    values = [v for p in parts for v in p.values]
    order = [int(i) for i in np.argsort(owner, kind="stable") if rows[owner[i]] and weights[i] > 0]
    return Parts(modality, [values[i] for i in order], owner[order], weights[order])
