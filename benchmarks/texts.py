"""The texts of the speed benchmark, as Parquet with the columns `key` and `text`: real ones and long-tailed ones, always the same."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parent.parent
STDLIB = ROOT / ".warpbeam" / "stdlib"
ROW_GROUP = 256
Texts = list[tuple[str, str]]


def demo() -> Path:
    """The demo's Parquet; made, with the link to the model beside it, where it is missing."""
    if not (STDLIB / "stdlib.parquet").exists() or not (STDLIB / "model").exists():
        subprocess.run([sys.executable, str(ROOT / "examples" / "stdlib.py")], check=True, stdout=subprocess.DEVNULL)
    return STDLIB / "stdlib.parquet"


def docstrings() -> Texts:
    """What the demo's job encodes: key and docstring, joined by a newline."""
    table = pq.read_table(demo(), columns=["key", "docstring"])
    return [(k, f"{k}\n{d}") for k, d in zip(table.column("key").to_pylist(), table.column("docstring").to_pylist(), strict=True)]


def debian() -> Texts:
    """Debian's packages as apt knows them: name and description, joined by a newline. Short texts."""
    out = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True).stdout
    found = {}
    for block in out.split("\n\n"):
        fields = parsed(block)
        if "Package" in fields and "Description" in fields:
            found[fields["Package"]] = f"{fields['Package']}\n{fields['Description']}"
    if not found:
        sys.exit("apt-cache dumpavail names no packages: run `apt-get update`, or leave out --texts debian")
    return sorted(found.items())


def parsed(block: str) -> dict[str, str]:
    """The fields of one control block; further lines, which begin with a blank, belong to the field before them."""
    fields: dict[str, str] = {}
    name = ""
    for line in block.splitlines():
        if line.startswith(" "):
            fields[name] = f"{fields.get(name, '')}\n{line.strip()}"
        else:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return {k.removesuffix("-en"): v for k, v in fields.items()}


def long_tail(n: int = 20_000) -> Texts:
    """Made-up texts with a long tail of lengths: a lognormal number of words (median 24, 1 % above 250) as often as the docstrings use them."""
    words = Counter(word for _, text in docstrings() for word in text.split() if word.isalpha())
    names, counts = zip(*sorted(words.items()), strict=True)
    chances = np.array(counts) / sum(counts)
    random = np.random.default_rng(0)
    lengths = np.maximum(1, random.lognormal(np.log(24), 1.0, n).astype(int))
    drawn = random.choice(np.array(names), size=int(lengths.sum()), p=chances)
    return [(f"text-{i}", " ".join(part)) for i, part in enumerate(np.split(drawn, np.cumsum(lengths)[:-1]))]


SETS: dict[str, Callable[[], Texts]] = {"docstrings": docstrings, "debian": debian, "long-tail": long_tail}


def write_texts(name: str, size: int, path: Path) -> int:
    """Write `size` texts of the set (all where it has fewer), in an order that is mixed but always the same; gives how many."""
    found = SETS[name]()
    chosen = [found[i] for i in np.random.default_rng(0).permutation(len(found))[:size]]
    keys, texts = zip(*chosen, strict=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"key": keys, "text": texts}), path, row_group_size=ROW_GROUP)
    return len(chosen)


def read_texts(path: str | Path) -> Texts:
    """(key, text) of the file's rows."""
    table = pq.read_table(path)
    return list(zip(table.column("key").to_pylist(), table.column("text").to_pylist(), strict=True))
