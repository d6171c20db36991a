"""Recognise known scale-up domains (keys of `analysis/domains/domains.toml`) by their devices.

A name alone is not enough: H100 is also a PCIe card and a bridged pair (NVL), and a cloud may lend half of a board.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from .model import DeviceInfo

__all__ = ["domain_name"]


class _Looks(NamedTuple):
    """What a domain looks like from one host.

    `name` is a pattern for the device name. `packages` is the number of cards or modules of a domain that ends at the
    host. For a domain of several hosts it is None, and `sizes` are those that the driver may report for it; empty if
    the driver reports none.
    """

    key: str
    name: str
    fabric: str
    packages: int | None
    sizes: tuple[int, ...] = ()


_KNOWN = (
    _Looks("gb300_nvl72", r"\bGB300\b", "NVLink", None),
    _Looks("nvl72", r"\bGB200\b", "NVLink", None),
    _Looks("hgx_b200_8", r"\bB200\b", "NVLink", 8),
    _Looks("hgx_h200_8", r"\bH200\b", "NVLink", 8),
    _Looks("hgx_h100_8", r"\bH100\b", "NVLink", 8),
    _Looks("h800_8", r"\bH800\b", "NVLink", 8),
    _Looks("dgx_a100_8", r"\bA100\b", "NVLink", 8),
    _Looks("mi300x_8", r"\bMI300X\b", "xGMI", 8),
    _Looks("mi325x_8", r"\bMI325X\b", "xGMI", 8),
    _Looks("mi350x_8", r"\bMI35[05]X\b", "xGMI", 8),
    _Looks("cm384", r"910C|Ascend\s?910\b|910_93", "HCCS", None, (384, 768)),     # packages or dies
    _Looks("atlas_800_a2", r"910B", "HCCS", 8),
)
_CARD = re.compile(r"\b(PCIe|NVL)\b", re.IGNORECASE)    # cards that bridges join in pairs, not modules of a board


def domain_name(devices: Sequence[DeviceInfo]) -> str | None:
    """The key of the domain; None for mixed or unknown devices, and for a part of a domain that ends at the host."""
    if not devices or len({device.name for device in devices}) > 1 or _CARD.search(devices[0].name):
        return None
    return next((looks.key for looks in _KNOWN if _matches(looks, devices)), None)


def _matches(looks: _Looks, devices: Sequence[DeviceInfo]) -> bool:
    first = devices[0]
    if not re.search(looks.name, first.name) or not (first.fabric or "").startswith(looks.fabric):
        return False
    if looks.packages is None:
        return first.domain is not None and (not looks.sizes or first.domain_size in looks.sizes)
    packages = {device.index if device.package is None else device.package for device in devices}
    joined = looks.fabric != "NVLink" or first.switched is not False
    return first.domain is None and len(packages) == looks.packages and joined
