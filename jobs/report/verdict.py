"""What a run's figures mean for the person who reads them in the morning: is everything in, and what is to be done."""

from typing import Any

MEANINGS = {
    0: "done",
    1: "more rows failed than the job allows",
    2: "the job is wrong",
    3: "the world is wrong: a server, a network or a file system did not answer, also after the retries",
}


def verdict(data: dict[str, Any]) -> str:
    """`done`, `failed`, `stopped`, or `broken` where rows are missing from the account."""
    if data["problem"]:
        return "stopped"
    if not data["counts"]["add_up"]:
        return "broken"
    return "failed" if data["exit_code"] else "done"


def headline(data: dict[str, Any]) -> str:
    """One sentence that answers whether everything is in."""
    c = data["counts"]
    good = c["loaded"] + c["unchanged"]
    match verdict(data):
        case "stopped":
            return f"Stopped after {duration(data['seconds'])}: {good:,} of the {c['read']:,} rows read so far are in."
        case "broken":
            return "The counts do not add up: rows are missing from the account."
        case "failed" if c["failed"] > data["allowed_share"] * c["read"]:
            return f"Not everything is in: {_failed(data)}."
        case "failed":
            return "Everything is in, but what should be deleted is still there."
    if not c["read"]:
        return "Nothing to do: the source has no rows."
    if c["failed"]:
        return f"{good:,} of {c['read']:,} rows are in; {c['failed']:,} failed, which the job allows."
    return f"Everything is in: {_good(c)}{_duplicates(c)}."


def _failed(data: dict[str, Any]) -> str:
    c, allowed = data["counts"], f"{data['allowed_share']:.2%}" if data["allowed_share"] else "none"
    return f"{c['failed']:,} of {c['read']:,} rows failed ({c['failed'] / c['read']:.2%}; the job allows {allowed})"


def _good(c: dict[str, Any]) -> str:
    if not c["unchanged"]:
        return f"{c['loaded']:,} of {c['read']:,} rows"
    if not c["loaded"]:
        return f"all {c['unchanged']:,} rows were there already, unchanged"
    return f"{c['loaded']:,} rows are new or changed, {c['unchanged']:,} were there already"


def _duplicates(c: dict[str, Any]) -> str:
    return f"; {c['duplicate']:,} more have a key that occurs twice" if c["duplicate"] else ""


def meaning(data: dict[str, Any]) -> str:
    """What the exit code says."""
    if verdict(data) == "broken":
        return "the counts do not add up"
    if data["exit_code"] == 1 and data["refused"]:
        return "what should be deleted was not"
    return MEANINGS[data["exit_code"]]


def next_steps(data: dict[str, Any]) -> list[tuple[str, str | None]]:
    """What to do now: (sentence, the command if there is one)."""
    again = ("Then load just these rows again.", f"warpbeam run JOB --only {data['failures_path']}")
    match verdict(data):
        case "stopped" if data["exit_code"] == 2:
            return [("Mend the job; this names all that is wrong with it.", "warpbeam check JOB")]
        case "stopped":
            return [("What was written stays. When the cause is gone, run the job again: it goes on from here.", "warpbeam run JOB")]
        case "broken":
            return [("This is a fault of Warpbeam. Please report it, with report.json.", None)]
    if data["counts"]["failed"]:
        return [("Mend the rows that failed; the reasons are below.", None), again]
    if data["refused"]:
        return [("Look at what would be deleted, as the sentence above says.", None)]
    return [("Nothing. Run the job again whenever the source has changed.", None)]


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
