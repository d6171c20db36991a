"""What was found of a host and of the scale-up domain that it is part of. None stands for what nothing here tells."""

import msgspec

__all__ = ["Device", "Network", "NumaNode", "Tier", "Topology"]


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One accelerator as its driver counts them; rates are nominal, one way, in bytes per second.

    Args:
        identity: what only this device in the world has.
        bus: PCI address.
        package: number of the package (card, module) where several devices (dies) are one accelerator.
        domain: what all members of its scale-up domain have in common, on whatever host; None where the domain ends
            with the host or is not known.
        fabric: what joins it to its peers: `NVLink 4`, `HCCS`.
        links: how many links of it are up.
        rate_Bps: of all of them together.
        switched: whether they lead to switches, rather than to the peers themselves.
        pcie_Bps: of its slot, as it runs or can run.
    """

    index: int
    name: str
    identity: str | None = None
    bus: str | None = None
    numa: int | None = None
    package: int | None = None
    domain: str | None = None
    fabric: str | None = None
    links: int | None = None
    rate_Bps: float | None = None
    switched: bool | None = None
    pcie_Bps: float | None = None


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """Devices (or cores, where there are none) that the same kind of link joins, as far as this host sees them."""

    name: str
    members: int
    rate_Bps: float | None = None


class NumaNode(msgspec.Struct, frozen=True, kw_only=True):
    """Cores and memory that are near to each other."""

    number: int
    cores: list[int]
    memory_bytes: int | None = None


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """A way out of the host; nominal rate, one way."""

    name: str
    kind: str
    rate_Bps: float | None = None
    numa: int | None = None


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """One host, and the domain that it is part of.

    Args:
        source: what was asked: `nvml`, `npu-smi`, `sysfs`.
        links: [device][device] what joins two devices, in the words of the vendors' own matrices.
        tiers: from the innermost out.
        domain: identity of the scale-up domain of the first device; None where it ends with the host.
        domain_name: which known domain this looks like: a key of analysis/domains.toml; None where none does.
        cache_bytes: the largest cache that cores share.
        fingerprint: equal for hosts that are made alike; identities do not count.
        notes: what could not be asked, and why.
    """

    source: str
    devices: list[Device] = []
    links: list[list[str]] = []
    tiers: list[Tier] = []
    domain: str | None = None
    domain_name: str | None = None
    numa: list[NumaNode] = []
    networks: list[Network] = []
    cache_bytes: int | None = None
    fingerprint: str = ""
    notes: list[str] = []

    def words(self) -> str:
        """One sentence: what joins what, and how fast."""
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
