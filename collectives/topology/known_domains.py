"""Which known domain this looks like: keys of analysis/domains.toml, by what the devices call themselves."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from .model import Device

__all__ = ["domain_name"]


class _Looks(NamedTuple):
    """`name` matches the device's; `rack`: it is a member of a domain that goes on beyond the host."""

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


def domain_name(devices: Sequence[Device]) -> str | None:
    """None where devices differ, or are of none of these."""
    if not devices or len({device.name for device in devices}) > 1:
        return None
    first = devices[0]
    for looks in _KNOWN:
        if (re.search(looks.name, first.name) and (first.fabric or "").startswith(looks.fabric)
                and looks.rack == (first.domain is not None)):
            return looks.key
    return None
