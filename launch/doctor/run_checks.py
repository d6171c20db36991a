"""Run all checks concurrently and summarise them."""

import importlib
import pkgutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import msgspec

from . import checks
from .check_api import LEVELS, CheckRequest, CheckResult

__all__ = ["Diagnosis", "examine"]


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """All findings in the order of the checks, and what collbench will therefore use."""

    host: str
    ranks: int
    findings: list[CheckResult]
    uses: list[str]
    took_s: float

    @property
    def worst(self) -> str:
        """The worst level of all findings."""
        return max((finding.level for finding in self.findings), key=LEVELS.index, default="ok")


def examine(request: CheckRequest) -> Diagnosis:
    """Run the checks. Whatever is broken on this machine is a finding, never an exception."""
    begin = time.monotonic()
    modules = sorted((importlib.import_module(f"{checks.__name__}.{module.name}")
                      for module in pkgutil.iter_modules(checks.__path__)), key=lambda module: module.ORDER)
    with ThreadPoolExecutor(len(modules)) as pool:
        results = list(pool.map(lambda module: _checked(module, request), modules))
    findings = [finding for found in results for finding in found]
    findings += _nothing_works(findings, request)
    return Diagnosis(host=socket.gethostname(), ranks=request.ranks, findings=findings, uses=_uses(findings, request),
                     took_s=round(time.monotonic() - begin, 2))


def _checked(module: ModuleType, request: CheckRequest) -> list[CheckResult]:
    try:
        results: list[CheckResult] = module.examine(request)
        return results
    except Exception as error:      # a bug of ours, which must not hide the other checks
        name = module.__name__.rpartition(".")[2].replace("_", " ")
        return [CheckResult(level="warning", what=name, found=f"check failed: {type(error).__name__}: {error}",
                            do="please report this line; all other checks were made")]


def _works(findings: list[CheckResult], transport: str) -> bool:
    said = [finding.works[transport] for finding in findings if transport in finding.works]
    return bool(said) and all(said)


def _nothing_works(findings: list[CheckResult], request: CheckRequest) -> list[CheckResult]:
    if request.transports or any(_works(findings, name) for name in ("torch", "mpi")):
        return []
    return [CheckResult(level="error", what="transports", found="no transport works: nothing can be measured",
                        do="pip install 'collbench[torch]' or 'collbench[mpi-runtime]'")]


def _uses(findings: list[CheckResult], request: CheckRequest) -> list[str]:
    """One line per transport: what `collbench run --transport` would do, and why."""
    facts = {finding.what: finding.facts for finding in findings}
    lines = []
    if not _works(findings, "torch"):
        lines.append("torch: does not work here")
    else:
        kind, count = request.accelerators or ("cpu", 0)
        backend = facts["torch"].get("backend", {}).get(kind, "gloo")
        why = f"torch sees {count} device(s) of type {kind}" if count else "torch sees no accelerator"
        if any(finding.what == "accelerators" and finding.level == "error" for finding in findings):
            why = "only with --device cpu, since torch cannot use the accelerators of this host"
        lines.append(f"torch: {request.ranks} ranks, backend {backend} on {kind}: {why}")
    if not _works(findings, "mpi"):
        lines.append("mpi: does not work here")
    else:
        aware = facts["mpi4py"].get("device_support")
        where = "device buffers, which this MPI reports to support" if aware and request.accelerators else (
            "host buffers: " + ("this MPI does not report support for device buffers" if request.accelerators
                                else "there is no accelerator"))
        loop = "compiled" if facts.get("compiler", {}).get("works") else "Python"
        lines.append(f"mpi: {facts['mpi4py']['library']} through {facts['mpirun']['path']}, {where}; {loop} loop")
    return lines
