"""OSU micro-benchmarks over MPI, CUDA, ROCm or NCCL, and OMB-Py, which prints the same.

Sizes are those of one rank or pair; MB is 10^6 bytes; collectives are timed a call at a time and averaged over ranks
(c/util/osu_util_mpi.c). Bi-directional bandwidth is the sum of both directions, that of several pairs the sum over
pairs.
"""

import re
from types import MappingProxyType
from typing import NamedTuple

from collbench.collectives.cases.catalog import OPERATIONS, WINDOW
from collbench.collectives.records.record import Imported

from .shared.collector import MEAN, SLOWEST, UNSTATED, Harvest, Origin, joined
from .shared.commands import launched_ranks, startup_hosts
from .shared.log import Log
from .shared.names import asked_op, dtype_name, is_known, op_name
from .shared.osu_log import OsuRow, OsuTable, osu_tables
from .shared.printed_numbers import Figure, misfit

__all__ = ["TITLE", "read", "recognise"]

TITLE = "OSU micro-benchmarks"

_MARK = re.compile(r"(?:^|[#>:\s])(?:OSU|OMB Python|OMB-Py)\s+\S+\s.{0,80}\b(?:Test|Benchmark)\b", re.MULTILINE)
_WORDS = re.compile(r"\b(?:latency|personalized exchange)\b", re.IGNORECASE)
_PLAIN = MappingProxyType({
    "Latency": "ping_pong", "Multi Latency": "ping_pong", "Bandwidth": "bandwidth",
    "Bi-Directional Bandwidth": "bi_bandwidth", "Multiple Bandwidth / Message Rate": "bandwidth"})
_TIMES = ("avg latency(us)", "latency (us)", "latency(us)", "pure comm.(us)", "avg lat(us)")
_FEW = 3


class _Test(NamedTuple):
    op: str
    ranks: int
    variant: str | None
    notes: tuple[str, ...]


def recognise(text: str) -> bool:
    """Whether `text` has a title of these benchmarks."""
    return bool(_MARK.search(text))


def read(log: Log, harvest: Harvest) -> None:
    """Add every test of the log."""
    hosts = startup_hosts(log.lines)
    for table in osu_tables(log.lines):
        if not table.rows or (not table.title and len(table.rows) < _FEW):
            continue
        harvest.rows += len(table.rows)
        test = _test(harvest, table, len(hosts))
        if test is None:
            continue
        whole = hosts if len(hosts) == test.ranks else ()
        library, _, device = table.library.partition("-")
        run = harvest.run(Origin("osu", table.version, f"{library.partition('_')[0]}, version not stated",
                                 device or "CPU", test.ranks, whole, table.command))
        for row in table.rows:
            _add(harvest, table, test, run, row)


def _test(harvest: Harvest, table: OsuTable, hosts: int) -> _Test | None:
    """Operation and ranks of a table, or None when only a person could say."""
    settings = [word.lower() for word in ("Non-blocking", "Persistent") if word in table.title]
    name = re.sub(r"\b(?:Non-blocking|Persistent)\s*", "", table.title).strip()
    op = _PLAIN.get(name) or op_name(_WORDS.sub("", name))
    if table.library.startswith("MPI_"):      # one-sided: MPI_Put, MPI_Get
        op = f"{table.library[4:]} {name}".lower()
    if not table.title:
        if not harvest.asked.op:
            harvest.need(table.line, "the operation of rows without a title", "--op NAME", len(table.rows))
            return None
        op = asked_op(harvest.asked.op)
    if table.window and table.window != str(WINDOW):
        settings.append(f"window={table.window}")
    notes: list[str] = []
    ranks = _ranks(harvest, table, op, hosts, notes)
    if ranks is None:
        harvest.need(table.line, f"the number of ranks of {op}", "--ranks N", len(table.rows))
        return None
    return _Test(op, ranks, joined(settings), tuple(notes))


def _ranks(harvest: Harvest, table: OsuTable, op: str, hosts: int, notes: list[str]) -> int | None:
    """The rank count: what the table or start-up says, else what was asked for, else the launcher's command."""
    said = 2 * table.pairs if table.pairs else table.stated_ranks or hosts or None
    if said is None and "Multi" not in table.title and (
            table.library.startswith("MPI_") or (is_known(op) and OPERATIONS[op].pairs)):
        said = 2
    if said is not None:
        return said
    if harvest.asked.ranks:
        return harvest.asked.ranks
    if table.command and (launched := launched_ranks(table.command)):
        notes.append(f"{launched} ranks from the command shown above the table")
        return launched
    return None


def _add(harvest: Harvest, table: OsuTable, test: _Test, run: str, row: OsuRow) -> None:
    """Add one row; where a bandwidth is printed, the time follows from it."""
    cells = row.cells
    native = int(cells["size"].value) if "size" in cells else 0
    blocks = is_known(test.op) and (OPERATIONS[test.op].in_blocks or OPERATIONS[test.op].uneven)
    size = native * test.ranks if blocks else native
    printed = next((cells[name] for name in _TIMES if name in cells), None)
    rate = next((cells[name] for name in ("bandwidth (mb/s)", "mb/s") if name in cells), None)
    time_s, busbw_Bps = printed.value / 1e6 if printed else None, None
    if printed is None and rate and rate.value > 0:
        time_s, busbw_Bps = _from_rate(test.op, size, rate, table.pairs or 1)
        _check_messages(harvest, row, rate, native)
    if time_s is None:
        harvest.warn(row.line, "no time and no bandwidth in this row")
        return
    harvest.add(Imported(
        run=run, op=test.op, ranks=test.ranks, message_bytes=size, native_size_bytes=native,
        dtype=dtype_name(table.dtype), redop="sum" if is_known(test.op) and OPERATIONS[test.op].reduces else None,
        traffic="even" if test.op == "all_to_all_v" else None, mode="isolated" if printed else "streamed",
        time_s=time_s, **_statistics(cells, bool(printed), test), busbw_Bps=busbw_Bps, checked=row.valid is not None,
        status="wrong" if row.valid is False else "ok",
        reason="the tool's own validation failed" if row.valid is False else None, notes=test.notes,
        variant=test.variant, source=harvest.source(row.line)))


def _from_rate(op: str, size: int, rate: Figure, pairs: int) -> tuple[float, float]:
    """Seconds a message and bytes per second of one pair, from MB/s over all pairs (and both directions)."""
    busbw_Bps = rate.value * 1e6 / pairs
    return size * (2 if op == "bi_bandwidth" else 1) / busbw_Bps, busbw_Bps


def _check_messages(harvest: Harvest, row: OsuRow, rate: Figure, native: int) -> None:
    """Messages per second times their size must be the bandwidth."""
    messages = row.cells.get("messages/s")
    if messages and messages.value > 0 and native:
        words = misfit(native, Figure(1 / messages.value, messages.error / messages.value**2),
                       Figure(rate.value * 1e6, rate.error * 1e6))
        if words:
            harvest.warn(row.line, f"MB/s is not size times messages per second: {words}")


def _statistics(cells: dict[str, Figure], timed: bool, test: _Test) -> dict[str, object]:
    """What the time is, and the columns of -f and -z."""
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
            **{f"p{share}_s": seconds(f"p{share} tail lat(us)") for share in (50, 95, 99)}}
