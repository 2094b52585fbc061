"""What is said on a terminal stands there as it is, whatever an error's text has in it."""

from io import StringIO

import pytest
from rich.console import Console

from jobs.telling import speaker, tell_faults


@pytest.mark.parametrize("text", ["the server refuses it ([/x])", "[bold red]", "a [red]word[/]", "key :bug: of [1, 2]"])
def test_what_is_said_is_no_markup(text: str) -> None:
    out = StringIO()
    speaker(Console(file=out, width=200))(text)
    assert out.getvalue() == f"{text}\n"


def test_nothing_is_said_where_a_program_reads() -> None:
    out = StringIO()
    speaker(Console(file=out), quiet=True)("Looking at the job")
    assert out.getvalue() == ""


def test_faults_come_before_what_is_away() -> None:
    out = StringIO()
    tell_faults(Console(file=out, width=200), ["source.key: [/x] is missing"], ["no answer [/y]"])
    assert out.getvalue().splitlines() == [
        "The job has 1 fault:",
        "  1. source.key: [/x] is missing",
        "Something outside the job is wrong:",
        "  no answer [/y]",
        "Nothing was started. Run it again when that is mended.",
    ]
