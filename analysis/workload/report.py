"""The answer in words and cells, once for the terminal, Markdown and JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import to_builtins

from ..text.units import digits, payload, percent, seconds, span
from .answer import Compute, Interval, Outcome, interval
from .calls import Job
from .compare import Contest, Crossing, Narrowed
from .model import Workload
from .price import Priced

__all__ = ["LEGEND", "Report", "Row", "as_json", "call_row", "count", "notes", "rows", "words"]

LEGEND = ("measured: published measurements of this hardware, or yours; extrapolated: from fewer ranks or other sizes "
          "of the same; projected: facts of the domain times efficiencies measured elsewhere; assumed: stated, or for "
          "want of any source. Intervals hold 90 % of draws; the draws of one system belong together.")
_UNKNOWN = "not known"
_FEW_AXES, _FEW_KINDS = 2, 3
_LONGEST_PLACE = 25
_SHORT = {"per accelerator": "accelerator", "per watt": "kW", "per domain": "domain"}
_SCALES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))



@dataclass(frozen=True)
class Report:
    """Everything that is shown of one job.

    Args:
        outcomes: on each system. `compute`: range of the computation in a step, by system, as stated.
        contest: of the first two systems; None if there is one or one is unknown.
        ranges: of each knob: its least and greatest value.
        crossings, narrowed: see `compare`.
    """

    workload: Workload
    job: Job
    imbalance: float
    outcomes: tuple[Outcome, ...]
    compute: Compute
    contest: Contest | None = None
    ranges: tuple[tuple[str, int, int], ...] = ()
    crossings: tuple[Crossing, ...] = ()
    narrowed: tuple[Narrowed, ...] = ()

    def title(self) -> str:
        """`deepseek-r1 decode: EP 64, 128 tokens, 116 calls a step`."""
        calls = sum(use.call.count for use in self.job.uses)
        what = "tokens" if self.job.kind == "training" else "tokens a step"
        uneven = f", busiest rank {self.imbalance:.3g} times balanced" if self.imbalance > 1 else ""
        job = self.job
        return f"{job.name} {job.phase}: {job.parallel}; {job.batch} {what}, {calls:,} calls{uneven}"


@dataclass(frozen=True)
class Row:
    """A line of the table: its name and a cell for each system."""

    name: str
    cells: tuple[str, ...]


def rows(report: Report, whole: bool = True) -> list[Row]:
    """The table; unless `whole`, only the axes that reach furthest and the operations that take most."""
    found = report.outcomes
    axes, kinds = _axes(report), _kinds(found)
    if not whole:
        axes, kinds = axes[-_FEW_AXES:], kinds[:_FEW_KINDS]
    shown = [Row("ranks (of the domain)", tuple(_place(one) for one in found)),
             *(Row(f"  {axis} {report.job.parallel.group(axis).ranks} reaches",
                   tuple(one.reach.get(axis, "-") for one in found)) for axis in axes),
             Row("communication a step", tuple(_time(one.communication_s) for one in found))]
    shown += [Row(f"  {op}, {axis}", tuple(_share(one, op, axis) for one in found)) for op, axis in kinds]
    shown += [Row("  per token of a rank", tuple(_time(None if one.communication_s is None else
                                                      one.communication_s / one.job.tokens) for one in found)),
              Row("  exposed", tuple(_exposed(one) for one in found))]
    if report.compute:
        shown.append(Row("step, overlap to none", tuple(_step(one) for one in found)))
    shown += _rates(report)
    return [*shown, Row("figures are", tuple(one.kind for one in found))]


def _kinds(found: Sequence[Outcome]) -> list[tuple[str, str]]:
    """Operations with their axes, in the order of their share in the first known system."""
    known = next((one for one in found if one.communication_s is not None), None)
    if known is None:
        return []
    return [(op, axis) for op, axis, share in known.shares() if share >= 0.005]


def _axes(report: Report) -> list[str]:
    """Those in use, the one with the largest blocks last."""
    used = dict.fromkeys(str(use.call.axis) for use in report.job.uses)
    return sorted(used, key=lambda axis: report.job.parallel.group(axis).block)


def _place(one: Outcome) -> str:
    ranks = one.job.parallel.ranks
    if one.place is None:
        return f"{ranks} ranks"
    part = percent(one.place.domains) if one.place.domains <= 1 else f"{one.place.domains:.3g} x"
    if one.place.rank_is != "die":
        return f"{ranks} accelerators ({part})"
    text = f"{ranks} dies, {one.place.accelerators:g} NPUs ({part})"
    return text if len(text) <= _LONGEST_PLACE else f"{ranks} dies ({part})"


def _times(ratio: Any) -> str:
    low, middle, high = map(digits, interval(ratio))
    return f"{middle} ({low} to {high})"


def _time(values: Any) -> str:
    if values is None:
        return _UNKNOWN
    low, middle, high = interval(values)
    return f"{seconds(middle)} ({span(seconds(low), seconds(high))})"


def _share(one: Outcome, op: str, axis: str) -> str:
    return next((percent(share) for o, a, share in one.shares() if (o, a) == (op, axis)), _UNKNOWN) \
        if one.communication_s is not None else _UNKNOWN


def _exposed(one: Outcome) -> str:
    ends = one.exposed_s()
    if ends is None:
        return _UNKNOWN
    most, least = (interval(values).middle for values in ends)
    return seconds(most) if least > 0.999 * most else \
        f"{'0' if least == 0 else seconds(least)} to {seconds(most)}"


def _step(one: Outcome) -> str:
    ends = one.step_s()
    if ends is None:
        return _UNKNOWN
    serial, overlapped = map(interval, ends)
    return span(seconds(overlapped.middle), seconds(serial.middle))


def _rates(report: Report) -> list[Row]:
    """Bounds on tokens/s: with all overlap, and per accelerator also without where that differs."""
    found = report.outcomes
    measures = list(dict.fromkeys(rate.measure for one in found for rate in one.rates))
    rows = []
    for measure in measures:
        each = [next((rate for rate in one.rates if rate.measure == measure), None) for one in found]
        rows.append(Row(f"≤ tokens/s/{_SHORT[measure]}",
                        tuple("-" if rate is None else _count(interval(rate.overlapped)) for rate in each)))
        apart = any(rate is not None and (rate.serial != rate.overlapped).any() for rate in each)
        if apart and measure == "per accelerator":
            rows.append(Row("  without overlap", tuple("-" if rate is None else _count(interval(rate.serial))
                                                         for rate in each)))
    return rows


def _count(ends: Interval) -> str:
    low, middle, high = map(count, ends)
    return f"{middle} ({low} to {high})"


def count(value: float) -> str:
    """`23.5k`."""
    scale, unit = next((pair for pair in _SCALES if value >= 0.9995 * pair[0]), _SCALES[-1])
    return f"{digits(value / scale)}{unit}"


def words(report: Report) -> list[str]:
    """What follows from the table, a sentence each."""
    said = []
    for one in report.outcomes:
        for missing in one.unknown[:1]:
            said.append(f"{one.system}: not known: {missing.reason}")
    if report.contest is not None:
        first, second = report.contest.systems
        each = "; ".join(f"{measure} {_times(report.contest.ratio[measure])}, ahead in {_chance(chance)}"
                         for measure, chance in report.contest.ahead.items())
        said.append(f"tokens/s of {first} over {second}: {each} of draws")
        for knob, low, high in report.ranges:
            said.append(_crossing(knob, low, high, [one for one in report.crossings if one.knob == knob]))
    if report.narrowed:
        best = report.narrowed[0]
        what = "the ratio of the two" if report.contest is not None else "the rate"
        said.append(f"to narrow this most, measure {best.what} on {best.system}: {what} is known within a factor of "
                    f"{best.before:.2g}, then {best.after:.2g}")
    if not report.compute:
        said.append("no computation is counted: rates are bounds by communication alone; --compute 8..12ms states it")
    for system, ends in report.compute.items():
        said.append(f"computation a step{f' on {system}' if system else ''}, as stated (assumed): "
                    f"{span(*map(seconds, ends))}")
    return said


def _crossing(knob: str, low: int, high: int, found: Sequence[Crossing]) -> str:
    knob = "tokens" if knob == "tokens" else f"ranks of {knob}"
    if not found:
        return f"{low} to {high} {knob}: no crossover"
    groups: dict[tuple[str, int, int, str], list[str]] = {}
    for one in found:
        groups.setdefault((one.to, one.low, one.high, one.kind), []).append(one.measure)
    changes = "; ".join(f"between {below} and {above} {to} takes the lead {' and '.join(measures)} ({kind})"
                        for (to, below, above, kind), measures in groups.items())
    return f"{low} to {high} {knob}: {changes}"


def _chance(share: float) -> str:
    return "> 99 %" if share > 0.99 else "< 1 %" if share < 0.01 else percent(share)


def call_row(one: Priced) -> tuple[str, ...]:
    """Operation, part, ranks, size, calls, time of a call, kind."""
    return (one.call.op, one.use.part, f"{one.ranks} ({one.call.axis})", payload(one.call.bytes),
            f"{one.call.count:,}", "yes" if one.call.overlap else "no", _time(one.time_s), one.kind)


def notes(report: Report) -> list[str]:
    """Sources and assumptions of each system, once each."""
    said = []
    for one in report.outcomes:
        for text in dict.fromkeys("; ".join(filter(None, (priced.basis, priced.reason))) for priced in one.priced):
            names = ", ".join(dict.fromkeys(priced.call.op for priced in one.priced
                                            if "; ".join(filter(None, (priced.basis, priced.reason))) == text))
            said.append(f"{one.system}: {names}: {text}")
    return said


def as_json(report: Report) -> dict[str, object]:
    """The body of the JSON document."""
    return {"workload": report.job.name, "phase": report.job.phase, "kind": report.job.kind,
            "parallel": report.job.parallel._asdict(), "ranks": report.job.parallel.ranks, "tokens": report.job.batch,
            "imbalance": report.imbalance,
            "compute_s": {system or "all": ends for system, ends in report.compute.items()},
            "systems": [_system(one) for one in report.outcomes],
            "contest": None if report.contest is None else {
                "systems": report.contest.systems, "ahead": report.contest.ahead,
                "ratio": {name: interval(one)._asdict() for name, one in report.contest.ratio.items()}},
            "crossings": [one._asdict() for one in report.crossings],
            "narrowed": [one._asdict() for one in report.narrowed]}


def _system(one: Outcome) -> dict[str, object]:
    def ends(values: Any) -> dict[str, float] | None:
        return None if values is None else interval(values)._asdict()
    exposed, step = one.exposed_s(), one.step_s()
    return {"name": one.system, "kind": one.kind, "place": None if one.place is None else one.place._asdict(),
            "reach": one.reach,
            "communication_s": ends(one.communication_s),
            "exposed_s": None if exposed is None else {"without_overlap": ends(exposed[0]),
                                                       "overlapped": ends(exposed[1])},
            "step_s": None if step is None else {"without_overlap": ends(step[0]), "overlapped": ends(step[1])},
            "rates": {rate.measure: {"unit": rate.unit, "without_overlap": ends(rate.serial),
                                     "overlapped": ends(rate.overlapped)} for rate in one.rates},
            "calls": [{**to_builtins(priced.call), "part": priced.use.part, "ranks": priced.ranks,
                       "time_s": ends(priced.time_s), "kind": priced.kind, "basis": priced.basis or None,
                       "reason": priced.reason}
                      for priced in one.priced]}
