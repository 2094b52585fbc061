"""Which errors of a store's client mean that the store is away, by the clients' own classes."""

import errno

import pytest

from pipelines.storage import is_away, is_url, protocol_of

pytestmark = pytest.mark.filterwarnings("ignore:Package google:FutureWarning")


def s3(code: str, status: int) -> Exception:
    from botocore.exceptions import ClientError
    from s3fs.errors import translate_boto_error

    response = {"Error": {"Code": code, "Message": "said"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return translate_boto_error(ClientError(response, "GetObject"))


@pytest.mark.parametrize(
    ("code", "status", "away"),
    [
        ("SlowDown", 503, True),
        ("InternalError", 500, True),
        ("ExpiredToken", 400, True),
        ("NoSuchKey", 404, False),
        ("InvalidRange", 416, False),
    ],
)
def test_what_s3_answers(code: str, status: int, away: bool) -> None:
    pytest.importorskip("s3fs")
    assert is_away(s3(code, status)) is away


def test_what_never_came_to_an_answer() -> None:
    pytest.importorskip("s3fs")
    from aiohttp import ClientOSError, ServerDisconnectedError
    from botocore.exceptions import EndpointConnectionError

    for error in (
        EndpointConnectionError(endpoint_url="x"),
        ClientOSError(1, "x"),
        ServerDisconnectedError(),
        ConnectionResetError(),
        TimeoutError(),
    ):
        assert is_away(error)


def test_what_google_and_azure_answer() -> None:
    pytest.importorskip("gcsfs")
    pytest.importorskip("adlfs")
    from azure.core.exceptions import HttpResponseError, ServiceRequestError
    from gcsfs.retry import HttpError

    assert is_away(HttpError({"code": 503, "message": "x"})) and is_away(HttpError({"code": 401, "message": "x"}))
    assert not is_away(HttpError({"code": 404, "message": "x"}))
    assert is_away(ServiceRequestError("x"))
    gone = HttpResponseError("x")
    gone.status_code = 416
    assert not is_away(gone)


def test_a_file_of_this_machine_is_at_fault_itself() -> None:
    for error in (FileNotFoundError("x"), PermissionError("x"), OSError(errno.EINVAL, "x"), ValueError("x"), EOFError("x")):
        assert not is_away(error)


def test_protocols() -> None:
    assert [protocol_of(u) for u in ("s3://a/b", "simplecache::gs://a", "/a/b", "a.csv")] == ["s3", "gs", "", ""]
    assert is_url("zip://a::s3://b") and not is_url("./a")
