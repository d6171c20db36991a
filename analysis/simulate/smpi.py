"""Simulate one collective with SimGrid's SMPI by replaying a trace per rank on a platform (docs/simulate.md)."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from collbench.collectives.errors import CollbenchError, UsageError

from ..text.units import payload

__all__ = ["ALGORITHMS", "SELECTORS", "Simulated", "replay", "version"]

# SMPI's algorithms by the names of our registry. Algorithms that differ from our definition are left out: SMPI's
# all-gather `ring` sends each block straight to its reader, its linear broadcast posts all sends at once, its binomial
# scatter serves the smallest subtree first, its double ring goes around twice. `rab` really allocates its buffers.
ALGORITHMS = MappingProxyType({
    "all_reduce": {"ring": "lr", "recursive doubling": "rdb", "rabenseifner": "rab_rdb",
                   "reduce and broadcast trees": "redbcast"},
    "all_gather": {"ring": "NTSLR", "bruck": "bruck", "direct": "spreading_simple"},
    "reduce_scatter": {"ring": "ompi_ring", "recursive halving": "ompi_basic_recursivehalving"},
    "all_to_all": {"pairwise": "ring", "bruck": "bruck", "direct": "basic_linear"},
    "broadcast": {"binomial tree": "binomial_tree", "scatter and all-gather": "scatter_LR_allgather"},
    "reduce": {"binomial tree": "binomial", "linear": "flat_tree"},
    "gather": {"binomial tree": "ompi_binomial", "linear": "ompi_basic_linear"},
    "scatter": {"linear": "ompi_basic_linear"},
    "barrier": {"dissemination": "ompi_bruck", "tree up and down": "ompi_tree"},
})
# Libraries whose algorithm selection by size and rank count SMPI implements.
SELECTORS = ("mpich", "ompi", "mvapich2", "impi")

_SETTING = MappingProxyType({"all_reduce": "allreduce", "all_gather": "allgather", "reduce_scatter": "reduce_scatter",
                             "all_to_all": "alltoall", "broadcast": "bcast", "reduce": "reduce", "gather": "gather",
                             "scatter": "scatter", "barrier": "barrier"})
# SimGrid's defaults are calibrated for a slow cluster and send small messages eagerly; turn all of that off.
_FLAT = ("smpi/bw-factor:0:1", "smpi/lat-factor:0:1", "network/TCP-gamma:0", "network/crosstraffic:0",
         "network/weight-S:0", "smpi/async-small-thresh:0", "smpi/send-is-detached-thresh:0",
         "smpi/simulate-computation:no", "smpi/host-speed:1Gf")
# Building blocks of an algorithm, where they can be chosen too.
_PARTS = MappingProxyType({"redbcast": ("smpi/reduce:binomial", "smpi/bcast:binomial_tree")})
_BYTE = 2                       # the trace format's code for a one-byte data type
_DONE = re.compile(r"^\[h\d+:\d+:\(\d+\) ([\d.]+)\] .*\[smpi_replay/VERBOSE\] \d+ ", re.MULTILINE)
_TROUBLE = re.compile(r"^.*(?:CRITICAL|ERROR|WARNING|terminate|Aborted|Segmentation).*$", re.MULTILINE)


class Simulated(NamedTuple):
    """One simulated call; `time_s` runs from the common start to the end of the last rank."""

    op: str
    algorithm: str
    ranks: int
    message_bytes: int
    time_s: float


@cache
def version() -> str:
    """SimGrid's version, such as 3.32; UsageError if it is not installed."""
    program = shutil.which("smpirun")
    if program is None:
        raise UsageError("simulate needs SimGrid, but smpirun is not on the PATH: install it "
                         "(Debian and Ubuntu: apt-get install libsimgrid-dev)")
    printed = subprocess.run([program, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+(?:\.\d+)?", printed.stdout + printed.stderr)
    return found[0] if found else "unknown"


def replay(platform: str, op: str, algorithm: str, ranks: int, message_bytes: int, timeout_s: float) -> Simulated:
    """Run one call of `op` by `algorithm`, a name of SMPI, on the hosts of `platform`.

    All ranks start at time zero and do nothing else, so no barrier skews the time.

    Raises:
        UsageError: SimGrid is not installed.
        CollbenchError: it crashed or timed out; the message names the call.
    """
    version()
    with tempfile.TemporaryDirectory(prefix="collbench-simulate-") as name:
        folder = Path(name)
        _write(folder, platform, op, ranks, message_bytes)
        words = ["smpirun", "-np", str(ranks), "-platform", "platform.xml", "-hostfile", "hosts", "-replay", "traces",
                 *(f"--cfg={setting}" for setting in (*_FLAT, *_PARTS.get(algorithm, ()))),
                 f"--cfg=smpi/{_SETTING[op]}:{algorithm}",
                 "--log=smpi_replay.thres:verbose"]
        # smpirun is a shell script that starts the simulator; a process group lets us stop both.
        process = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   start_new_session=True)
        what = f"{op} by {algorithm}, {ranks} ranks, {payload(message_bytes)}"
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise CollbenchError(f"simulator timed out after {timeout_s:g} s on {what}: raise --timeout or simulate "
                                 "fewer ranks") from None
        finally:
            _stop(process)
    ends = _DONE.findall(output)
    if process.returncode or len(ends) < ranks:
        raise CollbenchError(f"simulator failed (exit {process.returncode}) on {what}: {_reason(output)}")
    return Simulated(op, algorithm, ranks, message_bytes, max(map(float, ends)) / 1e6)


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _reason(output: str) -> str:
    lines = _TROUBLE.findall(output) or output.strip().splitlines()[-1:]
    return re.sub(r"^\[.*?\] (?:\S+:\d+: )?", "", lines[0]).strip()[:200] if lines else "no output"


def _write(folder: Path, platform: str, op: str, ranks: int, message_bytes: int) -> None:
    (folder / "platform.xml").write_text(platform, encoding="utf-8")
    (folder / "hosts").write_text("".join(f"h{rank}\n" for rank in range(ranks)), encoding="utf-8")
    (folder / "traces").write_text("".join(f"t{rank}\n" for rank in range(ranks)), encoding="utf-8")
    call = _call(op, ranks, message_bytes)
    for rank in range(ranks):
        (folder / f"t{rank}").write_text(f"{rank} init\n{rank} {call}\n{rank} finalize\n", encoding="utf-8")


def _call(op: str, ranks: int, size: int) -> str:
    """The trace action: counts in bytes, no computation, root 0."""
    block = size // ranks
    two = f"{_BYTE} {_BYTE}"
    return {"all_reduce": f"allreduce {size} 0 {_BYTE}", "reduce": f"reduce {size} 0 0 {_BYTE}",
            "broadcast": f"bcast {size} 0 {_BYTE}", "all_gather": f"allgather {block} {block} {two}",
            "all_to_all": f"alltoall {block} {block} {two}", "gather": f"gather {block} {block} 0 {two}",
            "scatter": f"scatter {block} {block} 0 {two}", "barrier": "barrier",
            "reduce_scatter": f"reducescatter {' '.join([str(block)] * ranks)} 0 {_BYTE}"}[op]
