"""Parquet: random schemas, row groups and codecs; then flips in pages, in footers, and truncation, read in a process of their own."""

import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.accounts import TYPES, Account, account, name_of
from tests.fuzz.amounts import fuzz, tally
from tests.fuzz.child import child
from tests.fuzz.values import VECTORS, kind_for, table

CODECS = ("none", "snappy", "gzip", "zstd", "lz4", "brotli")
RANDOM = st.randoms(use_true_random=True)


def written(path: Path, r: random.Random) -> int:
    """A valid file with random columns; the number of its rows."""
    names = r.sample(TYPES, r.randrange(0, 6))
    types = {name_of(t): kind_for(t, r) for t in names} | ({"vector": r.choice(VECTORS)} if r.random() < 0.4 else {})
    rows, version = r.choice((0, 1, 2, 10, 50, 200)), r.choice(("1.0", "2.0"))
    pq.write_table(
        table(types, rows, r),
        path,
        row_group_size=r.choice((1, 7, 64, 1000)),
        compression=r.choice(CODECS),
        use_dictionary=r.random() < 0.5,
        write_page_checksum=r.random() < 0.5,
        data_page_version=version,
        data_page_size=r.choice((64, 1 << 20)),
        write_statistics=r.random() < 0.7,
        write_page_index=r.random() < 0.3,
        store_schema=r.random() < 0.8,
    )
    return rows


def footer_of(data: bytes) -> int:
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def flip(data: bytearray, first: int, last: int, r: random.Random) -> None:
    """Change up to 8 bytes from `first` to before `last`."""
    for _ in range(r.choice((1, 1, 1, 2, 4, 8))):
        data[r.randrange(first, last)] ^= 1 << r.randrange(8) if r.random() < 0.5 else r.randrange(1, 256)


def read(path: Path, *rest: Any) -> Account:
    tally("parquet")
    found: Account = child.ask(account, "parquet", str(path), *rest)
    return found


@fuzz(700)
@given(RANDOM)
def test_every_row_of_a_valid_file_is_an_object_or_rejected(folder: Path, r: random.Random) -> None:
    rows = written(folder / "a.parquet", r)
    found = read(folder / "a.parquet")
    assert not found.refused and found.rows == rows
    # pyarrow 25 loses rows of lists in some data pages of version 2.0, without an error; that must not pass unseen.
    assert all("rows; expected" in broken or "not have the same size" in broken for broken in found.broken if broken)


@fuzz(800)
@given(RANDOM)
def test_flipped_bytes_in_pages(folder: Path, r: random.Random) -> None:
    path = folder / "b.parquet"
    rows = written(path, r)
    data = bytearray(path.read_bytes())
    flip(data, 4, max(5, footer_of(data)), r)
    path.write_bytes(data)
    found = read(path)
    assert found.refused or found.rows == rows  # the footer says how many rows there are


@fuzz(800)
@given(RANDOM)
def test_flipped_bytes_in_footers(folder: Path, r: random.Random) -> None:
    path = folder / "c.parquet"
    written(path, r)
    data = bytearray(path.read_bytes())
    flip(data, footer_of(data), len(data), r)
    path.write_bytes(data)
    read(path)


@fuzz(600)
@given(RANDOM)
def test_truncated_files(folder: Path, r: random.Random) -> None:
    path = folder / "d.parquet"
    written(path, r)
    data = path.read_bytes()
    path.write_bytes(data[: r.randrange(len(data))])
    assert read(path).refused


@fuzz(600)
@given(RANDOM)
def test_files_that_change_after_the_start(folder: Path, r: random.Random) -> None:
    path, swap = folder / "e.parquet", folder / "e.swap"
    rows = written(path, r)
    data = bytearray(path.read_bytes())
    flip(data, 4, len(data), r)
    swap.write_bytes(data[: r.randrange(len(data))] if r.random() < 0.4 else data)
    found = read(path, str(swap))
    assert found.refused or found.rows == rows or not any(found.broken)


@fuzz(500)
@given(content=st.binary(max_size=300), framed=st.booleans())
def test_random_bytes(folder: Path, content: bytes, framed: bool) -> None:
    path = folder / "f.parquet"
    path.write_bytes(b"PAR1" + content + len(content).to_bytes(4, "little") + b"PAR1" if framed else content)
    assert read(path).refused
