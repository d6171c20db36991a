"""What every report says first, as values: the verdict, the headline results, and what they mean at the targets."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from collbench.collectives.cases.catalog import GROUPS, OPERATIONS
from collbench.collectives.records.figures import FIGURES
from collbench.collectives.transport_names import TRANSPORTS

from ..assess.verdicts import HIGH, LOW, NO_REFERENCE, NORMAL
from ..assess.wording import attainable, ranked, standing
from ..domains.facts import Domain
from ..frames.representative import Predicted
from ..text.units import percent, rate, span
from .header import Overview

__all__ = ["WRONG", "Answer", "Outlook", "Reference", "Result", "Verdict", "build_answer", "headline_points"]

WRONG = "wrong"
# The order in which results are listed: those that decide how a model is spread over accelerators come first.
_FIRST = ("all_reduce", "all_to_all", "all_gather", "reduce_scatter", "broadcast", "bandwidth", "ping_pong",
          "send_recv")
_RATES = tuple(name for name, row in OPERATIONS.items() if row.rates_messages)
_WIDEST = 10.0      # high over low end of an interval; a wider one is no answer, so it is said what to measure instead
_BY_CHANCE = 0.1    # share of points outside references that are as wide as 95 % of them differ, with some allowance
_Home = tuple[str, Domain] | None
_Row = Mapping[Hashable, Any]


class Verdict(NamedTuple):
    """The outcome of a run.

    Args:
        word: one of `assess.verdicts`, or `wrong` if results were wrong or nothing was measured.
        sentence: the outcome in a sentence.
    """

    word: str
    sentence: str


class Reference(NamedTuple):
    """What a result is compared with.

    Args:
        word: one of `assess.verdicts`.
        detail: of published runs their range, sources, and what they have in common; else empty.
        basis: what with, in a few words: the range of published values, the baseline, or a share of the ceiling.
    """

    word: str
    basis: str
    detail: str = ""


@dataclass(frozen=True)
class Outlook:
    """A result at a target rank count.

    Args:
        ranks: the target.
        kind: `measured`, `extrapolated`, or `not known`: refused, or with an interval too wide to be an answer.
        time_s, busbw_Bps: (value, low, high), the interval with coverage `level`; None where not known. Operations
            without a payload have no busbw.
        measure: rank counts whose measurement would give an answer, where not known.
        command: what to run to measure them.
        assumption: hosts and links that the extrapolation assumes, in a few words; empty where it needs none.
        why: why the value is not known; empty where it is.
        record: how forecasts of this class did on public measurements; empty where nothing is forecast.
    """

    ranks: int
    kind: str
    time_s: tuple[float, float, float] | None
    busbw_Bps: tuple[float, float, float] | None
    level: float
    measure: tuple[int, ...] = ()
    command: str = ""
    assumption: str = ""
    why: str = ""
    record: str = ""


@dataclass(frozen=True)
class Result:
    """One headline operation on one fabric: the largest message at the most ranks; of message rates the smallest.

    Args:
        fabric: the name used in all tables; `library`: the backend or transport in one word.
        mode: `isolated` or `streamed`.
        busbw_Bps: None for operations without a payload.
        messages_per_s: of all pairs together, where this is the figure; else None.
        plus_minus: half of the 95 % confidence interval of `time_s`, relative; None with too few samples.
        samples: how many there are.
    """

    fabric: str
    library: str
    op: str
    mode: str
    ranks: int
    message_bytes: int
    busbw_Bps: float | None
    messages_per_s: float | None
    time_s: float
    plus_minus: float | None
    samples: int
    reference: Reference
    outlook: tuple[Outlook, ...]


@dataclass(frozen=True)
class Answer:
    """The verdict, then the results in order of importance: by operation, then by fabric."""

    verdict: Verdict
    results: tuple[Result, ...]

    def as_json(self) -> dict[str, Any]:
        """For the JSON document: SI units, None where unknown."""
        return {"verdict": self.verdict._asdict(),
                "results": [{**_plain(result), "reference": result.reference._asdict(),
                             "outlook": [_plain(outlook) for outlook in result.outlook]} for result in self.results]}


def build_answer(overview: Overview, shown: pd.DataFrame, predictions: pd.DataFrame, targets: Sequence[int],
                 home: _Home) -> Answer:
    """The answer from assessed representative points and their predictions.

    Args:
        shown: the points, with the columns of `assess` and `fabric`.
        predictions: the series of `shown` at every target, with `fabric`.
        home: key and facts of the domain that was measured.
    """
    points = headline_points(shown).to_dict("records")
    predicted, named = Predicted(predictions), _libraries(points)
    results = tuple(_result(row, predicted, named[row["fabric"]], targets, home) for row in points)
    return Answer(_verdict(overview, results, shown.loc[shown["basis"].notna(), "verdict"]), results)


def _verdict(overview: Overview, results: Sequence[Result], compared: pd.Series) -> Verdict:
    """That of the headline results.

    Where none of them has a reference, low if so many of all compared points are that chance does not explain it.
    """
    words = {result.reference.word for result in results} - {NO_REFERENCE}
    if not words and len(compared) and compared.eq(LOW).mean() > _BY_CHANCE:
        words.add(LOW)
    word = WRONG if not overview.sound else next((one for one in (LOW, HIGH, NORMAL) if one in words), NO_REFERENCE)
    judgement = overview.judgement.removeprefix(f"{word}: ")
    return Verdict(word, f"{overview.trust}; {judgement}." if judgement else f"{overview.trust}.")


def headline_points(shown: pd.DataFrame) -> pd.DataFrame:
    """The largest message at the most ranks of each operation and fabric; streamed, where both modes were measured.

    Of an operation whose figure is a rate of messages it is the smallest message; of a pattern with several variants
    (seeds, shapes) the slowest.
    Steps in the life of a communicator, local copies and calls beside others are left out unless there is nothing else,
    empty calls always.
    """
    between = [op for op in shown["op"].unique() if op not in OPERATIONS or not (
        OPERATIONS[op].lifecycle or OPERATIONS[op].memories or op == "noop")]
    between = [op for op in between if op not in FIGURES] or between
    wanted = shown[shown["op"].isin(between)] if between else shown[shown["op"] != "noop"]
    order = {op: place for place, op in enumerate(dict.fromkeys((*_FIRST, *OPERATIONS, *wanted["op"].unique())))}
    keys = ["fabric", "op"]
    most = wanted[wanted["ranks"].eq(wanted.groupby(keys)["ranks"].transform("max"))]
    towards = most["message_bytes"].where(~most["op"].isin(_RATES), -most["message_bytes"])
    slowest = most["time_s"].where(most["op"].isin(GROUPS["patterns"]), 0.0)
    ordered = most.assign(order=most["op"].map(order), towards=towards, slowest=slowest).sort_values(
        ["order", "fabric", "mode", "towards", "slowest"], kind="stable").drop(columns=["towards", "slowest"])
    return ordered.drop_duplicates(keys, keep="last")      # `streamed` sorts after `isolated`


def _libraries(points: Sequence[_Row]) -> dict[str, str]:
    """One word for each fabric, or its whole name where the word would stand for two."""
    words = {}
    for row in points:
        transport, library = (str(row[name] or "") for name in ("transport", "library"))
        words[str(row["fabric"])] = transport if transport == "mpi" else (library.split() or [transport])[0].rstrip(",")
    return {fabric: word if list(words.values()).count(word) == 1 else fabric for fabric, word in words.items()}


def _result(row: _Row, predicted: Predicted, library: str, targets: Sequence[int], home: _Home) -> Result:
    low_s, high_s = row["time_lo_s"], row["time_hi_s"]
    half = (high_s - low_s) / 2 / row["time_s"]
    return Result(str(row["fabric"]), library, str(row["op"]), str(row["mode"]), int(row["ranks"]),
                  int(row["message_bytes"]), _known(row["busbw_Bps"]), _messages(row), float(row["time_s"]),
                  _known(half), int(row["samples"]), _reference(row),
                  tuple(_outlook(row, predicted, target, home) for target in targets))


def _messages(row: _Row) -> float | None:
    return _known(row["busbw_Bps"] / row["message_bytes"]) if row["op"] in _RATES else None


def _reference(row: _Row) -> Reference:
    """The verdict of `assess` on a point, and on what it rests."""
    if isinstance(row["basis"], str):
        limits = span(rate(row["expected_lo_Bps"]), rate(row["expected_hi_Bps"]))
        if row["basis"] != "published":
            return Reference(row["verdict"], f"{row['basis']} {limits}")
        place = ranked(row["percentile"], row["reference_runs"])
        among = standing(row["percentile"], row["reference_runs"], row["reference_sources"])
        return Reference(row["verdict"], place or f"published {limits}",
                         f"{among}: {row['reference']}; normal: {limits}")
    if row["oversubscribed"] is True or not math.isfinite(row["share"]):      # then no bound says anything
        return Reference(NO_REFERENCE, "")
    return Reference(row["verdict"], f"{percent(row['share'])} of what "
                     f"{attainable(row['ceiling_kind'], row['ceiling_assumes'])}")


def _outlook(row: _Row, predicted: Predicted, target: int, home: _Home) -> Outlook:
    if row["ranks"] == target:
        return Outlook(target, "measured", _triple(row, "time_s"), _triple(row, "busbw_Bps"), 0.95)
    there = predicted.at(row, target)
    if there is None:
        return Outlook(target, "not known", None, None, 0.9, why="not predicted")
    if there["kind"] == "refused":
        never = row["op"] in FIGURES or (row["op"] in OPERATIONS and OPERATIONS[row["op"]].pairs)
        measure = () if never else _next_counts(int(row["ranks"]), target)
        return Outlook(target, "not known", None, None, 0.9, measure, _command(row, measure, home),
                       why=str(there["reason"]))
    ratio = there["time_hi_s"] / there["time_lo_s"]
    assumption = _assumption(row, target, home) if there["kind"] == "extrapolated" else ""
    record = str(there["track_record"]) if isinstance(there["track_record"], str) else ""
    if ratio > _WIDEST:
        measure = _next_counts(int(row["ranks"]), target)
        return Outlook(target, "not known", None, None, there["level"], measure, _command(row, measure, home),
                       assumption, f"its interval spans a factor of {ratio:.0f}", record)
    return Outlook(target, str(there["kind"]), _triple(there, "time_s"), _triple(there, "busbw_Bps"), there["level"],
                   assumption=assumption, record=record)


def _next_counts(largest: int, target: int) -> tuple[int, ...]:
    """The next two doublings of the largest measured rank count, up to the target."""
    return tuple(dict.fromkeys(min(target, count) for count in (2 * largest, 4 * largest)))


def _command(row: _Row, measure: Sequence[int], home: _Home) -> str:
    """What measures these rank counts: one launch of the largest measures the smaller ones too."""
    if not measure:
        return ""
    most, node = measure[-1], _per_host(row, home)
    on_cpu = str(row["device"]).lower().startswith("cpu")
    transport = f" --transport {row['transport']}" if row["transport"] in TRANSPORTS else ""
    if row["transport"] in TRANSPORTS and on_cpu and _on_one_host(row):
        return f"collbench run{transport} --ranks {most}{_case(row)}" if _is_extra(row) else \
            f"collbench bench --ranks {most}"
    if node is None:
        return f"mpirun -n {most} python -m collbench.rank{transport}{_case(row)} --out results/{most}-ranks"
    return f"collbench launch --launcher slurm --nodes {math.ceil(most / node)} --ranks-per-node {node}{transport}"


def _is_extra(row: _Row) -> bool:
    """Whether `collbench bench` leaves the operation out."""
    return row["op"] in OPERATIONS and OPERATIONS[row["op"]].group is not None


def _case(row: _Row) -> str:
    """The options of a run that name the operation, and the routing of an exchange between experts."""
    traffic = f" --traffic {row['traffic']}" if _is_extra(row) and isinstance(row["traffic"], str) else ""
    return f" --ops {row['op']}{traffic}"


def _per_host(row: _Row, home: _Home) -> int | None:
    """Ranks on each host, as far as the data or the facts of the domain tell."""
    if math.isfinite(row["ranks_per_node"]) and not _on_one_host(row):
        return int(row["ranks_per_node"])
    if home and (each := home[1].accelerators_per_host or home[1].accelerators):
        return int(each.value)
    return int(row["ranks"]) if _on_one_host(row) else None


def _on_one_host(row: _Row) -> bool:
    return bool(row["ranks_per_node"] >= row["ranks"])


def _assumption(row: _Row, target: int, home: _Home) -> str:
    """What is assumed of links that no measurement crossed, in a few words."""
    node = _per_host(row, home)
    if home and home[1].accelerators and row["ranks"] <= home[1].accelerators.value < target:
        outside, hosts = home[1].scaleout_Bps, math.ceil(target / node) if node else 0
        cards = f"{node}x{outside.value * 8 / 1e9:.4g}G cards" if outside else "cards of unknown rate"
        return f"{hosts} hosts x {cards}"
    if home is None and _on_one_host(row):
        return "links between hosts as inside one"
    return f"{math.ceil(target / node)} hosts x {node}, linked as those measured" if node and target > node else ""


def _triple(row: _Row, name: str) -> tuple[float, float, float] | None:
    """Value and interval; None if the value is unknown. An end that is unknown is that of the value."""
    stem, unit = name.rsplit("_", 1)
    value, low, high = (_known(row[key]) for key in (name, f"{stem}_lo_{unit}", f"{stem}_hi_{unit}"))
    return None if value is None else (value, value if low is None else low, value if high is None else high)


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _plain(value: Result | Outlook) -> dict[str, Any]:
    """The fields of a dataclass as JSON values; those that hold other classes are replaced by the caller."""
    return {name: list(own) if isinstance(own, tuple) else own or None if isinstance(own, str) else own
            for name, own in vars(value).items()}
