"""Beam's runner in this process, without the one thing in it that loses data."""

from typing import Any

NEVER_MS = 365 * 24 * 3600 * 1000


def local_runner() -> Any:
    """An FnApiRunner whose workers are threads of this process; `--direct_num_workers` says how many.

    Its workers (Beam 2.77) empty their output buffers once a second from a thread of their own, with no lock against the one
    that writes: what is written meanwhile is lost without a word. Buffers are also emptied by size and at a bundle's end,
    by the writing thread itself; that is enough, so the clock is set to never. 0 would mean the default.
    """
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from apache_beam.runners.worker import sdk_worker
    from apache_beam.transforms.environments import EmbeddedPythonGrpcEnvironment, python_sdk_capabilities

    sdk_worker.print = _print_nothing  # it prints the stack of what stopped a bundle; a run says that in one line
    return FnApiRunner(EmbeddedPythonGrpcEnvironment(data_buffer_time_limit_ms=NEVER_MS, capabilities=python_sdk_capabilities()))


def _print_nothing(*words: object, **how: object) -> None:
    """In the place of `print`."""
