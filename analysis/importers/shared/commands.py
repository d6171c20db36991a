"""The launcher command in a log: number of ranks, and their hosts."""

import re
from collections.abc import Iterable

from .log import LogLine

__all__ = ["is_command", "launched_ranks", "startup_hosts"]

_LAUNCHER = re.compile(r"(?:^|[\s/$>])(?:mpirun|mpiexec(?:\.hydra)?|srun|prterun|aprun|jsrun|flux run|torchrun)\s")
_COUNT = re.compile(r"\s(?:-n|-np|--np|--ntasks|--n)(?:\s+|=)(\d{1,7})\b")
_NODES = re.compile(r"\s(?:-N|--nodes|--nnodes)(?:\s+|=)(\d{1,6})\b")
_PER_NODE = re.compile(r"\s(?:--ntasks-per-node|--nproc[-_]per[-_]node|-ppn|-npernode|--ppn)(?:\s+|=)(\d{1,6})\b")
_SLOTS = re.compile(r"\s(?:-H|--host|-host|-hosts)(?:\s+|=)(\S+:\d\S*)")
_STARTUP = re.compile(r"MPI startup\(\):\s+(\d{1,7})\s+\d+\s+(\S+)\s")


def is_command(text: str) -> bool:
    """Whether a line shows the command of a launcher."""
    return bool(_LAUNCHER.search(text))


def launched_ranks(text: str) -> int | None:
    """Ranks that a launcher command starts: given, or nodes times ranks per node, or the slots of a host list."""
    if not is_command(text):
        return None
    if count := _COUNT.search(text):
        return int(count[1]) or None
    nodes, each = _NODES.search(text), _PER_NODE.search(text)
    if each and (nodes or "torchrun" in text):
        return (int(nodes[1]) if nodes else 1) * int(each[1]) or None
    if slots := _SLOTS.search(text):
        numbers = [host.rpartition(":")[2] for host in slots[1].split(",")]
        return sum(int(number) for number in numbers if number.isdigit() and len(number) < 7) or None
    return None


def startup_hosts(lines: Iterable[LogLine]) -> tuple[str, ...]:
    """Host of each rank from the table that Intel MPI prints at its start; empty if incomplete."""
    hosts = {int(found[1]): found[2] for line in lines if (found := _STARTUP.search(line.text))}
    return tuple(hosts[rank] for rank in range(len(hosts))) if sorted(hosts) == list(range(len(hosts))) else ()
