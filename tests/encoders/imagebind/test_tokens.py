"""ImageBind's texts: the sheet's ids, cleaning, both truncations, and vocabularies from a file, a folder or the package."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.imagebind import tokens
from encoders.imagebind.tokens import END, START, Tokenizer, clean
from schemas.errors import JobError

PADDED = 77
UNICODE = st.text(st.characters(), max_size=200)  # surrogates too


@pytest.fixture(scope="module")
def upstream() -> Tokenizer:
    return Tokenizer()


@pytest.fixture(scope="module")
def container() -> Tokenizer:
    return Tokenizer(preset="container")


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("A dog.", [START, 320, 1929, 269, END]),
        ("A car", [START, 320, 1615, END]),
        ("A bird", [START, 320, 3329, END]),
        ("", [START, END]),
        (" \n ", [START, END]),
    ],
)
@pytest.mark.parametrize("preset", ["upstream", "container"])
def test_ids(upstream: Tokenizer, container: Tokenizer, preset: str, text: str, ids: list[int]) -> None:
    found = {"upstream": upstream, "container": container}[preset]([text])
    assert found.ids.tolist() == [ids + [0] * (PADDED - len(ids))]
    assert (found.counts.tolist(), found.used.tolist()) == ([len(ids)], [len(ids)])


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("  A\t\tDog \n", "a dog"),
        ("fish &amp;amp; chips", "fish & chips"),
        ("\u201cquoted\u201d \ufb01sh", '"quoted" fish'),
        ("\uff21\uff22", "ab"),
        ("schÃ¶n", "schön"),
        ("&lt;b&gt;", "<b>"),
        ("a\u00a0b\u2003c", "a b c"),
    ],
)
def test_cleaning(text: str, want: str) -> None:
    assert clean(text) == want


def test_75_tokens_fit_and_76_are_cut(upstream: Tokenizer, container: Tokenizer) -> None:
    texts = [" ".join(["dog"] * n) for n in (74, 75, 76, 200)]
    kept, lost = upstream(texts), container(texts)
    assert kept.counts.tolist() == lost.counts.tolist() == [76, 77, 78, 202]
    assert kept.used.tolist() == [76, 77, 77, 77]
    assert (kept.ids[1:, -1] == END).all() and np.array_equal(kept.ids[1], kept.ids[2])
    assert np.array_equal(kept.ids[:2], lost.ids[:2])


def test_the_container_loses_the_end_of_a_long_text(container: Tokenizer) -> None:
    """The largest id left is the start token, so all such texts have one vector: that of the start alone."""
    found = container([" ".join(["dog"] * 76)])
    assert found.ids[0].tolist() == [START] + [1929] * 76
    assert found.used.tolist() == [1]


def test_an_end_token_written_in_a_text_is_where_it_ends(upstream: Tokenizer) -> None:
    assert upstream(["a <|endoftext|> dog"]).used.tolist() == [3]


@given(texts=st.lists(UNICODE, max_size=4))
@settings(max_examples=100, deadline=None)
def test_random_unicode(upstream: Tokenizer, container: Tokenizer, texts: list[str]) -> None:
    """Every text has a start, ids of the vocabulary, a pooled place, and the same ids under both rules if it fits."""
    kept, lost = upstream(texts), container(texts)
    assert kept.ids.shape == lost.ids.shape == (len(texts), PADDED)
    for row, other, count, used in zip(kept.ids, lost.ids, kept.counts, kept.used, strict=True):
        assert row[0] == START and row[used - 1] == END and 0 <= row.min() and row.max() == END
        assert not row[count:].any()
        assert np.array_equal(row, other) or count > PADDED


@given(text=UNICODE)
@settings(max_examples=100, deadline=None)
def test_cleaning_leaves_no_white_space_at_the_ends_or_twice(text: str) -> None:
    assert clean(text) == " ".join(clean(text).split())


def test_the_packages_file_is_the_one_of_the_sheet() -> None:
    content = tokens._packaged().read_bytes()
    assert len(content) == 1_356_917
    assert hashlib.sha256(content).hexdigest() == "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"


def test_a_file_or_a_folder_can_be_named(upstream: Tokenizer, tmp_path: Path) -> None:
    texts = ["A dog.", "schön & gut", "dog " * 90, "日本 🎉"]
    upstream._clip.save_pretrained(tmp_path)
    for vocabulary in (str(tokens._packaged()), str(tmp_path)):
        assert np.array_equal(Tokenizer(vocabulary)(texts).ids, upstream(texts).ids)


def test_another_vocabulary_is_refused(tmp_path: Path, upstream: Tokenizer) -> None:
    (tmp_path / "text.txt.gz").write_text("no gzip")
    (tmp_path / "cut.txt.gz").write_bytes(tokens._packaged().read_bytes()[:5000])
    (tmp_path / "short.txt.gz").write_bytes(gzip.compress(b"version\na b\n"))
    lines = gzip.decompress(tokens._packaged().read_bytes()).decode().split("\n")
    lines[1:40] = reversed(lines[1:40])  # same entries, other ids
    (tmp_path / "other.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tokenizer.json").write_text("{}")
    for name in ("text.txt.gz", "cut.txt.gz", "short.txt.gz", "other.txt.gz", "empty", "broken", "missing.txt.gz"):
        with pytest.raises(JobError, match=f"{name}.*give model.vocabulary"):
            Tokenizer(str(tmp_path / name))


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "PACKAGE", "a-package-that-nobody-installs")
    with pytest.raises(JobError, match=r"pip install --no-deps open-clip-torch"):
        Tokenizer()
