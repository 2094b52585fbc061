"""Who may read: public containers and signatures of Azure, and a Google service account whose token endpoint is asked.

moto checks signatures and keys once it is told to. azurite speaks TLS here, since adlfs takes no other URL for an account by name. fake-gcs-server looks at no credentials, so
a small server stands before it as Google's does: it gives a token for a JWT that the account's key signed, and lets
nobody pass without that token.
"""

import datetime
import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pyarrow as pa
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from jobs.flink.cluster import ROOT
from pipelines.sources.parquet import ParquetSource
from schemas.errors import WorldError
from tests.cloud.conftest import AZURE_KEY, Store
from tests.cloud.emulators import NoTool, azure_server, s3_server
from tests.cloud.tap import Tap
from tests.cloud.test_jobs import FAKE, SIMPLE, there
from tests.cloud.test_reading import keys, parquet, rows
from tests.conftest import Load
from tests.loopback import Loopback, Reply, Request, loopback

pytestmark = pytest.mark.filterwarnings("ignore:Package google:FutureWarning")
ACCOUNT = "devstoreaccount1"  # the one that azurite has built in


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    (folder / "cert.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(_pem(key))
    return folder / "cert.pem", folder / "key.pem"


@dataclass
class Secure:
    """azurite behind TLS: `host:port/account`, and the certificate that clients are to trust."""

    host: str
    cert: Path

    def load(self, load: Load, container: str, options: dict[str, Any], **failures: Any) -> tuple[int, str]:
        """Exit code and words of a run from `container`, in a process of its own: clients read certificates as they start."""
        load.create(SIMPLE)
        options = {"account_name": ACCOUNT, "account_host": self.host} | options
        source = {"parquet": f"az://{container}/rows/*.parquet", "key": "key", "storage_options": options}
        job = load.job(source, FAKE, **({"failures": failures | {"storage_options": options}} if failures else {}))
        command = [sys.executable, "-m", "jobs.cli", "run", str(job)]
        env = {**os.environ, "SSL_CERT_FILE": str(self.cert), "PYTHONPATH": str(ROOT), "COLUMNS": "500"}
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """With a public container and a private one that have the same file."""
    from azure.storage.blob import BlobServiceClient

    folder = tmp_path_factory.mktemp("azure-tls")
    cert, key = certificate(folder)
    login = {"account_name": ACCOUNT, "account_key": AZURE_KEY}
    with pytest.MonkeyPatch.context() as env:
        env.setenv("SSL_CERT_FILE", str(cert))
        env.setenv("REQUESTS_CA_BUNDLE", str(cert))
        try:
            with azure_server(folder, (cert, key)) as host:
                with BlobServiceClient(f"https://{host}/{ACCOUNT}", credential=login) as service:
                    for name, access in (("open", "container"), ("closed", None)):
                        service.create_container(name, public_access=access).upload_blob("rows/1.parquet", parquet(rows(5)))
                yield Secure(f"{host}/{ACCOUNT}", cert)
        except NoTool as error:
            pytest.skip(str(error))


def test_a_public_container_is_read_without_credentials(azure: Secure, load: Load) -> None:
    code, said = azure.load(load, "open", {"anon": True})
    assert code == 0, said
    assert len(load.objects()) == 5


def test_a_private_container_is_refused_without_credentials(azure: Secure, load: Load) -> None:
    code, said = azure.load(load, "closed", {"anon": True})
    assert code in (2, 3) and "az://closed" in said and "Traceback" not in said, said


@pytest.fixture
def signature(monkeypatch: pytest.MonkeyPatch) -> str:
    """A shared access signature (SAS) in the environment, with the rights to list and to read; as the job names it."""
    from azure.storage.blob import generate_account_sas

    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    kinds: dict[str, Any] = {"resource_types": "sco", "permission": "rl", "expiry": until}
    monkeypatch.setenv("SHOP_SAS", generate_account_sas(ACCOUNT, AZURE_KEY, **kinds))
    return "${SHOP_SAS}"


def test_a_signature_reads(azure: Secure, load: Load, signature: str) -> None:
    code, said = azure.load(load, "closed", {"sas_token": signature})
    assert code == 0 and os.environ["SHOP_SAS"] not in said, said
    assert len(load.objects()) == 5


def test_a_signature_that_may_not_write_is_no_fault_of_rows(azure: Secure, load: Load, signature: str) -> None:
    """Its failures cannot be written: the world is wrong, and the signature is told nowhere."""
    code, said = azure.load(load, "closed", {"sas_token": signature}, path="az://closed/failures")
    assert code == 3 and "failures" in said and "Traceback" not in said, said
    assert os.environ["SHOP_SAS"].split("sig=")[1][:20] not in said


@dataclass
class Google:
    """A service account as a file, and the server that knows it."""

    key_file: Path
    server: Loopback
    tokens: list[str]  # given out so far
    refused: list[str]  # why a request got none, or did not pass


def _service_account(folder: Path, token_uri: str, key: rsa.RSAPrivateKey) -> Path:
    account = {"type": "service_account", "project_id": "shop", "private_key_id": "k1", "private_key": _pem(key).decode()}
    account |= {"client_email": "loader@shop.iam.gserviceaccount.com", "client_id": "1", "token_uri": token_uri}
    (folder / "account.json").write_text(json.dumps(account))
    return folder / "account.json"


@pytest.fixture
def google(stores: Callable[[str], Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    """GOOGLE_APPLICATION_CREDENTIALS names a file; fake-gcs-server is behind a server that checks who asks."""
    import jwt

    key, store = rsa.generate_private_key(public_exponent=65537, key_size=2048), stores("gcs")
    tokens: list[str] = []
    refused: list[str] = []

    def token(request: Request) -> Reply:
        said = parse_qs(request.raw.decode())["assertion"][0]
        try:
            claims = jwt.decode(said, key.public_key(), algorithms=["RS256"], options={"verify_aud": False})
        except jwt.InvalidTokenError as error:
            refused.append(str(error))
            return Reply(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
        assert claims["iss"] == "loader@shop.iam.gserviceaccount.com" and "devstorage" in claims["scope"]
        tokens.append(f"token-{len(tokens)}")
        return Reply(200, {"access_token": tokens[-1], "expires_in": 3600, "token_type": "Bearer"})

    def answer(request: Request) -> Reply:
        if request.path == "/token":
            return token(request)
        if request.headers.get("authorization") not in [f"Bearer {t}" for t in tokens]:
            refused.append(request.path)
            return Reply(403, {"error": {"code": 403, "message": "Anonymous caller does not have storage.objects.get access"}})
        there = httpx.get(f"http://{store.tap.host}{request.path}", headers={k: v for k, v in request.headers.items() if k == "range"})
        return Reply(there.status_code, there.content, {"Content-Type": there.headers["content-type"]})

    with loopback(answer) as server:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(_service_account(tmp_path, f"{server.url}/token", key)))
        yield Google(tmp_path / "account.json", server, tokens, refused)


def test_a_service_account_of_the_environment_is_asked_for_a_token(google: Google, stores: Callable[[str], Store]) -> None:
    url = stores("gcs").put("signed/rows.parquet", parquet(rows(5)))
    assert len(keys(ParquetSource(url, {"endpoint_url": google.server.url}))) == 5
    assert google.tokens and not google.refused


@pytest.mark.slow  # gcsfs tries again for half a minute
def test_an_account_whose_key_is_not_the_right_one(google: Google, load: Load, stores: Callable[[str], Store], tmp_path: Path) -> None:
    """The token endpoint refuses the signature: the job is wrong, in one line; the key itself is told nowhere."""
    _service_account(tmp_path, f"{google.server.url}/token", rsa.generate_private_key(public_exponent=65537, key_size=2048))
    result = _run(load, stores("gcs"), {"endpoint_url": google.server.url})
    assert result.exit_code == 2 and "access is refused" in result.output, result.output
    assert google.refused and not google.tokens
    assert "PRIVATE KEY" not in result.output and "Traceback" not in result.output


def test_a_bucket_that_is_not_public_is_refused(google: Google, load: Load, stores: Callable[[str], Store]) -> None:
    """Google says 403 to who has no credentials."""
    result = _run(load, stores("gcs"), {"endpoint_url": google.server.url, "token": "anon"})
    assert result.exit_code == 2 and "access is refused" in result.output, result.output


def test_access_that_ends_in_the_middle_rejects_no_row(google: Google, stores: Callable[[str], Store]) -> None:
    """A file that was found and may no longer be read: the world is wrong, and not the file."""
    source = ParquetSource(stores("gcs").put("ended/rows.parquet", parquet(rows(5))), {"endpoint_url": google.server.url})
    (shard,) = source.shards()
    google.tokens.clear()
    with pytest.raises(WorldError, match="access is refused"):
        list(source.read(shard, ["key"]))


@pytest.fixture
def amazon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """moto with one user who may do all, a bucket, and nobody else; the user's key is in the environment."""
    import boto3

    with s3_server(tmp_path) as host, closing(Tap(host)) as tap:
        place = {"endpoint_url": f"http://{tap.host}", "region_name": "us-east-1"}
        nobody = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
        iam = boto3.client("iam", **place, **nobody)
        iam.create_user(UserName="loader")
        key = iam.create_access_key(UserName="loader")["AccessKey"]
        may = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        iam.put_user_policy(UserName="loader", PolicyName="all", PolicyDocument=json.dumps(may))
        boto3.client("s3", **place, **nobody).create_bucket(Bucket="shop")
        httpx.post(f"http://{tap.host}/moto-api/reset-auth", content=b"0").raise_for_status()  # from now on it looks
        own = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        own |= {"AWS_DEFAULT_REGION": "us-east-1"}
        for name, value in own.items():
            monkeypatch.setenv(name, value)
        yield Store("s3", "s3://shop", tap, {"endpoint_url": f"http://{tap.host}"}, {}, own)


def test_a_key_of_the_environment_is_checked_and_may_end_in_the_middle(amazon: Store) -> None:
    import boto3

    source = ParquetSource(amazon.put("rows/1.parquet", parquet(rows(5))), amazon.options)
    assert len(keys(source)) == 5
    (shard,) = source.shards()
    boto3.client("iam", **amazon.options).delete_access_key(UserName="loader", AccessKeyId=amazon.own["AWS_ACCESS_KEY_ID"])
    with pytest.raises(WorldError, match="access is refused"):
        list(source.read(shard, ["key"]))


def test_a_wrong_secret_is_the_jobs_fault(amazon: Store, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_SECRET", "not-the-secret")
    result = _run(load, amazon, amazon.options | {"key": amazon.own["AWS_ACCESS_KEY_ID"], "secret": "${SHOP_SECRET}"})
    assert result.exit_code == 2 and "access is refused" in result.output, result.output
    assert "not-the-secret" not in result.output and "Traceback" not in result.output


def _run(load: Load, store: Store, options: dict[str, Any]) -> Any:
    load.create(SIMPLE)
    place, job = there(load, store, {"parquet": "rows/*.parquet"})
    store.fs.pipe_file(f"{place}/rows/1.parquet", parquet(pa.table({"key": ["a"], "title": ["x"]})))
    spec = yaml.safe_load(job.read_text())
    spec["source"]["storage_options"] = options
    job.write_text(yaml.safe_dump(spec))
    return load.command("run", job)
