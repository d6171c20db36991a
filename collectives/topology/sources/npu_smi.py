"""Huawei Ascend, through the driver's npu-smi: the map of chips, their links and their supernode.

On the 910C a card (NPU) has two dies, each of which is a device to torch. In the link matrix, SIO connects the dies of
a card, HCCS_SW goes through switches. A supernode is identified by the Super Pod ID of `npu-smi info -t spod-info`,
as in rank tables (HCCL user guide, rank table of a SuperPoD).
"""

import re
from typing import NamedTuple

from .. import host
from ..host_files import ProbeAnswer, System
from ..model import DeviceInfo

__all__ = ["find", "have_ascend"]

# Bytes per second and device, per direction: seven links of 28 GB/s on each die (arXiv:2506.12708, as quoted; the
# same for the seven-link mesh of the 910B).
_LINKS, _LINK_BPS = 7, 28e9
_FABRIC = ("HCCS", "HCCS_SW", "SIO")


_NO_POD = 0xFFFFFFFF     # Super Pod ID of a server that belongs to none


class _Pod(NamedTuple):
    """A supernode; `size` as npu-smi prints it (384 on a CloudMatrix 384), None if it prints none."""

    number: int
    size: int | None


class _Chip(NamedTuple):
    card: int
    chip: int
    logic: int
    name: str


def find(system: System) -> ProbeAnswer | None:
    """Every chip that the driver lists as a logic device; None if there is no device file."""
    if not have_ascend(system):
        return None
    chips = _chips(system.run(("npu-smi", "info", "-m")) or "")
    if not chips:
        return ProbeAnswer([], [], ["Ascend devices found, but npu-smi info -m lists none: is npu-smi on the PATH?"])
    table = system.run(("npu-smi", "info")) or ""
    links = matrix(system.run(("npu-smi", "info", "-t", "topo")) or "", len(chips))
    pod = _super_pod(system, chips)
    notes = [] if links else ["npu-smi info -t topo printed no links"]
    return ProbeAnswer([_device(system, chip, links, table, pod) for chip in chips], links, notes)


def have_ascend(system: System) -> bool:
    """Whether the driver has made a device file for at least one NPU."""
    return any((system.root / "dev").glob("davinci[0-9]*"))


def _chips(text: str) -> list[_Chip]:
    """Rows of `info -m`: card, chip, logic number, a physical number with newer drivers, name; `-` is no device."""
    rows = re.findall(r"^\s*(\d+)\s+(\d+)\s+(\d+)\s+(?:(?:\d+|-)\s+)?([A-Za-z].*?)\s*$", text, re.MULTILINE)
    return sorted((_Chip(int(card), int(chip), int(logic), name) for card, chip, logic, name in rows),
                  key=lambda chip: chip.logic)


def matrix(text: str, count: int) -> list[list[str]]:
    """The link matrix of `info -t topo`, [device][device]; [] if it does not have `count` rows."""
    rows = [match[1].split() for match in re.finditer(r"^\s*(?:NPU|Phy-ID)\d+\s+(.+)$", text, re.MULTILINE)]
    rows = [row[:count] for row in rows if len(row) >= count and "X" in row]
    return rows if len(rows) == count else []


def _device(system: System, chip: _Chip, links: list[list[str]], table: str, pod: _Pod | None) -> DeviceInfo:
    own = set(links[chip.logic]) if chip.logic < len(links) else set()
    fabric = "HCCS" if own & set(_FABRIC) else None
    bus = _bus(table, chip)
    return DeviceInfo(index=chip.logic, name=chip.name, bus=bus,
                      identity=bus and f"{bus} card {chip.card} chip {chip.chip}",
                      numa=host.numa_of(system, bus), package=chip.card,
                      domain=f"superpod {pod.number}" if pod else None, domain_size=pod.size if pod else None,
                      fabric=fabric,
                      links=_LINKS if fabric else None, rate_Bps=_LINKS * _LINK_BPS if fabric else None,
                      switched="HCCS_SW" in own if fabric else None,
                      pcie_Bps=host.pcie_Bps(system, bus) if bus else None)


def _bus(table: str, chip: _Chip) -> str | None:
    """The PCI address in `npu-smi info`, which prints a line for each card and below it one for each chip."""
    number = None
    for line in table.splitlines():
        card = re.match(r"\|\s*(\d+)\s+\S+\s*\|\s*(?:OK|Warning|Alarm|Critical|UNKNOWN)", line)
        address = re.match(r"\|\s*(\d+)(?:\s+\d+)?\s*\|\s*([0-9A-Fa-f]{4}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.\d)", line)
        if card:
            number = int(card[1])
        elif address and number == chip.card and int(address[1]) == chip.chip:
            return address[2].lower()
    return None


def _super_pod(system: System, chips: list[_Chip]) -> _Pod | None:
    """The supernode of this host; None if there is none, or if it has only this host's chips.

    Single servers have an ID too, often the same one, which must not join them into one domain.
    """
    first = chips[0]
    text = system.run(("npu-smi", "info", "-t", "spod-info", "-i", str(first.card), "-c", str(first.chip))) or ""
    number, size = (int(found[1]) if (found := re.search(rf"Super Pod {what}\s*:\s*(\d+)", text)) else None
                    for what in ("ID", "Size"))
    if number is None or number == _NO_POD or (size is not None and size <= len(chips)):
        return None
    return _Pod(number, size)
