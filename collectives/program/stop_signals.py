"""Signals that ask a running sweep to stop."""

import signal
import threading
from collections.abc import Callable

__all__ = ["StopRequest", "ignore_stop_signals"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequest:
    """On rank 0. First signal: stop after this case. Second: `abort` with the exit status for that signal."""

    def __init__(self, abort: Callable[[int], object]) -> None:
        self.received = False
        self._abort = abort

    @property
    def exit_status(self) -> int:
        """Status of a run that measured without failures: 0, or that of a stopped one."""
        return 128 + signal.SIGTERM if self.received else 0

    def listen(self) -> None:
        """Install the handlers; call from the main thread."""
        for number in _SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: object) -> None:
        if self.received:
            self._abort(128 + number)
        self.received = True


def ignore_stop_signals() -> None:
    """On all other ranks: rank 0 receives the signals too and ends the sweep for all ranks together."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
