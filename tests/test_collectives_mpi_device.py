"""MPI on device buffers: how support is found, and whole runs over mpirun on the out-of-tree device.

The memory of that device is host memory, so that any MPI can take its addresses; torch alone fills and compares it, and
asynchronously.
"""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from collbench.collectives.ranks.mpi_device_support import device_support, may_take_devices
from collbench.collectives.records.journal import read_journal

HERE = Path(__file__).parent
BESIDE = Path(sys.executable).parent
OPEN_MPI, MPICH = "Open MPI v5.0.8, package: x", "MPICH Version:      4.3.0\nMPICH Device:       ch4:ofi"
CRAY, INTEL = "MPI VERSION    : CRAY MPICH version 8.1.29 (ANL base 3.4a2)", "Intel(R) MPI Library 2021.14 for Linux"
MVAPICH2, UNKNOWN = "MVAPICH2 Version      :\t2.3.7", "HPE MPT 2.30"
CUDA, KINDS = "int MPIX_Query_cuda_support(void) { return %d; }", """
int MPIX_GPU_query_support(int kind, int *flag)
{
    *flag = kind == 2;
    return kind > 2;
}
"""


def build(source, folder):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("SKIPPED: no C compiler")
    (folder / "stub.c").write_text(source + "\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "stub.so", folder / "stub.c"], check=True)
    return ctypes.CDLL(str(folder / "stub.so"))


@pytest.mark.parametrize(("library", "source", "kinds", "variables", "by", "asked"), [
    (OPEN_MPI, CUDA % 1, None, {}, "MPIX_Query_cuda_support", "cuda_support: yes"),
    (OPEN_MPI, CUDA % 0, None, {"MPICH_GPU_SUPPORT_ENABLED": "1", "I_MPI_OFFLOAD": "1"}, None, "cuda_support: no"),
    (OPEN_MPI, CUDA % 0, "mpi,cuda:device", {}, "mpi_memory_alloc_kinds=mpi,cuda:device", "cuda_support: no"),
    (MPICH, KINDS, "mpi,system", {}, "MPIX_GPU_query_support", "MPIX_GPU_query_support: yes"),
    (MPICH, CUDA % 0, None, {"MPIR_CVAR_ENABLE_GPU": "1"}, None, "MPIR_CVAR_ENABLE_GPU=1"),
    (MPICH, "", None, {"MPIR_CVAR_ENABLE_GPU": "1"}, "MPIR_CVAR_ENABLE_GPU=1", "MPIR_CVAR_ENABLE_GPU=1"),
    (CRAY, CUDA % 1, None, {}, None, "MPICH_GPU_SUPPORT_ENABLED not set"),
    (CRAY, "", None, {"MPICH_GPU_SUPPORT_ENABLED": "1"}, "MPICH_GPU_SUPPORT_ENABLED=1", "ENABLED=1"),
    (INTEL, "", None, {"I_MPI_OFFLOAD": "0"}, None, "I_MPI_OFFLOAD=0"),
    (INTEL, "", None, {"I_MPI_OFFLOAD": "1"}, "I_MPI_OFFLOAD=1", "I_MPI_OFFLOAD=1"),
    (MVAPICH2, CUDA % 1, None, {"MV2_USE_CUDA": "0"}, None, "MV2_USE_ROCM not set"),
    (MVAPICH2, CUDA % 1, None, {"MV2_USE_ROCM": "1"}, "MV2_USE_ROCM=1", "MV2_USE_CUDA not set"),
    (UNKNOWN, "", None, {}, None, "none of MPIX_Query_cuda_support"),
])
def test_each_mpi_is_asked_in_its_own_way(tmp_path, library, source, kinds, variables, by, asked):
    loaded = build(source, tmp_path)
    support = device_support(loaded, library, kinds, variables)
    assert support.by == by
    assert asked in support.asked
    assert may_take_devices(loaded, library, variables) or by is None      # a guess before MPI_Init misses nothing


# Open MPI sets these when it was built for ROCm and finds it.
AWARE = """
import ctypes, os
from mpi4py import rc
rc.initialize = False
from mpi4py import MPI
start = MPI.Init

def init():
    start()
    if os.environ.get("AWARE") == "1":
        loaded = ctypes.CDLL(MPI.__file__)
        for name in ("opal_built_with_rocm_support", "opal_rocm_runtime_initialized"):
            ctypes.c_bool.in_dll(loaded, name).value = True

MPI.Init = init
if os.environ.get("PRESENT") == "1":        # device files, which the emulated device has not
    from collbench.collectives.transports import mpi_buffers
    mpi_buffers.accelerators_present = lambda: True
"""
RUN = f"""{AWARE}
import sys
from third_party_device import prepare
prepare(sys.argv.pop(1))
import torch
aware = MPI.Init

def init():
    print("MPI_Init on", torch.accelerator.current_device_index(), flush=True)
    aware()

MPI.Init = init
from collbench.collectives.program.rank import main
main(prog_name="MPI on the third-party device")
"""
WITHOUT_TORCH = f"""{AWARE}
from collbench.collectives.program.rank import main
main()
"""


@pytest.fixture(scope="session")
def open_mpi():
    if "Open MPI" not in subprocess.run([sys.executable, "-c", "from mpi4py import MPI; print(MPI.get_vendor())"],
                                        capture_output=True, text=True, check=False).stdout:
        pytest.skip("SKIPPED: only of Open MPI is it known how to make its query function say yes")


def run(device, folder, ranks, *options, **variables):
    (folder / "run.py").write_text(RUN)
    mpirun = [BESIDE / "mpirun", "-n", ranks, "--map-by", ":OVERSUBSCRIBE", "--bind-to", "none", "--allow-run-as-root"]
    command = [*mpirun, sys.executable, folder / "run.py", device, "--transport", "mpi", "--display", "quiet",
               "--out", folder / "r", "--min-samples", 2, "--case-seconds", 0.005, *options]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=240, check=False,
                          env={**os.environ, "PYTHONPATH": f"{HERE.parent}:{HERE}", "DEMO_COPY_BPS": "100e6",
                               "DEMO_VISIBLE": "2", "DEMO_UUID": "own", "AWARE": "1", **variables})


def objection(done):
    """What collbench objects to; ranks that are still there say the same as rank 0."""
    assert done.returncode == 2, done.stdout + done.stderr
    said = {re.sub(r"^collbench: (rank \d+: )?", "", line) for line in done.stderr.splitlines()
            if line.startswith("collbench: ")}
    assert len(said) == 1, done.stderr
    return said.pop()


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.needs("mpi")
@pytest.mark.needs("torch")
def test_a_whole_run_over_mpi_on_the_device(open_mpi, device, tmp_path):
    done = run(device, tmp_path, 2, "--device", "demo", "--ops", "all,links", "--sizes", "4K,64K", "--group-ranks", "2",
               "--alignment", "barrier")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(done.stdout.split("MPI_Init on ")[1:]) == ["0\n", "1\n"]
    runs, records, warnings = read_journal(tmp_path / "r" / "journal.jsonl")
    first = next(iter(runs.values()))
    assert warnings == []
    assert first.device == "demo:Demo 1"
    assert "by address" in first.provenance["buffers"]
    assert first.provenance["versions"]["MPI device buffers"] == "MPIX_Query_rocm_support"
    assert "copy" not in {record.case.op for record in records}      # refused, and not asked for by name
    assert {record.status for record in records} == {"ok"}, [record.reason for record in records]
    assert {record.case.op for record in records} > {"all_reduce", "all_to_all_v", "link_bandwidth", "bandwidth"}
    assert {timing.loop for record in records if record.case.op == "all_reduce" for timing in record.timings} == {
        first.policy.loop}
    for record in records:
        assert {timing.stopwatch for timing in record.timings} == {"host"}
        assert record.case.op == "noop" or record.verification.checks > 0


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.needs("mpi")
@pytest.mark.needs("torch")
@pytest.mark.parametrize(("ranks", "stride", "named"), [(3, 1, "ranks 0 and 2 on"), (2, 2, "ranks 0 and 1 on")])
def test_two_ranks_of_mpi_on_one_device_are_refused(open_mpi, device, tmp_path, ranks, stride, named):
    done = run(device, tmp_path, ranks, "--device", "demo", "--device-stride", stride, "--ops", "all_reduce")
    assert named in objection(done)
    assert "both use" in objection(done)


@pytest.mark.ranks
@pytest.mark.needs("mpi")
@pytest.mark.needs("torch")
def test_a_device_that_the_mpi_does_not_take_is_refused_with_what_was_asked(open_mpi, device, tmp_path):
    done = run(device, tmp_path, 2, "--device", "demo", "--ops", "all_reduce", "--sizes", "4K", AWARE="0")
    assert "device demo: Open MPI" in objection(done)
    assert "MPIX_Query_cuda_support: no, MPIX_Query_rocm_support: no" in objection(done)


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.needs("mpi")
@pytest.mark.needs("torch")
def test_auto_says_why_it_is_host_memory_on_a_host_with_devices(open_mpi, device, tmp_path):
    done = run(device, tmp_path, 2, "--ops", "all_reduce", "--sizes", "4K", AWARE="0", PRESENT="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    assert "buffers of MPI are in host memory and not on demo: Open MPI" in done.stderr
    runs, _, _ = read_journal(tmp_path / "r" / "journal.jsonl")
    assert {first.device for first in runs.values()} == {"cpu"}


@pytest.mark.needs("mpi")
@pytest.mark.parametrize(("wanted", "aware"), [("cuda", "0"), ("auto", "0"), ("auto", "1")])
def test_without_torch_devices_are_refused_where_they_would_be_used(request, tmp_path, wanted, aware):
    """A render node makes a host look as if it had accelerators: that must not stop an MPI that takes none."""
    if aware == "1":
        request.getfixturevalue("open_mpi")
    (tmp_path / "torch.py").write_text("raise ImportError('libc10.so: cannot open shared object file')\n")
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, "--transport", "mpi", "--device", wanted, "--ops",
                           "noop", "--display", "quiet", "--out", tmp_path / "r"], capture_output=True, text=True,
                          timeout=240, check=False, env={**os.environ, "PYTHONPATH": str(tmp_path), "AWARE": aware,
                                                       "PRESENT": "1"})
    if (wanted, aware) == ("auto", "0"):
        assert (done.returncode, done.stderr) == (0, "")
        return
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    for part in (f"device {wanted}: ", "libc10.so", "--device cpu"):
        assert part in done.stderr
