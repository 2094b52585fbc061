"""Batches in flight on a GPU: pinned memory, copies that nobody waits for, and the next batch queued while one is copied back.

Two threads compute batches side by side, each in a stream of its own. So a GPU finds its next batch in the queue, and the
vectors of one batch come back while the next one is computed. On any other device the same code copies plainly.
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from encoders.base import Vectors
from encoders.batching import Pool

if TYPE_CHECKING:
    import torch

BATCHES = 2  # with more, a GPU only holds more memory: one is computed, one waits or is copied
_here = threading.local()


def in_flight(device: str) -> Pool:
    """The threads that keep `device` busy (torch's word, such as `cuda:1`), shared by the whole process."""
    return Pool(_pool(os.getpid(), device), BATCHES)  # a forked process has none of its parent's threads


@contextmanager
def own_stream(device: "torch.device") -> Iterator[None]:
    """While the block lasts, what this thread asks of a GPU does not wait for other threads."""
    import torch

    if device.type != "cuda":
        yield
        return
    streams: dict[str, torch.cuda.Stream] = _here.__dict__.setdefault("streams", {})
    if (name := str(device)) not in streams:
        streams[name] = torch.cuda.Stream(device)
        streams[name].wait_stream(torch.cuda.default_stream(device))  # there the model was loaded
    with torch.cuda.stream(streams[name]):
        yield


def to_device(tensor: "torch.Tensor", device: "torch.device") -> "torch.Tensor":
    """`tensor` on `device`; a GPU gets it when it comes to it, from memory that stays in place until then."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_host(tensor: "torch.Tensor") -> Vectors:
    """`tensor` as float32 here; the thread sleeps until the GPU has computed and copied it."""
    import torch

    found = tensor.float()
    if found.device.type != "cuda":
        return np.asarray(found.cpu().numpy(), np.float32)
    host = torch.empty(found.shape, dtype=torch.float32, pin_memory=True)
    host.copy_(found, non_blocking=True)
    done = torch.cuda.Event(blocking=True)
    done.record()
    done.synchronize()
    return np.asarray(host.numpy(), np.float32)


@cache
def _pool(process: int, device: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(BATCHES, thread_name_prefix=f"batch on {device}")
