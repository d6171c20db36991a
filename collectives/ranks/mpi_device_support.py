"""Whether an MPI takes device buffers, according to its own functions, communicator hints and environment variables.

Sources: MPI 4.1, "Memory Allocation Kinds", and its side document; Open MPI, MPIX_Query_cuda_support(3) and
MPIX_Query_rocm_support(3); MPICH, MPIX_GPU_query_support(3) and mpi.h; Cray MPICH, intro_mpi(3); Intel MPI, "GPU
Support" of its developer reference; MVAPICH2-GDR, user guide.
"""

import ctypes
import os
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["DeviceSupport", "device_support", "may_take_devices", "switched_on"]

# Functions without arguments that return 1 for yes. Each library has some of them.
_QUERIES = ("MPIX_Query_cuda_support", "MPIX_Query_rocm_support", "MPIX_Query_hip_support", "MPIX_Query_ze_support")
# MPICH's function with an argument, and the numbers of CUDA, ZE and HIP in its mpi.h.
_KIND_QUERY, _KINDS = "MPIX_GPU_query_support", (0, 1, 2)
# Kinds in the hint mpi_memory_alloc_kinds that are host memory; others are cuda, rocm, level_zero and later ones.
_HOST_KINDS = ("mpi", "system")
_OFF = ("", "0", "no", "off", "false", "disable")


class _Switch(NamedTuple):
    """An environment variable of one MPI, which is named by part of its version text.

    Args:
        needed: whether device buffers need this variable, or one of several. Then it decides, and functions tell only
            how the library was built. Otherwise functions decide, and the variable only where there are none.
    """

    name: str
    library: str
    needed: bool


_SWITCHES = (
    _Switch("MPICH_GPU_SUPPORT_ENABLED", "CRAY MPICH", needed=True),
    _Switch("I_MPI_OFFLOAD", "Intel(R) MPI", needed=True),
    _Switch("MV2_USE_CUDA", "MVAPICH2", needed=True),
    _Switch("MV2_USE_ROCM", "MVAPICH2", needed=True),
    _Switch("MVP_USE_CUDA", "MVAPICH Version", needed=False),
    _Switch("MVP_USE_ROCM", "MVAPICH Version", needed=False),
    _Switch("MPIR_CVAR_ENABLE_GPU", "MPICH Version", needed=False),
)


class DeviceSupport(NamedTuple):
    """What an MPI reports.

    Args:
        by: the functions, variables or hint that report support; None if none does.
        asked: everything that was looked at, with the answers.
    """

    by: str | None
    asked: str


def switched_on(library: str, environment: Mapping[str, str] = os.environ) -> list[str]:
    """The variables of this MPI that are set to take device buffers, such as "I_MPI_OFFLOAD=1".

    Args:
        library: the text of MPI_Get_library_version.
    """
    return [f"{switch.name}={environment[switch.name]}" for switch in _switches(library)
            if environment.get(switch.name, "").lower() not in _OFF]


def may_take_devices(loaded: ctypes.CDLL, library: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this MPI can support device buffers, as far as that is known before MPI_Init.

    Args: as for `device_support`.
    """
    if any(switch.needed for switch in _switches(library)):
        return bool(switched_on(library, environment))
    return bool(_functions(loaded)) or bool(switched_on(library, environment))


def device_support(loaded: ctypes.CDLL, library: str, kinds: str | None = None,
                   environment: Mapping[str, str] = os.environ) -> DeviceSupport:
    """Ask this MPI, which must be initialised: MPICH ends a process that asks before, and Open MPI 5 answers no.

    Args:
        loaded: a library whose dependencies include libmpi, such as mpi4py's `MPI.__file__`. libmpi itself is loaded
            with RTLD_LOCAL, so `CDLL(None)` does not have its functions.
        library: the text of MPI_Get_library_version.
        kinds: the hint mpi_memory_alloc_kinds of MPI_COMM_WORLD, such as "mpi,system,cuda:device"; None if not set.
    """
    switches, functions = _switches(library), _functions(loaded)
    answers = {name: _answer(loaded, name) for name in functions}
    asked = [f"{name}: {'yes' if answer else 'no'}" for name, answer in answers.items()]
    asked += [f"{switch.name}={environment[switch.name]}" if switch.name in environment else f"{switch.name} not set"
              for switch in switches]
    asked += [f"mpi_memory_alloc_kinds={kinds}"] if kinds else []
    if {kind.strip().partition(":")[0] for kind in (kinds or "system").split(",")}.difference(_HOST_KINDS):
        by = [f"mpi_memory_alloc_kinds={kinds}"]
    elif functions and not any(switch.needed for switch in switches):
        by = [name for name, answer in answers.items() if answer]
    else:
        by = switched_on(library, environment)
    return DeviceSupport(" and ".join(by) or None, ", ".join(asked) or
                         f"it has none of {', '.join((*_QUERIES, _KIND_QUERY))}")


def _switches(library: str) -> list[_Switch]:
    return [switch for switch in _SWITCHES if switch.library in library]


def _functions(loaded: ctypes.CDLL) -> list[str]:
    return [name for name in (*_QUERIES, _KIND_QUERY) if hasattr(loaded, name)]


def _answer(loaded: ctypes.CDLL, name: str) -> bool:
    ask = getattr(loaded, name)
    if name != _KIND_QUERY:
        return bool(ask())
    supported = ctypes.c_int(0)
    return any(ask(kind, ctypes.byref(supported)) == 0 and supported.value for kind in _KINDS)
