"""Ask every source, and say what its answers amount to: tiers, the domain, and a fingerprint."""

import functools
import hashlib
import importlib
import os
import pkgutil
from collections.abc import Mapping

import msgspec

from . import host, sources
from .host_files import Asked, System
from .known_domains import domain_name
from .model import Device, Tier, Topology

__all__ = ["describe", "domain_of_rank"]

_VISIBLE = ("CUDA_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES",
            "ZE_AFFINITY_MASK")


@functools.lru_cache(maxsize=4)
def describe(system: System = System()) -> Topology:    # noqa: B008  (a tuple of constants)
    """This host and the scale-up domain that it is part of. Never raises: what cannot be asked is a note."""
    source, asked, notes = "sysfs", Asked([], [], []), []
    for module in _sources():
        answer = module.find(system)
        if answer is None:
            continue
        notes += answer.notes
        if answer.devices:
            source, asked = module.__name__.rpartition(".")[2].replace("_", "-"), answer
            break
    domains = {device.domain for device in asked.devices}
    found = Topology(
        source=source, devices=asked.devices, links=asked.links, tiers=_tiers(asked.devices, asked.links),
        domain=domains.pop() if len(domains) == 1 else None, domain_name=domain_name(asked.devices),
        numa=host.numa_nodes(system), networks=host.networks(system), cache_bytes=host.cache_bytes(system),
        notes=notes)
    return msgspec.structs.replace(found, fingerprint=_fingerprint(found))


def domain_of_rank(local_rank: int, system: System | None = None,
                   environment: Mapping[str, str] = os.environ) -> str | None:
    """What all ranks of this one's scale-up domain have in common; None where the domain ends with the host."""
    found = describe(system or System())
    devices = _visible(found.devices, environment)
    device = devices[local_rank % len(devices)] if devices else None
    return device.domain if device is not None else None


def _sources() -> list:
    modules = [importlib.import_module(f"{sources.__name__}.{module.name}")
               for module in pkgutil.iter_modules(sources.__path__)]
    return sorted(modules, key=lambda module: (getattr(module, "LAST", False), module.__name__))


def _visible(devices: list[Device], environment: Mapping[str, str]) -> list[Device]:
    """Those that the vendor's variable leaves to this process, in its order; all where it is not set or says more."""
    given = next((environment[name] for name in _VISIBLE if environment.get(name)), None)
    if given is None:
        return devices
    by_name = {str(device.index): device for device in devices}
    by_name |= {device.identity: device for device in devices if device.identity}
    chosen = [by_name.get(part.strip()) for part in given.split(",")]
    return devices if None in chosen else chosen


def _tiers(devices: list[Device], links: list[list[str]]) -> list[Tier]:
    """From the innermost out: dies of a card, the fabric, PCIe; how many of this host's devices each joins."""
    tiers = []
    cards = [sum(other.package == device.package for other in devices) for device in devices
             if device.package is not None]
    if cards and max(cards) > 1:
        tiers.append(Tier(name="dies of a card", members=max(cards)))
    joined = [device for device in devices if device.fabric]
    if joined:
        rates = {device.rate_Bps for device in joined}
        how = {True: ", switched", False: ", direct", None: ""}[joined[0].switched]
        tiers.append(Tier(name=f"{joined[0].fabric}{how}", members=len(joined),
                          rate_Bps=rates.pop() if len(rates) == 1 else None))
    if len(devices) > len(joined) or (devices and not joined):
        rates = {device.pcie_Bps for device in devices}
        worst = max((word for row in links for word in row if word in _PCI_WORDS), key=_PCI_WORDS.index, default=None)
        tiers.append(Tier(name="PCIe" + (f" ({worst} at most)" if worst else ""), members=len(devices),
                          rate_Bps=rates.pop() if len(rates) == 1 else None))
    return tiers


_PCI_WORDS = ("PIX", "PXB", "PHB", "NODE", "SYS")


def _fingerprint(found: Topology) -> str:
    """Equal for hosts with the same devices, links, memory nodes and ways out, wherever they are."""
    alike = {
        "devices": [(device.name, device.fabric, device.links, device.rate_Bps, device.numa, device.pcie_Bps)
                    for device in found.devices],
        "links": found.links, "numa": [len(node.cores) for node in found.numa], "cache": found.cache_bytes,
        "networks": sorted((network.kind, network.rate_Bps or 0.0) for network in found.networks),
    }
    return hashlib.sha256(msgspec.json.encode(alike)).hexdigest()[:12]
