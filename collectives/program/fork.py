"""Start ranks on this host by fork, after one import of the library.

    python -m collbench.collectives.program.fork N OPTION...

Importing torch takes seconds of processor time and a hundred MiB; forked ranks share both. Their rendezvous is a
socket that is bound to loopback before the fork, so there is no port to guess and nothing is reachable from outside.
"""

import ctypes
import gc
import math
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from ..errors import UsageError, write_error
from ..ranks.processes import leave_status

__all__ = ["main", "start_ranks"]

_PR_SET_PDEATHSIG = 1
_GRACE_S = 2.0
_LOOK_S = 0.05
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def main(arguments: list[str]) -> int:
    """Run N copies of the rank program with the remaining arguments; the first non-zero status ends the others."""
    ranks, options = int(arguments[0]), arguments[1:]
    os.environ.update({name: value for name, value in _THREADS.items() if name not in os.environ})
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    from ..transports import torch_dist

    # Once for all ranks, which would build their options and import modules each for itself.
    from . import rank, sweep  # noqa: F401
    try:
        meeting = socket.create_server(("127.0.0.1", 0), backlog=max(128, 2 * ranks))
        with socket.create_connection(meeting.getsockname(), _GRACE_S), meeting.accept()[0]:
            pass        # an interface that is down may be bound to, but nobody gets there
    except OSError as error:
        write_error(f"collbench: ranks of this host cannot meet at 127.0.0.1: {error.strerror}; set up its loopback "
                    "interface: ip link set lo up")
        leave_status(UsageError.exit_status)
        return UsageError.exit_status
    with meeting:
        os.environ[torch_dist.LISTEN_FD] = str(meeting.fileno())
        if ranks >= torch_dist.MANY and sys.platform == "linux":
            os.environ[torch_dist.ADDRESSES_FD] = str(os.memfd_create("addresses"))
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = map(str, meeting.getsockname())
        return start_ranks(ranks, options)


def start_ranks(ranks: int, options: list[str]) -> int:
    """Fork the ranks and wait for them; returns the first non-zero status, or 0."""
    from ..watchdog.ending import FAULT
    gc.collect()
    gc.freeze()     # a collection in a rank would write to, and so copy, every page that has objects
    children = {_start_rank(rank, ranks, options): rank for rank in range(ranks)}
    received: list[int] = []

    def stop_all(number: int, frame: object) -> None:
        received.append(number)
        for pid in children:
            os.kill(pid, number)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_all)
    status = 0
    deadline = math.inf
    while children:
        ended = _wait(deadline)
        if ended is None:
            for pid, rank in children.items():
                write_error(f"collbench: rank {rank} (pid {pid}) was killed, but {_why_not_gone(pid)}: it is left")
            break
        pid, raw = ended
        if pid not in children:
            continue
        rank = children.pop(pid)
        own = os.waitstatus_to_exitcode(raw)
        if own and not status:
            status = own if own > 0 else 128 - own if received else FAULT
            if own < 0:
                write_error(f"collbench: rank {rank} (pid {pid}) died of {signal.Signals(-own).name}: the job ends")
                leave_status(status)
            _end(set(children))
            deadline = time.monotonic() + _GRACE_S
    return status


def _wait(deadline: float) -> tuple[int, int] | None:
    """The next child that ends and its raw status; None if there is none until the deadline.

    A process that was killed while a debugger held it is not reported to its parent before it is to the debugger.
    """
    if deadline == math.inf:
        return os.wait()
    while True:
        pid, raw = os.waitpid(-1, os.WNOHANG)
        if pid:
            return pid, raw
        if time.monotonic() > deadline:
            return None
        time.sleep(_LOOK_S)


def _why_not_gone(pid: int) -> str:
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        tracer = next(line.split()[1] for line in lines if line.startswith("TracerPid:"))
        if tracer != "0":
            return f"a debugger (pid {tracer}) holds it"
    return "it does not end"


def _start_rank(rank: int, ranks: int, options: list[str]) -> int:
    pid = os.fork()
    if pid:
        return pid
    _die_with_parent()
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(ranks))
    from .rank import main as rank_main
    sys.argv[1:] = options
    try:
        rank_main(options, prog_name="python -m collbench.rank")
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    os._exit(0)


def _die_with_parent() -> None:
    """On Linux the kernel kills this rank when the parent exits, for whatever reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(pids: set[int]) -> None:
    """End ranks that would wait forever for a dead one; rank 0 may finish a write that is in progress."""
    for number, wait_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, 0.0)):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline and any(map(_alive, pids)):
            time.sleep(_LOOK_S)


def _alive(pid: int) -> bool:
    """Whether a child still runs; does not reap it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
