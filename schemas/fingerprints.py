"""Fingerprints: 16 bytes that say what made an object, and each of its vectors; equal ones mean that nothing is to be done.

Written down, since stored fingerprints outlive every version of this code (`VERSION` changes when they must not match
any more). A fingerprint is BLAKE2b with 16 bytes of a seed and, for each property that is not null, in the order of
the bytes of the names: the name in UTF-8, a zero byte, the length of the value in four bytes (little-endian), and
the value:
- text, date, uuid: UTF-8; blob: the bytes; a property that is fetched from a URI: the URI
- int: 8 bytes, signed; number: 8 bytes, IEEE double; boolean: one byte, 0 or 1; all little-endian
- precomputed vectors: their float32 numbers, little-endian
- everything else (lists, objects, coordinates): JSON without blanks, keys sorted, null fields left out, not escaped

The seed of an object's fingerprint is `object`; that of a vector's says everything of the configuration that can
change its numbers (`recipe`), the model by its content and never by its path.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.columns import VECTOR, properties_of
from schemas.job import VectorSpec

VERSION = b"warpbeam 1 "
STORED = "warpbeam_fingerprints"  # the property of an object that keeps its fingerprints
STORED_JOB = "warpbeam_job"  # the property that names the job which wrote it
SIZE = 16
PICKED = {"device", "backend", "batch_tokens"}  # chosen for a machine, and no reason to make vectors again
LATER = {"image_decoding": "exact"}  # keys that older versions did not have, at what those did
PLACES = {
    "name",
    "text",
    "image",
    "passage",
    "query",
    "imagebind",
    "vocabulary",
    "revision",
}  # stands for content, which is digested instead
KEYS = {"api_key", "token", "concurrency", "requests_per_minute"}  # how a service is asked, not what


def digest(*parts: bytes) -> bytes:
    """16 bytes of BLAKE2b."""
    return hashlib.blake2b(b"".join(parts), digest_size=SIZE).digest()


def recipe(name: str, spec: VectorSpec, content: Mapping[str, str]) -> bytes:
    """What decides how the vector `name` is made, as a digest; `content` is that of its models (`encoders.content`)."""
    if spec.column is not None:
        return digest(VERSION, b"column ", name.encode())
    assert spec.model is not None
    model = _without(spec.model.model_dump(exclude_none=True, exclude=PICKED | PLACES))
    model = {k: v for k, v in model.items() if LATER.get(k) != v}
    module = None if spec.module is None else asdict(spec.module)
    if module is not None:
        module = {k: sorted(v) if isinstance(v, frozenset) else v for k, v in module.items() if k != "settings"} | {
            "settings": {k: v for k, v in spec.module.settings.items() if not k.lower().endswith("url")}  # type: ignore[union-attr]
        }
    rest = spec.model_dump(include={"prompts", "long_text"} | {f"{m}_fields" for m in spec.own_fields})
    made_by = {"model": model, "content": dict(content), "module": module, **rest}
    return digest(VERSION, b"vector ", name.encode(), b" ", json.dumps(made_by, sort_keys=True, default=str).encode())


def _without(value: Any) -> Any:
    """`value` without the keys that say how a service is asked."""
    if isinstance(value, dict):
        return {k: _without(v) for k, v in value.items() if k not in KEYS}
    return value


def fingerprints(batch: pa.RecordBatch, vectors: Mapping[str, VectorSpec], recipes: Mapping[str, bytes]) -> list[list[bytes]]:
    """For each row of `batch` its object's fingerprint, then one for each of `vectors` in the order of their names."""
    columns = {name: _pieces(name, batch.column(name)) for name in properties_of(batch.schema)}
    every = [columns[n] for n in sorted(columns, key=str.encode)]
    found = [_digests(digest(VERSION, b"object"), every, batch.num_rows)]
    for name in sorted(vectors):
        spec = vectors[name]
        if spec.column is not None:
            reads = [_pieces(VECTOR, batch.column(VECTOR + name))] if VECTOR + name in batch.schema.names else []
        else:
            reads = [columns[n] for n in sorted(set(spec.fields), key=str.encode) if n in columns]
        found.append(_digests(recipes[name], reads, batch.num_rows))
    return [list(row) for row in zip(*found, strict=True)]


def _digests(seed: bytes, columns: Sequence[list[bytes]], rows: int) -> list[bytes]:
    start = hashlib.blake2b(seed, digest_size=SIZE)
    made = []
    for row in map(b"".join, zip(*columns, strict=True)) if columns else [b""] * rows:
        state = start.copy()
        state.update(row)
        made.append(state.digest())
    return made


def _pieces(name: str, column: pa.Array) -> list[bytes]:
    """Name, length and value of each row; empty where it is null."""
    prefix = name.encode() + b"\0"
    return [b"" if v is None else b"%b%b%b" % (prefix, len(v).to_bytes(4, "little"), v) for v in canonical(column)]


def canonical(column: pa.Array) -> list[bytes | None]:
    """The bytes of each value, None for null."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        found: list[bytes | None] = column.cast(pa.large_binary()).to_pylist()
        return found
    if pa.types.is_boolean(kind):
        return [None if v is None else bytes([v]) for v in column.to_pylist()]
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _fixed(column.cast(pa.int64() if pa.types.is_integer(kind) else pa.float64()).fill_null(0).to_numpy(), column)
    if pa.types.is_fixed_size_list(kind) and pa.types.is_float32(kind.value_type):
        flat = column.fill_null([0.0] * kind.list_size).flatten().to_numpy() if column.null_count else column.flatten().to_numpy()
        return _fixed(flat.reshape(len(column), -1), column)
    return [
        None if v is None else json.dumps(_plain(v), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        for v in column.to_pylist()
    ]


def _fixed(values: Any, column: pa.Array) -> list[bytes | None]:
    """Each row of a numpy array as little-endian bytes."""
    data = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False)
    step = data.nbytes // max(1, len(column))
    whole = data.tobytes()
    valid = column.is_valid().to_pylist() if column.null_count else [True] * len(column)
    return [whole[i * step : i * step + step] if there else None for i, there in enumerate(valid)]


def _plain(value: Any) -> Any:
    """A value as JSON knows it."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value.hex() if isinstance(value, bytes) else value
