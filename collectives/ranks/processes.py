"""Processes of this host: find stopped ranks, end processes, and unlink the shared memory that they leave behind."""

import os
import signal
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

__all__ = ["STATUS_FILE", "end_process", "forget_shared_memory", "job_members", "kill", "leave_status", "process_state",
           "process_table", "stopped_siblings", "why_stopped"]

STATUS_FILE = "COLLBENCH_STATUS_FILE"       # variable: a file for the status of the first rank that says why it fails
_SHARED_MEMORY = Path("/dev/shm")


def process_table() -> str:
    """What makes process ids comparable: the booted kernel and the PID namespace, which containers may have."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def process_state(pid: int | str) -> tuple[str, int]:
    """State letter (see proc(5)) and parent of a process; empty and 0 if it is gone."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return "", 0
    return state, int(parent)


def job_members(group: int, variable: str = "") -> dict[int, str]:
    """State letters of the processes of a job that have not ended, by process id; empty if unknown.

    These are the members of a process group and, since launchers give ranks groups of their own, every process that
    was started with `variable` (`NAME=value`) in its environment.
    """
    found, mark = {}, os.fsencode(variable)
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            state, _, own = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if state not in "ZX" and (int(own) == group or (
                    mark and mark in (entry / "environ").read_bytes().split(b"\0"))):
                found[int(entry.name)] = state
    return found


def why_stopped(pid: int | str) -> str | None:
    """What holds a process of this host: `stopped by a signal`, or `held by a debugger (pid 7)`; None if nothing."""
    state = process_state(pid)[0]
    if state == "T":
        return "stopped by a signal"
    if state != "t":
        return None
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        tracer = next(line.split()[1] for line in lines if line.startswith("TracerPid:"))
        return f"held by a debugger (pid {tracer})"
    return "held by a debugger"


def stopped_siblings() -> list[int]:
    """Stopped or traced processes with the same parent and command line as this one: other ranks of its launcher."""
    own = Path("/proc/self/cmdline")
    if not own.exists():
        return []
    words, parent = own.read_bytes(), os.getppid()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and process_state(entry.name) in (("T", parent), ("t", parent)):
            with suppress(OSError):
                if (entry / "cmdline").read_bytes() == words:
                    found.append(int(entry.name))
    return found


def end_process(status: int) -> None:
    """End this process at once, whatever its threads are doing."""
    leave_status(status)
    forget_shared_memory()
    os._exit(status)


def leave_status(status: int) -> None:
    """Write a non-zero exit status to STATUS_FILE unless another rank has. The reason has been reported.

    torchrun itself always exits with 1; and where no rank has left a status, none had time to report anything.
    """
    path = os.environ.get(STATUS_FILE)
    if path and status:
        with suppress(OSError), open(path, "x") as file:
            file.write(str(status))


def kill(pids: Iterable[int]) -> None:
    """Kill processes; those that are gone, or belong to somebody else, are skipped."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def forget_shared_memory() -> None:
    """Unlink POSIX shared memory that a killed rank leaves behind; existing mappings stay valid.

    Libraries map the segments of their peers, so those of killed ranks are unlinked too. Files that are mapped
    read-only or private, such as a program stored there, are kept.
    """
    try:
        lines = Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        _, mode, _, _, _, *name = line.split(maxsplit=5)
        path = Path(name[0]) if name else Path()
        if mode == "rw-s" and path.parent == _SHARED_MEMORY:
            with suppress(OSError):
                if path.stat().st_uid == os.geteuid():
                    path.unlink()
