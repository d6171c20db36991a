"""The NCCL Inspector, a profiler plugin: a JSON object for each collective of each rank, with or without a header.

`coll_msg_size_bytes` is count times the size of the type, which is a rank's block in all-gather, reduce-scatter and
all-to-all (inspectorComputeOpBw in inspector.cc). One result stands for all calls of a communicator with the same
operation and size: the median over calls of the slowest rank, of those in the log; calls that some of them lack, which
happens when the plugin's buffers overflow, do not count.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median, quantiles

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import is_known, op_name
from collbench.collectives.records.record import Imported

from ..text.units import counted
from .shared.collector import ROOT, SLOWEST, UNSTATED, Collector, Origin
from .shared.json_text import documents
from .shared.log import Log
from .shared.printed_numbers import PrintedNumber, misfit, printed_number, whole

__all__ = ["TITLE", "read", "recognise"]

TITLE = "NCCL Inspector"

_MARK = re.compile(r"\"(?:coll|p2p)_exec_time_us\"\s*:")
_OBJECT = re.compile(r"\"(?:coll|p2p)_perf\"\s*:")
_ONE_SIDED = ("send", "recv")
_ENOUGH = 20        # calls from which a 95th percentile is given


@dataclass
class _Group:
    """Calls of one communicator with one operation and size; times in us by call, then by rank."""

    line: int
    op: str
    ranks: int
    nodes: int | None
    hosts: set[str] = field(default_factory=set)
    clocks: set[str] = field(default_factory=set)
    calls: dict[object, dict[int, PrintedNumber]] = field(default_factory=dict)
    rates: list[tuple[int, PrintedNumber, PrintedNumber]] = field(default_factory=list)


def recognise(text: str) -> bool:
    """Whether `text` has objects of this plugin."""
    return bool(_MARK.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add one result for each communicator, operation and size."""
    groups: dict[tuple[object, ...], _Group] = {}
    found, lines = 0, set[int]()
    for line, header, about, call, kind in _calls(log):
        found += 1
        lines.add(line)
        reason = _take(groups, line, header, about, call, kind)
        if reason:
            collector.warn(line, f"call skipped: {reason}")
    printed = len(_OBJECT.findall(log.text))
    collector.rows += printed
    if found < printed:
        first = next((line.number for line in log.lines if line.number not in lines and _OBJECT.search(line.text)),
                     None)
        collector.warn(first, f"{printed - found} of {printed} objects are incomplete: left out")
    runs: dict[object, str] = {}
    for (communicator, *_, size), group in groups.items():
        if communicator not in runs:
            runs[communicator] = collector.run(Origin(
                "nccl_inspector", library="NCCL, version not stated", device="cuda", ranks=group.ranks))
        _add(collector, runs[communicator], group, int(str(size)))


def _calls(log: Log) -> Iterator[tuple[int, dict, dict, dict, str]]:
    """Line, header, metadata and figures of every complete object, and whether they are of a `coll` or a `p2p`."""
    for line, document in documents(log.text):
        if not isinstance(document, dict):
            continue
        header, about = document.get("header", document), document.get("metadata", document)
        for kind in ("coll", "p2p"):
            call = document.get(f"{kind}_perf")
            if isinstance(header, dict) and isinstance(call, dict):
                yield line, header, about if isinstance(about, dict) else {}, call, kind


def _take(groups: dict[tuple[object, ...], _Group], line: int, header: dict, about: dict, call: dict,
          kind: str) -> str | None:
    """Sort a call into its group; the reason if it is not usable."""
    ranks, rank = whole(str(header.get("n_ranks"))), whole(str(header.get("rank")))
    size, time = whole(str(call.get(f"{kind}_msg_size_bytes"))), printed_number(str(call.get(f"{kind}_exec_time_us")))
    name = call.get(kind)
    if not ranks or ranks < 1 or rank is None or size is None or size < 0 or time is None or not isinstance(name, str):
        return "no number of ranks, rank, operation, size or time"
    if time.value <= 0:
        return "no time above zero"
    key = (str(header.get("id")), ranks, name, size)
    group = groups.setdefault(key, _Group(line, op_name(name), ranks, whole(str(header.get("nnodes")))))
    group.hosts.add(str(about.get("hostname", "")))
    group.clocks.add(str(call.get(f"{kind}_timing_source", "")))
    serial = call.get(f"{kind}_sn"), call.get("p2p_peer")
    group.calls.setdefault(tuple(map(str, serial)), {})[rank] = time
    if (rate := printed_number(str(call.get(f"{kind}_algobw_gbs")))) and rate.value > 0:
        group.rates.append((line, time, rate))
    return None


def _add(collector: Collector, run: str, group: _Group, size: int) -> None:
    """Add the median over calls."""
    operation = OPERATIONS[group.op] if is_known(group.op) else None
    if operation is None and group.op not in _ONE_SIDED:
        collector.warn(group.line, f"{group.op!r:.40} is not a collective of NCCL: kept, not analysed")
    total = size * group.ranks if operation and operation.in_blocks else size
    for line, time, rate in group.rates:
        words = misfit(total, PrintedNumber(time.value / 1e6, time.error / 1e6),
                       PrintedNumber(rate.value * 1e9, rate.error * 1e9), ranks=group.ranks)
        if words:
            collector.warn(line, f"the algorithm bandwidth is not size over time: {words}; recomputed from the time")
            break
    seen = {rank for times in group.calls.values() for rank in times}
    calls = [times for times in group.calls.values() if len(times) == len(seen)] or list(group.calls.values())
    slowest = [max(time.value for time in times.values()) / 1e6 for times in calls]
    kind = SLOWEST if len(seen) == group.ranks else ROOT if len(seen) == 1 else UNSTATED
    collector.add(Imported(
        run=run, op=group.op, ranks=group.ranks, message_bytes=total, native_size_bytes=size,
        redop=None, mode="isolated", time_s=median(slowest),
        statistic=f"median over calls of the slowest of {counted(len(seen), 'rank')} in the log",
        time_kind=kind, repeats=len(slowest),
        p50_s=median(slowest), p95_s=quantiles(slowest, n=20)[-1] if len(slowest) >= _ENOUGH else None,
        ranks_per_node=group.ranks // group.nodes if group.nodes and group.ranks % group.nodes == 0 else None,
        variant="timed on the host" if any("cpu" in clock for clock in group.clocks) else None,
        source=collector.source(group.line)))
