"""Detection of ranks that hang, die or fail: the missing ranks and the operation are named, and the job ends.

Every rank has a watchdog thread that sleeps until something happens: nothing wakes it during a case that stays within
its time limit. The threads communicate over their own sockets, a star around rank 0, so that a library that may be
stuck is not involved. When a case exceeds its limit, rank 0's thread (`hub`) asks the others (`spoke`) where they are;
ranks that do not answer, or are not in the call in which the others wait, are named. A rank whose connection ends
without a goodbye has died. Either way the case is journaled and all ranks are ended; those that do not react are
killed by a rank on their host. If rank 0 itself is lost, the lowest surviving rank takes over.

The classes here are what the main thread calls.
"""

import json
import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path

from ..cases.case import Case
from ..errors import write_error
from ..interfaces import Communicator, Phase
from ..ranks.processes import process_table
from ..records.journal import Journal
from ..records.record import Record, Status
from .ending import StartGuard
from .hub import ANSWER_S, GATHER_S, Hub
from .peers import addresses, broadcast_bytes, connect
from .progress import Progress
from .spoke import Spoke

__all__ = ["NullWatchdog", "Watchdog"]

_LATE_FACTOR = 3.0      # a case is not hung before it takes this many times as long as expected


class NullWatchdog:
    """Null watchdog for the in-process loopback transport."""

    def expect(self, case_s: float) -> None:
        """Before `join`: a case is expected to take up to this many seconds. Gives every case more time if need be."""

    def join(self, world: Communicator, one_host: bool, address: str | None) -> None:
        """Connect the watchdogs of all ranks, which have met. Collective."""

    def attach(self, journal: Journal, run: str, record: Callable[[Case, Status, str], Record]) -> None:
        """On rank 0 only: where a case that has to be ended is journaled, and what makes a record of it."""

    def enter_case(self, case: Case | None, number: int = 0) -> None:
        """A case begins, or with None the time between two cases."""

    def enter_phase(self, phase: Phase) -> None:
        """A phase begins; it lasts until the next one."""

    def end_job(self, status: int) -> None:
        """End the job for a reason that the main thread has reported itself."""

    def report_failure(self, error: str) -> None:
        """The main thread cannot go on. Does not return if the watchdog can end the job."""

    def leave(self) -> None:
        """The rank has finished and the transport is closed."""


class Watchdog(NullWatchdog):
    """The watchdog of one rank.

    Args:
        limit_s: time limit for each case, and for the time between two cases.
        guard: watches this rank until the ranks have met and their watchdogs are connected.
    """

    def __init__(self, rank: int, size: int, limit_s: float, journal_path: Path, guard: StartGuard) -> None:
        self.rank, self.size, self.limit_s, self.path, self._guard = rank, size, limit_s, journal_path, guard
        self._progress = Progress()
        self._hub: Hub | None = None
        self._spoke: Spoke | None = None

    @property
    def _thread(self) -> Hub | Spoke | None:
        """This rank's thread; None before `join`, for a single rank, or if rank 0 could not be reached."""
        return self._hub or self._spoke

    def expect(self, case_s: float) -> None:
        self.limit_s = max(self.limit_s, _LATE_FACTOR * case_s)

    def join(self, world: Communicator, one_host: bool, address: str | None) -> None:
        if self.size > 1 and self._thread is None:
            if self.rank == 0:
                self._open_hub(world, one_host, address)
            else:
                self._open_spoke(world)
        self._guard.disarm()

    def _open_hub(self, world: Communicator, one_host: bool, address: str | None) -> None:
        """Listen, and tell all ranks where, with a token that authenticates them. Collective with `_open_spoke`."""
        listener = socket.create_server(("127.0.0.1" if one_host else "", 0), backlog=self.size)
        hosts = ["127.0.0.1"] if one_host else addresses(address)
        token, port = secrets.token_hex(16), listener.getsockname()[1]
        broadcast_bytes(world, json.dumps([hosts, port, token]).encode())
        if not one_host:
            write_error(f"collbench: ranks on other hosts reach rank 0's watchdog at port {port} of {hosts[0]}")
        self._hub = Hub(self.size, self.limit_s, self._progress)
        self._hub.start(listener, token)

    def _open_spoke(self, world: Communicator) -> None:
        hosts, port, token = json.loads(broadcast_bytes(world, b""))
        hub = connect(hosts, port)
        if hub is None:
            write_error(f"collbench: rank {self.rank} cannot reach port {port} of {', '.join(hosts)}: "
                        "it measures without a watchdog")
            return
        hub.send(hello=self.rank, token=token, pid=os.getpid(), host=socket.gethostname(), boot=process_table())
        self._spoke = Spoke(self.rank, self.limit_s, self.path, self._progress, hub)
        self._spoke.start()

    def attach(self, journal: Journal, run: str, record: Callable[[Case, Status, str], Record]) -> None:
        if self._hub:
            self._hub.attach(journal, run, record)

    def enter_case(self, case: Case | None, number: int = 0) -> None:
        self._progress.enter_case(case, number)

    def enter_phase(self, phase: Phase) -> None:
        self._progress.phase = phase
        self._guard.renew()

    def end_job(self, status: int) -> None:
        self._progress.leaving = True
        if self._thread:
            self._thread.end_job(status)

    def report_failure(self, error: str) -> None:
        if self._thread:
            self._thread.report_failure(error)
            time.sleep(ANSWER_S + 2 * GATHER_S)      # by then the watchdog has ended this process

    def leave(self) -> None:
        self._progress.leave()
        if self._thread:
            self._thread.leave()
