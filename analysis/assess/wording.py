"""Assessments in words: the rows of "measured, expected, why", the outcome in a clause, and the sources."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ..cost.cards import cards_in_words
from ..domains.facts import Domain
from ..text.units import UNKNOWN, counted, payload, percent, rate, seconds, span
from .ceilings import BETWEEN, DEVICE_MEMORY, LINK, MEMORY, on_cpu
from .diagnosis import REASONS
from .expectations import CHANGEPOINT, HOSTS, AssessedCase
from .table_spread import apart
from .verdicts import HIGH, LOW, NO_REFERENCE, NORMAL

__all__ = ["ExpectationRow", "attainable", "expectation_row", "legend", "outcome", "ranked", "standing", "why"]

_ATTAINABLE = {LINK: "its links can carry", BETWEEN: "its network cards can carry", MEMORY: "memory allows",
              DEVICE_MEMORY: "device memory allows"}
_OWN = "--baseline DATA compares with a run or log of yours"
_RANKED = 3         # runs from which a percentile says something
_ENOUGH = 3         # sources
_WORST = 3          # cases that a clause names
_CALL_S = 1e-4      # below, a call is known by its time rather than its bandwidth
_CEILINGS = {LINK: "link", BETWEEN: "network card of a rank", MEMORY: "copying, each rank",
             DEVICE_MEMORY: "device memory"}


@dataclass(frozen=True)
class ExpectationRow:
    """One row of "measured, expected, why" as text.

    Args:
        case: the same as values.
        size: message size, ranks and, unless streamed, mode.
        measured, took: bus bandwidth, and the time of a call.
        share: of which ceiling, and how much; the wire rate where switches reduce.
        why: the likely reason with its evidence; empty where there is nothing to explain.
    """

    case: AssessedCase
    size: str
    measured: str
    took: str
    expected: str
    share: str
    why: str


def expectation_row(case: AssessedCase) -> ExpectationRow:
    """The texts of a case."""
    isolated = ", isolated" if case.text("mode") == "isolated" else ""
    return ExpectationRow(case, f"{payload(case.message_bytes)}, {case.ranks} ranks{isolated}",
                          rate(case.number("busbw_Bps")), seconds(case.number("time_s")), _expected(case), _share(case),
                          why(case))


def _expected(case: AssessedCase) -> str:
    if case.knows("basis"):
        limits = span(rate(case.number("expected_lo_Bps")), rate(case.number("expected_hi_Bps")))
        if case.text("basis") != "published":
            return f"{limits} ({case.text('basis')})"
        small = case.number("expected_s") < _CALL_S
        time = f", about {seconds(case.number('expected_s'))}" if small else ""
        place = standing(*(case.number(name) for name in ("percentile", "reference_runs", "reference_sources")))
        return f"{limits}{time} (published: {place}: {case.text('reference')})"
    return f"at most {rate(case.number('ceiling_Bps'))}" if case.knows("ceiling_kind") else UNKNOWN


def attainable(kind: str, assumes: object) -> str:
    """What bounds a bandwidth, in a clause; `assumes` is a value of `ceiling_assumes`."""
    return _ATTAINABLE[kind] + (f" ({assumes})" if isinstance(assumes, str) and assumes else "")


def standing(percentile: float, runs: float, sources: float) -> str:
    """Where a figure stands among published runs: "33rd percentile of 6 runs from 6 sources"."""
    place = ranked(percentile, runs) or f"range of {counted(int(runs), 'run')}"
    return f"{place} from {counted(int(sources), 'source')}" + (" only" if sources < _ENOUGH else "")


def ranked(percentile: float, runs: float) -> str:
    """As in "33rd percentile of 6 runs"; empty where there are too few."""
    return f"{_ordinal(percentile)} percentile of {int(runs)} runs" if runs >= _RANKED else ""


def _ordinal(value: float) -> str:
    whole = round(value)
    return f"{whole}" + ("th" if whole % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(whole % 10, "th"))


def _share(case: AssessedCase) -> str:
    kind = case.text("ceiling_kind")
    if not kind:
        return UNKNOWN
    alone = " while it has a core" if kind == MEMORY and "oversubscription" in case.reasons else ""
    assumed = f", assuming {case.text('ceiling_assumes')}" if case.knows("ceiling_assumes") else ""
    capacity = f"{_CEILINGS[kind]} {rate(case.number('ceiling_rate_Bps'))}{alone}{assumed}"
    share = case.number("share")
    shown = percent(share) if share >= 0.0005 else "under 0.1 %"
    return f"{shown}: wire {rate(case.number('wire_Bps'))} of {capacity}" if case.knows("wire_Bps") else \
        f"{shown} ({capacity})"


def why(case: AssessedCase) -> str:
    """The likely reasons with their evidence, in words; empty where there is nothing to explain."""
    parts = []
    if case.knows("wire_Bps"):
        parts.append("in-network reduction: each rank sends its data once, so busbw, which counts the bytes of a ring, "
                     f"is not the rate of a link; its links carry {rate(case.number('wire_Bps'))}")
    if case.text("verdict") == HIGH:
        beyond = case.number("busbw_Bps") > case.number("ceiling_Bps")
        parts.append("more than this ceiling allows: measured on another domain (--measured-on), or not all bytes "
                     "pass through it" if beyond else f"faster than the {case.text('basis')} values")
    between = case.text("ceiling_kind") == BETWEEN
    if between:
        each = f", {case.number('ranks_per_node'):g} on each," if case.knows("ranks_per_node") else ""
        parts.append(f"ranks on different hosts{each} communicate over network cards")
    named = [name for name in case.reasons if not (between and name == HOSTS)]
    parts += [_reason(name, case) for name in named[:2]]
    return "; ".join(parts) or ("no reason found in these data" if case.text("verdict") == LOW else "")


def _reason(name: str, case: AssessedCase) -> str:
    """A reason with its evidence."""
    if name == CHANGEPOINT and case.changepoint:
        jump = case.changepoint
        return (f"time jumps from {jump.before} to {jump.at} ranks, to at least {jump.factor:.2g} times what fewer "
                f"ranks predict, as if another algorithm took over (records {', '.join(jump.records)})")
    if name == "latency":
        share = case.number("latency_share")
        whole = f", and {seconds(case.number('expected_s'))} is expected in total" if case.knows("basis") else ""
        return (f"latency-bound: the fixed cost of a call, {seconds(share * case.number('time_s'))}, is "
                f"{percent(share)} of its time{whole}")
    if name == "switch":
        caches = ", or the data no longer fit in cache" if case.text("ceiling_kind") == MEMORY else ""
        return (f"it reached {rate(case.number('peak_Bps'))} at {payload(case.number('peak_bytes'))}: the algorithm or "
                f"protocol changes in between{caches}")
    if name == HOSTS:
        return (f"ranks span several hosts, {case.number('ranks_per_node'):g} on each: links between hosts are slower "
                "than within one")
    evidence = {"late rank": f"{case.straggler or 'one rank'} delays the others",
                "unstable": f"unstable timing: {case.flags}",
                "harness": f"an empty call takes {seconds(case.number('overhead_s'))} of it"}
    return evidence.get(name) or REASONS[name]


def outcome(points: pd.DataFrame, cases: Sequence[AssessedCase], leading: pd.Index) -> str:
    """How the assessed points compare with expectations, as a clause.

    Args:
        leading: labels in `points` of the headline results, whose verdict comes first.
    """
    compared = points[points["basis"].notna()]
    if len(compared):
        against = " and ".join("the baseline" if basis == "baseline" else "published runs"
                               for basis in sorted({basis.split()[0] for basis in compared["basis"].unique()}))
        if len(compared) == 1:
            return f"the only point compared with {against} is {compared['verdict'].iloc[0]}"
        if not compared["verdict"].isin((LOW, HIGH)).any():
            return f"all {len(compared)} comparable points are normal relative to {against}"
        foremost, others = compared[compared.index.isin(leading)], compared[~compared.index.isin(leading)]
        if len(foremost) and foremost["verdict"].eq(NORMAL).all():
            unusual = _counts(others, f"of {counted(len(others), 'other point')}", (LOW, HIGH))
            return f"largest messages normal; {unusual} against {against}{_worst(others)}"
        shown = _counts(compared, "are", (NORMAL, LOW, HIGH))
        return f"of {len(compared)} points compared with {against}, {shown}{_worst(compared)}"
    first = next((case for case in cases if case.knows("share")), None)
    if first is None:
        return f"no reference: nothing comparable is known ({_OWN})"
    if "oversubscription" in first.reasons:
        return f"no reference: more ranks than cores, so bounds do not apply ({_OWN})"
    return (f"no reference: {first.text('op')} at {first.ranks} ranks and {payload(first.message_bytes)} reaches "
            f"{percent(first.number('share'))} of what "
            f"{attainable(first.text('ceiling_kind'), first.text('ceiling_assumes'))} ({_OWN})")


def _counts(points: pd.DataFrame, words: str, verdicts: Sequence[str]) -> str:
    """As in "20 are normal, 8 low": how many points have each verdict, with `words` after the first number."""
    counts = points["verdict"].value_counts()
    first, *others = [(counts[verdict], verdict) for verdict in verdicts if verdict in counts]
    return ", ".join([f"{first[0]} {words} {first[1]}", *(f"{count} {verdict}" for count, verdict in others)])


def _worst(points: pd.DataFrame) -> str:
    """Operations and sizes that are furthest below expectation, worst first, as a clause."""
    slow = points[points["verdict"].eq(LOW)].sort_values("of_expected", kind="stable")
    cases = slow.drop_duplicates(["op", "message_bytes"])[["op", "message_bytes"]].head(_WORST)
    words, before = [], ""
    for op, size in cases.itertuples(index=False):
        words.append(payload(size) if op == before else f"{op} {payload(size)}")
        before = op
    return f", worst {', '.join(words)}" if words else ""


def legend(points: pd.DataFrame, home: tuple[str, Domain] | None) -> list[str]:
    """Where the expectations of the assessed `points` come from, a sentence each; only those that occur."""
    kinds, bases = (set(points[name].dropna().unique()) for name in ("ceiling_kind", "basis"))
    verdicts = set(points["verdict"].unique())
    lines = []
    outer = home[1].tiers[-1].rate_Bps if home and home[1].tiers else None
    if home and outer and LINK in kinds:
        lines.append(f"Links: {rate(outer.value)} one way per accelerator of {home[1].name} ({home[0]}), a hard bound "
                     f"({outer.source}).")
    card = home[1].scaleout_Bps if home else None
    if home and card and BETWEEN in kinds:
        lines.append(f"Between hosts: what must leave a host over its cards, assuming {cards_in_words(*home)} "
                     f"({rate(card.value)} one way per accelerator: {card.source}); --nic gives yours.")
    if MEMORY in kinds:
        lines.append("Memory: a CPU has no link, so an operation over shared memory takes at least copies x size / "
                     "rate. The rate is what as many ranks reach copying at once (the copy operation of these data, "
                     "this size or larger); copies of the data by each rank: 1 for all_reduce and send_recv, "
                     "(n - 1) / n for all_gather, all_to_all and broadcast, (1 + 1 / n) / 2 for reduce_scatter and "
                     "reduce, (n - 1) / n² for gather and scatter, as if every rank copied its own block to or from "
                     "the root. A byte that passes through a shared segment or a socket is copied twice, so half of "
                     "the ceiling is already good.")
    if "published" in bases:
        lines.append(_published())
    if NO_REFERENCE in verdicts and kinds:
        lines.append("No reference: neither a baseline nor comparable published measurements are known; the share of a "
                     "hard bound does not say whether a figure is normal.")
    if NO_REFERENCE in verdicts and home is None and not on_cpu(points).all():
        lines.append("The data name no accelerator of a known domain: name one with --measured-on (collbench domains "
                     "lists them).")
    return lines


def _published() -> str:
    small, large = apart()
    return ("Published: runs of the same operation, ranks and hosts on the same or a related accelerator, without the "
            "source of these data. Normal is their range (of ten runs or more, the 10th to 90th percentile), "
            f"widened by how much two tables of one system differ: a factor of {large:.2f} from 4 MiB on, {small:.2f} "
            "below; by a factor of 2 more for ranks on several hosts, or on CPUs, if there are fewer than 3 sources. "
            "Most do not state how small messages were launched (host, graphs).")
