"""What a person reads on a terminal: names beside what there is to say of them, faults, and numbers in words."""

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

Say = Callable[[str], None]


def speaker(console: Console, quiet: bool = False) -> Say:
    """Says a sentence as it stands, an error's brackets too; nothing where a program reads (`quiet`)."""

    def say(text: str) -> None:
        if not quiet:
            console.print(text, markup=False, emoji=False, highlight=False)

    return say


def tell_lines(console: Console, lines: Sequence[tuple[str, str]]) -> None:
    """Names and what there is to say of them, in two columns; a path is never cut, since people copy it."""
    width = max(len(name) for name, _ in lines) + 2
    for name, value in lines:
        console.print(f"[bold]{name.ljust(width)}[/]{escape(value)}", highlight=False, soft_wrap=True)


def tell_faults(console: Console, faults: list[str], away: list[str], as_json: bool = False) -> None:
    """Name everything that is wrong."""
    if as_json:
        console.print_json(data={"faults": faults, "away": away})
        return
    if faults:
        console.print(f"[bold red]The job has {counted(len(faults), 'fault')}:[/]")
    for number, fault in enumerate(faults, 1):
        console.print(f"  {number}. {fault}", markup=False, highlight=False, soft_wrap=True)
    if away:
        console.print("[bold red]Something outside the job is wrong:[/]")
        for problem in away:
            console.print(f"  {problem}", markup=False, highlight=False, soft_wrap=True)
        console.print("Nothing was started. Run it again when that is mended.", highlight=False)


def counted(n: int, thing: str) -> str:
    """`1 shard`, `2 shards`."""
    return f"{n:,} {thing}" + "s" * (n != 1)


def size(n: int) -> str:
    """Bytes as a person says them."""
    value: Any = float(n)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
