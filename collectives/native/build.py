"""Compile the loop with the mpicc of the MPI in use. The cache key covers everything that goes into the build."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["BuildError", "build", "cache_path", "find_mpicc", "load", "names"]

_SOURCE = Path(__file__).with_name("loop.c")
_FLAGS = ("-O2", "-shared", "-fPIC", "-std=gnu11", "-lm")
_LIMIT_S = 120


class BuildError(Exception):
    """The compiled loop cannot be had; the message says why."""


def find_mpicc(search: str | None = None) -> str | None:
    """mpicc next to this Python, where pip installs it, or in the folders of `search` ($PATH if None); or None."""
    return shutil.which("mpicc", path=str(Path(sys.executable).parent)) or shutil.which("mpicc", path=search)


def _compiler() -> str:
    found = find_mpicc()
    if found is None:
        raise BuildError("no mpicc next to this Python or on the PATH")
    return found


def cache_path(library: str) -> Path:
    """Path of the compiled loop for this MPI, source and compiler. BuildError without a compiler."""
    compiler = _compiler()
    inputs = (library, _SOURCE.read_text(), compiler, _output(compiler, "-show"), _output(compiler, "--version"),
              " ".join(_FLAGS), platform.machine())
    key = hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:20]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "collbench" / f"loop-{key}.so"


def _output(compiler: str, option: str) -> str:
    try:
        return subprocess.run([compiler, option], capture_output=True, text=True, timeout=_LIMIT_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{compiler} {option}: {error}") from None


def build(library: str) -> Path:
    """Compile unless cached; the path of the shared object. BuildError if that fails."""
    path = cache_path(library)
    try:
        if path.exists():
            return path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            _compile(made)
            made.replace(path)
    except OSError as error:
        raise BuildError(f"{path.parent}: {error.strerror}") from None
    return path


def _compile(target: Path) -> None:
    try:
        done = subprocess.run([_compiler(), "-o", str(target), str(_SOURCE), *_FLAGS], capture_output=True, text=True,
                              timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise BuildError(f"mpicc did not finish within {_LIMIT_S} s") from None
    if done.returncode:
        lines = (done.stderr.strip() or "no output").splitlines()
        raise BuildError(f"mpicc failed: {next((line for line in lines if 'error' in line), lines[0])[:200]}")


def load(path: Path, library: str) -> ctypes.CDLL:
    """Load the compiled loop. BuildError if it is linked with another MPI than `library` (as mpi4py reports it)."""
    try:
        loop = ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(str(error)) from None
    name = ctypes.create_string_buffer(loop.collbench_library_room())
    loop.collbench_library(name)
    own = name.value.decode(errors="replace")
    if own.strip("\0 ") != library.strip("\0 "):
        raise BuildError(f"mpicc belongs to another MPI ({own.splitlines()[0]})")
    _declare(loop)
    return loop


def names(raw: bytes, prefix: str = "") -> dict[str, int]:
    """Numbers of the enumerators in a list that loop.c returns, by lower-case name without `prefix`."""
    return {name.lower().removeprefix(prefix): number for number, name in enumerate(raw.decode().split())}


def _declare(loop: ctypes.CDLL) -> None:
    """Argument types, so that ctypes checks them and passes 64-bit addresses whole."""
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    loop.collbench_kinds.restype = loop.collbench_starts.restype = ctypes.c_char_p
    loop.collbench_new.restype = pointer
    loop.collbench_new.argtypes = [integer, integer]
    loop.collbench_make.argtypes = [pointer, integer]
    loop.collbench_free.argtypes = [pointer]
    loop.collbench_free.restype = None
    loop.collbench_set.argtypes = [pointer, *[integer] * 6, pointer, integer, pointer, integer, integer, integer]
    loop.collbench_set_vectors.argtypes = [pointer, integer, *[pointer] * 4]
    loop.collbench_set_vectors.restype = None
    loop.collbench_set_window.argtypes = [pointer, *[integer] * 4, ctypes.c_size_t]
    loop.collbench_set_started.argtypes = [pointer, integer, integer]
    loop.collbench_set_started.restype = None
    loop.collbench_run.argtypes = [pointer, ctypes.c_int64, pointer]
    size, real, wide = ctypes.c_size_t, ctypes.c_double, ctypes.c_int64
    loop.collbench_set_buffers.argtypes = [pointer, pointer, size, integer, *[size] * 4]
    loop.collbench_set_buffers.restype = None
    loop.collbench_set_pattern.argtypes = [pointer, integer, integer, pointer, size, size, size]
    loop.collbench_set_pattern.restype = None
    loop.collbench_set_start.argtypes = [pointer, integer, integer, wide, real, real, real, integer]
    loop.collbench_set_start.restype = None
    loop.collbench_set_warm.argtypes = [pointer, integer, wide, wide, integer, size, size]
    loop.collbench_set_warm.restype = None
    loop.collbench_samples.argtypes = [pointer, wide, wide, *[pointer] * 4]
    loop.collbench_samples.restype = wide
