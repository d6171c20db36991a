"""Settings that a library ignored: what was asked for, against what the library said that it used."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from collbench.collectives.records.tuning import Tuning, Variant

from .measured import Measured

__all__ = ["ignored"]

_NUMBERED = re.compile(r"(-?\d+)(?: \((.+)\))?")     # `4 (ring)`
_LOGGED = {"NCCL_ALGO": "algorithm", "NCCL_PROTO": "protocol"}


def ignored(measured: Measured) -> dict[str, list[str]]:
    """By variant: its settings that had no effect, each in a clause.

    The control variables of an MPI, and the algorithms in the log of a communication library, are what it says itself.
    A variant that nothing is known of is missing.
    """
    found = {}
    for variant in measured.tuning.variants:
        words = list(dict.fromkeys(_of(variant, measured)))
        if words:
            found[variant.name] = words
    return found


def _of(variant: Variant, measured: Measured) -> Iterator[str]:
    for run in measured.runs(variant.name):
        held: Any = run.provenance.get("settings in force") or {}
        for name, value in variant.settings.items():
            if name in held and (words := _against(value, held[name], run.library)):
                yield f"{name}={value}: {words}"
        log: Any = run.provenance.get("library_log") or {}
        yield from _logged(variant, log, measured.tuning)


def _against(asked: str, held: str | None, library: str) -> str | None:
    """Why what is held is not what was asked for; None if it is, or cannot be compared."""
    if held is None:
        return f"{library} has no such setting"
    match = _NUMBERED.fullmatch(held)
    if match is None:
        return None if held == asked else f"{library} holds {held}"
    number, name = match.groups()
    if asked.lower() in (number, (name or "").lower()) or not (asked.isdecimal() or name):
        return None     # a name whose number is not known cannot be compared
    return f"{library} holds {held}"


def _logged(variant: Variant, log: Mapping[str, Any], tuning: Tuning) -> Iterator[str]:
    """Of a library that logs what it selects for each call."""
    for name, field in _LOGGED.items():
        asked = variant.settings.get(name)
        if asked is None:
            continue
        used = {str(choice.get(field)) for choice in log.get("choices") or [] if choice.get(field)
                and choice.get("op") in (variant.ops or tuning.ops)}
        if used and asked.lower() not in {word.lower().replace("_", "") for word in used}:
            yield f"{name}={asked}: {log.get('library', 'the library')} used {', '.join(sorted(used))}"
