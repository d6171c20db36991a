"""The CSV of NCCL's tuner plugin, which RCCL reads by itself."""

import os
from itertools import groupby

from collbench.collectives.records.tuning import REFERENCE, Tuning, Variant

from ...export.nccl_tuner import ALGORITHMS, COLLECTIVES, PROTOCOLS, Rule, parse, render
from ..winners import Found
from .rule_file import PATH, RuleFile, origin

__all__ = ["TITLE", "write"]

TITLE = "rules of NCCL's tuner plugin"
_ALGORITHMS = {name.replace("_", ""): name for name in ALGORITHMS}
_CHANNELS = ("NCCL_MIN_CTAS", "NCCL_MAX_CTAS")


def write(found: Found, tuning: Tuning) -> RuleFile | None:
    """The tuner file of what won; None if no choice is an algorithm and protocol of NCCL."""
    rules = []
    for (op, ranks), group in groupby(found.choices, lambda choice: (choice.op, choice.ranks)):
        chosen = sorted(group, key=lambda choice: choice.message_bytes)
        for name, run in groupby(chosen, lambda choice: choice.variant):
            sizes = [choice.message_bytes for choice in run]
            known = None if name == REFERENCE else _named(tuning.variant(name))
            if known and op in COLLECTIVES:
                algorithm, protocol, channels = known
                rules.append(Rule(op, sizes[0], sizes[-1], algorithm, protocol, channels, ranks=ranks))
    if not rules:
        return None
    text = render(rules, (origin(tuning), "no rule beyond the sizes and rank counts that were measured"))
    parse(text)
    lacks = "" if os.environ.get("NCCL_TUNER_PLUGIN") or found.library.startswith("rccl") else (
        "NCCL reads it through a tuner plugin (plugins/tuner/example in NVIDIA/nccl): set NCCL_TUNER_PLUGIN to it")
    return RuleFile("nccl_tuner.conf", text, {"NCCL_TUNER_CONFIG_FILE": PATH},
                    tuple(dict.fromkeys(rule.op for rule in rules)), f"export NCCL_TUNER_CONFIG_FILE={PATH}", lacks)


def _named(variant: Variant) -> tuple[str, str, int | None] | None:
    """Algorithm, protocol and channels as the plugin names them; None if the variant is anything else."""
    settings = dict(variant.settings)
    algorithm = _ALGORITHMS.get(settings.pop("NCCL_ALGO", "").lower())
    protocol = settings.pop("NCCL_PROTO", "").lower()
    channels = {settings.pop(name) for name in _CHANNELS if name in settings}
    if settings or variant.graph or algorithm is None or protocol not in PROTOCOLS or len(channels) > 1:
        return None
    return algorithm, protocol, int(channels.pop()) if channels else None
