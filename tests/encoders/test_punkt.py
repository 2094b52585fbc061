"""Sentences against the container's own splitter, and against NLTK 3.9.1 where other versions differ."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.punkt import sentences
from tests.golden.carry import unpack

DATA = unpack("sentences")
GROUPS = {"minilm": "minilm-hf-default", "tiny": "bert-tiny-hf-default"}


def texts(group: str) -> dict[str, str]:
    """The texts of the container's cases by name."""
    cases = unpack("text2vec")[GROUPS[group]]["cases"]
    named = [(c["id"].split("/")[1].partition(".")[0], c["request"].get("text")) for c in cases]
    return {name: text for name, text in reversed(named) if isinstance(text, str)}


@pytest.mark.parametrize("group", GROUPS)
def test_the_containers_sentences(group: str) -> None:
    expected, found = DATA["golden"][group], texts(group)
    assert len(expected) > 10
    assert {name: sentences(found[name]) for name in expected} == expected


def test_nltk_3_9_1_where_its_followers_differ() -> None:
    """Curly quotes and guillemets (NLTK 3.10), and runs of punctuation between spaces (the parameters' own package)."""
    cases = DATA["nltk 3.9.1"]
    assert len(cases) > 1000
    wrong = [text for text, spans in cases if sentences(text) != [text[a:b] for a, b in spans]]
    assert not wrong, wrong[:3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t\u00a0 ", []),
        ("One.\n\n  Two\twords.", ["One.", "Two words."]),
        ("Dr. Smith came. He left.", ["Dr. Smith came.", "He left."]),
        ("Fruit, e.g. Apples. See Fig. 3.", ["Fruit, e.g.", "Apples.", "See Fig.", "3."]),
        ("He said \u201cno.\u201d She left.", ["He said \u201cno.\u201d She left."]),
        ("日本語の文。もう一つの文。", ["日本語の文。もう一つの文。"]),
    ],
)
def test_what_ends_a_sentence(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@settings(max_examples=100, deadline=None)
@given(st.text() | st.text(alphabet=' .!?\u201d")aA1\n', max_size=60))
def test_no_character_is_lost(text: str) -> None:
    found = sentences(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(s.strip() for s in found)


def test_words_that_were_never_seen_are_not_remembered() -> None:
    from encoders.punkt import sentence_tokenizer

    before = len(sentence_tokenizer()._params.ortho_context)
    sentences("Zzyzxq etc. Qqwfpgj came. A. Xyzzyplugh et al. Frobnicate.")
    assert len(sentence_tokenizer()._params.ortho_context) == before > 20_000
