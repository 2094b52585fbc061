"""A process for what may crash or hang: it is asked for one example after the other, and its end is a finding."""

import multiprocessing
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

LIMIT_S, START_S = 20, 180


class Child:
    """One process at a time, started when it is needed."""

    def __init__(self) -> None:
        self.process: Any = None
        self.pipe: Any = None

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function` gives there. Raises AssertionError if it raises, ends the process, or takes longer than LIMIT_S."""
        if self.process is None:
            self._start()
        return self._asked(LIMIT_S, function, *arguments)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other,), daemon=True)
        self.process.start()
        other.close()
        self._asked(START_S, ready)

    def _asked(self, limit_s: float, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            self.pipe.send((function, arguments))
            if not self.pipe.poll(limit_s):
                raise AssertionError(f"{function.__name__} hangs: no answer after {limit_s} s")
            good, answer = self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join(5)
            code = self.process.exitcode
            self.end()
            raise AssertionError(f"{function.__name__} ended the process with code {code}") from None
        except AssertionError:
            self.end()
            raise
        if not good:
            raise AssertionError(answer)
        return answer

    def end(self) -> None:
        """Kill the process, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process.close()
            self.pipe.close()
            self.process = None


child = Child()


def ready() -> None:
    """Load what examples need, so that no example is charged for it."""
    import tests.calm_imports  # noqa: F401  (first, before anything imports Beam)
    from tests.fuzz import accounts  # noqa: F401


def serve(pipe: Connection) -> None:
    """Answer until the other side is gone."""
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=ImportWarning)
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            function, arguments = pipe.recv()
            try:
                answer = True, function(*arguments)
            except BaseException:
                answer = False, traceback.format_exc()
            pipe.send(answer)
