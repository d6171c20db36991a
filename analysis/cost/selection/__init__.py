"""Which algorithm a library would choose, by its own published rule: asked before a prediction crosses a switch.

One file a library, found by its name; the constants are data with version and source (analysis/data/selection). The
rules rank algorithms; they are emulated here from published constants and say nothing of how long a call takes.
"""

import sys
from functools import cache
from importlib import import_module, resources
from typing import NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["LIBRARIES", "Choice", "Fabric", "choices", "constants", "knows", "offered"]

LIBRARIES = ("nccl", "hccl")


class Fabric(NamedTuple):
    """What a rule asks of a fabric.

    Args:
        rate_Bps: nominal, one way, per accelerator.
        in_network: switches reduce.
        generation: of the accelerator, as the rule's table names it; None where it is none of those.
        mesh: every pair has a link of its own, and there is no switch.
        node: accelerators of an inner level, where there is one.
    """

    rate_Bps: float
    in_network: bool = False
    generation: str | None = None
    mesh: bool = False
    node: int | None = None


class Choice(NamedTuple):
    """One way that a library weighs: names as in the registry, and what the rule says it would cost."""

    algorithm: str
    protocol: str
    estimate_s: float


@cache
def constants(library: str) -> dict:
    """The table of a library's rule."""
    table = resources.files("collbench.analysis").joinpath("data", "selection", f"{library}.toml")
    return tomllib.loads(table.read_text(encoding="utf-8"))


def knows(library: str | None) -> bool:
    """Whether there is a rule for `library`, one of `LIBRARIES`."""
    return library in LIBRARIES


def offered(library: str | None, op: str, ranks: int, fabric: Fabric) -> tuple[str, ...]:
    """Names of the algorithms that the rule of `library` weighs for `op`; empty where it says nothing."""
    return tuple(dict.fromkeys(choice.algorithm for choice in choices(library or "", op, 1 << 20, ranks, fabric)))


def choices(library: str, op: str, payload_bytes: float, ranks: int, fabric: Fabric) -> list[Choice]:
    """What `library` weighs for `op`, the cheapest first; empty where its rule says nothing of the operation."""
    if not knows(library):
        return []
    found = import_module(f".{library}", __name__).weigh(op, payload_bytes, ranks, fabric)
    return sorted(found, key=lambda choice: choice.estimate_s)
