"""OSU micro-benchmarks over MPI, CUDA, ROCm or NCCL, and OMB-Py, which has the same format.

Sizes are per rank or pair; MB is 10^6 bytes; each call of a collective is timed, and times are averaged over ranks
(c/util/osu_util_mpi.c). Bi-directional bandwidth is the sum of both directions. The message rate test prints the sum
over pairs: all messages over the mean time of the pairs, or (7.5) the sum of the rates of the pairs. The congestion
tests need hosts with equally many ranks, send between the ranks of the same place on each, and print the sum over the
ranks of the first host.
"""

import re
from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple, TypedDict

from collbench.collectives.cases.catalog import OPERATIONS, WINDOW
from collbench.collectives.cases.names import dtype_name, is_known, op_name, requested_op
from collbench.collectives.records.record import Imported

from .shared.collector import MEAN, SLOWEST, UNSTATED, Collector, Origin, joined
from .shared.commands import launched_ranks, startup_hosts
from .shared.log import Log
from .shared.osu_log import OsuRow, OsuTable, osu_tables
from .shared.printed_numbers import PrintedNumber, misfit

__all__ = ["TITLE", "read", "recognise"]

TITLE = "OSU micro-benchmarks"

_MARK = re.compile(r"(?:^|[#>:\s])(?:OSU|OMB Python|OMB-Py)\s+\S+\s.{0,80}\b(?:Test|Benchmark)\b", re.MULTILINE)
_WORDS = re.compile(r"\b(?:latency|personalized exchange)\b", re.IGNORECASE)
_PLAIN = MappingProxyType({
    "Latency": "ping_pong", "Multi Latency": "ping_pong", "Bandwidth": "bandwidth",
    "Bi-Directional Bandwidth": "bi_bandwidth", "Multiple Bandwidth / Message Rate": "message_rate",
    "Bandwidth Congestion In": "incast", "Bandwidth Congestion Out": "outcast"})
_FANS = ("incast", "outcast")
_TIMES = ("avg latency(us)", "latency (us)", "latency(us)", "pure comm.(us)", "avg lat(us)")
_FEW = 3
_LEAST_FAN = 2


class _Test(NamedTuple):
    """`at_once`: fans of `ranks` ranks each that were measured at the same time; a row is the sum over them."""

    op: str
    ranks: int
    variant: str | None
    notes: tuple[str, ...]
    at_once: int = 1

    @property
    def traffic(self) -> str | None:
        """As collbench names it."""
        return "even" if self.op == "all_to_all_v" else "fan" if self.op in _FANS else None

    def size(self, native: int) -> int:
        """The message size of collbench for the printed one."""
        if self.op in _FANS:
            return native * (self.ranks - 1)
        row = OPERATIONS.get(self.op)
        return native * self.ranks if row and (row.in_blocks or row.uneven) else native


class _Statistics(TypedDict):
    """Fields of `Imported` that describe the time, and the columns of -f and -z."""

    statistic: str
    time_kind: str
    repeats: int | None
    rank_min_s: float | None
    rank_mean_s: float | None
    rank_max_s: float | None
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None


def recognise(text: str) -> bool:
    """Whether `text` has a title of these benchmarks."""
    return bool(_MARK.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add every test of the log."""
    hosts = startup_hosts(log.lines)
    faults: list[tuple[int, str]] = []
    tables = list(osu_tables(log.lines, faults))
    collector.warn_of(faults)
    for table in tables:
        if not table.rows or (not table.title and not table.columns and len(table.rows) < _FEW):
            continue
        collector.rows += len(table.rows)
        test = _test(collector, table, hosts)
        if test is None:
            continue
        whole = hosts if len(hosts) == test.ranks and test.at_once == 1 else ()
        library, _, device = table.library.partition("-")
        run = collector.run(Origin("osu", table.version, f"{library.partition('_')[0]}, version not stated",
                                 device or "CPU", test.ranks, whole, table.command))
        for row in table.rows:
            _add(collector, table, test, run, row)


def _test(collector: Collector, table: OsuTable, hosts: Sequence[str]) -> _Test | None:
    """Operation and ranks of a table, or None if an option is needed."""
    settings = [word.lower() for word in ("Non-blocking", "Persistent") if word in table.title]
    name = re.sub(r"\b(?:Non-blocking|Persistent)\s*", "", table.title).strip()
    op = _PLAIN.get(name) or op_name(_WORDS.sub("", name))
    if table.library.startswith("MPI_"):      # one-sided: MPI_Put, MPI_Get
        op = f"{table.library[4:]} {name}".lower()
    if not table.title:
        if not collector.hints.op:
            collector.need_op(table.line, len(table.rows), " of rows without a title")
            return None
        op = requested_op(collector.hints.op)
    if table.window and table.window != str(WINDOW):
        settings.append(f"window={table.window}")
    notes: list[str] = []
    ranks = _ranks(collector, table, op, len(hosts), notes)
    if ranks is None:
        collector.need_ranks(table.line, len(table.rows), op)
        return None
    at_once = 1
    if op in _FANS:
        nodes = len(set(hosts)) if len(hosts) == ranks else ranks
        ranks, at_once = nodes, ranks // nodes
        if ranks < _LEAST_FAN:
            collector.warn(table.line, f"{table.title}: it needs at least 2 hosts")
            return None
        notes.append(f"mean of {at_once} fans at once, one for each rank of a host" if at_once > 1 else
                     "one rank on each host" + ("" if hosts else ", as far as the log tells"))
    return _Test(op, ranks, joined(settings), tuple(notes), at_once)


def _ranks(collector: Collector, table: OsuTable, op: str, hosts: int, notes: list[str]) -> int | None:
    """Rank count from the table or start-up lines, else the option, else the launcher command."""
    stated = 2 * table.pairs if table.pairs else table.stated_ranks or hosts or None
    if stated is None and "Multi" not in table.title and (
            table.library.startswith("MPI_") or (is_known(op) and OPERATIONS[op].pairs)):
        stated = 2
    if stated is not None:
        return stated
    if collector.hints.ranks:
        return collector.hints.ranks
    if table.command and (launched := launched_ranks(table.command)):
        notes.append(f"{launched} ranks from the command shown above the table")
        return launched
    return None


def _add(collector: Collector, table: OsuTable, test: _Test, run: str, row: OsuRow) -> None:
    """Add one row; a printed bandwidth gives the time."""
    cells = row.cells
    native = int(cells["size"].value) if "size" in cells else 0
    size = test.size(native)
    printed = next((cells[name] for name in _TIMES if name in cells), None)
    rate = next((cells[name] for name in ("bandwidth (mb/s)", "mb/s") if name in cells), None)
    time_s, busbw_Bps = printed.value / 1e6 if printed else None, None
    if printed is None and rate and rate.value > 0:
        busbw_Bps = rate.value * 1e6 / test.at_once
        time_s = size * (OPERATIONS[test.op].bus_factor(test.ranks) if is_known(test.op) else 1.0) / busbw_Bps
        _check_messages(collector, row, rate, native)
    if time_s is None:
        collector.warn(row.line, "no time and no bandwidth in this row")
        return
    collector.add(Imported(
        run=run, op=test.op, ranks=test.ranks, message_bytes=size, native_size_bytes=native,
        dtype=dtype_name(table.dtype), redop="sum" if is_known(test.op) and OPERATIONS[test.op].reduces else None,
        traffic=test.traffic, mode="isolated" if printed else "streamed",
        time_s=time_s, **_statistics(cells, bool(printed), test), busbw_Bps=busbw_Bps, checked=row.valid is not None,
        status="wrong" if row.valid is False else "ok",
        reason="the tool's own validation failed" if row.valid is False else None, notes=test.notes,
        variant=test.variant, source=collector.source(row.line)))


def _check_messages(collector: Collector, row: OsuRow, rate: PrintedNumber, native: int) -> None:
    """Warn if messages per second times size is not the bandwidth."""
    messages = row.cells.get("messages/s")
    if messages and messages.value > 0 and native:
        words = misfit(native, PrintedNumber(1 / messages.value, messages.error / messages.value**2),
                       PrintedNumber(rate.value * 1e6, rate.error * 1e6))
        if words:
            collector.warn(row.line, f"MB/s is not size times messages per second: {words}")


def _statistics(cells: dict[str, PrintedNumber], timed: bool, test: _Test) -> _Statistics:
    """The kind of time, and the columns of -f and -z."""
    pairs = is_known(test.op) and OPERATIONS[test.op].pairs

    def seconds(*names: str) -> float | None:
        return next((cells[name].value / 1e6 for name in names if name in cells), None)

    calls = cells.get("iterations")
    kind = UNSTATED if not timed else SLOWEST if pairs and test.ranks == 2 else MEAN
    words = {UNSTATED: "from the mean bandwidth of windows", SLOWEST: "mean over calls of half the round trip",
             MEAN: "mean over ranks of the mean over calls"}[kind]
    if "pure comm.(us)" in cells:
        words += ", pure communication"
    return {"statistic": words, "time_kind": kind, "repeats": int(calls.value) if calls else None,
            "rank_min_s": seconds("min latency(us)", "min comm.(us)"),
            "rank_mean_s": seconds("avg latency(us)") if timed and not pairs else None,
            "rank_max_s": seconds("max latency(us)", "max comm.(us)"),
            "p50_s": seconds("p50 tail lat(us)"), "p95_s": seconds("p95 tail lat(us)"),
            "p99_s": seconds("p99 tail lat(us)")}
