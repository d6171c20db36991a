"""Recognise known scale-up domains (keys of `analysis/domains/domains.toml`) by their device names."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from .model import DeviceInfo

__all__ = ["domain_name"]


class _Looks(NamedTuple):
    """`name` is a pattern for the device name; `rack`: the domain spans several hosts."""

    key: str
    name: str
    rack: bool
    fabric: str


_KNOWN = (
    _Looks("gb300_nvl72", r"\bGB300\b", True, "NVLink"),
    _Looks("nvl72", r"\bGB200\b", True, "NVLink"),
    _Looks("hgx_b200_8", r"\bB200\b", False, "NVLink"),
    _Looks("hgx_h200_8", r"\bH200\b", False, "NVLink"),
    _Looks("hgx_h100_8", r"\bH100\b", False, "NVLink"),
    _Looks("h800_8", r"\bH800\b", False, "NVLink"),
    _Looks("dgx_a100_8", r"\bA100\b", False, "NVLink"),
    _Looks("cm384", r"910C|Ascend\s?910\b|910_93", True, "HCCS"),
    _Looks("atlas_800_a2", r"910B", False, "HCCS"),
)


def domain_name(devices: Sequence[DeviceInfo]) -> str | None:
    """The key of the domain; None for mixed or unknown devices."""
    if not devices or len({device.name for device in devices}) > 1:
        return None
    first = devices[0]
    for looks in _KNOWN:
        if (re.search(looks.name, first.name) and (first.fabric or "").startswith(looks.fabric)
                and looks.rack == (first.domain is not None)):
            return looks.key
    return None
