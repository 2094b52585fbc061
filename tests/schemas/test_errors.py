"""The error tree: it survives the way home from a worker, and one error names all faults."""

import pickle

import pytest

from schemas.errors import JobError, RowError, WarpbeamError, WorldError, raise_faults


def test_job_error_keeps_its_faults_through_pickling() -> None:
    back = pickle.loads(pickle.dumps(JobError("first", "second")))
    assert isinstance(back, JobError)
    assert back.faults == ("first", "second")
    assert str(back) == "first\nsecond"


def test_row_error_keeps_code_and_reason_through_pickling() -> None:
    back = pickle.loads(pickle.dumps(RowError("too_long", "600 tokens")))
    assert isinstance(back, RowError)
    assert (back.code, back.reason, str(back)) == ("too_long", "600 tokens", "too_long: 600 tokens")


def test_world_error_keeps_its_message_through_pickling() -> None:
    assert str(pickle.loads(pickle.dumps(WorldError("the server is away")))) == "the server is away"


@pytest.mark.parametrize("error", [JobError("x"), RowError("x", "y"), WorldError("x")])
def test_every_error_has_one_root(error: Exception) -> None:
    assert isinstance(error, WarpbeamError)


def test_raise_faults_names_all() -> None:
    with pytest.raises(JobError) as caught:
        raise_faults(f"fault {i}" for i in range(3))
    assert caught.value.faults == ("fault 0", "fault 1", "fault 2")


def test_raise_faults_without_faults_does_nothing() -> None:
    raise_faults(iter(()))
