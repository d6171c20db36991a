"""Thresholds for the gates of other tools, from expectations: SuperBench rules, ReFrame references, plain YAML.

A threshold is the least bus bandwidth that passes. For extrapolations of the user's own system it lies a tolerance
below the expectation; the default, 10 %, lies midway between the expectation and a system that is 20 % slower. For
published runs and projections, which are of other systems, it is the lower end of the interval. A bound gives no
threshold: less than a limit is not wrong.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from .expectation import BOUND, EXTRAPOLATED, MEASURED, Expectation

__all__ = ["FORMATS", "TOLERANCE", "Threshold", "least_busbw_Bps", "metric", "thresholds"]

TOLERANCE = 0.1
_NCCL_TESTS = MappingProxyType({"all_reduce": "allreduce", "all_gather": "allgather", "reduce_scatter": "reducescatter",
                                "all_to_all": "alltoall", "send_recv": "sendrecv"})


class Threshold(NamedTuple):
    """One case and the least bus bandwidth in bytes/s that passes."""

    case: Expectation
    least_Bps: float


def metric(case: Expectation) -> str:
    """The name of a case in a gate: operation, ranks and message size in bytes."""
    return f"{case.op}_{case.ranks}_{case.message_bytes}_busbw"


def least_busbw_Bps(case: Expectation, tolerance: float = TOLERANCE) -> float | None:
    """The threshold of a case in bytes/s; None if it has none."""
    expected = case.busbw_Bps(case.time_s)
    if expected is None or case.kind == BOUND:
        return None
    return expected * (1 - tolerance) if case.kind in (EXTRAPOLATED, MEASURED) else case.busbw_Bps(case.time_hi_s)


def thresholds(cases: Sequence[Expectation], form: str, tolerance: float = TOLERANCE) -> str:
    """The text of a threshold file; `form` is a key of FORMATS. Cases without a threshold are left out."""
    found = [Threshold(case, least) for case in cases if (least := least_busbw_Bps(case, tolerance)) is not None]
    return FORMATS[form](found)


def _head(found: Sequence[Threshold]) -> list[str]:
    kinds = ", ".join(sorted({one.case.kind for one in found}))
    return [f"# Least bus bandwidth in GB/s by operation, ranks and message size in bytes; {kinds or 'nothing known'}.",
            *(f"# {line}" for line in dict.fromkeys(one.case.assumption for one in found if one.case.assumption))]


def _superbench(found: Sequence[Threshold]) -> str:
    """Rules on values: SuperBench names nccl-bw's metrics by operation and size, so a rank count is one file."""
    counts = sorted({one.case.ranks for one in found})
    lines = [*_head(found), f"# For runs of {', '.join(map(str, counts))} ranks: the metrics do not name the ranks.",
             "superbench:", "  rules:"]
    for case, least in found:
        name = _NCCL_TESTS.get(case.op, case.op)
        lines += [f"    {metric(case)}:", "      function: value", f"      criteria: 'lambda x:x<{least / 1e9:.6g}'",
                  "      categories: NCCL", "      metrics:",
                  f"        - '(nccl|rccl)-bw(:[^/]+)?/{name}_{case.message_bytes}_busbw(:\\d+)?'"]
    return "\n".join(lines) + "\n"


def _reframe(found: Sequence[Threshold]) -> str:
    """A Python module with a reference dictionary: (expected, lowest share, highest share, unit), for every system."""
    lines = [*_head(found), "reference = {", "    '*': {"]
    for case, least in found:
        expected = case.busbw_Bps(case.time_s)
        assert expected is not None     # it has a threshold
        lines.append(f"        {metric(case)!r}: ({expected / 1e9:.6g}, {least / expected - 1:.4f}, None, 'GB/s'),")
    return "\n".join([*lines, "    },", "}"]) + "\n"


def _yaml(found: Sequence[Threshold]) -> str:
    lines = [*_head(found), "thresholds:"]
    for case, least in found:
        expected = case.busbw_Bps(case.time_s)
        assert expected is not None     # it has a threshold
        lines += [f"  - op: {case.op}", f"    ranks: {case.ranks}", f"    message_bytes: {case.message_bytes}",
                  f"    busbw_GBps_least: {least / 1e9:.6g}", f"    busbw_GBps_expected: {expected / 1e9:.6g}",
                  f"    kind: {case.kind}", f"    source: {_quoted(case.source)}"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A JSON string, which is one in YAML too."""
    return json.dumps(re.sub(r"\s+", " ", text))


FORMATS: Mapping[str, Callable[[Sequence[Threshold]], str]] = MappingProxyType(
    {"yaml": _yaml, "superbench": _superbench, "reframe": _reframe})
