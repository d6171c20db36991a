"""Run the probes, and derive tiers, the scale-up domain and a fingerprint from their answers."""

import functools
import hashlib
import importlib
import pkgutil
from collections.abc import Callable
from typing import TypeVar

import msgspec

from . import host, sources
from .host_files import ProbeAnswer, System
from .known_domains import domain_name
from .model import DeviceInfo, LinkTier, Topology

__all__ = ["describe"]

_T = TypeVar("_T")


@functools.lru_cache(maxsize=4)
def describe(system: System = System()) -> Topology:    # noqa: B008  (a tuple of constants)
    """This host and its scale-up domain. Never raises: failed probes add notes.

    It may start programs of the driver and take a second: one process of a host should call it, not every rank.
    """
    source, found = "sysfs", ProbeAnswer([], [], [])
    notes: list[str] = []
    for name, probe in _probes():
        answer = _attempt(functools.partial(probe, system), None, name, notes)
        if answer is None:
            continue
        notes += answer.notes
        if answer.devices:
            source, found = name, answer
            break
    domains = {device.domain for device in found.devices}
    topology = Topology(
        source=source, devices=found.devices, links=found.links, tiers=_tiers(found.devices, found.links),
        domain=domains.pop() if len(domains) == 1 else None, domain_name=domain_name(found.devices),
        numa=_attempt(lambda: host.numa_nodes(system), [], "NUMA nodes", notes),
        networks=_attempt(lambda: host.networks(system), [], "networks", notes),
        cache_bytes=_attempt(lambda: host.cache_bytes(system), None, "caches", notes), notes=notes)
    return msgspec.structs.replace(topology, fingerprint=_fingerprint(topology))


def _attempt(probe: Callable[[], _T], otherwise: _T, name: str, notes: list[str]) -> _T:
    """The result of a probe; `otherwise`, and a note, if it fails: drivers fail in more ways than can be listed."""
    try:
        return probe()
    except Exception as error:
        notes.append(f"{name}: {type(error).__name__}: {error}")
        return otherwise


def _probes() -> list[tuple[str, Callable[[System], ProbeAnswer | None]]]:
    """Name and function of each probe, those for any device last."""
    modules = [importlib.import_module(f"{sources.__name__}.{module.name}")
               for module in pkgutil.iter_modules(sources.__path__)]
    modules.sort(key=lambda module: (getattr(module, "LAST", False), module.__name__))
    return [(module.__name__.rpartition(".")[2].replace("_", "-"), module.find) for module in modules]


def _tiers(devices: list[DeviceInfo], links: list[list[str]]) -> list[LinkTier]:
    """Tiers from the innermost out: dies of a card, the fabric, PCIe, with the number of devices that each connects."""
    tiers: list[LinkTier] = []
    cards = [sum(other.package == device.package for other in devices) for device in devices
             if device.package is not None]
    if cards and max(cards) > 1:
        tiers.append(LinkTier(name="dies of a card", members=max(cards)))
    joined = [device for device in devices if device.fabric]
    if joined:
        rates = {device.rate_Bps for device in joined}
        how = {True: ", switched", False: ", direct", None: ""}[joined[0].switched]
        tiers.append(LinkTier(name=f"{joined[0].fabric}{how}", members=len(joined),
                              rate_Bps=rates.pop() if len(rates) == 1 else None))
    if len(devices) > len(joined) or (devices and not joined):
        rates = {device.pcie_Bps for device in devices}
        worst = max((word for row in links for word in row if word in _PCI_WORDS), key=_PCI_WORDS.index, default=None)
        tiers.append(LinkTier(name="PCIe" + (f" ({worst} at most)" if worst else ""), members=len(devices),
                              rate_Bps=rates.pop() if len(rates) == 1 else None))
    return tiers


_PCI_WORDS = ("PIX", "PXB", "PHB", "NODE", "SYS")


def _fingerprint(found: Topology) -> str:
    """Equal for hosts with the same devices, links, NUMA nodes and network adapters."""
    alike = {
        "devices": [(device.name, device.fabric, device.links, device.rate_Bps, device.numa, device.pcie_Bps)
                    for device in found.devices],
        "links": found.links, "numa": [len(node.cores) for node in found.numa], "cache": found.cache_bytes,
        "networks": sorted((network.kind, network.rate_Bps or 0.0) for network in found.networks),
    }
    return hashlib.sha256(msgspec.json.encode(alike)).hexdigest()[:12]
