"""How a watchdog speaks and ends ranks, also when the main thread is stuck."""

import faulthandler
import os
import threading
import time
import traceback
from pathlib import Path

from ..errors import FaultError, show_traceback, write_error
from ..ranks.processes import end_process, kill, stopped_siblings
from .position import find_position

__all__ = ["FAULT", "PATIENCE_S", "StartGuard", "describe_error", "report_threads"]

FAULT = FaultError.exit_status
PATIENCE_S = 3.0        # by which all other ranks wait longer than rank 0


def describe_error(error: BaseException) -> str:
    """Type and first line of an exception."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def report_threads(rank: int) -> None:
    """An exception in a thread of this rank is one line on standard error; COLLBENCH_TRACEBACK shows all of it."""
    def report(failed: threading.ExceptHookArgs) -> None:
        error = failed.exc_value or failed.exc_type()
        last = traceback.extract_tb(failed.exc_traceback)[-1:]
        where = "".join(f" [{Path(frame.filename).name}:{frame.lineno}]" for frame in last)
        name = failed.thread.name if failed.thread else "unknown"
        write_error(f"collbench: rank {rank} (pid {os.getpid()}): in thread {name!r}: {describe_error(error)}{where}")
        show_traceback(error)
    threading.excepthook = report


class StartGuard:
    """Ends this rank if its start takes longer than `limit_s` seconds: until ranks have met, each is on its own."""

    def __init__(self, limit_s: float, rank: int) -> None:
        self._limit_s, self._rank = limit_s, rank
        self._met = threading.Event()
        self.renew()
        threading.Thread(target=self._watch, daemon=True, name="start guard").start()

    def renew(self) -> None:
        """A step of the start is complete; the next one has the whole time again."""
        if not self._met.is_set():
            self._deadline = time.monotonic() + self._limit_s
            # for a library that never frees the GIL
            faulthandler.dump_traceback_later(self._limit_s + PATIENCE_S, exit=True)

    def disarm(self) -> None:
        """The start is complete."""
        self._met.set()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        while (left_s := self._deadline - time.monotonic()) > 0:
            if self._met.wait(left_s):
                return
        write_error(f"collbench: rank {self._rank} (pid {os.getpid()}): the job did not start within "
                    f"{self._limit_s:.0f} s; this rank was in: {find_position(0, 'start-up').stack}")
        kill(stopped_siblings())
        end_process(FAULT)
