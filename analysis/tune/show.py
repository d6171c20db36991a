"""The answer of a tuning run on the terminal, in at most 25 lines unless asked for everything, and as JSON."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

import msgspec

from collbench.collectives.errors import printable
from collbench.collectives.records.tuning import REFERENCE

from ..compare.words import factor
from ..text.units import counted, payload, percent, seconds
from .answer import Answer
from .forecast import Likely
from .race import FEWEST_ROUNDS
from .rules.rule_file import PATH
from .winners import Winner

__all__ = ["as_json", "lines"]

_MOST_ROWS, _MOST_LIKELY, _MOST_NOTES = 12, 4, 3
_NAMED = 2              # variants of a tie
_WIDEST = 1000.0        # high over low end of an interval that is printed
_MAGNITUDE = 10.0       # high over low end of a forecast beyond which only its order is known

_Cells = list[tuple[str, ...]]


def lines(answer: Answer, verbose: bool = False) -> Iterator[str]:
    """The winner table, forecasts, findings and the file; with `verbose` the ranking of every case and all findings."""
    found, race = answer.found, [launch for launch in answer.launches if not launch.proof]
    rounds = max((launch.round for launch in race), default=0)
    yield (f"{found.library}: {counted(len(found.table.variants), 'variant')} of {', '.join(answer.tuning.ops)} in "
           f"{counted(rounds, 'round')} of launches, {answer.tuning.mode}; the chance of any false statement "
           "in the table is at most 5 %")
    if rounds < FEWEST_ROUNDS:
        yield f"at least {FEWEST_ROUNDS} rounds are needed to tell anything apart: --resume goes on"
    rows = _winner_rows(found.winners)
    yield from _table(("operation", "ranks", "size", "fastest", "time", f"over {REFERENCE}", "rounds"),
                      rows if verbose else _largest(rows))
    if not verbose and len(rows) > _MOST_ROWS:
        yield f"and {len(rows) - _MOST_ROWS} more rows: -v"
    if verbose:
        yield from _rankings(found.winners)
    yield from _forecasts(answer.likely, verbose)
    notes = [*_findings(answer)]
    yield from notes if verbose else notes[:_MOST_NOTES]
    if not verbose and len(notes) > _MOST_NOTES:
        yield f"{len(notes) - _MOST_NOTES} more findings: -v"
    yield from _file(answer)


def _winner_rows(winners: Sequence[Winner]) -> _Cells:
    """One row for neighbouring sizes with the same outcome."""
    rows: _Cells = []
    for (op, ranks, words, _), group in groupby(winners, lambda row: (row.op, row.ranks, _fastest(row),
                                                                      row.beats_reference)):
        same = list(group)
        rows.append((op, str(ranks), _sizes(same), words, _span([seconds(row.time_s) for row in same]), _gain(same),
                     _counts(row.n for row in same)))
    return rows


def _fastest(row: Winner) -> str:
    if row.wins:
        return row.leader
    names = (row.leader, *row.tied)
    if REFERENCE in names:
        names = (REFERENCE, *(name for name in names if name != REFERENCE))
    more = f" +{len(names) - _NAMED}" if len(names) > _NAMED else ""
    kind = "equal" if row.settled else "tie"
    return f"{kind}: {', '.join(map(_short, names[:_NAMED]))}{more}"


def _short(name: str) -> str:
    """Without the operation, which stands in the first column."""
    return name.rpartition("/")[2]


def _sizes(rows: Sequence[Winner]) -> str:
    low, high = payload(rows[0].message_bytes), payload(rows[-1].message_bytes)
    return low if len(rows) == 1 else f"{low} to {high}"


def _span(texts: Sequence[str]) -> str:
    return texts[0] if len(set(texts)) == 1 else f"{texts[0]} to {texts[-1]}"


def _counts(values: Iterable[int]) -> str:
    known = sorted(values)
    return f"{known[0]}" if known[0] == known[-1] else f"{known[0]} to {known[-1]}"


def _gain(rows: Sequence[Winner]) -> str:
    """The smallest and the largest gain of these cases, and the ends of all their intervals."""
    if not rows[0].beats_reference:
        return "-"
    gains = [row.gain for row in rows if row.gain is not None]
    if not gains:
        return "-"
    middle = sorted({factor(gain[0]): gain[0] for gain in gains}.items(), key=lambda item: item[1])
    words = _span([middle[0][0], middle[-1][0]])
    return f"{words} [{factor(min(gain[1] for gain in gains))} to {factor(max(gain[2] for gain in gains))}]"


def _largest(rows: _Cells) -> _Cells:
    """The rows to show: winners before ties, in the order of the table."""
    order = sorted(range(len(rows)), key=lambda at: (rows[at][5] == "-", -int(rows[at][1]), at))
    return [rows[at] for at in sorted(order[:_MOST_ROWS])]


def _table(header: tuple[str, ...], rows: _Cells) -> Iterator[str]:
    everything = [header, *rows]
    wide = [max(map(len, column)) for column in zip(*everything, strict=True)]
    for row in everything:
        yield printable("  ".join(cell.rjust(width) if at in (1, 6) else cell.ljust(width)
                                  for at, (cell, width) in enumerate(zip(row, wide, strict=True))).rstrip())


def _rankings(winners: Sequence[Winner]) -> Iterator[str]:
    for row in winners:
        yield f"{printable(row.label)}:"
        for place in row.ranking:
            words = ["slower than some"] if place.slower else []
            if place.slowdown is not None:
                middle, low, high = place.slowdown
                within = (f"{factor(low)} to {factor(high)}" if high <= _WIDEST * low
                          else f"interval wider than a factor of {_WIDEST:.0f}")
                words.insert(0, f"{factor(middle)} the time of the first [{within}]")
            figures = f"    {place.variant:<32} {seconds(place.time_s):>8}  n={place.n}  "
            yield printable((figures + ", ".join(words)).rstrip())


def _forecasts(likely: Sequence[Likely], verbose: bool) -> Iterator[str]:
    """The largest size of each operation and rank count; all with `verbose`."""
    shown = list(likely) if verbose else [list(group)[-1] for _, group in
                                          groupby(likely, lambda row: (row.op, row.ranks))][:_MOST_LIKELY]
    for row in shown:
        time_s, low_s, high_s = row.time_s
        others = ", ".join(f"{_short(name)} {percent(chance)}" for name, chance in row.chances[1:3] if chance >= 0.005)
        figure = (f"{seconds(time_s)} [{seconds(low_s)} to {seconds(high_s)}]" if high_s <= _MAGNITUDE * low_s
                  else f"time within a factor of {high_s / low_s:.0f} only")
        yield printable(f"extrapolated, {row.op} {payload(row.message_bytes)} at {row.ranks} ranks: fastest is "
                        f"{_short(row.variant)} with {percent(row.chance)}{f' ({others})' if others else ''}; {figure}")


def _findings(answer: Answer) -> Iterator[str]:
    for name, words in answer.ignored.items():
        yield printable(f"finding: {name}: a setting had no effect: {'; '.join(words)}")
    for name, words in answer.failures.items():
        more = f" and {len(words) - 1} more" if len(words) > 1 else ""
        yield printable(f"finding: {name} failed: {words[0]}{more}")
    for note in (*answer.tuning.notes, *answer.warnings):
        yield printable(f"note: {note}")


def _file(answer: Answer) -> Iterator[str]:
    rules, proof = answer.rules, answer.proof
    if rules is None:
        beaten = any(row.beats_reference for row in answer.found.winners)
        yield ("no rules: what is faster cannot be said in a file of this library; start it as the variant does"
               if beaten else f"no rules: nothing is known to be faster than {REFERENCE}")
    elif proof is None:
        yield printable(f"no rules are kept: {rules.name} was not measured again: {rules.needs or 'no time was left'}")
    else:
        outcome = (f"measured again in {counted(proof.rounds, 'round')}: faster in {proof.faster} of "
                   f"{counted(len(proof.winners), 'case')}")
        if proof.slower:
            yield printable(f"no rules are kept: {rules.name}, {outcome}, but slower in {len(proof.slower)}: "
                            f"{proof.slower[0]}")
        elif not proof.holds:
            yield printable(f"no rules are kept: {rules.name}, {outcome}, known to be slower in none, but a slowdown "
                            f"by up to {factor(proof.at_most)} is possible somewhere: --resume goes on")
        else:
            yield printable(f"rules: {answer.kept or rules.name}, {outcome}, slower in none (by at most "
                            f"{factor(max(proof.at_most, 1.0))} anywhere)")
            if answer.kept is not None:
                yield printable(f"    {rules.words.replace(PATH, str(answer.kept))}")


def as_json(answer: Answer) -> dict[str, Any]:
    """The answer as plain values; docs/tune.md describes the fields."""
    return {
        "library": answer.found.library, "variants": msgspec.to_builtins(answer.tuning.variants),
        "ops": list(answer.tuning.ops), "ranks": list(answer.tuning.ranks), "mode": answer.tuning.mode,
        "rounds": max((launch.round for launch in answer.launches if not launch.proof), default=0),
        "winners": [_finite(asdict(row)) for row in answer.found.winners],
        "forecasts": [_finite({**asdict(row), "kind": "extrapolated"}) for row in answer.likely],
        "ignored": answer.ignored, "failures": answer.failures, "warnings": list(answer.warnings),
        "rules": None if answer.rules is None else {
            "name": answer.rules.name, "text": answer.rules.text, "use": answer.rules.words,
            "kept": str(answer.kept) if answer.kept else None},
        "proof": None if answer.proof is None else {
            "rounds": answer.proof.rounds, "faster": answer.proof.faster, "slower": list(answer.proof.slower),
            "at_most": answer.proof.at_most, "cases": [_finite(asdict(row)) for row in answer.proof.winners]}}


def _finite(value: Any) -> Any:
    """Without numbers that JSON lacks."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
