"""English sentences as Weaviate's text2vec-transformers container cuts them: NLTK 3.9.1's Punkt with its classic parameters.

NLTK 3.10 counts curly quotes and guillemets as closing punctuation, which moves sentence ends; the container's NLTK does
not, so the two patterns of 3.9.1 are put back here. The parameters (156 abbreviations, 39 sentence starters,
37 collocations) are those of NLTK's `punkt_tab`, taken from a package, so that nothing is downloaded.
"""

import re
from functools import cache
from typing import Any

from encoders.models import EXTRA
from schemas.errors import JobError


class _Seen(dict[str, int]):
    """Word -> how it was seen written; a word that was never seen is 0, and is not remembered."""

    def __missing__(self, word: str) -> int:
        return 0


def sentences(text: str) -> list[str]:
    """The sentences of `text` with all white space made single spaces; none where there is nothing else."""
    found: list[str] = sentence_tokenizer().tokenize(" ".join(text.split()))
    return found


@cache
def sentence_tokenizer() -> Any:
    """NLTK's tokenizer with the classic parameters, made once. Raises JobError where a package is missing."""
    try:
        from nltk.tokenize.punkt import PunktLanguageVars, PunktParameters, PunktSentenceTokenizer
        from punkt.data import english
    except ImportError as error:
        raise JobError(f"{EXTRA} ({error})") from error

    class Classic(PunktLanguageVars):  # type: ignore[misc]
        """The patterns of NLTK 3.9.1."""

        re_boundary_realignment = re.compile(r'["\')\]}]+?(?:\s+|(?=--)|$)', re.MULTILINE)
        _re_non_word_chars = r"(?:[)\";}\]\*:@\'\({\[!?])"

    parameters = PunktParameters()
    parameters.abbrev_types = set(english.ABBREV_TYPES)
    parameters.sent_starters = set(english.SENT_STARTERS)
    parameters.collocations = set(english.COLLOCATIONS)
    parameters.ortho_context = _Seen(english.ORTHO_CONTEXT)
    return PunktSentenceTokenizer(parameters, lang_vars=Classic())
