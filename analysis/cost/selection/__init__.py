"""The algorithm that a library would choose, by its published selection rule.

One module per library, found by name. The constants are data with version and source (analysis/data/selection). The
rules are emulated from published constants; they rank algorithms and do not predict times.
"""

from importlib import import_module
from typing import Any, NamedTuple

from ..published_tables import table

__all__ = ["LIBRARIES", "Choice", "Fabric", "choices", "constants", "knows", "offered", "runs"]

LIBRARIES = ("nccl", "hccl")


class Fabric(NamedTuple):
    """The facts of a fabric that selection rules use.

    Args:
        rate_Bps: nominal, one way, per accelerator.
        in_network: switches reduce.
        generation: of the accelerator, as in the rule's table; None if it is not listed.
        mesh: a direct link between every pair, no switch.
        node: accelerators of an inner level; None if there is none.
    """

    rate_Bps: float
    in_network: bool = False
    generation: str | None = None
    mesh: bool = False
    node: int | None = None


class Choice(NamedTuple):
    """One option of a library, named as in the registry, with the cost estimate of the rule."""

    algorithm: str
    protocol: str
    estimate_s: float


def constants(library: str) -> dict[str, Any]:
    """Constants of a library's selection rule."""
    return table(library)


def knows(library: str | None) -> bool:
    """Whether a selection rule is known for `library`."""
    return library in LIBRARIES


def offered(library: str | None, op: str, ranks: int, fabric: Fabric) -> tuple[str, ...]:
    """Names of the algorithms that `library` offers for `op`; empty if its rule is unknown."""
    return tuple(dict.fromkeys(choice.algorithm for choice in choices(library or "", op, 1 << 20, ranks, fabric)))


def runs(library: str, op: str, levels: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the algorithms of which `library` is known to run one whatever the fabric; empty if that is not known.

    Args:
        levels: ranks that each inner level of the machine connects; empty if all are on one level, or unknown.
    """
    across = "across_nodes" if levels else "on_one_node"
    table = constants(library).get("runs", {}) if knows(library) else {}
    return tuple(table.get(across, {}).get(op, ()))


def choices(library: str, op: str, payload_bytes: float, ranks: int, fabric: Fabric) -> list[Choice]:
    """Options of `library` for `op`, cheapest first; empty if its rule does not cover the operation."""
    if not knows(library):
        return []
    found = import_module(f".{library}", __name__).weigh(op, payload_bytes, ranks, fabric)
    return sorted(found, key=lambda choice: choice.estimate_s)
