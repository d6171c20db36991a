"""Other ranks as processes of this host: which are stopped, and how to end them and this one."""

import os
import signal
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .shared_memory import forget_shared_memory

__all__ = ["STATUS_FILE", "end_process", "kill", "leave_status", "living_members", "process_state", "process_table",
           "stopped_siblings"]

STATUS_FILE = "COLLBENCH_STATUS_FILE"       # variable: where ranks leave their status for a starter that gets another


def process_table() -> str:
    """What numbers of processes mean: the booted kernel, and the namespace, since containers count on their own."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def process_state(pid: int | str) -> tuple[str, int]:
    """State and parent of a process, as Linux names them; empty and 0 where it is gone."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return "", 0
    return state, int(parent)


def living_members(group: int) -> list[int]:
    """Processes of a process group that have not ended; empty where the system does not tell."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            state, _, own = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(own) == group and state not in "ZX":
                found.append(int(entry.name))
    return found


def stopped_siblings() -> list[int]:
    """Ranks that this one's launcher started with the same words, and that are stopped."""
    own = Path("/proc/self/cmdline")
    if not own.exists():
        return []
    words, parent = own.read_bytes(), os.getppid()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and process_state(entry.name) == ("T", parent):
            with suppress(OSError):
                if (entry / "cmdline").read_bytes() == words:
                    found.append(int(entry.name))
    return found


def end_process(status: int) -> None:
    """This process, whatever its main thread is in."""
    leave_status(status)
    forget_shared_memory()
    os._exit(status)


def leave_status(status: int) -> None:
    """Say how this rank ends, where that is asked for and no other has said it before: torchrun ends with 1 for all."""
    path = os.environ.get(STATUS_FILE)
    if path and status:
        with suppress(OSError), open(path, "x") as file:
            file.write(str(status))


def kill(pids: Iterable[int]) -> None:
    """End them at once; who is gone already, or is not ours, is left alone."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
