"""The watchdog thread of rank 0: it watches all other ranks and ends the job if one hangs, dies or fails."""

import os
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from ..cases.case import Case
from ..errors import CollbenchError, write_error
from ..ranks.processes import end_process, kill, process_state, process_table, why_stopped
from ..records.journal import Journal
from ..records.record import Record, Status
from ..text import name_ranks
from .ending import FAULT
from .peers import Peer
from .position import Position, missing_ranks, show_stacks
from .progress import Progress

__all__ = ["ANSWER_S", "GATHER_S", "Hub"]

ANSWER_S = 2.0          # for a rank to say where it is
GATHER_S = 0.3          # after a failure, for other ranks to report theirs
_JOIN_S = 20.0
_SHOWN = 8


class Hub:
    """Rank 0's watchdog: the centre of a star of connections."""

    def __init__(self, size: int, limit_s: float, progress: Progress) -> None:
        self.size, self.limit_s, self.progress = size, limit_s, progress
        self._journal: Journal | None = None
        self._record: Callable[[Case, Status, str], Record] | None = None
        self._peers: dict[int, Peer] = {}
        self._failures: dict[int, str] = {}
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")

    # The main thread calls these.

    def start(self, listener: socket.socket, token: str) -> None:
        """Accept the other ranks and begin to watch them."""
        self._accept(listener, token)
        self._thread.start()

    def attach(self, journal: Journal, run: str, record: Callable[[Case, Status, str], Record]) -> None:
        """Where a case that has to be ended is journaled, and what makes a record of it."""
        self._journal, self._record = journal, record
        for peer in self._peers.values():
            peer.send(run=run)

    def end_job(self, status: int) -> None:
        """Tell all ranks to exit with this status."""
        for peer in self._peers.values():
            peer.send(end=status, kill=[])

    def report_failure(self, error: str) -> None:
        """Rank 0 itself cannot go on."""
        self._failures[0] = error
        self._wake.send(b"!")

    def leave(self) -> None:
        """Wait until all ranks have left."""
        self._wake.send(b"!")
        self._thread.join()

    # The watchdog thread calls these.

    def _accept(self, listener: socket.socket, token: str) -> None:
        """Accept authenticated peers; close all other connections."""
        deadline = time.monotonic() + _JOIN_S
        with listener:
            while len(self._peers) < self.size - 1 and (left_s := deadline - time.monotonic()) > 0:
                listener.settimeout(left_s)
                try:
                    peer = Peer(listener.accept()[0])
                    peer.socket.settimeout(ANSWER_S)
                    hello = peer.receive()[0]
                except (OSError, ValueError, IndexError, KeyError):
                    continue
                known = secrets.compare_digest(str(hello.get("token")), token)
                rank = hello.get("hello")
                if not known or not isinstance(rank, int) or not 0 < rank < self.size or rank in self._peers:
                    peer.socket.close()
                    continue
                peer.identity = hello
                self._peers[rank] = peer
        if len(self._peers) < self.size - 1:
            absent = [rank for rank in range(1, self.size) if rank not in self._peers]
            write_error(f"collbench: {name_ranks(absent)} did not reach the watchdog and are not watched")

    def _watch(self) -> None:
        """Sleep until a rank sends a message or disconnects, or the case exceeds its time limit."""
        living, lost = dict(self._peers), set[int]()
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ, 0)
            for rank, peer in living.items():
                selector.register(peer.socket, selectors.EVENT_READ, rank)
            conclude_at = None
            while not self.progress.leaving or living or lost:
                left_s = (conclude_at or self.progress.since + self.limit_s) - time.monotonic()
                if left_s > 0:
                    self._sleep(selector, left_s, living, lost)
                elif conclude_at:
                    self._end_after_failure(lost)
                else:
                    self._end_after_hang(living)
                if (lost or self._failures) and conclude_at is None:
                    conclude_at = time.monotonic() + GATHER_S

    def _sleep(self, selector: selectors.BaseSelector, wait_s: float, living: dict[int, Peer],
               lost: set[int]) -> None:
        """Handle one batch of messages; moves ranks that died from `living` to `lost`."""
        for key, _ in selector.select(wait_s):
            rank = key.data
            if rank == 0:
                self._woken.recv(64)
            elif not self._handle(rank, living[rank]) or living[rank].left:
                selector.unregister(living[rank].socket)
                if not living.pop(rank).left:
                    lost.add(rank)

    def _handle(self, rank: int, peer: Peer) -> bool:
        """Act on the messages of a rank; False if it disconnected."""
        messages = peer.receive()
        for message in messages:
            if "bye" in message:
                peer.left = True
            elif "end" in message:
                self._end_all({rank}, int(message["end"]))
            elif "failing" in message:
                self._failures[rank] = str(message["failing"])
            elif "ping" in message:
                peer.send(pong=True)
            elif "phase" in message:
                peer.report = message
        return bool(messages)

    def _end_after_failure(self, lost: set[int]) -> None:
        if lost:
            names = ", ".join(self._name(rank) for rank in sorted(lost))
            self._conclude("failed", f"{names} died", lost)
        # If several ranks failed, rank 0 probably did because of another one.
        rank, error = min(self._failures.items(), key=lambda item: item[0] == 0)
        self._conclude("failed", f"{self._name(rank)} failed: {error}", {rank} - {0})

    def _end_after_hang(self, living: dict[int, Peer]) -> None:
        """Ask all ranks where they are, and name those that are not where the others wait."""
        case = self.progress.case
        self._ask_positions(living)
        own = self.progress.position()
        positions = {0: own, **{rank: Position(**peer.report) for rank, peer in living.items() if peer.report}}
        silent = {rank for rank, peer in living.items() if peer.report is None}
        held = {rank for rank in (0, *living) if self._state(rank)}     # by a debugger, only the main thread may be
        missing = silent | held or missing_ranks(positions, range(case.members if case else self.size))
        names = ", ".join(self._name(rank) + self._state(rank) for rank in sorted(missing)[:_SHOWN])
        what = f"did not end within {self.limit_s:.0f} s ({own.phase})"
        reason = f"{what}: {names} did not arrive" if missing else f"{what}: all ranks are in it"
        self._conclude("timeout", reason, silent | held - {0}, show_stacks(positions))

    def _ask_positions(self, living: dict[int, Peer]) -> None:
        """Fill in the report of every rank that answers in time."""
        for peer in living.values():
            peer.report = None
            peer.send(report=True)
        deadline = time.monotonic() + ANSWER_S
        with selectors.DefaultSelector() as selector:
            for rank, peer in living.items():
                selector.register(peer.socket, selectors.EVENT_READ, rank)
            while any(peer.report is None for peer in living.values()) and (left_s := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left_s):
                    if not self._handle(key.data, living[key.data]):
                        selector.unregister(key.fileobj)

    def _conclude(self, status: Status, reason: str, bad: Iterable[int], details: Sequence[str] = ()) -> None:
        """Journal the case, write the reason, end all ranks including this one."""
        case = self.progress.case
        where = case.label() if case else "between two cases" if not self.progress.leaving else "the end of the job"
        kept = self._keep(status, f"{reason}{''.join(f'; {line}' for line in details[:_SHOWN])}")
        write_error("\n".join([f"collbench: {where}: {reason}: the job ends; {kept}",
                               *(f"  {line}" for line in details)]))
        self._end_all(set(bad), FAULT)

    def _keep(self, status: Status, reason: str) -> str:
        if self.progress.case is None or self._journal is None or self._record is None:
            return "everything measured is in the journal"
        try:
            self._journal.append_last(self._record(self.progress.case, status, reason))
        except CollbenchError as error:
            return str(error)
        return f"the case is in the journal as {status}, everything before it is safe"

    def _end_all(self, bad: set[int], status: int) -> None:
        """End all ranks; those in `bad` may not react and are killed, each by a rank on its host."""
        pids: dict[str, list[int]] = {}
        for rank in bad & self._peers.keys():
            identity = self._peers[rank].identity
            pids.setdefault(identity["boot"], []).append(identity["pid"])
        kill(pids.get(process_table(), []))
        for peer in self._peers.values():
            peer.send(end=status, kill=pids.get(peer.identity["boot"], []))
        time.sleep(GATHER_S)
        end_process(status)

    def _name(self, rank: int) -> str:
        own = {"pid": os.getpid(), "host": socket.gethostname()}
        identity = self._peers[rank].identity if rank in self._peers else own
        return f"rank {rank} (pid {identity['pid']} on {identity['host']})"

    def _state(self, rank: int) -> str:
        """What holds a process of this host and explains why the rank is silent; else nothing."""
        if rank in self._peers and self._peers[rank].identity["boot"] != process_table():
            return ""
        pid = self._peers[rank].identity["pid"] if rank in self._peers else os.getpid()
        why = "dead" if process_state(pid)[0] == "Z" else why_stopped(pid)
        return f", {why}," if why else ""
