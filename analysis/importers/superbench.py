"""SuperBench results-summary.jsonl: `nccl-bw` and `rccl-bw`, an object per node with a figure under each name.

The figures are those of nccl-tests, out of place unless it ran with `--in_place`: time in us, bandwidths in 10^9 bytes
per second. No figure states the number of ranks; busbw over algbw gives it. The other benchmarks are no collectives.
"""

import re
from dataclasses import dataclass, field

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import is_known, op_name
from collbench.collectives.records.record import Imported

from .shared.bandwidth_pairs import implied_ranks
from .shared.collector import MEAN, Collector, Origin, joined
from .shared.json_text import documents
from .shared.log import Log, split_lines
from .shared.printed_numbers import PrintedNumber, misfit, printed_number

__all__ = ["TITLE", "read", "recognise"]

TITLE = "SuperBench"

_MARK = re.compile(r"\"(?:nccl|rccl)-bw(?::[\w.-]{1,80})?/\w{1,40}_(?:\d+:)?\d{1,15}_(?:time|algbw|busbw)")
_NAME = re.compile(r"(nccl|rccl)-bw(?::(?P<label>[\w.-]{1,80}))?/(?P<op>[a-z]{1,40})_(?:(?P<turn>\d+_\d+):)?"
                   r"(?P<size>\d{1,15})_(?P<kind>time|algbw|busbw)(?::(?P<rank>\d{1,7}))?")


@dataclass
class _Series:
    """Figures of one node, benchmark and operation: by size, then by kind."""

    line: int
    node: str
    library: str
    op: str
    label: str | None
    turn: str | None
    sizes: dict[int, dict[str, PrintedNumber]] = field(default_factory=dict)


def recognise(text: str) -> bool:
    """Whether `text` has figures of these benchmarks."""
    return bool(_MARK.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add every size of every node."""
    for number, text in enumerate(split_lines(log.text), 1):
        if not _MARK.search(text):
            continue
        document = next((value for _, value in documents(text)), None)
        if isinstance(document, dict):
            for series in _series(collector, number, document):
                _end(collector, series)
        else:
            collector.rows += 1
            collector.warn(number, "an incomplete JSON object: left out")


def _series(collector: Collector, line: int, document: dict[str, object]) -> list[_Series]:
    """The figures of a node, sorted; other benchmarks are passed over."""
    found: dict[tuple[str | None, ...], _Series] = {}
    for name, value in document.items():
        parts = _NAME.fullmatch(name)
        if not parts:
            continue
        key = parts[1], parts["label"], parts["op"], parts["turn"], parts["rank"]
        series = found.setdefault(key, _Series(line, str(document.get("node", "")), parts[1].upper(),
                                               op_name(parts["op"]), parts["label"], parts["turn"]))
        number = printed_number(str(value))
        figures = series.sizes.setdefault(int(parts["size"]), {})
        if number:
            figures[parts["kind"]] = number
        else:
            collector.warn(line, f"{name} is no number: left out")
    return list(found.values())


def _end(collector: Collector, series: _Series) -> None:
    collector.rows += len(series.sizes)
    pairs = [(figures["algbw"], figures["busbw"]) for figures in series.sizes.values()
             if {"algbw", "busbw"} <= figures.keys()]
    implied = implied_ranks(OPERATIONS[series.op].bus_factor, pairs) if is_known(series.op) else None
    ranks = collector.hints.ranks or implied
    if not ranks:
        collector.need_ranks(series.line, len(series.sizes), series.op)
        return
    if implied and implied != ranks:
        collector.warn(series.line, f"busbw over algbw of {series.op} is that of {implied} ranks, not {ranks} as given")
    run = collector.run(Origin("superbench", library=f"{series.library}, version not stated", ranks=ranks))
    for size, figures in sorted(series.sizes.items()):
        _add(collector, run, series, ranks, size, figures, bool(implied and not collector.hints.ranks))


def _add(collector: Collector, run: str, series: _Series, ranks: int, size: int, figures: dict[str, PrintedNumber],
         inferred: bool) -> None:
    time, algbw, busbw = (figures.get(kind) for kind in ("time", "algbw", "busbw"))
    notes = [f"{ranks} ranks inferred from the two bandwidths"] if inferred else []
    if time and time.value > 0:
        time_s = time.value / 1e6
        if algbw and (words := misfit(size, PrintedNumber(time_s, time.error / 1e6),
                                      PrintedNumber(algbw.value * 1e9, algbw.error * 1e9), ranks=ranks)):
            collector.warn(series.line, f"{series.op} {size}: algbw is not size over time: {words}; recomputed from "
                                        "the time")
    elif algbw and algbw.value > 0:
        time_s = size / (algbw.value * 1e9)
        notes.append("time computed from algbw")
    elif busbw and busbw.value > 0 and is_known(series.op):
        time_s = size * OPERATIONS[series.op].bus_factor(ranks) / (busbw.value * 1e9)
        notes.append("time computed from busbw")
    else:
        collector.warn(series.line, f"{series.op} {size}: no time or bandwidth above zero: left out")
        return
    settings = (series.label, series.turn and f"pattern {series.turn}", series.node and f"node {series.node}")
    collector.add(Imported(
        run=run, op=series.op, ranks=ranks, message_bytes=size, native_size_bytes=size,
        redop="sum" if is_known(series.op) and OPERATIONS[series.op].reduces else None, mode="streamed", time_s=time_s,
        statistic="nccl-tests: mean over ranks, mean over a batch", time_kind=MEAN,
        algbw_Bps=algbw.value * 1e9 if algbw else None, busbw_Bps=busbw.value * 1e9 if busbw else None,
        notes=tuple(notes), variant=joined(settings),
        source=collector.source(series.line)))
