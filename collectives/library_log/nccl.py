"""NCCL and RCCL, which logs as NCCL does.

The formats are those of NVIDIA/nccl v2.18 to v2.30 and of ROCm/rccl up to ROCm 6.2: src/init.cc (communicators,
channels, versions, times), src/transport/{p2p,shm,net}.cc (pairs), src/graph/{rings,search}.cc (rings, kinds of
link), src/enqueue.cc, src/ce_coll.cc and src/scheduler/symmetric_sched.cc (algorithms), src/debug.cc (prefixes).
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .facts import Choice, LibraryFacts, sorted_pairs

__all__ = ["TITLE", "parse", "variables"]

TITLE = "NCCL and RCCL"

_LINE = re.compile(r"\[\d+\] (?:[^\[\]]{1,300} )?NCCL (INFO|WARN) (.*)")
_VERSION = re.compile(r"^(?:.* NCCL INFO )?([NR]CCL) version\s*:?\s*(\d+\.\d+(?:\.\d+)?)")
# Up to 2.20: "comm 0x.. rank 0 nranks 8 cudaDev 0 ..."; later with the name of the function before it.
_START = re.compile(r"comm 0x[0-9a-f]+ rank (\d+) nranks (\d+) cudaDev .* - Init (?:START|COMPLETE)$")
# Since 2.20.
_PLACE = re.compile(r"^comm 0x[0-9a-f]+ rank (\d+) nRanks (\d+) nNodes (\d+) localRanks (\d+) localRank \d+ "
                    r"MNNVL (\d+)$")
_CHANNELS = re.compile(r"^(\d+) coll channels, (?:\d+ collnet channels, )?(\d+) nvls channels, \d+ p2p channels")
_INIT = re.compile(r"^Init timings(?: - \w+)?: rank (\d+) nranks (\d+) total (\d+(?:\.\d+)?) ")
# NCCL names devices by number, RCCL by bus; RCCL ends with the size of the communicator.
_PAIR = re.compile(
    r"^Channel \d+(?:/\d+)? : (\d+)\[\w+\] -> (\d+)\[\w+\](?: \[(?:send|receive)\])? via "
    r"(P2P/(?:CUMEM|MNNVL|IPC|direct pointer|indirect/).*?|SHM/(?:direct|CE)(?:/(?:direct|CE))?"
    r"|NET/[^/]+/\d+(?:\(\d+\))?(?:/GDRDMA)?(?:\(PCI\))?(?:/Shared)?)(?: comm 0x[0-9a-f]+ nRanks (\d+))?$")
_RING = re.compile(r"^Channel \d+/\d+ ?:((?:\s+\d+)+)$")
_RING_GRAPH = re.compile(r"^Pattern 4, crossNic .*, type (\w+)/\w+, ")
# Up to 2.22 without the operation, up to 2.23 with numbers.
_CHOICE = re.compile(r"^(?:(\w+): )?(\d+) Bytes -> Algo (\w+) proto (\w+) (?:channel|time)")
_KERNEL = re.compile(r"^(\w+) \[(Symmetric|Copy Engine|Hierarchical CE)\]: (\d+) Bytes -> "
                     r"(?:Kernel (\w+) nchannels|cudaMemcpy|RMA proxy)")
_ALGORITHMS = ("TREE", "RING", "COLLNET_DIRECT", "COLLNET_CHAIN", "NVLS", "NVLS_TREE", "PAT")
_PROTOCOLS = ("LL", "LL128", "SIMPLE")
_OPS = {"AllGather": "all_gather", "AllReduce": "all_reduce", "AlltoAll": "all_to_all", "Broadcast": "broadcast",
        "Gather": "gather", "Reduce": "reduce", "ReduceScatter": "reduce_scatter", "Scatter": "scatter",
        "SendRecv": "send_recv"}
_MOST_WARNINGS, _LONGEST_WARNING = 8, 300


def variables(directory: Path) -> dict[str, str]:
    """Also of RCCL, which keeps the names; %h is the host, %p the process."""
    return {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,GRAPH,TUNING,ENV",
            "NCCL_DEBUG_FILE": f"{str(directory).replace('%', '%%')}/nccl.%h.%p.log"}


def parse(logs: Sequence[Iterable[str]]) -> LibraryFacts | None:
    """Facts of the largest communicator, that of all ranks."""
    read = [found for found in map(_Process, logs) if found.lines]
    if not read:
        return None
    ranks = max((size for found in read for size in found.by_size), default=None)
    own = [found.by_size[ranks] for found in read if ranks in found.by_size] if ranks is not None else []
    pairs: dict[tuple[int, int], str] = {}
    for part in own:
        for pair, transport in part.pairs.items():
            pairs[pair] = _slower(pairs.get(pair), transport)
    transports, listed = sorted_pairs(pairs)
    version = next((found.version for found in read if found.version), None)
    return LibraryFacts(
        library=version[0] if version else "NCCL", version=version[1] if version else None, logs=len(read),
        ranks=ranks, nodes=_first(own, "nodes"), local_ranks=_first(own, "local_ranks"),
        channels=_first(own, "channels"), nvls_channels=_first(own, "nvls_channels"),
        mnnvl=None if _first(own, "mnnvl") is None else any(part.mnnvl for part in own),
        link=_first(own, "link"), transports=transports, pairs=listed,
        rings=list(map(list, dict.fromkeys(ring for part in own for ring in part.rings if len(ring) == ranks))),
        choices=sorted({choice for part in own for choice in part.choices}, key=_order),
        init_s=_by_rank(ranks, own),
        warnings=list(dict.fromkeys(words for found in read for words in found.warnings))[:_MOST_WARNINGS])


class _Communicator:
    """What one rank reports of communicators of one size."""

    def __init__(self) -> None:
        self.rank: int | None = None
        self.nodes: int | None = None
        self.local_ranks: int | None = None
        self.mnnvl: bool | None = None
        self.channels: int | None = None
        self.nvls_channels: int | None = None
        self.link: str | None = None
        self.init_s: float | None = None
        self.pairs: dict[tuple[int, int], str] = {}
        self.rings: list[tuple[int, ...]] = []
        self.choices: set[Choice] = set()


class _Process:
    """The log of one process. A line that does not name its communicator is of the one made last.

    A process that makes a communicator for each pair of ranks beside that of all ranks reports their pairs by other
    numbers; they are kept apart by size.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = 0
        self.version: tuple[str, str] | None = None
        self.warnings: list[str] = []
        self.by_size: dict[int, _Communicator] = {}
        self._now = _Communicator()
        for line in lines:
            self._take(line.rstrip())

    def _take(self, line: str) -> None:
        if version := _VERSION.match(line):
            self.lines += 1
            self.version = (version[1], version[2])
            return
        match = _LINE.search(line)
        if match is None or " NCCL INFO " in match[2]:      # two lines in one
            return
        self.lines += 1
        if match[1] == "WARN":
            self.warnings.append(match[2][:_LONGEST_WARNING])
            return
        for pattern, take in _TAKE:
            if found := pattern.search(match[2]):
                take(self, found)
                return

    def _of(self, size: str) -> _Communicator:
        self._now = self.by_size.setdefault(int(size), _Communicator())
        return self._now

    def start(self, found: re.Match[str]) -> None:
        self._of(found[2]).rank = int(found[1])

    def place(self, found: re.Match[str]) -> None:
        at = self._of(found[2])
        at.rank, at.nodes, at.local_ranks = int(found[1]), int(found[3]), int(found[4])
        at.mnnvl = found[5] != "0"

    def channels(self, found: re.Match[str]) -> None:
        self._now.channels, self._now.nvls_channels = int(found[1]), int(found[2])

    def init(self, found: re.Match[str]) -> None:
        at = self._of(found[2])
        at.rank, at.init_s = int(found[1]), float(found[3])

    def pair(self, found: re.Match[str]) -> None:
        at = self._of(found[4]) if found[4] else self._now
        pair = (int(found[1]), int(found[2]))
        at.pairs[pair] = _slower(at.pairs.get(pair), _transport(found[3]))

    def ring(self, found: re.Match[str]) -> None:
        self._now.rings.append(tuple(map(int, found[1].split())))

    def graph(self, found: re.Match[str]) -> None:
        self._now.link = found[1]

    def choice(self, found: re.Match[str]) -> None:
        self._now.choices.add(Choice(op=_op(found[1]), bytes=int(found[2]), algorithm=_named(found[3], _ALGORITHMS),
                                     protocol=_named(found[4], _PROTOCOLS)))

    def kernel(self, found: re.Match[str]) -> None:
        self._now.choices.add(Choice(op=_op(found[1]), bytes=int(found[3]), algorithm=found[2].upper(),
                                     protocol=found[4]))


_TAKE = ((_PAIR, _Process.pair), (_START, _Process.start), (_PLACE, _Process.place), (_CHOICE, _Process.choice),
         (_CHANNELS, _Process.channels), (_INIT, _Process.init), (_RING, _Process.ring),
         (_RING_GRAPH, _Process.graph), (_KERNEL, _Process.kernel))


def _transport(told: str) -> str:
    """Without the number of the adapter, the proxy, the direction of the copy and who shares its buffers."""
    kind, *rest = told.split("/")
    if kind == "P2P":
        first = rest[0].partition(" ")[0]
        # RCCL prints both names in a row.
        return "P2P/MNNVL" if "MNNVL" in first else "P2P/CUMEM" if "CUMEM" in first else f"P2P/{first}"
    if kind == "SHM":
        return "SHM"
    direct = any(word.startswith("GDRDMA") for word in rest)
    return f"NET/{rest[0]}/GDRDMA" if direct else f"NET/{rest[0]}"


def _slower(one: str | None, other: str) -> str:
    return other if one is None else max(one, other, key=_slowness)


def _slowness(transport: str) -> tuple[int, str]:
    """Memory of the peer, memory of the host, an adapter that reaches the device, one that does not, sockets."""
    if not transport.startswith("NET/"):
        return (1 if transport == "SHM" else 0), transport
    return (2 if transport.endswith("/GDRDMA") else 4 if transport == "NET/Socket" else 3), transport


def _op(name: str | None) -> str:
    return "" if name is None else _OPS.get(name, name.lower())


def _named(told: str, names: tuple[str, ...]) -> str:
    return names[int(told)] if told.isdigit() and int(told) < len(names) else told.upper()


def _order(choice: Choice) -> tuple[str, int, str, str]:
    return choice.op, choice.bytes, choice.algorithm, choice.protocol or ""


def _first(parts: Sequence[_Communicator], name: str) -> Any:
    """The first rank's value that is known."""
    return next((value for part in parts if (value := getattr(part, name)) is not None), None)


def _by_rank(ranks: int | None, parts: Sequence[_Communicator]) -> list[float | None]:
    known = {part.rank: part.init_s for part in parts if part.init_s is not None}
    return [known.get(rank) for rank in range(ranks or 0)] if known else []
