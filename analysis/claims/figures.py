"""The figures that several claims need, computed once: facts by normalisation, projections, steps of workloads."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from ..domains.facts import Domain, Figure, load_domains
from ..frames.load import load
from ..projection import project, versus
from ..projection.head_to_head import DrawKey, Versus
from ..projection.monte_carlo import Draws
from ..workload.answer import NO_COMPUTE, Outcome, outcome_of
from ..workload.calls import job_of
from ..workload.compare import narrowed
from ..workload.model import workload_named
from ..workload.parallel import Parallel
from ..workload.price import OnDomain

__all__ = ["EXAMPLE", "PAIR", "domain", "nominal", "projected", "settles", "step", "workload_command"]

PAIR = ("nvl72", "cm384")
EXAMPLE = "docs/examples/hgx-h100-8.csv"
_SIZE = 512 << 20
_OPS = ("all_reduce", "all_gather", "all_to_all")


@cache
def _domains() -> Mapping[str, Domain]:
    return load_domains()


def domain(key: str) -> Domain:
    """A shipped domain."""
    return _domains()[key]


@cache
def projected() -> list[Versus]:
    """The two domains on collectives of 512 MiB, from the published measurements of 8 H100 of the example."""
    # Beside the package in a checkout, inside it where it is installed (setup.py).
    points = load(Path(__file__).parents[2] / EXAMPLE).points
    kept: dict[DrawKey, Draws] = {}
    frame = project(points, PAIR, _domains(), kept=kept)
    lines = versus(kept, *PAIR, _domains(), dict(zip(frame["domain"], frame["ranks"], strict=True)))
    return [line for line in lines if line.op in _OPS and line.asked_bytes == _SIZE]


@cache
def step(name: str, phase: str, parallel: str, tokens: int, key: str) -> Outcome:
    """A step of a workload on a domain."""
    known, workload = workload_named(name)
    return outcome_of(job_of(known, workload, phase, Parallel.parse(parallel), tokens), OnDomain(key, domain(key)))


def workload_command(name: str, phase: str, parallel: str, tokens: int, keys: Sequence[str]) -> str:
    """The command that prints `step` on these domains."""
    return f"collbench workload {name} --phase {phase} --parallel {parallel} --tokens {tokens} " \
        f"--domain {','.join(keys)}"


def settles(job: tuple[str, str, str, int], keys: Sequence[str]) -> str:
    """The measurement that would narrow the ratio of two domains, or the rate of one, most; empty if none would."""
    systems = [OnDomain(key, domain(key)) for key in keys]
    best = next(iter(narrowed([step(*job, key) for key in keys], systems, NO_COMPUTE)), None)
    if best is None:
        return ""
    what = f"{' over '.join(keys)}" if len(keys) > 1 else "the rate"
    return f"{best.what} on {best.system}: {what} is known within a factor of {best.before:.2g}, then {best.after:.2g}"


def nominal(key: str) -> dict[str, list[float] | None]:
    """Nominal one-way link rate by normalisation, over the values of all sources; None if a fact is missing."""
    facts = domain(key)
    rate, size = facts.tiers[-1].rate_Bps, facts.accelerators
    known = rate is not None and size is not None
    many = size.value if size else 1.0
    return {"GB/s an accelerator": _ratios(rate, None, 1e9) if known else None,
            "B a kFLOP": _ratios(rate, facts.dense_bf16_flops, 1e-3) if known and facts.dense_bf16_flops else None,
            "TB/s a domain": _ratios(rate, None, 1e12 / many) if known else None,
            "TB/s a kW": _ratios(rate, facts.power_W, 1e9 / many) if known and facts.power_W else None}


def _ratios(above: Figure | None, below: Figure | None, scale: float) -> list[float]:
    assert above is not None
    return [one / other / scale for one in above.all_values() for other in (below.all_values() if below else (1.0,))]
