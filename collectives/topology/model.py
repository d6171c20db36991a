"""The data model of topology discovery. None stands for unknown."""

import msgspec

__all__ = ["DeviceInfo", "LinkTier", "Network", "NumaNode", "Topology"]


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One accelerator as counted by its driver. Rates are nominal, per direction, in bytes per second.

    Args:
        identity: globally unique identity of the device.
        bus: PCI address.
        numa: NUMA node.
        package: number of the package (card, module), if several devices (dies) share one.
        domain: identity of its scale-up domain, equal on all hosts of the domain; None if the domain ends at the host
            or is unknown.
        domain_size: devices in that domain, in the driver's own counting, which may be packages or dies; None if the
            driver does not tell.
        fabric: interconnect to its peers: `NVLink 4`, `HCCS`, `xGMI`.
        links: number of fabric links that are up.
        rate_Bps: of all these links together.
        switched: whether the links lead to switches, not directly to peers.
        pcie_Bps: of its PCIe slot at full speed and width.
    """

    index: int
    name: str
    identity: str | None = None
    bus: str | None = None
    numa: int | None = None
    package: int | None = None
    domain: str | None = None
    domain_size: int | None = None
    fabric: str | None = None
    links: int | None = None
    rate_Bps: float | None = None
    switched: bool | None = None
    pcie_Bps: float | None = None


class LinkTier(msgspec.Struct, frozen=True, kw_only=True):
    """Devices of this host that are connected by the same kind of link."""

    name: str
    members: int
    rate_Bps: float | None = None


class NumaNode(msgspec.Struct, frozen=True, kw_only=True):
    """Cores and memory of one NUMA node."""

    number: int
    cores: list[int]
    memory_bytes: int | None = None


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """A network adapter or port; nominal rate per direction."""

    name: str
    kind: str
    rate_Bps: float | None = None
    numa: int | None = None


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """One host and its scale-up domain.

    Args:
        source: the probe that answered: `nvml`, `npu-smi`, `kfd`, `pci`; `sysfs` without accelerators.
        links: [device][device] kind of link, in the terms of the vendor's own matrix.
        tiers: from the innermost out.
        domain: identity of the scale-up domain of the devices; None if it ends at the host.
        domain_name: the known domain that this looks like, a key of `analysis/domains/domains.toml`; or None.
        cache_bytes: the largest cache of a core.
        fingerprint: equal for hosts with equal hardware; identities are ignored.
        notes: what could not be probed, and why.
    """

    source: str
    devices: list[DeviceInfo] = []
    links: list[list[str]] = []
    tiers: list[LinkTier] = []
    domain: str | None = None
    domain_name: str | None = None
    numa: list[NumaNode] = []
    networks: list[Network] = []
    cache_bytes: int | None = None
    fingerprint: str = ""
    notes: list[str] = []

    def words(self) -> str:
        """One sentence: the devices, their links and rates."""
        if not self.devices:
            count = sum(len(node.cores) for node in self.numa)
            nodes = f" in {len(self.numa)} NUMA nodes" if len(self.numa) > 1 else ""
            return f"no accelerators; {count} cores{nodes} share memory"
        names = ", ".join(dict.fromkeys(device.name for device in self.devices))
        tiers = "; ".join(f"{tier.name}: {tier.members} devices"
                          + (f", {tier.rate_Bps / 1e9:g} GB/s each way a device" if tier.rate_Bps else "")
                          for tier in self.tiers)
        known = f"; looks like {self.domain_name}" if self.domain_name else ""
        member = f"; member of domain {self.domain}" if self.domain else ""
        return f"{len(self.devices)} x {names}: {tiers}{member}{known}"
