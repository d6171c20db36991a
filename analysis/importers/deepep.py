"""Tests of DeepEP: test_intranode and test_internode (the best of the tuning), test_low_latency, test_ep of version 2.

Expert-parallel dispatch and combine: the bytes are those of the tool, what a rank receives (or sends, when combining)
inside the scale-up domain, in low-latency mode what it sends to all. Before version 2 they are not printed, but follow
from rate and time. A result is the slowest of the ranks in the log.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from collbench.collectives.records.record import Imported

from ..text.units import counted
from .shared.collector import ROOT, SLOWEST, UNSTATED, Collector, Origin, joined
from .shared.log import Log, split_lines

__all__ = ["TITLE", "read", "recognise"]

TITLE = "DeepEP"

_N = r"(?<![\w.+-])(\d{1,12}(?:\.\d{1,9})?)"
_MARK = re.compile(r"\bBest (?:dispatch|combine)(?: \(\w{1,8}\))?: SMs \d|"
                   r"\bDispatch (?:(?:\+ combine )?bandwidth|send/recv time): |"
                   r"\bEP: {1,9}\d{1,7}/ {0,9}\d{1,7} \| (?:\w{1,20} )?(?:dispatch|combine): ")
_ROW = re.compile(r"\bBest (?:dispatch|combine)\b.{0,12}: SMs |\bDispatch [\w +/]{1,30}: |"
                  r"\bEP: .{1,24}\| .{0,24}(?:dispatch|combine): ")
_RANK = re.compile(r"\[rank (\d{1,7})\] Dispatch ")
_CONFIG = re.compile(r"\bnum_tokens=(\d{1,9}), hidden=(\d{1,7})\b.*?num_topk=(\d{1,4})")
_BEST = re.compile(r"\bBest (dispatch|combine)(?: \((FP8|BF16)\))?: SMs (\d{1,4})\b")
_RATE = re.compile(_N + r" GB/s \((NVL|RDMA)\)")
_T = _N.replace(r"(\d", r"(?:\d")
# By version: `t: 400 us`; `25 + 2000 us`, or `transmit: 2000 us, notify: 25 us`; behind the rate, `(NVL), 400 us`.
_TIME = re.compile(rf"\bt: (?P<t>{_T}) us|(?P<notify>{_T}) \+ (?P<both>{_T}) us|"
                   rf"\btransmit: (?P<sent>{_T}) us, notify: (?P<told>{_T}) us|\(NVL\), (?P<alone>{_T}) us")
_BOTH = re.compile(r"Dispatch \+ combine bandwidth: " + _N + r" GB/s, avg_t=" + _N + r" us")
_EACH = re.compile(r"Dispatch bandwidth: " + _N + r" GB/s, avg_t=" + _N + r" us \| "
                   r"Combine bandwidth: " + _N + r" GB/s, avg_t=" + _N + r" us")
_HOOK = re.compile(r"Dispatch send/recv time: " + _N + r"(?: \+ " + _N + r")? us \| "
                   r"Combine send/recv time: " + _N + r"(?: \+ " + _N + r")? us")
_ELASTIC = re.compile(r"\bEP: {1,9}(\d{1,7})/ {0,9}(\d{1,7}) \| ((?:\w{1,20} )?(?:dispatch|combine)): {1,3}" + _N
                      + r" GB/s \(SO\), " + _N + r" GB/s \(SU\), " + _N + r" us, " + _N + r" bytes")
_FACTS = (re.compile(r"\bExperts: (?P<topk>\d{1,4})/(?P<experts>\d{1,7})"),
          re.compile(r"\bTokens: \d{1,9} \(max: (?P<num_tokens_per_rank>\d{1,9})\), hidden: (?P<hidden>\d{1,7})"),
          re.compile(r"#SM: (?P<sms>\d{1,4})"))
_TESTING = re.compile(r"\bTesting with .*?use_fp8_dispatch=(\w{1,8})(.*?)(?: \.\.\.)?$")


@dataclass
class _Group:
    """One figure of several ranks: times in s, bytes (None if unknown) and rates in bytes/s, by rank."""

    line: int
    op: str
    algorithm: str
    dtype: str | None
    variant: str | None
    ranks: int | None = None
    times: dict[int, float] = field(default_factory=dict)
    bytes: dict[int, float] = field(default_factory=dict)
    rates: dict[int, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass
class _State:
    facts: dict[str, str] = field(default_factory=dict)
    fp8: bool | None = None
    testing: str = ""
    groups: dict[tuple[str, ...], _Group] = field(default_factory=dict)


def recognise(text: str) -> bool:
    """Whether `text` has results of these tests."""
    return bool(_MARK.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add one result for each figure, over all ranks that printed it."""
    state = _State()
    for line, raw in zip(log.lines, split_lines(log.raw), strict=True):
        text = line.text
        if _ROW.search(text):
            collector.rows += 1
            found = _RANK.search(raw)       # in brackets, it may be taken for a launcher's prefix
            figures = list(_figures(state, line.number, int(found[1]) if found else 0, text))
            if not figures:
                collector.warn(line.number, "row skipped: expected GB/s and us, as DeepEP prints them")
            for group, rank, time, size, rate in figures:
                _take(collector, state, group, rank, time, size, rate)
        elif config := _CONFIG.search(text):
            _flush(collector, state)
            state.facts = {"num_tokens_per_rank": config[1], "hidden": config[2], "topk": config[3]}
        elif testing := _TESTING.search(text):
            _flush(collector, state)
            state.fp8, state.testing = testing[1] not in ("False", "0", "None"), text.strip()
        else:
            for pattern in _FACTS:
                state.facts |= fact.groupdict() if (fact := pattern.search(text)) else {}
    _flush(collector, state)


_Figure = tuple[_Group, int, float | None, float | None, float | None]      # rank, s, bytes, bytes/s


def _figures(state: _State, line: int, rank: int, text: str) -> Iterator[_Figure]:
    """The figures of a line that `rank` printed, each with a group that it would begin."""
    if best := _BEST.search(text):
        yield from _best(state, line, best, text)
    elif found := _BOTH.search(text):
        rate, time = float(found[1]) * 1e9, float(found[2]) / 1e6
        yield _low_latency(state, line, "moe_pair", None, ""), rank, time, rate * time, rate
    elif found := _EACH.search(text):
        for op, at in (("moe_dispatch", 1), ("moe_combine", 3)):
            rate, time = float(found[at]) * 1e9, float(found[at + 1]) / 1e6
            dtype = "fp8" if op == "moe_dispatch" else None
            yield _low_latency(state, line, op, dtype, ""), rank, time, rate * time, rate
    elif found := _HOOK.search(text):
        for op, at in (("moe_dispatch", 1), ("moe_combine", 3)):
            time = (float(found[at]) + float(found[at + 1] or 0)) / 1e6
            yield _low_latency(state, line, op, None, "return_recv_hook"), rank, time, None, None
    elif found := _ELASTIC.search(text):
        name, time, size = found[3], float(found[6]) / 1e6, float(found[7])
        op = "moe_dispatch" if name.endswith("dispatch") else "moe_combine"
        dtype = "fp8" if op == "moe_dispatch" and state.fp8 else "bfloat16"
        group = _Group(line, op, "elastic", dtype, _variant(state, name.rpartition(" ")[0]), int(found[2]))
        if float(found[4]) > 0:
            group.notes = (f"{found[4]} GB/s between scale-up domains",)
        yield group, int(found[1]), time, size, size / time if time else None


def _best(state: _State, line: int, best: re.Match, text: str) -> Iterator[_Figure]:
    """The best setting of a tuning; versions before May 2025 print no time."""
    rates = {kind: float(number) * 1e9 for number, kind in _RATE.findall(text)}
    time, notify = None, None
    if found := _TIME.search(text):
        printed = found["t"] or found["both"] or found["sent"] or found["alone"]
        time, notify = float(printed) / 1e6, found["notify"] or found["told"]
    if "NVL" not in rates or (time is None and " us" in text):
        return
    dtype = {"FP8": "fp8", "BF16": "bfloat16"}.get(best[2] or "BF16")
    state.facts["sms"] = best[3]
    group = _Group(line, f"moe_{best[1]}", "normal", dtype, _variant(state, ""))
    notes = [f"{rates['RDMA'] / 1e9:.2f} GB/s by RDMA"] if "RDMA" in rates else []
    group.notes = (*notes, *([f"without the notify kernel, {notify} us"] if notify else []))
    yield group, len(state.groups), time, rates["NVL"] * time if time else None, rates["NVL"]


def _low_latency(state: _State, line: int, op: str, dtype: str | None, setting: str) -> _Group:
    return _Group(line, op, "ll", dtype, _variant(state, setting))


def _variant(state: _State, kind: str) -> str | None:
    names = ("num_tokens_per_rank", "hidden", "topk", "experts", "sms")
    return joined([*(f"{name}={state.facts[name]}" for name in names if name in state.facts), kind])


def _take(collector: Collector, state: _State, group: _Group, rank: int, time: float | None, size: float | None,
          rate: float | None) -> None:
    """Add a rank's figure to its group; a rank that is there already begins the next run."""
    key = group.op, group.algorithm, group.dtype or "", group.variant or "", state.testing
    if key in state.groups and rank in state.groups[key].times:
        _flush(collector, state)
    group = state.groups.setdefault(key, group)
    for figures, figure in ((group.times, time), (group.bytes, size), (group.rates, rate)):
        if figure:
            figures[rank] = figure


def _flush(collector: Collector, state: _State) -> None:
    """Add the results of all groups."""
    runs: dict[int, str] = {}
    highest = max((max(one.times, default=0) for one in state.groups.values() if one.algorithm == "ll"), default=0)
    for group in state.groups.values():
        seen = len(group.times)
        ranks = group.ranks or collector.hints.ranks or (highest + 1 if group.algorithm == "ll" else None)
        if not ranks:
            collector.need_ranks(group.line, 1, group.op)
            continue
        notes = group.notes
        if group.algorithm == "ll" and not collector.hints.ranks:
            notes = (*notes, f"{ranks} ranks, as far as the log shows")
        if ranks not in runs:
            runs[ranks] = collector.run(Origin("deepep", library="DeepEP, version not stated", device="cuda",
                                               ranks=ranks))
        slowest = max(group.times.values(), default=None)
        size = round(max(group.bytes.values(), default=0))
        if size and group.algorithm != "elastic":
            notes = (*notes, "bytes computed from rate and time")
        rate = min(group.rates.values(), default=None)
        collector.add(Imported(
            run=runs[ranks], op=group.op, ranks=ranks, message_bytes=size, native_size_bytes=size or None,
            dtype=group.dtype, mode="streamed", time_s=slowest,
            statistic=f"slowest of {counted(seen, 'rank')} in the log, mean over calls",
            time_kind=SLOWEST if seen == ranks else ROOT if seen == 1 else UNSTATED,
            rank_min_s=min(group.times.values(), default=None) if seen > 1 else None, rank_max_s=slowest,
            algbw_Bps=rate, notes=notes, algorithm=group.algorithm, variant=group.variant,
            source=collector.source(group.line)))
    state.groups = {}
