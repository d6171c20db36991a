"""Run every check, side by side, and say what follows from all of them."""

import importlib
import pkgutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import msgspec

from . import checks
from .check_api import LEVELS, Asked, Finding

__all__ = ["Diagnosis", "examine"]


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """All findings in the order of the checks, and what collbench will use because of them."""

    host: str
    ranks: int
    findings: list[Finding]
    uses: list[str]
    took_s: float

    @property
    def worst(self) -> str:
        """The worst level of all findings."""
        return max((finding.level for finding in self.findings), key=LEVELS.index, default="ok")


def examine(asked: Asked) -> Diagnosis:
    """Never raises for what is broken on this machine: that is a finding."""
    begin = time.monotonic()
    modules = sorted((importlib.import_module(f"{checks.__name__}.{module.name}")
                      for module in pkgutil.iter_modules(checks.__path__)), key=lambda module: module.ORDER)
    with ThreadPoolExecutor(len(modules)) as pool:
        findings = [finding for found in pool.map(lambda module: _checked(module, asked), modules) for finding in found]
    findings += _nothing_works(findings, asked)
    return Diagnosis(host=socket.gethostname(), ranks=asked.ranks, findings=findings, uses=_uses(findings, asked),
                     took_s=round(time.monotonic() - begin, 2))


def _checked(module: ModuleType, asked: Asked) -> list[Finding]:
    try:
        return module.examine(asked)
    except Exception as error:      # a check that fails is a defect of ours, and must not hide the others
        name = module.__name__.rpartition(".")[2].replace("_", " ")
        return [Finding(level="warning", what=name, found=f"could not be looked at: {type(error).__name__}: {error}",
                        do="report this line; everything else was checked")]


def _works(findings: list[Finding], transport: str) -> bool:
    said = [finding.works[transport] for finding in findings if transport in finding.works]
    return bool(said) and all(said)


def _nothing_works(findings: list[Finding], asked: Asked) -> list[Finding]:
    if asked.transports or any(_works(findings, name) for name in ("torch", "mpi")):
        return []
    return [Finding(level="error", what="transports", found="neither torch nor MPI works: nothing can be measured",
                    do="pip install 'collbench[torch]' or 'collbench[mpi-runtime]'")]


def _uses(findings: list[Finding], asked: Asked) -> list[str]:
    """One line a transport: what `collbench run --transport` would do, and why."""
    facts = {finding.what: finding.facts for finding in findings}
    lines = []
    if not _works(findings, "torch"):
        lines.append("torch: nothing, it does not work here")
    else:
        kind, count = asked.accelerators or ("cpu", 0)
        backend = facts["torch"].get("backend", {}).get(kind, "gloo")
        why = f"torch sees {count} device(s) of type {kind}" if count else "torch sees no accelerator"
        lines.append(f"torch: {asked.ranks} ranks, backend {backend} on {kind}: {why}")
    if not _works(findings, "mpi"):
        lines.append("mpi: nothing, it does not work here")
    else:
        aware = facts["mpi4py"].get("device_aware")
        where = "device buffers: this MPI says that it takes them" if aware and asked.accelerators else (
            "host buffers: " + ("this MPI does not say that it takes device buffers" if asked.accelerators
                                else "there is no accelerator"))
        loop = "compiled" if facts.get("compiler", {}).get("works") else "Python"
        lines.append(f"mpi: {facts['mpi4py']['library']} through {facts['mpirun']['path']}, {where}; {loop} loop")
    return lines
