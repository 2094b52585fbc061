"""How record batches cross a worker's border: Arrow IPC; else Beam would pickle them, and encode them only to weigh them."""

import io

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders import Coder


class ArrowCoder(Coder):
    """A `pa.RecordBatch` as an Arrow IPC stream."""

    def encode(self, value: pa.RecordBatch) -> bytes:
        """The IPC stream of one batch."""
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write_batch(value)
        return sink.getvalue()

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        """The batch of an IPC stream."""
        return pa.ipc.open_stream(encoded).read_next_batch()

    def estimate_size(self, value: pa.RecordBatch) -> int:
        """Its bytes, without encoding it."""
        return int(value.nbytes)

    def is_deterministic(self) -> bool:
        """Never used as a key."""
        return False

    def to_type_hint(self) -> type:
        """The type it is for."""
        arrow: type = pa.RecordBatch
        return arrow


beam.coders.registry.register_coder(pa.RecordBatch, ArrowCoder)
