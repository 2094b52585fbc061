"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable
from threading import Thread

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

LINE_S = 10.0  # seconds between two plain lines


class Tally:
    """The figures of a run so far, from the counters of this process."""

    def __init__(
        self, live: Callable[[], dict[str, int]], total: int | None, vectors: list[str], state: Callable[[], str | None] = lambda: None
    ) -> None:
        """`vectors`: the encoded ones, which take the time; rows count as done when the last of them has them. `state`: a remote job's."""
        self._live, self.total, self.vectors, self.state = live, total, vectors, state
        self.start = time.monotonic()

    def read(self) -> tuple[int, int, int]:
        """Rows done, objects written, rows failed."""
        live = self._live()
        settled = sum(live.get(f"rows/{kind}", 0) for kind in ("loaded", "unchanged", "failed", "duplicate"))
        encoded = min((live.get(f"encoded/{v}", 0) for v in self.vectors), default=0)
        done = max(settled, min(encoded, live.get("rows/read", 0)))
        return done, live.get("objects/written", 0), live.get("rows/failed", 0)

    @property
    def rate(self) -> float:
        """Rows a second since the start."""
        return self.read()[0] / max(1e-6, time.monotonic() - self.start)


class _Rate(ProgressColumn):
    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self.tally = tally

    def render(self, task: Task) -> Text:
        _, written, failed = self.tally.read()
        text = Text(f"{self.tally.rate:,.0f} objects/s · {written:,} written", style="cyan")
        text.append(f" · {failed:,} failed", style="bold red" if failed else "dim")
        state = self.tally.state()
        return text.append(f" · {state}", style="dim") if state else text


def watch(work: Thread, tally: Tally, console: Console) -> None:
    """Show the tally until `work` is done."""
    if console.is_terminal:
        _bar(work, tally, console)
    else:
        _lines(work, tally, console)


def _bar(work: Thread, tally: Tally, console: Console) -> None:
    columns = [
        SpinnerColumn(),
        TextColumn("loading"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(tally),
        TextColumn("left"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("loading", total=tally.total)
        while work.is_alive():
            progress.update(task, completed=tally.read()[0])
            work.join(0.2)


def _lines(work: Thread, tally: Tally, console: Console) -> None:
    next_line = time.monotonic() + LINE_S
    while work.is_alive():
        work.join(0.1)
        if time.monotonic() >= next_line:
            next_line += LINE_S
            console.print(line(tally), highlight=False)


def line(tally: Tally) -> str:
    """One plain line: rows of rows, objects a second, what is left, failed."""
    done, written, failed = tally.read()
    of = f" of {tally.total:,}" if tally.total is not None else ""
    left = f", {(tally.total - done) / tally.rate:,.0f} s left" if tally.total and tally.rate > 0 else ""
    state = tally.state()
    return f"{done:,}{of} rows, {tally.rate:,.0f} objects/s{left}, {written:,} written, {failed:,} failed" + (f", {state}" if state else "")
