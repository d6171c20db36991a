"""What one rank of each host finds out for all of them: devices and links, drivers, state of the GPUs, settings.

Probes start programs of the driver and open its library; a host with sixteen devices would not like sixteen at once.
"""

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from ..interfaces import Communicator
from ..topology import Topology, describe
from ..topology.device_identity import locate
from ..topology.driver_versions import driver_versions
from ..topology.health import DeviceHealth, HostHealth, changes, read_health
from ..topology.host_files import System
from .provenance import RankFacts, settings

__all__ = ["HostFacts", "ask_hosts", "describe_host", "differences", "health_rows", "host_notes", "located", "warnings"]

_T = TypeVar("_T")
# By nature different: what a launcher tells each process of its place and its devices.
_OF_ONE_HOST = ("SLURM_", "OMPI_MCA_", "PRTE_MCA_", "CUDA_VISIBLE_", "HIP_VISIBLE_", "ROCR_VISIBLE_",
                "ASCEND_RT_VISIBLE_", "ASCEND_VISIBLE_", "ASCEND_DEVICE_ID", "ZE_AFFINITY_", "NVIDIA_VISIBLE_")


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One host; `health` is that at the start of the run."""

    host: str
    topology: Topology
    drivers: dict[str, str]
    settings: dict[str, str]
    health: HostHealth = HostHealth()


def describe_host(system: System = System()) -> HostFacts:      # noqa: B008  (a tuple of constants)
    """This host. Takes up to some seconds: programs of the driver are run."""
    health, drivers = read_health(system), driver_versions(system)
    if health.driver:
        drivers.setdefault("NVIDIA driver", health.driver)      # a container may hide the module's file
    if health.cuda:
        drivers["CUDA of the driver"] = health.cuda
    return HostFacts(host=socket.gethostname(), topology=describe(system), drivers=drivers, settings=settings(),
                     health=health)


def ask_hosts(world: Communicator, hosts: Sequence[int], ask: Callable[[], _T], kind: type[_T]) -> dict[int, _T]:
    """The answer of each host, by its first rank, on rank 0; elsewhere {}. Collective.

    Args:
        hosts: for each rank the first rank of its host.
        ask: called on the first rank of each host only.
    """
    asks = hosts[world.rank] == world.rank
    gathered = world.gather(msgspec.json.encode(ask()) if asks else b"")
    return {rank: msgspec.json.decode(raw, type=kind) for rank, raw in enumerate(gathered or ()) if raw}


def located(facts: Sequence[RankFacts], hosts: Sequence[int], known: Mapping[int, HostFacts]) -> list[RankFacts]:
    """The facts of all ranks, completed by what their hosts know of their devices; [] where there are none."""
    if not facts:
        return []
    infos = [locate(fact.own, known[host].topology.devices) for fact, host in zip(facts, hosts, strict=True)]
    return [msgspec.structs.replace(fact, info=info, domain=info.domain if info else None)
            for fact, info in zip(facts, infos, strict=True)]


def differences(known: Mapping[int, HostFacts]) -> list[str]:
    """What differs between hosts that should be alike, one sentence each."""
    rows = [(one.host, {"hardware": one.topology.fingerprint, **one.drivers, **one.settings}) for one in known.values()]
    names = dict.fromkeys(name for _, row in rows for name in row if not name.startswith(_OF_ONE_HOST))
    columns = {name: [(host, row.get(name)) for host, row in rows] for name in names}
    return [f"{name} differs between hosts: {_by_value(values)}" for name, values in columns.items()
            if len({value for _, value in values}) > 1]


def host_notes(known: Mapping[int, HostFacts]) -> list[str]:
    """What drivers did not tell, and GPUs that do not answer; one sentence with the hosts for each."""
    noted: dict[str, list[str]] = {}
    for one in known.values():
        for note in dict.fromkeys([*one.topology.notes, *one.health.notes]):
            noted.setdefault(note, []).append(one.host)
    return [f"{note} ({_some(hosts)})" for note, hosts in noted.items()]


def _some(hosts: Sequence[str]) -> str:
    return f"{hosts[0]}" + (f" and {len(hosts) - 1} more" if len(hosts) > 1 else "")


def _by_value(values: Sequence[tuple[str, str | None]]) -> str:
    groups: dict[str | None, list[str]] = {}
    for host, value in values:
        groups.setdefault(value, []).append(host)
    return ", ".join(f"{value or 'none'} on {_some(hosts)}" for value, hosts in groups.items())


def health_rows(known: Mapping[int, HostFacts], now: Mapping[int, HostHealth]) -> list[dict[str, object]]:
    """The state of the GPUs of each host for the record: `now` if given, else at the start; without hosts without GPUs.
    """
    states = {first: now.get(first, one.health) for first, one in known.items()}
    return [{"host": known[first].host, **msgspec.to_builtins(state)} for first, state in states.items() if state.told]


def warnings(facts: Sequence[RankFacts], hosts: Sequence[int], known: Mapping[int, HostFacts],
             after: Mapping[int, HostHealth]) -> list[str]:
    """What went wrong with the GPUs of the ranks since the start of the run, one sentence for each GPU."""
    words: list[str] = []
    for first, now in after.items():
        before = known[first].health
        earlier = {state.identity: state for state in before.devices}
        for state in now.devices:
            ranks = [rank for rank, fact in enumerate(facts) if hosts[rank] == first and fact.info is not None
                     and fact.info.identity == state.identity]
            found = changes(earlier[state.identity], state) if ranks and state.identity in earlier else []
            if found:
                words.append(f"rank {ranks[0]} ({_name(state)} of {known[first].host}): {'; '.join(found)}")
        words += [f"{known[first].host}: {note}" for note in now.notes if note not in before.notes]
    return words


def _name(state: DeviceHealth) -> str:
    return f"GPU {state.index}, {state.bus}, {state.identity}"
