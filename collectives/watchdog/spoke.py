"""The watchdog thread of every rank but 0: it answers rank 0, and takes over if rank 0 hangs or dies."""

import threading
import time
from pathlib import Path

from ..errors import CollbenchError, write_error
from ..ranks.processes import end_process, kill, stopped_siblings
from ..records.journal import Journal
from ..records.record import FAULT_NOTE, Record
from .ending import FAULT, PATIENCE_S
from .hub import ANSWER_S
from .peers import Peer
from .progress import Progress

__all__ = ["Spoke"]


class Spoke:
    """The watchdog of a rank other than 0."""

    def __init__(self, rank: int, limit_s: float, journal_path: Path, progress: Progress, hub: Peer) -> None:
        self.rank, self.limit_s, self.path, self.progress, self._hub = rank, limit_s, journal_path, progress, hub

    # The main thread calls these.

    def start(self) -> None:
        """Begin to watch rank 0."""
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()

    def end_job(self, status: int) -> None:
        """Ask rank 0's watchdog to end all ranks with this status."""
        self._hub.send(end=status, kill=[])

    def report_failure(self, error: str) -> None:
        """This rank cannot go on."""
        self._hub.send(failing=error)

    def leave(self) -> None:
        """Say goodbye: the end of this connection is not a death."""
        self._hub.send(bye=True)

    # The watchdog thread calls these.

    def _watch(self) -> None:
        """Answer rank 0; take over when it dies, or is silent for longer than any case may take."""
        pinged = False
        while True:
            self._hub.socket.settimeout(ANSWER_S if pinged else self.limit_s + PATIENCE_S)
            try:
                messages = self._hub.receive()
            except TimeoutError:
                if pinged:
                    return self._take_over("does not answer")
                pinged = True
                self._hub.send(ping=True)
                continue
            pinged = False
            if not messages:
                return None if self.progress.leaving else self._take_over("died")
            for message in messages:
                if "end" in message:
                    kill(message["kill"])
                    end_process(int(message["end"]))
                self.progress.run = message.get("run", self.progress.run)
                if "report" in message:
                    self._hub.send(**self.progress.position()._asdict())

    def _take_over(self, what: str) -> None:
        """The lowest surviving rank takes over; it terminates the others before they report.

        Ranks that are in the case wait less than those that are not, since they know what it is.
        """
        time.sleep(min(PATIENCE_S, 0.5 * (self.rank - 1)) + (self.progress.case is None))
        kill(stopped_siblings())
        case, kept = self.progress.case, "everything measured is in the journal"
        if self.progress.run and not self.path.exists():
            kept = f"there is no {self.path} on this host"
        elif case and self.progress.run:
            record = Record(run=self.progress.run, case=case, status="timeout" if what != "died" else "failed",
                            reason=f"rank 0 {what}, reported by rank {self.rank}", notes=(FAULT_NOTE,),
                            asked_bytes=case.bytes)
            try:
                time.sleep(0.1)
                with Journal(self.path) as journal:
                    journal.append(record)
                kept = f"the case is in the journal as {record.status}, everything before it is safe"
            except CollbenchError as error:
                kept = str(error)
        write_error(f"collbench: {case.label() if case else 'between two cases'}: rank 0 {what} (reported by rank "
                    f"{self.rank}): the job ends; {kept}")
        end_process(FAULT)
