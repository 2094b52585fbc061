"""The report: figures that add up, and one page that holds all of it, loads nothing, and shows no secret."""

import io
import json
import re
from collections.abc import Callable
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from jobs.report import finish, tell_report
from jobs.report.figures import Report, as_data
from jobs.report.masking import masked
from jobs.report.page import page
from jobs.report.past import Past, past_report
from jobs.report.verdict import duration, headline, next_steps, verdict
from pipelines.failures import store_rejected
from pipelines.summaries import SUMMARIES, by_file, store_summaries, summary_batch
from schemas.columns import Rejection, rejected_batch
from schemas.errors import JobError, WarpbeamError, WorldError
from schemas.job import Job
from tests.conftest import Load
from tests.jobs.test_run import FAKE, SIMPLE, rows

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
START_MS = round(START.timestamp() * 1000)
SECRET = "correct-horse-battery"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;"


class Page(HTMLParser):
    """Reads a page strictly: every tag is closed in order; keeps tags, attributes and texts."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes {self.open[-1:]}"

    def handle_data(self, data: str) -> None:
        self.text += data if self.open[-1:] != ["style"] else ""


def job(folder: Path, **rest: Any) -> Job:
    spec = {
        "source": {"parquet": "*.parquet", "key": "key", "storage_options": {"token": "${REPORT_TOKEN}"}},
        "target": {"weaviate": {"url": "http://127.0.0.1:8080", "api_key": "${REPORT_KEY}"}, "collection": "Doc"},
        "vectors": {"text": {"model": {"fake": 4}, "text_fields": ["title"]}},
        "base": folder,
    }
    return Job.model_validate(spec | rest)


COUNTERS = {
    "rows/read": 1100,
    "rows/loaded": 1000,
    "rows/unchanged": 60,
    "rows/failed": 33,
    "rows/duplicate": 7,
    "objects/written": 1234,
    "objects/unchanged": 60,
    "tokens/text": 80_000,
    "padded/text": 100_000,
    "truncated/text": 17,
    "reused/text": 21,
    "lengths/text/64": 400,
    "lengths/text/128": 600,
    "us/read": 1_500_000,
    "us/encode/text": 20_000_000,
    "us/wait/model": 250_000,
    "us/wait/server": 500_000,
}


def report(folder: Path, counters: dict[str, int] | None = None, problem: WarpbeamError | None = None, **rest: Any) -> Report:
    """A report on real files: failures, notes and summaries are stored as the pipeline stores them."""
    past = Past(job(folder, **rest), str(folder / "failures" / "20260102T030405-abcd"))
    figures = {("big.parquet#0", "rows/read", START_MS): 900.0, ("small.parquet#0", "rows/read", START_MS): 200.0}
    figures |= {("big.parquet#0", "us/encode/text", START_MS): 2e7, ("", "rows/loaded", START_MS + 9000): 1000.0}
    for number, part in by_file(summary_batch(figures)):
        store_summaries(number, [part], f"{past.failures}/{SUMMARIES}")
    failed = [Rejection(f"k{i}", None, "read", "bad_date", f"column 'd' has 'then {i}'", "big.parquet#0", i) for i in range(30)]
    failed += [Rejection(HOSTILE, None, "write", "refused", HOSTILE, HOSTILE, i, 1) for i in range(3)]
    store_rejected("big.parquet#0", [rejected_batch(failed[:30])], past.failures, {})
    store_rejected(HOSTILE, [rejected_batch(failed[30:])], past.failures, {})
    note = Rejection("k9", None, "vectorize", "truncated", "the model saw only the beginning", "big.parquet#0", 9)
    store_rejected("big.parquet#0", [rejected_batch([note])], past.notes, {})
    return Report(past, START, COUNTERS if counters is None else counters, problem, ended=START.replace(second=15))


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., tuple[dict[str, Any], Page]]:
    """A report's figures and its page, as they lie on disk."""

    def make(*arguments: Any, **rest: Any) -> tuple[dict[str, Any], Page]:
        finish(report(tmp_path, *arguments, **rest))
        folder = tmp_path / "report"
        return json.loads((folder / "report.json").read_text()), Page((folder / "report.html").read_text())

    return make


def test_the_page_has_the_figures(made: Any) -> None:
    data, shown = made()
    assert data["counts"]["add_up"] and data["exit_code"] == 1
    assert "Not everything is in: 33 of 1,100 rows failed (3.00%; the job allows none)." in shown.text
    assert "1,100 read = 1,000 loaded + 60 unchanged + 33 failed + 7 duplicate" in shown.text
    for words in ("1,234", "exit 1", "bad_date", "column 'd' has 'then 0'", "and 25 more", "truncated", "big.parquet#0", "900 rows"):
        assert words in shown.text, words
    for words in (
        "80,000",
        "20.0%",
        "17",
        "21",
        "forward",
        "20.0 s",
        "0.8 s",
        "python",
        "apache-beam",
        data["failures_path"],
        data["notes_path"],
    ):
        assert words in shown.text, words
    assert f"warpbeam run JOB --only {data['failures_path']}" in shown.text


def test_the_figures_of_a_report(made: Any) -> None:
    data, _ = made()
    assert data["phases_s"] == {"read": 1.5, "encode": 20, "wait": 0.75}
    assert data["phases_ms"] == {"read": 1500, "encode/text": 20_000, "wait/model": 250, "wait/server": 500}
    assert data["vectors"]["text"]["lengths"] == {"64": 400, "128": 600}
    assert data["shards"] == {
        "read": 2,
        "slowest": [
            {"shard": "big.parquet#0", "rows": 900, "bytes": 0, "seconds": 20},
            {"shard": "small.parquet#0", "rows": 200, "bytes": 0, "seconds": 0},
        ],
    }
    over_time = data["rows_over_time"]
    assert sum(over_time["rows"]) == 1000 and over_time["rows"].index(1000) * over_time["step_s"] == pytest.approx(9, abs=0.3)
    assert (data["failures"]["bad_date"][0]["count"], len(data["failures"]["bad_date"])) == (30, 6)


def test_the_page_loads_nothing_and_runs_nothing(made: Any) -> None:
    _, shown = made()
    assert {tag for tag, _ in shown.tags} & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "a"} == set()
    names = {name for _, attributes in shown.tags for name in attributes}
    assert not {n for n in names if n.startswith("on")} and not names & {"src", "href", "srcset", "action", "data", "xlink:href"}
    policy = next(a["content"] for t, a in shown.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_the_style_loads_nothing(tmp_path: Path) -> None:
    styles = re.findall(r"<style>(.*?)</style>", page(as_data(report(tmp_path))), re.DOTALL)
    assert len(styles) == 1 and not re.search(r"url\(|@import|@font-face|https?:", styles[0])
    assert "prefers-color-scheme: dark" in styles[0]


def test_hostile_values_are_only_text(made: Any) -> None:
    _, shown = made()
    assert shown.text.count(HOSTILE) >= 3  # key, message, shard


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.sampled_from(["key", "message", "shard", "code", "problem", "version", "run", "source", "job"]))
def test_any_text_anywhere_leaves_the_page_whole(value: str, where: str) -> None:
    data = json.loads(json.dumps(PLAIN))
    row = {"key": "k", "stage": "read", "message": "m", "shard": "s", "row": 0, "chunk": 0}
    data["failures"] = {value if where == "code" else "c": [{"count": 1}, row | {where: value} if where in row else row]}
    data["failures_path"] = "f"
    data["versions"]["x"] = value if where == "version" else ""
    data["shards"]["slowest"] = [{"shard": value, "rows": 1, "bytes": 1, "seconds": 1.0}] if where == "shard" else []
    data |= {where: value} if where in ("problem", "run", "source") else {}
    data["job_as_written"] = {"name": value} if where == "job" else {}
    shown = Page(page(data))
    assert [t for t, _ in shown.tags] and "script" not in {t for t, _ in shown.tags}
    if where not in ("job", "problem") and value.isprintable():
        assert value in shown.text


PLAIN: dict[str, Any] = {
    "run": "r",
    "collection": "Doc",
    "server": "http://127.0.0.1:8080",
    "source": "s",
    "exit_code": 0,
    "problem": None,
    "refused": None,
    "started": START.isoformat(),
    "ended": START.isoformat(),
    "seconds": 1.0,
    "counts": {"read": 0, "loaded": 0, "unchanged": 0, "failed": 0, "duplicate": 0, "objects_written": 0, "add_up": True},
    "allowed_share": 0.0,
    "objects": {},
    "phases_ms": {},
    "phases_s": {},
    "rows_over_time": {"step_s": 0.25, "rows": [0]},
    "vectors": {},
    "shards": {"read": 0, "slowest": []},
    "failures": {},
    "failures_path": None,
    "notes": {},
    "notes_path": None,
    "job_as_written": {},
    "versions": {},
}


@given(st.tuples(*[st.integers(0, 10**6)] * 4), st.integers(0, 5), st.booleans())
def test_the_bar_and_the_sentence_add_up(groups: tuple[int, int, int, int], rest: int, stopped: bool) -> None:
    names = ("loaded", "unchanged", "failed", "duplicate")
    counts = {"read": sum(groups) + rest, **dict(zip(names, groups, strict=True)), "add_up": not rest}
    html = page(PLAIN | {"counts": counts, "problem": "away" if stopped else None, "exit_code": 3 if stopped else int(bool(rest))})
    shown = Page(html)
    parts = [a for t, a in shown.tags if t == "i" and "flex-grow" in (a.get("style") or "")]
    drawn = {str(a["class"]): int(str(a["style"]).removeprefix("flex-grow:")) for a in parts}
    assert drawn == {n: c for n, c in zip((*names, "unfinished"), (*groups, rest), strict=True) if c}
    total, *numbers = [int(n.replace(",", "")) for n in re.findall(r"[\d,]+", html.split('<p class="sum">')[1].split("</p>")[0])]
    assert total == sum(numbers) == counts["read"]


def test_secrets_never_appear(made: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not from the job, and not from the words of a server that repeats what it was sent."""
    monkeypatch.setenv("REPORT_KEY", SECRET)
    monkeypatch.setenv("REPORT_TOKEN", "tok-" + SECRET)
    problem = WorldError(f"401: the key {SECRET} is not known; tok-{SECRET} neither; see http://me:pass-word@host/x")
    _, shown = made(None, problem)
    written = "".join((tmp_path / "report" / name).read_text() for name in ("report.json", "report.html"))
    assert SECRET not in written and "pass-word" not in written
    assert "the key ${REPORT_KEY} is not known; ${REPORT_TOKEN} neither; see http://***@host/x" in shown.text
    assert "api_key: ${REPORT_KEY}" in shown.text and "token: ${REPORT_TOKEN}" in shown.text


def test_secrets_never_appear_on_the_console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORT_KEY", SECRET)
    for as_json in (False, True):
        console = Console(record=True, width=200, file=io.StringIO())
        tell_report(console, report(tmp_path, problem=WorldError(f"key {SECRET}")), as_json)
        assert SECRET not in (text := console.export_text()) and "${REPORT_KEY}" in text


@given(
    st.recursive(
        st.text(max_size=10) | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner)
    )
)
def test_masking_leaves_everything_else(data: Any) -> None:
    assert masked(data, {"key": "no reference"}) == data or "://" in str(data)


def test_a_short_secret_or_an_unknown_one_masks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT", "in")
    assert masked("in the morning", {"a": "${SHORT}", "b": "${SURELY_NOT_SET}"}) == "in the morning"


def test_a_stopped_run_says_what_is_in_and_how_to_go_on(made: Any) -> None:
    counters = {"rows/read": 500, "rows/loaded": 300, "objects/written": 300}
    data, shown = made(counters, WorldError("Weaviate is away"))
    assert (data["exit_code"], verdict(data)) == (3, "stopped")
    for words in (
        "300 of the 500 rows read so far are in",
        "Weaviate is away",
        "200 not finished",
        "run the job again",
        "warpbeam run JOB",
    ):
        assert words in shown.text, words


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (
            {"rows/failed": 0, "rows/read": 1067},
            0,
            "Everything is in: 1,000 rows are new or changed, 60 were there already; 7 more have a key",
        ),
        ({"rows/failed": 0, "rows/read": 67, "rows/loaded": 0}, 0, "Everything is in: all 60 rows were there already, unchanged"),
        ({"rows/read": 1101}, 1, "The counts do not add up"),
        (dict.fromkeys(COUNTERS, 0), 0, "Nothing to do: the source has no rows."),
    ],
)
def test_the_headline_answers(tmp_path: Path, change: dict[str, int], code: int, words: str) -> None:
    data = as_data(report(tmp_path, COUNTERS | change))
    assert data["exit_code"] == code and headline(data).startswith(words)


def test_an_allowed_share_is_done(tmp_path: Path) -> None:
    data = as_data(report(tmp_path, failures={"path": "failures", "allowed_share": 0.03}))
    assert (data["exit_code"], verdict(data)) == (0, "done")
    assert headline(data) == "1,060 of 1,100 rows are in; 33 failed, which the job allows."
    assert [command for _, command in next_steps(data)] == [None, f"warpbeam run JOB --only {data['failures_path']}"]


def test_a_wrong_job_exits_2(tmp_path: Path) -> None:
    data = as_data(report(tmp_path, problem=JobError("vectors.text: no such model")))
    assert data["exit_code"] == 2 and next_steps(data)[0][1] == "warpbeam check JOB"


def test_refused_deletes_are_not_done(tmp_path: Path) -> None:
    done = report(tmp_path, COUNTERS | {"rows/failed": 0, "rows/read": 1067})
    done.refused = "40 of 60 objects would be deleted"
    data = as_data(done)
    assert data["exit_code"] == 1 and "what should be deleted is still there" in headline(data)
    assert "40 of 60 objects would be deleted" in Page(page(data)).text


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (61, "1 min 1 s"), (3599, "59 min 59 s"), (7260, "2 h 1 min")]
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_the_job_is_shown_as_it_was_written(made: Any) -> None:
    data, _ = made()
    assert yaml.safe_load(yaml.safe_dump(data["job_as_written"]))["source"] == {
        "parquet": "*.parquet",
        "key": "key",
        "storage_options": {"token": "${REPORT_TOKEN}"},
    }
    assert "failures" not in data["job_as_written"] and data["job"]["failures"]["allowed_share"] == 0


def test_a_run_that_did_not_end_has_no_past_report(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="there is no such run"):
        past_report(job(tmp_path), "20260102T030405-abcd")


def test_a_real_run_writes_both_and_its_report_can_be_made_again(load: Load) -> None:
    """Without its launcher: from what the pipeline stored alone."""
    load.create(SIMPLE)
    table = rows(3000).set_column(0, "key", [[None if i % 500 == 0 else f"k{i - (i == 7)}" for i in range(3000)]])
    path = load.job(load.parquet(table, row_group_size=300), FAKE)
    code, data = load.run(path)
    assert code == 1 and data["counts"]["add_up"] and data["counts"]["failed"] == 6 and data["counts"]["duplicate"] == 1
    assert sum(s["rows"] for s in data["shards"]["slowest"]) == 3000
    assert sum(data["rows_over_time"]["rows"]) == data["counts"]["loaded"] == 2993
    assert sum(data["vectors"]["v"]["lengths"].values()) == 2993
    assert {"read", "encode", "write"} <= data["phases_s"].keys()
    shown = Page((load.folder / "report" / "report.html").read_text())
    assert headline(data) in shown.text
    again = load.command("report", path, data["run"], "--json")
    assert again.exit_code == 1
    made = json.loads(again.stdout)
    same = ("run", "counts", "vectors", "shards", "failures", "notes", "phases_ms", "phases_s", "exit_code", "job")
    assert {k: made[k] for k in same} == {k: data[k] for k in same}
