"""The judgement in words: a few rows that answer "is my number normal?", and where the expectations come from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..domains.facts import Domain
from ..findings.finding import Finding, evidence_of
from ..frames.record_id import record_ids
from ..frames.representative import HEADLINE_OPS
from ..projection.references import measured
from ..text.units import UNKNOWN, payload, percent, rate, seconds, span
from .ceilings import BETWEEN, DEVICE_MEMORY, LINK, MEMORY, on_cpu
from .diagnosis import REASONS
from .judge import ABOVE, BELOW, NORMAL, WITHIN
from .judge import UNKNOWN as NO_CEILING
from .published_tables import apart
from .rank_changepoint import RankSwitch, rank_switch

__all__ = ["Row", "find_unexpected", "headline", "judgement", "legend"]

_OPS = (*HEADLINE_OPS, "send_recv", "bandwidth")
_WORST = 3
_FEW = 20       # points that evidence is chosen from
_HOSTS = "several hosts"
_RANK_SWITCH = "rank switch"
_BEFORE_IT = ("oversubscription", "late rank", _HOSTS)      # reasons that a jump over rank counts may follow from
_CALL_S = 1e-4      # calls of less are known by their time
_CEILINGS = {LINK: "link", BETWEEN: "network card of a rank", MEMORY: "copying, each rank",
             DEVICE_MEMORY: "device memory"}
_WHAT = {LINK: "its links carry", BETWEEN: "the network cards carry", MEMORY: "memory allows",
         DEVICE_MEMORY: "device memory allows"}
_NUMBERS = ("time_s", "time_lo_s", "time_hi_s", "busbw_Bps", "ceiling_Bps", "ceiling_rate_Bps", "wire_Bps", "share",
            "expected_Bps", "expected_lo_Bps", "expected_hi_Bps", "expected_s", "of_expected", "latency_share")
_NAMES = ("fabric", "op", "mode", "dtype", "redop", "place", "traffic", "ceiling_kind", "basis", "verdict")


@dataclass(frozen=True)
class Row:
    """One line of "measured, expected, why"; texts, and the same as `values` for machines.

    Args:
        record: id of the record.
        measured, took: bus bandwidth, and the time of a call.
        share: of what, and how much; the wire figure where switches reduce.
        why: the likely reason with its evidence; empty where there is nothing to explain.
    """

    record: str
    fabric: str
    op: str
    case: str
    measured: str
    took: str
    expected: str
    share: str
    verdict: str
    why: str
    values: Mapping[str, object]


def headline(shown: pd.DataFrame, late: Mapping[tuple[str, int], str]) -> list[Row]:
    """Rows of the judged representative points.

    Of each fabric and operation the largest payload at the most ranks, and the smallest where something is expected
    of it; then the few that are furthest below what is expected.

    Args:
        late: (run, ranks) where one rank holds the others up, with its name.
    """
    usable = shown[(shown["busbw_Bps"] > 0) & (shown["ranks"] > 1)]
    asked_for = usable["op"].isin(_OPS)
    usable = usable[asked_for] if asked_for.any() else usable
    if usable.empty:
        return []
    chosen = [label for _, rows in usable.groupby(["fabric", "op"], sort=False) for label in _of_one(rows)]
    far = usable[usable["verdict"].eq(BELOW) & usable["of_expected"].notna()].sort_values("of_expected")
    chosen += [label for label in far.index if label not in chosen][:_WORST]
    rows = usable.loc[chosen]
    return [_row(row, record, late, _switch(usable, row))
            for row, record in zip(rows.to_dict("records"), record_ids(rows), strict=True)]


def _of_one(rows: pd.DataFrame) -> Iterator[object]:
    most = rows[rows["ranks"].eq(rows["ranks"].max())]
    streamed = most[most["mode"].eq("streamed")]
    most = (streamed if len(streamed) else most).sort_values("message_bytes", kind="stable")
    yield most.index[-1]
    least = most[most["of_expected"].notna()]
    if len(least) and least.index[0] != most.index[-1]:
        yield least.index[0]


def _switch(points: pd.DataFrame, row: dict[str, object]) -> RankSwitch | None:
    return rank_switch(points, row) if row["verdict"] == BELOW else None


def _row(row: dict[str, object], record: str, late: Mapping[tuple[str, int], str], switch: RankSwitch | None) -> Row:
    values = {"record": record, "run": row["run"], "label": row["label"],
              **{name: _plain(row[name]) for name in _NAMES}, "ranks": int(row["ranks"]),
              "message_bytes": int(row["message_bytes"]), **{name: _plain(row[name]) for name in _NUMBERS}}
    why = _why(row, late, switch)
    values["reasons"] = _reasons(row, switch)
    values["rank_switch"] = switch._asdict() if switch else None
    values["why"] = why or None
    case = f"{payload(row['message_bytes'])}, {row['ranks']} ranks{', isolated' if row['mode'] == 'isolated' else ''}"
    return Row(record, str(row["fabric"]), str(row["op"]), case, rate(row["busbw_Bps"]), seconds(row["time_s"]),
               _expected(row), _share(row), str(row["verdict"]), why, values)


def _plain(value: object) -> object:
    """None for the several kinds of missing values, and no type of numpy's."""
    return None if value is None or value != value or value is pd.NA else \
        value.item() if isinstance(value, np.generic) else value


def _expected(row: dict[str, object]) -> str:
    if _plain(row["basis"]):
        limits = span(rate(row["expected_lo_Bps"]), rate(row["expected_hi_Bps"]))
        small = row["basis"] == "published" and row["expected_s"] < _CALL_S
        time = f", about {seconds(row['expected_s'])}" if small else ""
        return f"{limits}{time} ({row['basis']})"
    if _plain(row["ceiling_kind"]):
        return f"at most {rate(row['ceiling_Bps'])}"
    return UNKNOWN


def _share(row: dict[str, object]) -> str:
    if not _plain(row["ceiling_kind"]):
        return UNKNOWN
    alone = " while it has a core" if row["ceiling_kind"] == MEMORY and "oversubscription" in str(row["why"]) else ""
    capacity = f"{_CEILINGS[str(row['ceiling_kind'])]} {rate(row['ceiling_rate_Bps'])}{alone}"
    if _plain(row["wire_Bps"]) is not None:
        return f"{_percent(row['share'])}: wire {rate(row['wire_Bps'])} of {capacity}"
    return f"{_percent(row['share'])} ({capacity})"


def _percent(share: float) -> str:
    return percent(share) if share >= 0.0005 else "under 0.1 %"


def _reasons(row: dict[str, object], switch: RankSwitch | None) -> list[str]:
    """Names of reasons, in the order in which one hides the next."""
    names = [name for name in str(row["why"]).split(", ") if name]
    at = sum(name in _BEFORE_IT for name in names)
    return [*names[:at], _RANK_SWITCH, *names[at:]] if switch else names


def _why(row: dict[str, object], late: Mapping[tuple[str, int], str], switch: RankSwitch | None) -> str:
    said = []
    if _plain(row["wire_Bps"]) is not None:
        said.append("in-network reduction: each rank sends its payload once, so busbw, which counts the bytes of a "
                    f"ring, is no rate of a link; its links carry {rate(row['wire_Bps'])}")
    if row["verdict"] == ABOVE:
        beyond = row["ceiling_Bps"] and row["busbw_Bps"] > row["ceiling_Bps"]
        said.append("more than this ceiling allows: measured on another domain (--measured-on), or not all bytes "
                    "pass through it" if beyond else f"faster than the {row['basis']} figures")
    if row["ceiling_kind"] == BETWEEN:
        said.append(f"ranks of different hosts, {row['ranks_per_node']:g} on each, meet over network cards")
    named = [name for name in _reasons(row, switch) if (name, row["ceiling_kind"]) != (_HOSTS, BETWEEN)]
    said += [_switch_words(switch) if name == _RANK_SWITCH else _reason(name, row, late) for name in named[:2]]
    return "; ".join(said) or ("no reason found in these data" if row["verdict"] == BELOW else "")


def _reason(name: str, row: dict[str, object], late: Mapping[tuple[str, int], str]) -> str:
    """A reason with its evidence."""
    if name == "latency":
        instead = f", and {seconds(row['expected_s'])} is expected of all of it" if _plain(row["basis"]) else ""
        return (f"latency-bound: the fixed cost of a call, {seconds(row['latency_share'] * row['time_s'])}, is "
                f"{percent(row['latency_share'])} of its time{instead}")
    if name == "switch":
        caches = ", or the payload leaves the caches" if row["ceiling_kind"] == MEMORY else ""
        return (f"it reached {rate(row['peak_Bps'])} at {payload(row['peak_bytes'])}: an algorithm or protocol "
                f"switches in between{caches}")
    if name == _HOSTS:
        return f"ranks are spread over hosts, {row['ranks_per_node']:g} on each: a slower tier than within one"
    if name == "late rank":
        return f"{late.get((str(row['run']), int(row['ranks'])), 'one rank')} holds the others up"
    if name == "unstable":
        return f"unstable timing: {row['flags']}"
    if name == "harness":
        return f"an empty call takes {seconds(row['overhead_s'])} of it"
    return REASONS[name]


def _switch_words(switch: RankSwitch) -> str:
    return (f"from {switch.before} to {switch.at} ranks its time jumps, to at least {switch.factor:.2g} times what "
            f"fewer ranks foretell, as where another algorithm takes over (records {', '.join(switch.records)})")


def judgement(points: pd.DataFrame, rows: list[Row]) -> str:
    """The outcome in a clause, for the verdict."""
    compared = points.loc[points["basis"].notna(), ["basis", "verdict"]]
    if len(compared):
        counts = compared["verdict"].value_counts()
        against = " and ".join("the baseline" if basis == "baseline" else "published figures of this domain"
                               for basis in sorted({basis.split()[0] for basis in compared["basis"].unique()}))
        slow, fast = counts.get(BELOW, 0), counts.get(ABOVE, 0)
        if not slow and not fast:
            return f"all {len(compared)} points that can be compared are normal by {against}"
        others = [f"{count} {word}" for count, word in ((slow, "slower"), (fast, "faster")) if count]
        return f"of {len(compared)} points held against {against}, {counts.get(NORMAL, 0)} are normal, " + \
            " and ".join(others)
    best = [row for row in rows if row.values["share"] is not None]
    if best:
        first = best[0]
        if "oversubscription" in first.values["reasons"]:
            return ("ranks take turns on the cores, so no ceiling says much; nothing published or earlier to compare "
                    "with (--baseline)")
        return (f"{first.op} at {first.values['ranks']} ranks and {payload(first.values['message_bytes'])} reaches "
                f"{percent(first.values['share'])} of what {_WHAT[str(first.values['ceiling_kind'])]}; nothing "
                "published or earlier to compare it with (--baseline)")
    return "no ceiling is known to judge it by"


def legend(points: pd.DataFrame, home: tuple[str, Domain] | None) -> list[str]:
    """Where the expectations of the judged `points` come from, a sentence each; only those that occur."""
    kinds, bases = (set(points[name].dropna().unique()) for name in ("ceiling_kind", "basis"))
    verdicts = set(points["verdict"].unique())
    said = []
    if home and kinds & {LINK}:
        outer = home[1].tiers[-1]
        said.append(f"Links: {rate(outer.rate_Bps.value)} one way per accelerator of {home[1].name} ({home[0]}), a "
                    f"hard bound ({outer.rate_Bps.source}).")
    if home and kinds & {BETWEEN}:
        card = home[1].scaleout_Bps
        said.append(f"Between hosts: {rate(card.value)} one way per accelerator ({card.source}); yours may have "
                    "others.")
    if kinds & {MEMORY}:
        said.append("Memory: a CPU has no link, so an operation over shared memory takes at least copies x payload / "
                    "rate. The rate is what so many ranks reach copying at once (copy of these data, this payload or "
                    "larger); copies of the payload by each rank: 1 for all_reduce and send_recv, (n - 1) / n for "
                    "all_gather, all_to_all and broadcast, (1 + 1 / n) / 2 for reduce_scatter and reduce, (n - 1) / n² "
                    "for gather and scatter, as if every rank copied its own block to or from the root. A byte that "
                    "passes through a shared segment or a socket is copied twice, so half of it is already good.")
    if home and any(basis.startswith("published") for basis in bases):
        small, large = apart()
        tables = measured()
        sources = sorted(tables.loc[tables["domain"] == home[0], "source"].unique())
        said.append(f"Published: the range of tables for {home[1].name} ({', '.join(sources) or 'its figures'}; "
                    f"nccl-tests, means over ranks), widened by how far two such tables differ: a factor of "
                    f"{large:.2f} from 4 MiB on, {small:.2f} below (95th percentile). They do not say how small "
                    "payloads were launched (host, graphs). A published plateau is a figure for large payloads.")
    if "baseline" in bases:
        said.append("Baseline: the same case there, within 5 % and both intervals.")
    if WITHIN in verdicts:
        said.append("Within bounds: no published figure or baseline to compare with, so only the hard bound and the "
                    "curve's own plateau (its best bandwidth; under half of it is below) were looked at.")
    if NO_CEILING in verdicts and home is None and not on_cpu(points).all():
        said.append("The data name no accelerator of a known domain: --measured-on NAME says it (collbench domains "
                    "lists them).")
    return said


def find_unexpected(points: pd.DataFrame, late: Mapping[tuple[str, int], str]) -> Iterator[Finding]:
    """Findings of judged points: what is above what links can carry, and what is slower than others measured."""
    reduced = points[points["wire_Bps"].notna()]
    if len(reduced):
        top = reduced.loc[reduced["busbw_Bps"].idxmax()]
        yield Finding("note", f"all_reduce reaches {rate(top['busbw_Bps'])} of bus bandwidth over links of "
                      f"{rate(top['ceiling_rate_Bps'])}, more than a ring can: switches reduce (in-network reduction), "
                      f"each rank sends its payload once, and its links carry {rate(top['wire_Bps'])}, "
                      f"{percent(top['share'])} of their rate ({len(reduced)} points)",
                      **evidence_of(reduced.sort_values("busbw_Bps", ascending=False)))
    beyond = points[points["verdict"].eq(ABOVE) & (points["share"] > 1)].sort_values("share", ascending=False)
    if len(beyond):
        top = beyond.iloc[0]
        yield Finding("warning", f"{len(beyond)} points are above what {_WHAT[top['ceiling_kind']]}, most "
                      f"{top['label']}, {top['mode']}: {rate(top['busbw_Bps'])} against {rate(top['ceiling_Bps'])}; "
                      "the ceiling is not that of this machine, or not all bytes pass through it",
                      effect=len(beyond) / len(points), **evidence_of(beyond))
    for basis, words in (("baseline", "the baseline"), ("published", "published measurements of this domain")):
        compared = points["basis"].isin([name for name in points["basis"].dropna().unique() if name.startswith(basis)])
        slow, many = points.loc[compared & points["verdict"].eq(BELOW), "of_expected"], int(compared.sum())
        if len(slow):
            worst = points.loc[slow.nsmallest(_FEW).index]
            top = worst.iloc[0].to_dict()
            why = _why(top, late, _switch(points, top))
            yield Finding("warning", f"{len(slow)} of {many} points {'is' if len(slow) == 1 else 'are'} slower than "
                          f"{words}, most {top['label']}, {top['mode']}: {percent(top['of_expected'])} of the speed "
                          f"expected ({why})", effect=len(slow) / many, **evidence_of(worst))
