"""Which URIs may be opened, and what comes back."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

import pipelines.media
from pipelines.compose import MEDIA
from pipelines.media import fetch, fetch_media, is_allowed
from schemas.columns import KEY, ROW, SHARD, UUID
from schemas.errors import RowError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with photos; beside it what must never be opened."""
    for name, content in {"photos/a.png": b"a", "photos/2026/b c.png": b"b", "photos2/c.png": b"secret", "secret.txt": b"secret"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("uri", "prefix"),
    [
        ("/photos/a.png", "/photos"),
        ("/photos/a.png", "/photos/"),
        ("/photos/x/../a.png", "/photos"),
        ("file:///photos/a.png", "/photos"),
        ("/photos/a.png", "file:///photos"),
        ("s3://shop/photos/a.png", "s3://shop/photos/"),
        ("s3://shop/photos/a.png", "s3://shop"),
        ("https://host/photos/a%20b.png", "https://host/photos"),
        ("https://host/photos/a.png?size=2", "https://host/photos/"),
        ("https://host/photos/a.png", "https://host/photos/a.png"),
    ],
)
def test_allowed(uri: str, prefix: str) -> None:
    assert is_allowed(uri, ["gs://other", prefix])


@pytest.mark.parametrize(
    ("uri", "prefix"),
    [
        ("/photos2/a.png", "/photos"),
        ("/photos/../etc/passwd", "/photos"),
        ("file:///photos/../etc/passwd", "/photos"),
        ("file:///etc/passwd", "s3://shop"),
        ("/etc/passwd", "s3://shop/"),
        ("s3://shop2/photos/a.png", "s3://shop"),
        ("s3://shop/photos2/a.png", "s3://shop/photos"),
        ("s3://shop/photos/../secret", "s3://shop/photos"),
        ("gs://shop/photos/a.png", "s3://shop/photos"),
        ("http://host/photos/a.png", "https://host/photos"),
        ("https://host:8443/photos/a.png", "https://host/photos"),
        ("https://host.evil/photos/a.png", "https://host/photos"),
        ("https://user@host/photos/a.png", "https://host/photos"),
        ("https://host@evil/photos/a.png", "https://host/photos"),
        ("https://host/photos/%2e%2e/secret", "https://host/photos"),
        ("https://host/photos/%2E%2E%2Fsecret", "https://host/photos"),
        ("https://host/photos/%252e%252e/secret", "https://host/photos"),
        ("https://host/photos/.%2e/secret", "https://host/photos"),
        ("", "/photos"),
    ],
)
def test_not_allowed(uri: str, prefix: str) -> None:
    assert not is_allowed(uri, [prefix])


def test_nothing_is_allowed_without_prefixes() -> None:
    assert not is_allowed("/photos/a.png", [])


def test_link_cannot_lead_out(photos: Path) -> None:
    (photos / "out").symlink_to(photos.parent)
    (photos / "file.png").symlink_to(photos.parent / "secret.txt")
    assert not is_allowed(str(photos / "out/secret.txt"), [str(photos)])
    assert not is_allowed(str(photos / "file.png"), [str(photos)])


def test_link_that_stays_inside_is_allowed(photos: Path) -> None:
    (photos / "alias.png").symlink_to(photos / "a.png")
    assert fetch(str(photos / "alias.png"), [str(photos)], {}) == b"a"


def test_prefix_may_be_a_link(photos: Path) -> None:
    (photos.parent / "link").symlink_to(photos)
    assert fetch(str(photos / "a.png"), [str(photos.parent / "link")], {}) == b"a"


@pytest.mark.parametrize("form", ["{}/a.png", "file://{}/a.png", "{}/2026/../a.png"])
def test_fetch_gives_the_bytes(photos: Path, form: str) -> None:
    assert fetch(form.format(photos), [str(photos)], {}) == b"a"


def test_fetch_of_a_name_with_a_space(photos: Path) -> None:
    assert fetch(f"{photos}/2026/b c.png", [str(photos)], {}) == b"b"


@pytest.mark.parametrize(
    "form",
    [
        "{}/../secret.txt",
        "file://{}/../secret.txt",
        "file://{}/x?/../../secret.txt",
        "file://{}/x#/../../secret.txt",
        "{}2/c.png",
        "file://{}/%2e%2e/secret.txt",
        "simplecache::file://{}/a.png",
        "{}/a.png\0",
        "local://{}/../secret.txt",
    ],
)
def test_what_is_outside_is_never_opened(photos: Path, form: str) -> None:
    """Refused, or looked for inside; never the secret's bytes."""
    with pytest.raises(RowError) as caught:
        fetch(form.format(photos), [str(photos)], {})
    assert caught.value.code in ("uri_not_allowed", "uri_unreadable")


def test_home_of_a_user_is_outside(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` opens no home, also where the working folder is allowed."""
    monkeypatch.setenv("HOME", str(photos.parent))
    monkeypatch.chdir(photos)
    with pytest.raises(RowError):
        fetch("~/secret.txt", [os.getcwd()], {})


@pytest.mark.parametrize("name", ["none.png", "2026"])
def test_missing_file_and_folder_are_unreadable(photos: Path, name: str) -> None:
    with pytest.raises(RowError, match="cannot be read") as caught:
        fetch(str(photos / name), [str(photos)], {})
    assert caught.value.code == "uri_unreadable"


def test_unknown_scheme_is_unreadable() -> None:
    with pytest.raises(RowError) as caught:
        fetch("nosuch://x/a", ["nosuch://x"], {})
    assert caught.value.code == "uri_unreadable"


@pytest.mark.parametrize(("size", "fits"), [(1 << 20, True), ((1 << 20) + 1, False)])
def test_too_large(photos: Path, monkeypatch: pytest.MonkeyPatch, size: int, fits: bool) -> None:
    monkeypatch.setattr(pipelines.media, "MAX_BYTES", 1 << 20)
    (photos / "large").write_bytes(b"x" * size)
    if fits:
        assert len(fetch(str(photos / "large"), [str(photos)], {})) == size
    else:
        with pytest.raises(RowError, match="more than 1 MiB"):
            fetch(str(photos / "large"), [str(photos)], {})


def test_fetch_media_keeps_good_rows_and_rejects_the_others(photos: Path) -> None:
    uris = [str(photos / "a.png"), str(photos / "none.png"), None, str(photos.parent / "secret.txt")]
    batch = pa.RecordBatch.from_pydict(
        {KEY: list("abcd"), UUID: pa.array([bytes(16)] * 4, pa.binary(16)), SHARD: ["s"] * 4, ROW: [0, 1, 2, 3], "photo": pa.array(uris)}
    )
    with ThreadPoolExecutor(2) as pool:
        good, rejections = fetch_media(batch, {"photo": [str(photos)]}, {}, pool)
    assert list(zip(good.column(KEY).to_pylist(), good.column(MEDIA + "photo").to_pylist(), strict=True)) == [("a", b"a"), ("c", None)]
    assert [(r.key, r.row, r.stage, r.code) for r in rejections] == [
        ("b", 1, "fetch", "uri_unreadable"),
        ("d", 3, "fetch", "uri_not_allowed"),
    ]
    assert all(r.message.startswith("property 'photo': ") for r in rejections)
