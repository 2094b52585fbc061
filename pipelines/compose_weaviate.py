"""An object's fields -> what is encoded: Weaviate's way, as its modules would ask their containers.

A text2vec module makes one text of an object, which may be of its name alone. A multi2vec module encodes each value
apart, the elements of a `text[]` too. Unlike the native way, blank and empty values are encoded where Weaviate does so.
"""

import functools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.compose import MEDIA, Parts, merged, rows_with_vector
from pipelines.weaviate_texts import fragments, named, pieces
from schemas.collection import Property
from schemas.modules import MODALITIES, Module, MultiModule, TextModule
from schemas.objects import decode_base64

BLOBS = ("blob", "blobHash")


def compose_weaviate(batch: pa.RecordBatch, module: Module, chunked: str | None = None) -> list[Parts]:
    """What `module` reads from each row of `batch`, by modality in the order of its vectors; all weights are 1.

    `chunked` is the property that chunks replace, if any: a vector that does not read it stays with chunk 0. Fields that
    are no columns, or of types that do not count, add nothing. A row without any part has no vector.
    """
    rows = rows_with_vector(batch, module.fields, chunked)
    found = [_texts(batch, module, rows)] if isinstance(module, TextModule) else list(_values(batch, module, rows))
    return [parts for parts in found if parts.values]


def _texts(batch: pa.RecordBatch, module: TextModule, rows: npt.NDArray[np.bool_]) -> Parts:
    """One text a row; an empty one is none."""
    columns = [_text_column(column, prop, module) for column, prop in _columns(batch, module, module.fields)]
    name = named(module.collection, module)
    if module.class_name:
        columns = [pa.repeat(name, batch.num_rows), *columns]
    else:  # what stands in where no field has a value; without it pyarrow 25 would give fewer texts than rows
        any_value = functools.reduce(pc.or_, (c.is_valid() for c in columns), pa.repeat(False, batch.num_rows))
        columns.append(pc.if_else(any_value, None, "" if module.source else name))
    texts = pc.binary_join_element_wise(*columns, " ", null_handling="skip")
    given = rows & (pc.binary_length(texts).to_numpy() > 0)
    owner = np.flatnonzero(given)
    return Parts("text", texts.filter(pa.array(given)).to_pylist(), owner, np.ones(len(owner), np.float32))


def _columns(batch: pa.RecordBatch, module: Module, fields: Iterable[str], media: bool = False) -> Iterator[tuple[pa.Array, Property]]:
    """The columns of `fields`, with their properties; fetched bytes stand for a blob, and where `media` is asked for."""
    for name in fields:
        if prop := module.properties.get(name):
            fetched = MEDIA + name in batch.schema.names and (media or prop.scalar in BLOBS)
            if fetched or name in batch.schema.names:
                yield batch.column(MEDIA + name if fetched else name), prop


def _text_column(column: pa.Array, prop: Property, module: TextModule) -> pa.Array:
    """What `prop` adds to each row's text; null where it adds nothing."""
    if prop.data_type not in ("text", "string") or module.lower:
        added = (pieces(value, prop, module) for value in column.to_pylist())
        return pa.array([" ".join(p) if p else None for p in added], pa.string())
    texts = column.cast(pa.string())  # by far the most frequent: no value is touched in Python
    return pc.binary_join_element_wise(pa.scalar(named(prop.name, module)), texts, " ") if prop.name in module.named else texts


def _values(batch: pa.RecordBatch, module: MultiModule, rows: npt.NDArray[np.bool_]) -> Iterator[Parts]:
    """Each modality's values, within a row in the order of the bytes of the properties' names."""
    for modality in MODALITIES:
        fields = sorted(set(module.by_modality.get(modality, ())), key=str.encode)
        columns = _columns(batch, module, fields, media=modality != "text")
        take = _text_values if modality == "text" else _media_values
        yield merged(modality, [_parts(modality, take(column, prop)) for column, prop in columns], rows)


def _text_values(column: pa.Array, prop: Property) -> list[list[Any]]:
    return [fragments(value, prop, source=False) for value in column.to_pylist()]


def _media_values(column: pa.Array, prop: Property) -> list[list[Any]]:
    """The bytes of a blob, or those that a text has in base64; the server takes no lists and no other types."""
    if prop.is_list or prop.scalar not in (*BLOBS, "text"):
        return []
    return [[] if value is None else [_bytes(value)] for value in column.to_pylist()]


def _bytes(value: bytes | str) -> bytes:
    """The bytes of a value; what is no base64 stays as it is, for the encoder to say that it is no picture."""
    if isinstance(value, bytes):
        return value
    try:
        return decode_base64(value.rpartition(";base64,")[2])  # multi2vec-nvidia takes `data:` URLs
    except ValueError:
        return value.encode()


def _parts(modality: str, values: list[list[Any]]) -> Parts:
    """The values of each row below one another."""
    owner = np.repeat(np.arange(len(values)), [len(v) for v in values]).astype(np.int64)
    return Parts(modality, [v for row in values for v in row], owner, np.ones(len(owner), np.float32))
