"""Motion of an inertial measurement unit (IMU): a table of six axes in, the (6, 2000) array that the model takes out.

Columns or rows are, as in the only public examples, gyroscope x, y, z in rad/s, then acceleration x, y, z in m/s2.
"""

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import RowError

Array = npt.NDArray[np.float32]

AXES, SAMPLES = 6, 2000
MAX_BYTES = 64 << 20
NPY = b"\x93NUMPY"


def motion(data: bytes, preset: str = "upstream") -> Array:
    """The recording in `data`, its first 2000 samples, zeros behind a shorter one: (6, 2000) float32.

    upstream: a CSV with or without a header line, one sample a row (N, 6) or one axis a row (6, N), or a `.npy` of these
    shapes, turned so that row i is axis i. Of 6 x 6 values a CSV has samples as rows, a `.npy` axes.
    container: a CSV with one header line and six columns, and the (N, 6) table is reshaped, not transposed, to (6, N), as the
    Weaviate container does: it mixes the axes, but gives its vectors.
    Raises RowError `imu_unreadable` (no table, not numeric, NaN or infinite values, too large) or `imu_shape`.
    """
    if len(data) > MAX_BYTES:
        raise RowError("imu_unreadable", f"{len(data)} bytes; at most {MAX_BYTES} bytes of motion data are read")
    if preset == "container":
        table = _checked(_csv(data, header=True))
        if table.shape[1] != AXES:
            raise RowError("imu_shape", f"the table has the shape {table.shape}; expected {AXES} columns")
        return _fitted(table.reshape(AXES, -1))
    return _fitted(_axes_first(data))


def _axes_first(data: bytes) -> Array:
    is_npy = data.startswith(NPY)
    table = _checked(_npy(data) if is_npy else _csv(data, header=None))
    rows, columns = table.shape
    if rows == AXES and (is_npy or columns != AXES):
        return table
    if columns == AXES:
        return table.T
    raise RowError("imu_shape", f"the table has the shape {table.shape}; expected ({AXES}, n) or (n, {AXES})")


def _checked(table: npt.NDArray[Any]) -> Array:
    if table.ndim != 2 or not table.size:
        raise RowError("imu_shape", f"the table has the shape {table.shape}; expected (n, {AXES}) with at least one sample")
    with np.errstate(over="ignore"):
        values: Array = table.astype(np.float32)
    if not np.isfinite(values).all():
        bad = np.argwhere(~np.isfinite(values))[0].tolist()
        raise RowError(
            "imu_unreadable", f"the value at row {bad[0]}, column {bad[1]} is {table[tuple(bad)]}; expected finite float32 numbers"
        )
    return values


def _fitted(axes: Array) -> Array:
    fitted = np.zeros((AXES, SAMPLES), np.float32)
    kept = axes[:, :SAMPLES]
    fitted[:, : kept.shape[1]] = kept
    return fitted


def _csv(data: bytes, header: bool | None) -> npt.NDArray[np.float64]:
    """The numbers of a CSV; `header` None looks whether the first line is one."""
    try:
        lines = [line for line in data.decode("utf-8-sig").splitlines() if line.strip(" \t,")]
        skipped = int(not _numeric(lines[0]) if header is None else header) if lines else 0
        if len(lines) <= skipped:
            raise RowError("imu_shape", f"the CSV has {len(lines)} lines; expected a header and at least one sample")
        return np.loadtxt(lines[skipped:], np.float64, comments=None, delimiter=",", ndmin=2)
    except (ValueError, OverflowError) as error:
        raise RowError("imu_unreadable", f"{len(data)} bytes that start with {data[:16]!r} are no CSV of numbers: {error}") from error


def _numeric(line: str) -> bool:
    try:
        [float(cell) for cell in line.split(",")]
    except ValueError:
        return False
    return True


def _npy(data: bytes) -> npt.NDArray[Any]:
    """The array of a `.npy`; its header is checked against its size before anything is read, and objects are refused."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        count = int(np.prod([int(n) for n in shape], dtype=object))
        if dtype.kind not in "fiu" or count * dtype.itemsize != len(data) - stream.tell():
            raise ValueError(f"shape {shape} of {dtype} in {len(data) - stream.tell()} bytes; expected that many float or integer numbers")
        return np.frombuffer(data, dtype, count, stream.tell()).reshape(shape, order="F" if fortran else "C")
    except Exception as error:  # numpy's parser of the header raises nearly anything on broken bytes
        raise RowError("imu_unreadable", f"no readable .npy file: {type(error).__name__}: {error}") from error
