"""Which scale-up domain a run was measured in, and whether its names agree with each other."""

import re
from collections.abc import Iterator, Mapping

import pandas as pd

from collbench.collectives.records.record import Run

from ..domains.facts import Domain
from ..projection import home_of

__all__ = ["contradictions", "domain_of", "is_stated", "named_domain"]

# What torch calls the devices that a library drives.
_DEVICES = {"nccl": "cuda", "rccl": "cuda", "hccl": "npu"}
_LIBRARY = re.compile(r"\b(nccl|rccl|hccl)\b", re.IGNORECASE)


def is_stated(device: str) -> bool:
    """Whether the device of a run has a name."""
    return device.strip().lower() not in ("", "unknown", "not stated")


def named_domain(run: Run) -> str | None:
    """Key of the domain that the hardware was recognised as when it was measured; None if it was not."""
    topology = run.provenance.get("topology")
    name = topology.get("domain_name") if isinstance(topology, dict) else None
    return name if isinstance(name, str) else None


def domain_of(run: Run, domains: Mapping[str, Domain]) -> str | None:
    """Key of the domain of a run: as it was recognised, else by the name of the device; None if neither is known."""
    named = named_domain(run)
    if named in domains:
        return named
    return home_of(pd.DataFrame({"device": [run.device]}), domains)


def contradictions(run: Run, domains: Mapping[str, Domain]) -> Iterator[str]:
    """In words, each pair of domain, device and library that cannot belong together."""
    named = named_domain(run)
    if named is not None and named not in domains:
        yield f"its domain {named} is unknown"
    key = domain_of(run, domains)
    looks = home_of(pd.DataFrame({"device": [run.device]}), domains)
    if key is not None and run.device == "cpu":
        yield f"its domain is {key}, and its device a CPU"
    elif key is not None and looks is not None and domains[looks].accelerator != domains[key].accelerator:
        yield f"its domain is {key}, and its device {run.device} that of {looks}"
    match = _LIBRARY.search(run.library)
    library = match[1].lower() if match else None
    if library is None or not is_stated(run.device):
        return
    native = domains[key].library if key is not None else None
    if native is not None and library != native:
        yield f"its domain {key} has {native}, and its library is {run.library}"
    elif run.device.partition(":")[0] != _DEVICES[library]:
        yield f"its library is {run.library}, and its device {run.device}"
