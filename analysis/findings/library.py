"""What the communication library's log tells against the hardware: a fabric that is there and is not used."""

from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec

from collbench.collectives.library_log import LibraryFacts
from collbench.collectives.records.record import Run

from ..domains.facts import Domain, load_domains
from .finding import Finding

__all__ = ["find_unused_fabric", "unused_between_hosts"]

_PCI = ("INT", "PIX", "PXB", "PHB", "NODE", "SYS", "?")     # links of a topology that are no fabric
_PCI_RINGS = ("PIX", "PXB", "PHB", "SYS")                   # the same in NCCL's words
_FEWEST_FOR_NVLS = 3        # NCCL reduces in the switches from 3 GPUs on


class _Told(msgspec.Struct, frozen=True):
    """The part of a run's provenance that the findings need; empty where a journal does not have it."""

    facts: LibraryFacts
    hosts: list[str]
    domains: list[str | None]
    fabric: str | None
    switched: bool
    connected: bool
    domain_name: str | None

    def between_hosts(self) -> list[tuple[int, int]]:
        """Ordered pairs of ranks on different hosts of one scale-up domain."""
        known = [rank for rank in range(min(len(self.hosts), len(self.domains))) if self.domains[rank] is not None]
        return [(a, b) for a in known for b in known
                if self.hosts[a] != self.hosts[b] and self.domains[a] == self.domains[b]]


def find_unused_fabric(runs: Mapping[str, Run]) -> Iterator[Finding]:
    """Each fault once, whatever the number of runs that show it."""
    said: set[str] = set()
    for run in runs.values():
        told = _told(run)
        if told is None:
            continue
        for found in (*_between_hosts(told, run), *_inside_hosts(told, run), *_switches(told, run)):
            if found.words not in said:
                said.add(found.words)
                yield found


def unused_between_hosts(run: Run) -> bool:
    """Whether hosts of one scale-up domain exchanged data outside its fabric, as far as the log tells."""
    told = _told(run)
    return told is not None and bool(list(_between_hosts(told, run)))


def _told(run: Run) -> _Told | None:
    """None without a log, and for provenance that is not as collbench writes it."""
    try:
        facts = msgspec.convert(run.provenance.get("library_log"), LibraryFacts)
    except msgspec.ValidationError:
        return None
    topology = run.provenance.get("topology")
    known = topology if isinstance(topology, dict) else {}
    devices = [device for device in _list(known.get("devices")) if isinstance(device, dict)]
    fabrics = {device.get("fabric") for device in devices}
    links = [_list(row) for row in _list(known.get("links"))]
    name = known.get("domain_name")
    return _Told(
        facts=facts, hosts=[str(host) for host in _list(run.provenance.get("hosts"))],
        domains=[None if domain is None else str(domain) for domain in _list(known.get("domains"))],
        fabric=str(fabrics.pop()) if len(fabrics) == 1 and None not in fabrics else None,
        switched=bool(devices) and all(device.get("switched") is True for device in devices),
        connected=len(links) > 1 and all(str(kind) not in _PCI for a, row in enumerate(links)
                                         for b, kind in enumerate(row) if a != b),
        domain_name=name if isinstance(name, str) else None)


def _list(value: object) -> list:
    return value if isinstance(value, list) else []


def _between_hosts(told: _Told, run: Run) -> Iterator[Finding]:
    inside = set(told.between_hosts())
    if not inside:
        return
    outside = Counter(transport for a, b, transport in told.facts.pairs if (a, b) in inside
                      and transport.startswith("NET/"))
    off = told.facts.mnnvl is False
    if off or outside:
        what = f"this is not an {_domain(told)}" if told.domain_name else "the scale-up domain is not used"
        why = " and ".join((["MNNVL is off"] if off else []) + ([_counts(outside, len(told.facts.pairs))]
                                                                if outside else []))
        yield Finding(
            "error", f"{what}: the hosts share the domain {told.domains[min(inside)[0]]}, but {_library(told)} did not "
            f"use its fabric between them ({why}), so these numbers are of the network. To check: nvidia-imex and "
            "/dev/nvidia-caps-imex-channels on every host, NCCL_MNNVL_ENABLE and NCCL_CUMEM_ENABLE",
            effect=outside.total() / len(told.facts.pairs) if outside else None, kind="data path",
            evidence=_evidence(run))


def _inside_hosts(told: _Told, run: Run) -> Iterator[Finding]:
    """Only where every device of a host has a fabric link to every other, so that it does not matter which is whose."""
    if told.fabric is None or not told.connected:
        return
    hosts = told.hosts
    inside = [transport for a, b, transport in told.facts.pairs if max(a, b) < len(hosts) and hosts[a] == hosts[b]]
    around = Counter(transport for transport in inside if not transport.startswith("P2P/"))
    advice = "To check: NCCL_P2P_DISABLE, NCCL_P2P_LEVEL, one visible device a rank, the IPC namespace of containers"
    if around:
        yield Finding("warning", f"inside a host, {_counts(around, len(inside))}, although {told.fabric} connects its "
                      f"devices: {_library(told)} cannot reach the memory of the peer there. {advice}",
                      effect=around.total() / len(inside), kind="data path", evidence=_evidence(run))
    elif told.facts.link in _PCI_RINGS:
        yield Finding("warning", f"{_library(told)} planned its rings inside a host over PCIe ({told.facts.link}), "
                      f"although {told.fabric} connects the devices. {advice}", kind="data path",
                      evidence=_evidence(run))


def _switches(told: _Told, run: Run) -> Iterator[Finding]:
    domain = _known(told)
    reduces = domain is not None and domain.in_network_reduction is not None and domain.in_network_reduction.value
    if (reduces and told.switched and told.facts.nvls_channels == 0
            and (told.facts.local_ranks or 0) >= _FEWEST_FOR_NVLS):
        yield Finding("warning", f"NVLS is off: the switches of an {_domain(told)} can reduce, but {_library(told)} "
                      "set up no channels for that, so all_reduce of large messages is slower than it could be. To "
                      "check: NCCL_NVLS_ENABLE, NCCL_ALGO, the state of the fabric manager, the driver",
                      kind="data path", evidence=_evidence(run))


def _known(told: _Told) -> Domain | None:
    return load_domains().get(told.domain_name) if told.domain_name else None


def _domain(told: _Told) -> str:
    domain = _known(told)
    return domain.name if domain else str(told.domain_name)


def _library(told: _Told) -> str:
    return f"{told.facts.library} {told.facts.version}" if told.facts.version else told.facts.library


def _counts(transports: Counter[str], total: int) -> str:
    """`12 of 56 pairs of ranks go over SHM`."""
    parts = [f"{count} over {name}" for name, count in transports.most_common()]
    count = transports.total()
    if len(parts) == 1:
        return f"{count} of {total} pairs of ranks go over {next(iter(transports))}"
    return f"{count} of {total} pairs of ranks go around it ({', '.join(parts)})"


def _evidence(run: Run) -> tuple[str]:
    return (f"the log of the communication library, run {run.id}",)
