"""Objects of a request that got no answer, sent so that the server indexes them whole.

A server that is killed in the middle of a request leaves objects that are stored and in no index. When it gets the same
object again it sees no change, and leaves the indexes as they are: no filter and no search ever finds it (seen with
Weaviate 1.38). An object whose vector is another one is indexed from the beginning, so these go out with a vector a
trifle apart, and then as they are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np


def apart(group: Sequence[Any]) -> list[Any]:
    """Copies of the messages; the last number of each vector is the next larger float32."""
    return [_apart(message) for message in group]


def _apart(message: Any) -> Any:
    copy = type(message).FromString(message.SerializeToString())
    if copy.vector_bytes:
        copy.vector_bytes = _nudged(copy.vector_bytes)
    for vector in copy.vectors:
        vector.vector_bytes = _nudged(vector.vector_bytes)
    return copy


def _nudged(data: bytes) -> bytes:
    last = np.frombuffer(data[-4:], "<f4")
    return data[:-4] + bytes(np.nextafter(last, np.float32(np.inf), dtype="<f4").tobytes())
