"""What a launcher makes of Beam's flags and of what runners say, without a runner."""

import pytest

from jobs.execute import problem_of
from jobs.flink.process import started_at
from jobs.flink.rest import _varint
from jobs.flink.settings import RESTART_DELAY_S, WORKER_CACHE_MS
from jobs.progress import Tally, line
from jobs.remote import Service
from schemas.errors import JobError, WorldError


def test_the_service_is_found_in_beams_flags() -> None:
    flags = ["--runner=PortableRunner", "--job_endpoint=here:1", "--flink_master=http://there:2/", "--parallelism=8", "--unknown=3"]
    assert Service.of(flags) == Service("here:1", "there:2", 8)
    assert Service.of(flags).flags == "--flink_master=there:2 --job_endpoint=here:1"
    assert Service.of([]) == Service("", "", 1)
    assert Service.of([]).waits_for() == ""


def test_a_service_that_is_away_is_the_worlds_fault() -> None:
    for flag in ("--flink_master=127.0.0.1:9", "--job_endpoint=127.0.0.1:9"):
        with pytest.raises(WorldError, match=r"127\.0\.0\.1:9"):
            Service.of([flag]).waits_for()


TRACEBACK = """java.lang.RuntimeException: Error received from SDK harness for instruction 2: Traceback (most recent call last):
  File "a.py", line 1, in <module>
    raise X
{}

	at java.base/java.util.concurrent.CompletableFuture.reportGet(CompletableFuture.java:396)
	... 3 more
"""


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ("schemas.errors.JobError: model 'x' is missing [while running 'Vectorize']", JobError, "model 'x' is missing"),
        ("schemas.errors.WorldError: Weaviate at http://w does not answer", WorldError, "Weaviate at http://w does not answer"),
        ("ModuleNotFoundError: No module named 'pipelines'", JobError, "No module named 'pipelines'"),
        ("ValueError: a value: of no use", WorldError, "ValueError: a value: of no use"),
    ],
)
def test_what_a_worker_raised_comes_home_as_one_line(said: str, kind: type[Exception], words: str) -> None:
    problem = problem_of(RuntimeError(TRACEBACK.format(said)))
    assert type(problem) is kind and words in str(problem) and len(str(problem).splitlines()) == 1


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("org.apache.flink...NoResourceAvailableException: Could not acquire the minimum required resources.", "no free slots"),
        ("StatusRuntimeException: CANCELLED: call already cancelled. Use ...", "--environment_cache_millis"),
        ("Pipeline warpbeam-1 failed in state CANCELLED: unknown error", "was cancelled"),
    ],
)
def test_what_flink_says_is_told_with_what_would_be_right(said: str, words: str) -> None:
    problem = problem_of(RuntimeError(said))
    assert isinstance(problem, WorldError) and words in str(problem)


def test_a_remote_job_shows_its_state() -> None:
    assert line(Tally(lambda: {"rows/unchanged": 4}, 10, [], lambda: "RESTARTING")).endswith("failed, RESTARTING")
    assert Tally(lambda: {"rows/unchanged": 4}, 10, []).read()[0] == 4


def test_a_dead_worker_is_forgotten_before_the_restart() -> None:
    assert WORKER_CACHE_MS < 1000 * RESTART_DELAY_S


def test_numbers_as_protobuf_writes_them() -> None:
    assert [_varint(data) for data in (b"\x00", b"\x7f", b"\xad\x03", b"\x80\x80\x01")] == [0, 127, 429, 16384]


def test_a_process_that_has_ended_never_started() -> None:
    assert started_at(2**22 + 1) == 0
