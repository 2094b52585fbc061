"""Which timestamps and dates RFC 3339 can write, with its four digits for the year."""

import pyarrow as pa
import pyarrow.compute as pc

FIRST_DAY, END_DAY = -719_162, 2_932_897  # days since 1970 to 0001-01-01 and 10000-01-01
PER_DAY = {"day": 1, "s": 86_400, "ms": 86_400 * 10**3, "us": 86_400 * 10**6, "ns": 86_400 * 10**9}
LEAST, MOST = -(2**63), 2**63 - 1


def as_numbers(array: pa.Array) -> pa.Array:
    """Timestamps or dates as they are stored: int64 since 1970 in the type's unit, int32 days of a date32."""
    return array.cast(pa.int32() if array.type == pa.date32() else pa.int64())


def outside_years(array: pa.Array) -> pa.Array:
    """Where timestamps or dates are before the year 1 or after 9999 (bool, null for null); pyarrow cannot cast some of these."""
    unit = {pa.date32(): "day", pa.date64(): "ms"}.get(array.type) or array.type.unit
    first, last = (max(LEAST, min(MOST, bound)) for bound in (FIRST_DAY * PER_DAY[unit], END_DAY * PER_DAY[unit] - 1))
    numbers = as_numbers(array).cast(pa.int64())
    return pc.or_(pc.less(numbers, first), pc.greater(numbers, last))
