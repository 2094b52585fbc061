"""JSON Lines and CSV: random lines, broken ones, encodings, huge numbers, deep nesting, gzip that is cut off or changed."""

import csv
import gzip
import io
import json
import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.accounts import TYPES, Account, account, name_of
from tests.fuzz.amounts import fuzz, tally
from tests.fuzz.child import child
from tests.fuzz.values import WORDS

RANDOM = st.randoms(use_true_random=True)
NAMES = ["id", "id", "id", "vector", *map(name_of, TYPES)]
NUMBERS = (
    "0",
    "-1",
    "1e400",
    "-1e999",
    "9" * 400,
    "1" + "0" * 5000,
    "2.5",
    "1E2",
    "-0.0",
    "9007199254740993",
    "9223372036854775808",
    "NaN",
    "Infinity",
)
SCALARS = ("null", "true", "false", '""', '"a"', '"\\ud800"', '"\\u0000"', '"\\ud83d\\ude00"', '"2026-01-31T08:00:00Z"', '"aGk="', '"+49"')
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "cp1252", "utf-32")


def json_value(r: random.Random, depth: int = 0) -> str:
    kind = r.randrange(10)
    if kind == 0 and depth < 5:
        return "{" + ",".join(f"{json.dumps(r.choice(NAMES))}:{json_value(r, depth + 1)}" for _ in range(r.randrange(4))) + "}"
    if kind <= 2 and depth < 5:
        return "[" + ",".join(json_value(r, depth + 1) for _ in range(r.randrange(5))) + "]"
    return (
        r.choice(NUMBERS) if kind <= 5 else json.dumps(r.choice(WORDS), ensure_ascii=r.random() < 0.5) if kind <= 7 else r.choice(SCALARS)
    )


def json_line(r: random.Random, columns: dict[str, list[str]]) -> bytes:
    """A line: mostly an object with a value of its column's kind; else anything."""
    kind = r.randrange(30)
    if kind == 0:
        return r.choice(WORDS).replace("\n", "").encode("utf-8", "replace")
    if kind == 1:
        return r.randbytes(r.randrange(30)).replace(b"\n", b"")
    if kind == 2:
        depth = r.choice((30, 32, 33, 100, 5000, 100_000))
        opened, closed = r.choice((("[", "]"), ('{"id":', "}")))
        return ('{"id":' + opened * depth + "1" + closed * depth * (r.random() < 0.8) + "}").encode()
    if kind == 3:
        return json_value(r).encode()
    values = {n: r.choice(choices) if r.random() < 0.93 else json_value(r) for n, choices in columns.items() if r.random() < 0.95}
    text = "{" + ",".join(f"{json.dumps(n)}:{v}" for n, v in values.items()) + "}"
    return (text[: r.randrange(len(text))] if kind == 4 else text).encode()


def json_lines(r: random.Random) -> bytes:
    columns = {n: [json_value(r) for _ in range(r.randrange(1, 4))] for n in r.sample(NAMES, r.randrange(1, 6))}
    columns["id"] = [f'"k{i}"' for i in range(9)] + ["null"]
    lines = [json_line(r, columns) for _ in range(r.choice((1, 3, 20, 60, 1200) if r.random() < 0.1 else (1, 3, 20)))]
    return r.choice((b"\n", b"\r\n", b"\n\n", b"\n \n")).join(lines) + r.choice((b"", b"\n"))


def filled(data: bytes) -> int:
    """Lines that are not blank."""
    return sum(bool(line.strip()) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"))


def ask(kind: str, path: Path, data: bytes, swap: bytes | None = None) -> Account:
    """What becomes of `data`; of `swap`, where the file changes after it was looked at."""
    tally(kind)
    path.write_bytes(data)
    other = path.with_suffix(".swap")
    if swap is not None:
        other.write_bytes(swap)
    found: Account = child.ask(account, kind, str(path), "" if swap is None else str(other))
    return found


def spoilt(packed: bytes, r: random.Random) -> bytes:
    """A gzip file cut off, changed, or with something behind it."""
    kind = r.randrange(3)
    if kind == 0:
        return packed[: r.randrange(len(packed))]
    if kind == 1:
        return packed + r.choice((b"\0" * 9, r.randbytes(9), packed))
    changed = bytearray(packed)
    changed[r.randrange(len(packed))] ^= r.randrange(1, 256)
    return bytes(changed)


@fuzz(900)
@given(RANDOM)
def test_every_line_is_an_object_or_rejected(folder: Path, r: random.Random) -> None:
    data = json_lines(r)
    found = ask("jsonl", folder / "a.jsonl", data)
    assert found.refused or sum(found.raw) == filled(data)
    assert found.refused or not found.objects or found.rows == filled(data)


@fuzz(500)
@given(RANDOM)
def test_lines_of_a_file_that_changes_after_the_start(folder: Path, r: random.Random) -> None:
    data, other = json_lines(r), json_lines(r)
    found = ask("jsonl", folder / "b.jsonl", data, other)
    assert found.refused or sum(found.raw) == filled(other)


@fuzz(500)
@given(RANDOM, st.booleans())
def test_spoilt_gzip_of_lines(folder: Path, r: random.Random, late: bool) -> None:
    data = json_lines(r)
    packed = gzip.compress(data)
    bad = spoilt(packed, r)
    found = ask("jsonl", folder / "c.jsonl.gz", packed if late else bad, bad if late else None)
    assert found.refused or any(found.broken) or not found.objects or found.rows >= (filled(data) if len(bad) >= len(packed) else 0)
    assert found.refused or len(bad) >= len(packed) or any(found.broken)
    assert not any(found.broken) or "unreadable" in found.codes or not found.objects


@fuzz(500)
@given(content=st.binary(max_size=400) | st.text(max_size=200).map(str.encode), packed=st.booleans())
def test_random_bytes_as_lines(folder: Path, content: bytes, packed: bool) -> None:
    found = ask("jsonl", folder / ("d.jsonl.gz" if packed else "d.jsonl"), content)
    assert found.refused or sum(found.raw) == filled(content) or packed


FIELDS = (
    *WORDS,
    "1",
    "-7",
    "0.5",
    "1e5",
    "1e400",
    "true",
    "False",
    "007",
    "9" * 30,
    "9" * 5000,
    "a,b",
    'say "x"',
    "line\nbreak",
    "\r",
    ";",
    "NULL",
)


def table(r: random.Random) -> tuple[list[str], list[list[str]]]:
    names = list(dict.fromkeys(["id", *r.sample(NAMES, r.randrange(1, 6))]))
    columns = [[f"k{i}" for i in range(9)]] + [r.sample(FIELDS, r.randrange(1, 4)) for _ in names[1:]]
    rows = r.choice((0, 1, 3, 20, 1200 if r.random() < 0.1 else 30))
    return names, [[r.choice(column) if r.random() < 0.95 else r.choice(FIELDS) for column in columns] for _ in range(rows)]


def csv_bytes(names: list[str], rows: list[list[str]], r: random.Random) -> bytes:
    text = io.StringIO()
    end = r.choice(("\n", "\r\n"))  # with the first Python 3.11 leaves a lone \r without quotes
    writer = csv.writer(text, quoting=r.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)) if end == "\r\n" else csv.QUOTE_ALL, lineterminator=end)
    writer.writerows([names, *rows])
    return text.getvalue().encode("utf-8", "surrogatepass")


@fuzz(700)
@given(RANDOM)
def test_every_record_is_an_object_or_rejected(folder: Path, r: random.Random) -> None:
    names, rows = table(r)
    found = ask("csv", folder / "a.csv", csv_bytes(names, rows, r))
    assert not found.refused and found.rows == sum(found.raw) == len(rows)


@fuzz(500)
@given(RANDOM)
def test_ragged_rows_and_other_encodings(folder: Path, r: random.Random) -> None:
    plain = [f.replace('"', "").replace("\n", "").replace("\r", "") for f in FIELDS]
    lines = [",".join(r.choice(plain) for _ in range(r.randrange(1, 6))) for _ in range(r.randrange(30))]
    encoding = r.choice(ENCODINGS)
    data = "\n".join(["id,text,int", *lines]).encode(encoding, "replace")
    found = ask("csv", folder / "b.csv", data)
    assert encoding.startswith(("utf-16", "utf-32")) or found.rows == sum(bool(line) for line in lines)


@fuzz(500)
@given(RANDOM, st.booleans())
def test_spoilt_gzip_of_records(folder: Path, r: random.Random, late: bool) -> None:
    names, rows = table(r)
    packed = gzip.compress(csv_bytes(names, rows, r))
    bad = spoilt(packed, r)
    found = ask("csv", folder / "c.csv.gz", packed if late else bad, bad if late else None)
    assert found.refused or len(bad) >= len(packed) or any(found.broken)
    assert not any(found.broken) or "unreadable" in found.codes


@fuzz(700)
@given(content=st.binary(max_size=300) | st.text(alphabet='ab1,"\n\r\0 ;é\ufeff', max_size=200).map(str.encode), header=st.booleans())
def test_random_bytes_as_records(folder: Path, content: bytes, header: bool) -> None:
    data = (b"id,text\n" if header else b"") + content
    found = ask("csv", folder / "d.csv", data)
    assert found.refused or sum(found.raw) <= data.count(b"\n") + data.count(b"\r")
    assert not header or not content.strip(b"\r\n") or sum(found.raw) >= 1


@fuzz(500)
@given(RANDOM)
def test_quotes_in_wrong_places(folder: Path, r: random.Random) -> None:
    names, rows = table(r)
    data = bytearray(csv_bytes(names, rows, r))
    for _ in range(r.randrange(1, 9)):
        data.insert(r.randrange(data.index(b"\n") + 1, len(data) + 1), r.choice(b'"",\n\r\0'))
    found = ask("csv", folder / "e.csv", bytes(data))
    assert not found.refused and found.rows == sum(found.raw) >= (1 if len(rows) else 0)
