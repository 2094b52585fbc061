"""Motion: CSV and .npy in both presets, and what is refused."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.imagebind.motion import motion
from schemas.errors import RowError

HEADER = "gyro_x,gyro_y,gyro_z,accl_x,accl_y,accl_z\n"


def table(rows: int) -> np.ndarray:
    return np.arange(rows * 6, dtype=np.float32).reshape(rows, 6) / 8


def csv(values: np.ndarray, header: str = HEADER) -> bytes:
    return (header + "\n".join(",".join(f"{v!r}" for v in row) for row in values.tolist())).encode()


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def code(data: bytes, preset: str = "upstream") -> str:
    with pytest.raises(RowError) as raised:
        motion(data, preset)
    assert len(raised.value.reason) > 15
    return raised.value.code


@pytest.mark.parametrize("rows", [1, 6, 7, 1999, 2000, 2345])
def test_upstream_transposes(rows: int) -> None:
    expected = np.zeros((6, 2000), np.float32)
    expected[:, : min(rows, 2000)] = table(rows).T[:, :2000]
    for data in (
        csv(table(rows)),
        csv(table(rows), header=""),
        csv(table(rows)).replace(b"\n", b"\r\n") + b"\r\n",
        b"\xef\xbb\xbf" + csv(table(rows)),
    ):
        got = motion(data)
        assert got.dtype == np.float32
        assert np.array_equal(got, expected)
    assert np.array_equal(motion(npy(table(rows).T)), expected)
    if rows != 6:  # six by six has axes as rows in a .npy
        assert np.array_equal(motion(npy(table(rows))), expected)
        assert np.array_equal(motion(csv(table(rows).T, header="")), expected)


@pytest.mark.parametrize("rows", [1, 500, 2000, 2100])
def test_container_reshapes(rows: int) -> None:
    expected = np.zeros((6, 2000), np.float32)
    flat = table(rows).ravel()
    for axis in range(6):
        piece = flat[axis * rows : (axis + 1) * rows][:2000]
        expected[axis, : len(piece)] = piece
    assert np.array_equal(motion(csv(table(rows)), "container"), expected)


def test_the_container_always_drops_a_line() -> None:
    assert np.array_equal(motion(csv(table(5), header=""), "container"), motion(csv(table(5)[1:]), "container"))


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<i2", "<u4", "<f2"])
def test_npy_of_any_number(dtype: str) -> None:
    values = np.arange(60).reshape(10, 6).astype(dtype)
    assert np.array_equal(motion(npy(values))[:, :10], values.T.astype(np.float32))
    assert np.array_equal(motion(npy(np.asfortranarray(values)))[:, :10], values.T.astype(np.float32))


@pytest.mark.parametrize("preset", ["upstream", "container"])
def test_bad_tables_say_why(preset: str) -> None:
    assert code(b"", preset) == "imu_shape"
    assert code(HEADER.encode(), preset) == "imu_shape"
    assert code(csv(np.ones((10, 5))), preset) == "imu_shape"
    assert code(csv(np.ones((10, 7))), preset) == "imu_shape"
    assert code(csv(table(3)) + b"\n1,2,3,x,5,6", preset) == "imu_unreadable"
    assert code(csv(table(3)) + b"\n1,2,3,4", preset) == "imu_unreadable"
    assert code(csv(table(3)) + b"\n1,2,3,nan,5,6", preset) == "imu_unreadable"
    assert code(csv(table(3)) + b"\n1,2,3,1e300,5,6", preset) == "imu_unreadable"
    assert code(b"\xff\xfe\x00" * 10, preset) == "imu_unreadable"


def test_bad_npy_says_why() -> None:
    good = npy(table(10))
    assert code(good[:-1]) == "imu_unreadable"
    assert code(good[:20]) == "imu_unreadable"
    assert code(npy(np.ones((6, 10, 1)))) == "imu_shape"
    assert code(npy(np.ones(60))) == "imu_shape"
    assert code(npy(np.ones((6, 0)))) == "imu_shape"
    assert code(npy(np.ones((10, 4)))) == "imu_shape"
    assert code(npy(np.full((6, 4), np.inf))) == "imu_unreadable"
    assert code(npy(np.array([["a"] * 6]))) == "imu_unreadable"
    assert code(npy(np.array([[None] * 6], object))) == "imu_unreadable"  # a pickle: never loaded
    assert code(good.replace(b"(10, 6)", b"(10**9, 6)")) == "imu_unreadable"
    assert code(good.replace(b"(10, 6), }  ", b"(9999999, 6), }  ")) == "imu_unreadable"


@settings(max_examples=150, deadline=None)
@given(
    data=st.one_of(st.binary(max_size=300), st.text("0123456789.,-e\n nax", max_size=200).map(str.encode)),
    preset=st.sampled_from(["upstream", "container"]),
)
def test_random_bytes_give_an_array_or_a_reason(data: bytes, preset: str) -> None:
    try:
        assert motion(data, preset).shape == (6, 2000)
    except RowError as error:
        assert error.code in ("imu_unreadable", "imu_shape")


@settings(max_examples=100, deadline=None)
@given(places=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=6), cut=st.integers(0, 400))
def test_corrupted_npy_gives_an_array_or_a_reason(places: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(npy(table(10)))
    for at, value in places:
        data[at] = value
    try:
        assert motion(bytes(data[:cut] if cut % 3 == 0 else data)).shape == (6, 2000)
    except RowError as error:
        assert error.code in ("imu_unreadable", "imu_shape")
