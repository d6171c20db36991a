"""Settings of the environment as the MPI library itself holds them, read through the tools interface (MPI 4.1, 15.3).

A variable that the library does not know, or reads under another name, has no effect and no message: this shows it.
"""

import ctypes
import os
import re
from collections.abc import Iterator, Mapping

from mpi4py import MPI

from .mpi_buffers import loaded_library

__all__ = ["settings_in_force"]

_PREFIXES = (("OMPI_MCA_", ""), ("MPIR_CVAR_", "MPIR_CVAR_"))     # of a variable, and of the library's name for it
_BY_LAUNCHER = re.compile(r"OMPI_MCA_(PREFIXES|cpu_type|num_procs|initial_.*|orte_.*|btl_.*_backing_directory)")
_TEXT_BYTES, _NAME_BYTES = 4096, 256
_SINGLE = 0         # MPI_THREAD_SINGLE


def settings_in_force(environment: Mapping[str, str] = os.environ) -> dict[str, str | None]:
    """Value of the control variable of each setting of this MPI in `environment`; None if the library has none such.

    Numbers are decimal, with a name where the library lists the names of its values: `4 (ring)`. A variable that cannot
    be read, because it belongs to a communicator or the like, is left out. Empty without a tools interface.
    """
    names = dict(_names(environment))
    library = loaded_library()
    if not names or not hasattr(library, "MPI_T_init_thread"):
        return {}
    provided = ctypes.c_int()
    if library.MPI_T_init_thread(_SINGLE, ctypes.byref(provided)):
        return {}
    try:
        found = {setting: _value(library, name) for setting, name in names.items()}
    finally:
        library.MPI_T_finalize()
    return {setting: value for setting, value in found.items() if value != ""}


def _names(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for setting in sorted(environment):
        for prefix, own in _PREFIXES:
            if setting.startswith(prefix) and not _BY_LAUNCHER.fullmatch(setting):
                yield setting, own + setting[len(prefix):]


def _value(library: ctypes.CDLL, name: str) -> str | None:
    """The value as text, empty if it cannot be read; None if there is no such variable."""
    index, count = ctypes.c_int(), ctypes.c_int()
    if library.MPI_T_cvar_get_index(name.encode(), ctypes.byref(index)):
        return None
    # Handles are pointers in Open MPI and numbers in MPICH: both fit.
    kind, enumeration, handle = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    at = [ctypes.byref(ctypes.c_int(0)) for _ in range(5)]      # lengths, verbosity, binding, scope
    if library.MPI_T_cvar_get_info(index, None, at[0], at[1], ctypes.byref(kind), ctypes.byref(enumeration), None,
                                   at[2], at[3], at[4]):
        return ""
    if library.MPI_T_cvar_handle_alloc(index, None, ctypes.byref(handle), ctypes.byref(count)):
        return ""
    try:
        buffer = ctypes.create_string_buffer(max(_TEXT_BYTES, 16 * count.value))
        if library.MPI_T_cvar_read(handle, buffer):
            return ""
    finally:
        library.MPI_T_cvar_handle_free(ctypes.byref(handle))
    if kind.value == _handle(MPI.CHAR):
        return buffer.value.decode(errors="replace")
    if kind.value == _handle(MPI.DOUBLE):
        return repr(ctypes.c_double.from_buffer(buffer).value)
    wide = kind.value in (_handle(MPI.UNSIGNED_LONG), _handle(MPI.UNSIGNED_LONG_LONG), _handle(MPI.COUNT))
    number = int((ctypes.c_int64 if wide else ctypes.c_int).from_buffer(buffer).value)
    meaning = _name_of(library, enumeration, number)
    return f"{number} ({meaning})" if meaning else str(number)


def _name_of(library: ctypes.CDLL, enumeration: ctypes.c_void_p, number: int) -> str | None:
    """The library's name for one value of a variable; None if it lists none."""
    items, length, value = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int()
    if not enumeration.value or library.MPI_T_enum_get_info(enumeration, ctypes.byref(items), None,
                                                            ctypes.byref(length)):
        return None
    for item in range(items.value):
        name, length = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_int(_NAME_BYTES)
        if not library.MPI_T_enum_get_item(enumeration, item, ctypes.byref(value), name, ctypes.byref(length)) \
                and value.value == number:
            return name.value.decode(errors="replace")
    return None


def _handle(kind: MPI.Datatype) -> int:
    return int(MPI._handleof(kind))
