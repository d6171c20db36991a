"""Variables for a shell, where a library has no rules by message size: HCCL, MPICH, UCC, and settings of any library.

They hold for a whole process, so a variant qualifies only if it is known to be faster than the reference in a case, and
slower in none.
"""

import shlex

import numpy as np

from collbench.collectives.records.tuning import REFERENCE, Tuning, Variant

from ..winners import Found
from .rule_file import PATH, RuleFile, origin

__all__ = ["TITLE", "write"]

TITLE = "environment variables"


def write(found: Found, tuning: Tuning) -> RuleFile | None:
    """A file to source before the job; None if no variant that is only variables qualifies."""
    gains = {name: gain for name in found.table.variants if (gain := _gain(found, name)) is not None
             and _only_variables(tuning, name)}
    best: dict[str, tuple[float, str]] = {}
    for name, gain in gains.items():
        for op in tuning.variant(name).ops or ("",):
            best[op] = max(best.get(op, (0.0, "")), (gain, name))
    whole = best.pop("", (0.0, ""))
    names = {whole[1]} if whole[0] > sum(gain for gain, _ in best.values()) else {name for _, name in best.values()}
    settings: dict[str, str] = {}
    ops: list[str] = []
    for name in sorted(names - {""}, key=lambda name: -gains[name]):
        variant = tuning.variant(name)
        if all(settings.get(key, value) == value for key, value in variant.settings.items()):
            settings |= variant.settings
            ops += variant.ops or tuning.ops
    if not settings:
        return None
    lines = [f"# {origin(tuning)}", *(f"export {name}={shlex.quote(value)}" for name, value in settings.items())]
    return RuleFile("tuned.sh", "\n".join([*lines, ""]), settings, tuple(dict.fromkeys(ops)), f". {PATH}")


def _gain(found: Found, name: str) -> float | None:
    """Sum of the logarithms of the gains over the reference, over all cases; None if the variant does not qualify."""
    table, race = found.table, found.race
    at, reference = table.variants.index(name), table.variants.index(REFERENCE)
    if not race.faster[:, at, reference].any() or race.faster[:, reference, at].any():
        return None
    return float(np.nansum(race.effect[:, at, reference]))


def _only_variables(tuning: Tuning, name: str) -> bool:
    variant: Variant = tuning.variant(name)
    return bool(variant.settings) and not variant.graph and variant.starts_like(tuning.variant(REFERENCE))
