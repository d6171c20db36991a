"""How a watchdog speaks and ends ranks, also when the main thread is stuck."""

import faulthandler
import os
import threading
from collections.abc import Callable
from contextlib import suppress

from ..errors import FaultError, printable
from ..ranks.processes import end_process, kill, stopped_siblings
from .position import find_position

__all__ = ["FAULT", "PATIENCE_S", "describe_error", "guard_start", "write_error"]

FAULT = FaultError.exit_status
PATIENCE_S = 3.0        # by which all other ranks wait longer than rank 0


def write_error(text: str) -> None:
    """Write to standard error, bypassing buffers whose lock the main thread may hold; escapes control characters."""
    with suppress(OSError):
        os.write(2, printable(text, keep="\n").encode(errors="backslashreplace") + b"\n")


def describe_error(error: BaseException) -> str:
    """Type and first line of an exception."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def guard_start(limit_s: float, rank: int) -> Callable[[], None]:
    """End this rank unless the returned function is called in time: until ranks have met, each is on its own."""
    met = threading.Event()

    def guard() -> None:
        if not met.wait(limit_s):
            write_error(f"collbench: rank {rank} (pid {os.getpid()}): the job did not start within {limit_s:.0f} s; "
                        f"this rank was in: {find_position(0, 'start-up').stack}")
            kill(stopped_siblings())
            end_process(FAULT)
    threading.Thread(target=guard, daemon=True, name="start guard").start()
    faulthandler.dump_traceback_later(limit_s + PATIENCE_S, exit=True)      # for a library that never frees the GIL

    def disarm() -> None:
        met.set()
        faulthandler.cancel_dump_traceback_later()
    return disarm
