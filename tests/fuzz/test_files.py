"""Folders, globs and URLs: random names, links, empty and hidden files; places that are none."""

import gzip
import os
import random
import shutil
from contextlib import suppress
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.accounts import Account, account
from tests.fuzz.amounts import fuzz, tally
from tests.fuzz.child import child

RANDOM = st.randoms(use_true_random=True)
PIECES = (
    "a",
    "b.png",
    "ä",
    "a\u0308",
    "x y",
    "[1]",
    "*",
    "?",
    "#0-0",
    "%20",
    "k=v",
    "_k=v",
    "=",
    "..x",
    "\n",
    "\r",
    "😀",
    "'",
    '"',
    "{a,b}",
    "~",
    "::",
    "a.gz",
    "$X",
    "\\",
)
BYTES = (b"\xff", b"\xfe.png", b"a\x80b")
CHARACTERS = "ab*?[]{}/.:~%#!@$=&_- \n\0é\\"
PREFIXES = (
    "",
    "./nowhere/",
    "~nobody/",
    "file:///nowhere/",
    "memory://",
    "local:///nowhere/",
    "zip://a::",
    "tar://::",
    "data:,",
    "reference://",
    "dir::",
    "nosuch://",
    "::",
    "simplecache::",
)
KINDS = ("files", "parquet", "jsonl", "csv")


def name(r: random.Random) -> bytes:
    return r.choice(BYTES) if r.random() < 0.08 else ("".join(r.choice(PIECES) for _ in range(r.randrange(1, 4)))).encode()


def fill(folder: Path, r: random.Random) -> int:
    """Random files below `folder`; how many a source of files has to find."""
    visible: set[bytes] = set()
    for _ in range(r.randrange(1, 12)):
        parts = [r.choice((b"", b".", b"")) + name(r) for _ in range(r.choice((1, 1, 1, 2, 3)))]
        path = os.path.join(os.fsencode(folder), *parts)
        with suppress(OSError):  # one part is a file already
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if r.random() < 0.08:
                os.symlink(r.choice((b"/nowhere", b"/etc/hostname")), path)
            else:
                Path(os.fsdecode(path)).write_bytes(r.randbytes(r.choice((0, 1, 50))))
            if not any(part.startswith(b".") for part in parts):
                visible.add(path)
    return len(visible)


def ask(kind: str, location: str, key: str = "path") -> Account:
    tally("files")
    found: Account = child.ask(account, kind, location, "", key)
    return found


@fuzz(600)
@given(RANDOM)
def test_each_file_of_a_folder_is_a_row(folder: Path, r: random.Random) -> None:
    inside = folder / "files"
    shutil.rmtree(inside, ignore_errors=True)
    inside.mkdir()
    count = fill(inside, r)
    found = ask("files", str(inside))
    assert found.rows == sum(found.raw) == count
    assert bool(found.refused) == (count == 0)


@fuzz(500)
@given(RANDOM, st.sampled_from(KINDS), st.text(CHARACTERS, max_size=12))
def test_any_glob(folder: Path, r: random.Random, kind: str, glob: str) -> None:
    inside = folder / "globs"
    shutil.rmtree(inside, ignore_errors=True)
    inside.mkdir()
    fill(inside, r)
    (inside / "a.jsonl.gz").write_bytes(gzip.compress(b'{"id": "a"}\n'))
    ask(kind, f"{inside}/{glob}", "path" if kind == "files" else "id")


@fuzz(500)
@given(st.sampled_from(KINDS), st.sampled_from(PREFIXES), st.text(CHARACTERS, max_size=20))
def test_any_place(kind: str, prefix: str, rest: str) -> None:
    ask(kind, f"{prefix or 'nowhere-'}{rest.replace('..', '.')}")  # nothing above: the whole machine is no example
