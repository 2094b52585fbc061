"""ImageBind's texts: cleaned, cut by CLIP's byte-level BPE, in rows of 77 ids.

transformers' CLIPTokenizer does the BPE, from a vocabulary that the user names or that the package open-clip-torch brings.
"""

import gzip
import html
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.imagebind.sizes import CONTEXT, VOCABULARY
from encoders.models import EXTRA
from schemas.errors import JobError

START, END = 49406, 49407
DOG = [START, 320, 1929, 269, END]
ENTRIES = "7cccc44d334555d1ff3c0ac5f0246b428fab2918383e77ee745cf30d41010b78"  # sha256 of all entries by id, a line each
MERGES = 48894  # lines of the vocabulary after its header; the file has more
PACKAGE, FILE = "open-clip-torch", "open_clip/bpe_simple_vocab_16e6.txt.gz"
HOW = "give model.vocabulary: bpe_simple_vocab_16e6.txt.gz or a Hugging Face CLIP tokenizer folder; or pip install --no-deps open-clip-torch, which has it"

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tokens:
    """Texts as the model takes them."""

    ids: Ids  # (n, 77), 0 after the end
    counts: Ids  # (n,) tokens of the uncut text, special ones included
    used: Ids  # (n,) leading ids that matter: up to the first largest, which the model pools


class Tokenizer:
    """Texts to ids; `preset` says what becomes of texts over 75 tokens: the original keeps the end token, Weaviate's container loses it."""

    def __init__(self, vocabulary: str | None = None, preset: str = "upstream") -> None:
        """Read the vocabulary. Raises JobError where there is none, or another than CLIP's."""
        self.preset = preset
        self._clip = _read(vocabulary)

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """The ids of each text."""
        rows = self._clip([clean(text) for text in texts], verbose=False)["input_ids"] if texts else []
        ids = np.zeros((len(rows), CONTEXT), np.int64)
        for target, row in zip(ids, rows, strict=True):
            cut = self._cut(row)
            target[: len(cut)] = cut
        return Tokens(ids, np.array([len(row) for row in rows], np.int64), ids.argmax(1) + 1 if rows else np.zeros(0, np.int64))

    def _cut(self, row: list[int]) -> list[int]:
        """At most 77 ids of a row with start and end."""
        if len(row) <= CONTEXT:
            return row
        return row[:CONTEXT] if self.preset == "container" else [*row[: CONTEXT - 1], END]


def clean(text: str) -> str:
    """`text` as CLIP cleans it: mended, HTML unescaped twice, white space made single, lower case. Raises JobError without ftfy."""
    try:
        import ftfy
    except ImportError as error:
        raise JobError(f"ftfy is missing, with which ImageBind's texts are cleaned: pip install ftfy ({error})") from error
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return " ".join(text.split()).lower()


def _read(vocabulary: str | None) -> Any:
    """CLIP's tokenizer from a file, a folder, or the installed package."""
    try:
        from transformers import CLIPTokenizer
    except ImportError as error:
        raise JobError(f"{EXTRA} ({error})") from error
    path = Path(vocabulary).expanduser() if vocabulary else _packaged()
    if path.is_dir():
        return _checked(_from_folder(CLIPTokenizer, path), path)
    merges = _merges(path)
    symbols = _byte_symbols()
    entries = [*symbols, *(f"{s}</w>" for s in symbols), *("".join(pair) for pair in merges), "<|startoftext|>", "<|endoftext|>"]
    vocab = {entry: i for i, entry in enumerate(entries)}
    return _checked(CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=CONTEXT), path)


def _packaged() -> Path:
    """The vocabulary in the installed package, which is not imported: its own needs may be missing."""
    try:
        path = Path(str(distribution(PACKAGE).locate_file(FILE)))
    except PackageNotFoundError as error:
        raise JobError(f"ImageBind's texts need CLIP's vocabulary: {HOW}") from error
    if not path.is_file():
        raise JobError(f"ImageBind's texts need CLIP's vocabulary, and {PACKAGE} does not have {FILE}: {HOW}")
    return path


def _from_folder(kind: Any, folder: Path) -> Any:
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise JobError(f"model.vocabulary: the folder {str(folder)!r} has neither tokenizer.json nor vocab.json and merges.txt; {HOW}")
    try:
        return kind.from_pretrained(str(folder), model_max_length=CONTEXT)
    except Exception as error:  # the tokenizers library raises bare Exception
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise JobError(f"model.vocabulary: the folder {str(folder)!r} is no CLIP tokenizer: {reason}; {HOW}") from error


def _checked(tokenizer: Any, path: Path) -> Any:
    """`tokenizer`, if its entries are the model's, in their order. Raises JobError otherwise."""
    ids, vocab = tokenizer("a dog.")["input_ids"], tokenizer.get_vocab()
    entries = sha256("\n".join(sorted(vocab, key=vocab.__getitem__)).encode()).hexdigest()
    if entries != ENTRIES or ids != DOG:
        raise JobError(
            f"model.vocabulary: {str(path)!r} is another vocabulary than CLIP's: {len(vocab):,} entries (CLIP has {VOCABULARY:,}), "
            f"and 'a dog.' is {ids} (in CLIP {DOG}); {HOW}"
        )
    return tokenizer


def _merges(path: Path) -> list[tuple[str, str]]:
    """The merges of CLIP's vocabulary file. Raises JobError where it is another file."""
    try:
        lines = gzip.decompress(path.read_bytes()).decode().split("\n")[1 : 1 + MERGES]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise JobError(f"model.vocabulary: {str(path)!r} is not bpe_simple_vocab_16e6.txt.gz: {error}; {HOW}") from error
    pairs = [(first, second) for line in lines for first, gap, second in [line.partition(" ")] if gap and second]
    if len(pairs) != MERGES:
        raise JobError(f"model.vocabulary: {str(path)!r} has {len(pairs):,} merges instead of {MERGES:,}; {HOW}")
    return pairs


def _byte_symbols() -> list[str]:
    """A printable character for each of the 256 bytes, in the order of their ids."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest: Iterable[int] = range(256, 256 + 256 - len(own))
    return [chr(code) for code in (*own, *rest)]
