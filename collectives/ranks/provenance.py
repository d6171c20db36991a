"""Provenance of a run: hosts, cores, versions, and settings that influence communication libraries."""

import os
import platform
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from ..topology import DeviceInfo, Topology, usable_cores
from ..topology.device_identity import RankDevice, bare_uuid
from .rendezvous import Place

__all__ = ["RankFacts", "describe", "host_cores", "placement", "rank_facts", "settings"]

# Only variables that configure communication, devices or placement; never the whole environment, which holds secrets.
_ALLOWED = re.compile(
    r"(NCCL|RCCL|HCCL|CCL|GLOO|UCX|UCC|FI|SHARP|NVSHMEM|OMPI_MCA|PRTE_MCA|MPICH|MPIR_CVAR|I_MPI|MV2|TORCH_NCCL|TORCH_FR"
    r"|CUDA|NVIDIA|HIP|ROCR|HSA|ASCEND|ONEAPI|SYCL|ZE|OMP|KMP)_\w+"
    r"|PYTORCH_(\w+_)?ALLOC_CONF|TORCH_DISTRIBUTED_DEBUG|GPU_MAX_HW_QUEUES"
    r"|SLURM_(JOB_ID|JOB_NUM_NODES|NTASKS|JOB_PARTITION)")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)
_LOGIN = re.compile(r"://[^/\s]*@")         # an address with a name and password in it
_MOST_BYTES = 100_000       # read of a configuration file


class RankFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Location of one rank. Two ranks with the same `boot` read one monotonic clock.

    Args:
        cores: those that this rank may use, which binding restricts.
        node: the launcher's name for the host.
        own: the rank's accelerator as its library describes it.
        info: the same as the driver describes it; None if there is none or it is not found.
        domain: identity of the scale-up domain of the accelerator, if that spans several hosts.
    """

    host: str
    boot: str
    cores: list[int]
    local_rank: int
    node: str
    launcher: str
    own: RankDevice = RankDevice()
    info: DeviceInfo | None = None
    domain: str | None = None


def rank_facts(place: Place, own: RankDevice = RankDevice()) -> RankFacts:       # noqa: B008  (immutable)
    """Facts of this process. Only what it can tell without asking a driver; see `host_facts.py` for the rest."""
    host = socket.gethostname()
    return RankFacts(host=host, boot=_boot(), cores=usable_cores(), local_rank=place.local_rank,
                     node=place.node or host, launcher=place.launcher, own=own)


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{socket.gethostname()}/{platform.platform()}"


def host_cores(facts: Sequence[RankFacts]) -> list[set[int]]:
    """For each rank, the union of the cores that the ranks on its host may use."""
    by_host: dict[str, set[int]] = {}
    for fact in facts:
        by_host.setdefault(fact.boot, set()).update(fact.cores)
    return [by_host[fact.boot] for fact in facts]


def settings(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> dict[str, str]:
    """Allow-listed variables that configure communication libraries, devices or placement.

    NCCL reads its variables also from /etc/nccl.conf and ~/.nccl.conf, or the file that NCCL_CONF_FILE names in place
    of the latter (NCCL user guide, Environment Variables). These have the file behind their name: `NCCL_ALGO
    (/etc/nccl.conf)`.
    """
    found = {name: value for name, value in sorted(environment.items()) if _allowed(name, value)}
    named, home = environment.get("NCCL_CONF_FILE"), environment.get("HOME")
    files = {"/etc/nccl.conf": root / "etc/nccl.conf"}
    if named or home:
        files[named or "~/.nccl.conf"] = Path(named or f"{home}/.nccl.conf")
    for shown, path in files.items():
        found |= {f"{name} ({shown})": value for name, value in _lines(path) if _allowed(name, value)}
    return found


def _allowed(name: str, value: str) -> bool:
    return _ALLOWED.fullmatch(name) is not None and not _SECRET.search(name) and not _LOGIN.search(value)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """`NAME=value` lines of a configuration file of NCCL, in which # begins a comment; none if it cannot be read."""
    try:
        if not path.is_file():
            return
        with path.open(errors="replace") as file:
            text = file.read(_MOST_BYTES)
    except (OSError, ValueError):       # no permission, or a name that no file can have
        return
    for line in text.splitlines():
        name, equals, value = line.partition("#")[0].partition("=")
        if equals:
            yield name.strip(), value.strip()


def describe(facts: Sequence[RankFacts], versions: Mapping[str, str], topology: Topology,
             drivers: Mapping[str, str]) -> dict[str, object]:
    """The provenance that rank 0 writes to the journal; `topology` and `drivers` are those of its host."""
    described: dict[str, object] = {
        "host": facts[0].host,
        "hosts": [fact.host for fact in facts],
        "launch": placement(facts),
        "cores": [len(cores) for cores in host_cores(facts)],
        "topology": {"words": topology.words(), **msgspec.to_builtins(topology),
                     "domains": [fact.domain for fact in facts]},
        "cpu": _cpu(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "versions": {"collbench": _own_version(), "python": platform.python_version(), **versions, **drivers},
        "settings": settings(),
        "git": _git_state(),
    }
    if any(fact.own.device for fact in facts):
        described["devices"] = [_device(fact) for fact in facts]
    return described


def _device(fact: RankFacts) -> dict[str, object]:
    """The accelerator of one rank, so that it can be found on the floor: as its driver names it, if that is known.

    `instance` is the uuid of a part of it, such as a MIG instance, which the driver does not list as a device.
    """
    own, info = fact.own, fact.info
    known = info or DeviceInfo(index=-1, name=own.name or "", identity=own.identity, bus=own.bus)
    part = own.identity and known.identity and bare_uuid(own.identity) != bare_uuid(known.identity)
    return {"host": fact.host, "device": own.device, "name": known.name or None, "index": info.index if info else None,
            "identity": known.identity or own.identity, "instance": own.identity if part else None,
            "bus": known.bus or own.bus, "numa": known.numa, "package": known.package, "partition": own.partition}


def placement(facts: Sequence[RankFacts]) -> dict[str, object]:
    """The launcher, its nodes, ranks per node, and the order of ranks over nodes."""
    order = [fact.node for fact in facts]
    nodes = list(dict.fromkeys(order))
    counts = [order.count(node) for node in nodes]
    cyclic = [nodes[rank % len(nodes)] for rank in range(len(order))]
    block = [node for node, count in zip(nodes, counts, strict=True) for _ in range(count)]
    return {"launcher": facts[0].launcher, "nodes": nodes, "ranks_per_node": counts,
            "placement": "block" if order == block else "cyclic" if order == cyclic else "irregular"}


def _cpu() -> str | None:
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return platform.processor() or None
    return match[1] if match else platform.processor() or None


def _own_version() -> str | None:
    from importlib.metadata import PackageNotFoundError, version
    try:
        return version("collbench")
    except PackageNotFoundError:
        return None


def _git_state() -> str | None:
    """Commit of the running source, with `+` for local changes; None outside a checkout."""
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--match="], text=True,
                              cwd=Path(__file__).parent, capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
