"""Everything that a tuning run says, as values: winners, findings, forecasts, and the file of rules with its proof."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from collbench.collectives.errors import UsageError
from collbench.collectives.records.tuning import REFERENCE, RULES, Launch, Tuning

from ..domains.facts import load_domains
from ..frames.pool import pool
from ..projection import home_of
from .forecast import Likely, likely_winners
from .in_force import ignored
from .measured import Measured
from .rules import RuleFile, rule_file
from .winners import Found, Winner, found_in

__all__ = ["Answer", "Proof", "answer_of", "proof_of", "rules_of"]


_AT_MOST = 2.0      # a slowdown by this must be ruled out in every case


@dataclass(frozen=True)
class Proof:
    """The second measurement: the reference against the rules, in launches that nothing was selected by.

    Args:
        winners: one for each case.
        rounds: launches of each.
        slower: labels of cases in which the rules are known to be slower.
        at_most: the upper end of the intervals of the slowdown, in the case where it is largest.
    """

    winners: tuple[Winner, ...]
    rounds: int
    slower: tuple[str, ...]
    at_most: float

    @property
    def holds(self) -> bool:
        """Whether the rules are slower nowhere, as far as that can be told: in no case by more than _AT_MOST."""
        return not self.slower and self.at_most <= _AT_MOST

    @property
    def faster(self) -> int:
        """Cases in which the rules are known to be faster."""
        return sum(row.beats_reference for row in self.winners)


@dataclass(frozen=True)
class Answer:
    """What a tuning run says.

    Args:
        found: of the race.
        rules: what follows from it; None if nothing does.
        proof: of the rules; None if they were not measured again.
        likely: forecasts.
        ignored, failures: by variant.
        kept: the file of rules that was kept; None if there is none.
    """

    tuning: Tuning
    launches: tuple[Launch, ...]
    found: Found
    rules: RuleFile | None
    proof: Proof | None
    likely: tuple[Likely, ...]
    ignored: dict[str, list[str]]
    failures: dict[str, list[str]]
    warnings: tuple[str, ...]
    kept: Path | None


def answer_of(out: Path, targets: Sequence[int]) -> Answer:
    """The answer of the tuning run in `out`, from what was measured so far.

    UsageError: nothing was measured yet.
    """
    measured = Measured.read(out)
    found = _found(measured)
    rules = rule_file(found, measured.tuning)
    kept = _kept(out, rules)
    domains = load_domains()
    home = home_of(pool(list(measured.loaded.values())).points, domains)
    likely = likely_winners(measured, [count for count in targets if count not in measured.tuning.ranks],
                            (home, domains[home]) if home else None)
    return Answer(measured.tuning, tuple(measured.launches), found, rules, _proof(measured, rules), tuple(likely),
                  ignored(measured), measured.failures(), tuple(measured.warnings), kept)


def rules_of(out: Path) -> tuple[RuleFile | None, dict[str, list[tuple[int, int]]]]:
    """The file that follows from the race in `out`, and the cases to prove it by: by operation, sizes and rank counts.

    UsageError: nothing was measured yet.
    """
    measured = Measured.read(out)
    found = _found(measured)
    rules = rule_file(found, measured.tuning)
    where: dict[str, list[tuple[int, int]]] = {}
    for row in found.winners:
        if rules is not None and row.op in rules.ops:
            where.setdefault(row.op, []).append((row.asked_bytes, row.ranks))
    return rules, where


def proof_of(out: Path, rules: RuleFile) -> Proof | None:
    """The second measurement of these rules in `out`; None if there is none, or too little to compare."""
    return _proof(Measured.read(out), rules)


def _kept(out: Path, rules: RuleFile | None) -> Path | None:
    """The file of these rules in `out`, if they were kept."""
    if rules is None:
        return None
    try:
        return out / rules.name if (out / rules.name).read_text(encoding="utf-8") == rules.text else None
    except OSError:
        return None


def _found(measured: Measured) -> Found:
    table = measured.table()
    if table is None or REFERENCE not in table.variants:
        raise UsageError(f"{measured.out}: no launch of the variant {REFERENCE} has measured anything yet")
    return found_in(table, next((run.library for run in measured.runs(REFERENCE)), ""))


def _proof(measured: Measured, rules_file: RuleFile | None) -> Proof | None:
    table = measured.table(rules_file.digest) if rules_file is not None else None
    if table is None or set(table.variants) != {REFERENCE, RULES}:
        return None
    found = found_in(table, "", once=True)
    reference, rules = table.variants.index(REFERENCE), table.variants.index(RULES)
    most = found.race.high[:, reference, rules]
    if np.isnan(most).any():
        return None
    slower = found.race.faster[:, reference, rules]
    rounds = int(np.isfinite(table.log_s).all(axis=1).sum(axis=1).max())
    return Proof(found.winners, rounds, tuple(table.cells["label"][slower]), math.exp(float(most.max())))
