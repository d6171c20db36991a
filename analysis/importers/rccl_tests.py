"""rccl-tests: text as nccl-tests with additional columns, and its own CSV and JSON (-Z).

The CSV of builds with MPI has a value without a header name, `nodes`, after the collective; rows are parsed by
their number of fields.
"""

import re
from collections.abc import Iterator, Mapping

from collbench.collectives.cases.names import ITEMSIZES, dtype_name, is_known, op_name, plain
from collbench.collectives.records.record import Imported

from .shared.bus_ratio import warn_of_ratio
from .shared.collector import MEAN, Collector, Origin
from .shared.infer_operation import signatures
from .shared.json_text import documents
from .shared.log import Log
from .shared.nccl_import import import_text
from .shared.printed_numbers import PrintedNumber, misfit, printed_number, whole

__all__ = ["TITLE", "read", "recognise"]

TITLE = "rccl-tests"

_CSV = re.compile(r"^[ \t]*numCycle,collective,.*$", re.MULTILINE)
_JSON = re.compile(r"\"numCycle\"\s*:")


def recognise(text: str) -> bool:
    """Whether `text` holds output of rccl-tests."""
    return "rccl-tests" in text or bool(_CSV.search(text) or _JSON.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add every run of the log."""
    rows = [*_csv_rows(log, collector), *_json_rows(log)]
    if not rows:
        import_text(log, collector)
        return
    runs: dict[int, str] = {}
    for line, cells in rows:
        collector.rows += 1
        ranks = whole(cells.get("ranks") or cells.get("gpus") or "") or collector.hints.ranks
        if not ranks or ranks < 1:
            collector.need_ranks(line, 1)
            continue
        if ranks not in runs:
            runs[ranks] = collector.run(Origin("rccl-tests", library="RCCL, version not stated", ranks=ranks))
        _add(collector, runs[ranks], ranks, line, cells)


def _csv_rows(log: Log, collector: Collector) -> Iterator[tuple[int, Mapping[str, str]]]:
    names: list[str] = []
    for line in log.lines:
        fields = [cell.strip() for cell in line.text.split(",")]
        if fields[:2] == ["numCycle", "collective"]:
            names = [plain(name) for name in fields]
        elif names and len(fields) > 4 and (fields[0].isdigit() or abs(len(fields) - len(names)) <= 1):
            if not fields[0].isdigit():
                collector.warn(line.number, f"numCycle {fields[0]!r:.24} is not a number: not used")
            header = names
            if len(fields) == len(names) + 1:
                header = [*names[:2], "nodes", *names[2:]]
            if len(fields) != len(header):
                collector.warn(line.number, f"{len(fields)} values under {len(names)} column names")
                continue
            yield line.number, dict(zip(header, fields, strict=True))


def _json_rows(log: Log) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Rows of the JSON: a list, or one object per line in older versions."""
    for line, document in documents(log.text) if _JSON.search(log.text) else ():
        for row in document if isinstance(document, list) else [document]:
            if isinstance(row, dict) and "numCycle" in row:
                cells = {plain(str(name)): str(value)[:64] for name, value in row.items()}
                yield line, cells | {"collective": cells.get("name", cells.get("collective", ""))}


def _add(collector: Collector, run: str, ranks: int, line: int, cells: Mapping[str, str]) -> None:
    """Add one row, checked against its own bandwidth."""
    size, time = whole(cells.get("size", "")), printed_number(cells.get("time", ""))
    if size is None or size < 0 or time is None:
        collector.warn(line, "no size, or no time")
        return
    op = op_name(cells.get("collective", ""))
    unread = [name for name in ("algbw", "busbw", "wrong") if cells.get(name, "N/A") not in ("N/A", "", "None")
              and printed_number(cells[name]) is None]
    if op not in signatures() and not is_known(op):
        unread.append("collective")
    if unread:
        collector.warn(line, f"not readable: {', '.join(f'{name} {cells[name]!r:.24}' for name in unread)}")
    algbw, busbw, wrong = (printed_number(cells.get(name, "")) for name in ("algbw", "busbw", "wrong"))
    dtype = dtype_name(cells.get("type"))
    words = algbw and misfit(size, _scaled(time, 1e-6), _scaled(algbw, 1e9), ITEMSIZES.get(dtype or ""), ranks)
    if words:
        collector.warn(line, f"algbw is not size over time: {words}; recomputed from the time")
    warn_of_ratio(collector, op, ranks, [(line, algbw, busbw)])
    redop = cells.get("redop", "").lower()
    collector.add(Imported(
        run=run, op=op, ranks=ranks, message_bytes=size, native_size_bytes=size,
        dtype=dtype, redop=redop if redop not in ("", "none") else None, in_place=cells.get("inplace") in ("1", "true"),
        mode="streamed", time_s=time.value / 1e6, statistic="mean over ranks of a batch", time_kind=MEAN,
        algbw_Bps=algbw.value * 1e9 if algbw else None, busbw_Bps=busbw.value * 1e9 if busbw else None,
        checked=wrong is not None, status="wrong" if wrong and wrong.value else "ok",
        reason=f"the tool found {wrong.value:g} wrong elements" if wrong and wrong.value else None,
        ranks_per_node=whole(cells.get("rankspernode", "")), source=collector.source(line)))


def _scaled(value: PrintedNumber, factor: float) -> PrintedNumber:
    return PrintedNumber(value.value * factor, value.error * factor)
