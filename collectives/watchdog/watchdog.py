"""A hang names the missing ranks and the operation, and ends the job; so do ranks that died.

Every rank has a thread that sleeps until something happens: nothing wakes it while a case is measured in time. They
speak over sockets of their own, a star around rank 0, so that no library that may be stuck takes part. When a case is
over its limit, rank 0's thread asks the others where they are; who does not answer within `_ANSWER_S`, or is not in the
call that the others wait in, is named. A rank whose connection ends without a farewell has died. Either way the case is
journaled, every rank is ended, and those that no longer listen are killed by a rank on their host.

Where rank 0 is the one that is gone, the lowest rank that lives does all this in its place.
"""

import faulthandler
import json
import os
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ..cases.case import Case
from ..errors import CollbenchError, FaultError, printable
from ..interfaces import Communicator
from ..ranks.processes import end_process, kill, process_state, process_table, stopped_siblings
from ..records.journal import Journal
from ..records.record import FAULT_NOTE, Record
from ..text import name_ranks
from .peers import Peer, addresses, connect, spread
from .phases import not_there, show_stacks, where

__all__ = ["FAULT", "UNWATCHED", "Unwatched", "Watchdog", "describe_error", "guard_start"]

FAULT = FaultError.exit_status
_ANSWER_S = 2.0
_GATHER_S = 0.3         # how long to wait for others to say what else went wrong, once something did
_PATIENCE_S = 3.0       # by which every other rank waits longer than rank 0
_JOIN_S = 20.0
_SHOWN = 8


def guard_start(limit_s: float, rank: int) -> Callable[[], None]:
    """End this rank unless the returned function is called in time: before ranks have met, each is on its own."""
    met = threading.Event()

    def guard() -> None:
        if not met.wait(limit_s):
            _write(f"collbench: rank {rank} (pid {os.getpid()}): the job did not start within {limit_s:.0f} s; "
                   f"this rank was in: {where()[1]}")
            kill(stopped_siblings())
            end_process(FAULT)
    threading.Thread(target=guard, daemon=True, name="start guard").start()
    faulthandler.dump_traceback_later(limit_s + _PATIENCE_S, exit=True)     # a library that holds the interpreter

    def over() -> None:
        met.set()
        faulthandler.cancel_dump_traceback_later()
    return over


def describe_error(error: BaseException) -> str:
    """Its kind and the first line of what it says."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


class Unwatched:
    """Takes no notice: for ranks that are threads of one process."""

    def join(self, world: Communicator, one_host: bool, address: str | None) -> None:
        """The ranks have met and can tell each other where to connect. Collective."""

    def attach(self, journal: Journal, run: str, record: Callable[[Case, str, str], Record]) -> None:
        """Rank 0 alone: where a case that had to be ended is kept, and what makes a record of it."""

    def enter(self, case: Case | None, number: int = 0) -> None:
        """The main thread begins a case, or is between cases."""

    def dismiss(self, status: int) -> None:
        """The main thread ends the job for a reason that it has said itself."""

    def judge(self, error: str) -> None:
        """The main thread cannot go on: does not return where the watchdog knows why, or can tell the others."""

    def leave(self) -> None:
        """All went well, and the transport is closed."""


UNWATCHED = Unwatched()


class Watchdog(Unwatched):
    """One rank's. `limit_s` is what a case may take, and everything between two cases too.

    `started` is called once the ranks have met, and their watchdogs watch each other.
    """

    def __init__(self, rank: int, size: int, limit_s: float, journal_path: Path, started: Callable[[], None]) -> None:
        self.rank, self.size, self.limit_s, self.path, self._started = rank, size, limit_s, journal_path, started
        self._case: Case | None = None
        self._number = 0
        self._since = time.monotonic()
        self._journal: Journal | None = None
        self._record: Callable[[Case, str, str], Record] | None = None
        self._run = ""
        self._thread: threading.Thread | None = None
        self._peers: dict[int, Peer] = {}
        self._hub: Peer | None = None
        self._failures: dict[int, str] = {}
        self._leaving = False
        self._wake, self._woken = socket.socketpair()

    # -- called by the main thread

    def join(self, world: Communicator, one_host: bool, address: str | None) -> None:
        if self.size > 1 and not self._thread:
            self._connect_all(world, one_host, address)
        self._started()

    def _connect_all(self, world: Communicator, one_host: bool, address: str | None) -> None:
        """Rank 0 listens and tells everybody where, with a token that all must know; the others connect. Collective."""
        if self.rank == 0:
            listener = socket.create_server(("127.0.0.1" if one_host else "", 0), backlog=self.size)
            hosts = ["127.0.0.1"] if one_host else addresses(address)
            token, port = secrets.token_hex(16), listener.getsockname()[1]
            spread(world, json.dumps([hosts, port, token]).encode())
            if not one_host:
                _write(f"collbench: ranks on other hosts reach rank 0's watchdog at port {port} of {hosts[0]}")
            self._greet(listener, token)
        else:
            hosts, port, token = json.loads(spread(world, b""))
            self._hub = connect(hosts, port)
            if self._hub is None:
                _write(f"collbench: rank {self.rank} does not reach port {port} of {', '.join(hosts)}: "
                       "it measures unwatched")
                return
            self._hub.send(hello=self.rank, token=token, pid=os.getpid(), host=socket.gethostname(),
                           boot=process_table())
        target = self._watch_all if self.rank == 0 else self._watch_hub
        self._thread = threading.Thread(target=target, daemon=True, name="watchdog")
        self._thread.start()

    def attach(self, journal: Journal, run: str, record: Callable[[Case, str, str], Record]) -> None:
        self._journal, self._record, self._run = journal, record, run
        for peer in self._peers.values():
            peer.send(run=run)

    def enter(self, case: Case | None, number: int = 0) -> None:
        self._case, self._number, self._since = case, number or self._number, time.monotonic()

    def dismiss(self, status: int) -> None:
        self._leaving = True
        for peer in [*self._peers.values(), *filter(None, [self._hub])]:
            peer.send(end=status, kill=[])

    def judge(self, error: str) -> None:
        if self._thread is None:
            return
        if self.rank == 0:
            self._failures[0] = error
            self._wake.send(b"!")
        elif self._hub:
            self._hub.send(failing=error)
        time.sleep(_ANSWER_S + 2 * _GATHER_S)

    def leave(self) -> None:
        if self._thread is None:
            return
        self._since = time.monotonic()
        self._leaving = True
        if self.rank == 0:
            self._wake.send(b"!")
            self._thread.join()
        else:
            self._hub.send(bye=True)

    # -- rank 0's thread

    def _greet(self, listener: socket.socket, token: str) -> None:
        """Let in every rank that knows the token; whoever else connects is shown out."""
        deadline = time.monotonic() + _JOIN_S
        with listener:
            while len(self._peers) < self.size - 1 and (left_s := deadline - time.monotonic()) > 0:
                listener.settimeout(left_s)
                try:
                    peer = Peer(listener.accept()[0])
                    peer.socket.settimeout(_ANSWER_S)
                    first = peer.receive()[0]
                except (OSError, ValueError, IndexError, KeyError):
                    continue
                known = secrets.compare_digest(str(first.get("token")), token)
                rank = first.get("hello")
                if not known or not isinstance(rank, int) or not 0 < rank < self.size or rank in self._peers:
                    peer.socket.close()
                    continue
                peer.who = first
                self._peers[rank] = peer
        if len(self._peers) < self.size - 1:
            absent = [rank for rank in range(1, self.size) if rank not in self._peers]
            _write(f"collbench: {name_ranks(absent)} did not reach the watchdog and are not watched")

    def _watch_all(self) -> None:
        """Sleep until a rank says something, goes, or the case is over its limit."""
        living, lost = dict(self._peers), set()
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ, 0)
            for rank, peer in living.items():
                selector.register(peer.socket, selectors.EVENT_READ, rank)
            settle_by = None
            while not self._leaving or living or lost:
                left_s = (settle_by or self._since + self.limit_s) - time.monotonic()
                if left_s > 0:
                    self._sleep(selector, left_s, living, lost)
                elif settle_by:
                    self._end_after_death(lost)
                else:
                    self._end_after_hang(living)
                if (lost or self._failures) and settle_by is None:
                    settle_by = time.monotonic() + _GATHER_S

    def _sleep(self, selector: selectors.BaseSelector, wait_s: float, living: dict[int, Peer],
               lost: set[int]) -> None:
        """Until a rank says something or goes, or the time is over; moves who is gone from `living` to `lost`."""
        for key, _ in selector.select(wait_s):
            rank = key.data
            if rank == 0:
                self._woken.recv(64)
            elif not self._hear(rank, living[rank]) or living[rank].left:
                selector.unregister(living[rank].socket)
                if not living.pop(rank).left:
                    lost.add(rank)

    def _hear(self, rank: int, peer: Peer) -> bool:
        """Act on what a rank said; False when it is gone."""
        messages = peer.receive()
        for message in messages:
            if "bye" in message:
                peer.left = True
            elif "end" in message:
                self._tell_all_to_end({rank}, int(message["end"]))
            elif "failing" in message:
                self._failures[rank] = str(message["failing"])
            elif "ping" in message:
                peer.send(pong=True)
            elif "where" in message:
                peer.said = message
        return bool(messages)

    def _end_after_death(self, lost: set[int]) -> None:
        if lost:
            names = ", ".join(self._name(rank) for rank in sorted(lost))
            self._conclude("failed", f"{names} died", lost)
        rank, error = min(self._failures.items(), key=lambda item: item[0] == 0)
        self._conclude("failed", f"{self._name(rank)} failed: {error}", {rank} - {0})

    def _end_after_hang(self, living: dict[int, Peer]) -> None:
        """Ask everybody where they are, and name who is not where the others wait."""
        case, number = self._case, self._number
        for peer in living.values():
            peer.said = None
            peer.send(tell=True)
        deadline = time.monotonic() + _ANSWER_S
        with selectors.DefaultSelector() as selector:
            for rank, peer in living.items():
                selector.register(peer.socket, selectors.EVENT_READ, rank)
            while any(peer.said is None for peer in living.values()) and (left_s := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left_s):
                    if not self._hear(key.data, living[key.data]):
                        selector.unregister(key.fileobj)
        phase, stack, calls = where()
        said = {0: {"where": phase, "stack": stack, "calls": calls, "number": number},
                **{rank: peer.said for rank, peer in living.items() if peer.said}}
        silent = {rank for rank, peer in living.items() if peer.said is None}
        missing = silent or not_there(said, range(case.ranks if case else self.size))
        names = ", ".join(self._name(rank) + self._state(rank) for rank in sorted(missing)[:_SHOWN])
        what = f"did not end within {self.limit_s:.0f} s ({said[0]['where']})"
        reason = f"{what}: {names} did not arrive" if missing else f"{what}: all ranks are in it"
        self._conclude("timeout", reason, silent, show_stacks(said))

    def _conclude(self, status: str, reason: str, bad: Iterable[int], details: Sequence[str] = ()) -> None:
        """Journal, say why, end everybody, and this process."""
        where = self._case.label() if self._case else "between two cases" if not self._leaving else "the end of the job"
        kept = self._keep(status, f"{reason}{''.join(f'; {line}' for line in details[:_SHOWN])}")
        _write("\n".join([f"collbench: {where}: {reason}: the job ends; {kept}", *(f"  {line}" for line in details)]))
        self._tell_all_to_end(set(bad), FAULT)

    def _keep(self, status: str, reason: str) -> str:
        if self._case is None or self._journal is None or self._record is None:
            return "everything measured is in the journal"
        try:
            self._journal.append_last(self._record(self._case, status, reason))
        except CollbenchError as error:
            return str(error)
        return f"the case is in the journal as {status}, everything before it is safe"

    def _tell_all_to_end(self, bad: set[int], status: int) -> None:
        pids: dict[str, list[int]] = {}
        for rank in bad & self._peers.keys():
            pids.setdefault(self._peers[rank].who["boot"], []).append(self._peers[rank].who["pid"])
        kill(pids.get(process_table(), []))
        for peer in self._peers.values():
            peer.send(end=status, kill=pids.get(peer.who["boot"], []))
        time.sleep(_GATHER_S)
        end_process(status)

    def _name(self, rank: int) -> str:
        who = self._peers[rank].who if rank in self._peers else {"pid": os.getpid(), "host": socket.gethostname()}
        return f"rank {rank} (pid {who['pid']} on {who['host']})"

    def _state(self, rank: int) -> str:
        if rank not in self._peers or self._peers[rank].who["boot"] != process_table():
            return ""
        return {"T": ", stopped by a signal,", "Z": ", dead,"}.get(process_state(self._peers[rank].who["pid"])[0], "")

    # -- every other rank's thread

    def _watch_hub(self) -> None:
        """Answer rank 0; take its place when it is gone, or silent for longer than any case may take."""
        hub, asked_s = self._hub, None
        while True:
            wait_s = _ANSWER_S if asked_s else self.limit_s + _PATIENCE_S
            hub.socket.settimeout(wait_s)
            try:
                messages = hub.receive()
            except TimeoutError:
                if asked_s:
                    return self._replace_hub("does not answer")
                asked_s = time.monotonic()
                hub.send(ping=True)
                continue
            asked_s = None
            if not messages:
                return None if self._leaving else self._replace_hub("died")
            for message in messages:
                if "end" in message:
                    kill(message["kill"])
                    end_process(int(message["end"]))
                self._run = message.get("run", self._run)
                if "tell" in message:
                    phase, stack, calls = where()
                    hub.send(where=phase, stack=stack, calls=calls, number=self._number)

    def _replace_hub(self, what: str) -> None:
        """The lowest rank that lives comes first; its end ends the others before they speak."""
        time.sleep(min(_PATIENCE_S, 0.5 * (self.rank - 1)) + (self._case is None))     # who is in the case knows it
        kill(stopped_siblings())
        case, kept = self._case, "everything measured is in the journal"
        if case and self._run and self.path.exists():
            record = Record(run=self._run, case=case, status="timeout" if what != "died" else "failed",
                            reason=f"rank 0 {what}, told by rank {self.rank}", notes=(FAULT_NOTE,),
                            asked_bytes=case.bytes)
            try:
                time.sleep(0.1)
                with Journal(self.path) as journal:
                    journal.append(record)
                kept = f"the case is in the journal as {record.status}, everything before it is safe"
            except CollbenchError as error:
                kept = str(error)
        _write(f"collbench: {case.label() if case else 'between two cases'}: rank 0 {what} (told by rank {self.rank}): "
               f"the job ends; {kept}")
        end_process(FAULT)


def _write(text: str) -> None:
    """Past every buffer: the main thread may hold the lock of one. Control characters of foreign text are shown."""
    with suppress(OSError):
        os.write(2, printable(text, keep="\n").encode(errors="backslashreplace") + b"\n")
