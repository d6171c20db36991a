"""A host whose accelerators torch cannot use: the reason is said, and its CPUs are measured only if asked for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from collbench.collectives.device_files import HostAccelerators
from collbench.collectives.errors import UsageError
from collbench.collectives.topology import Accelerators
from collbench.launch import bench
from collbench.launch.device_choice import TorchBuild, why_unusable

CPU_BUILD = TorchBuild(version="2.13.0+cpu", built_for={"cuda": None, "hip": None, "xpu": None},
                       error="Torch not compiled with CUDA enabled")
CUDA_13 = TorchBuild(version="2.13.0", built_for={"cuda": "13.0", "hip": None},
                     error="CUDA initialization: the system is not yet initialized (Error 802)")


def nvidia(version="535.161.08", **more):
    return HostAccelerators("NVIDIA", tuple(f"/dev/nvidia{number}" for number in range(8)), version, **more)


def of(vendor, *files, **more):
    return HostAccelerators(vendor, files, **more)


@pytest.mark.parametrize(("here", "torch", "environment", "found", "do"), [
    (nvidia(), CUDA_13, {}, "(/dev/nvidia0 and 7 more): torch 2.13.0 is built for CUDA 13.0, which needs driver 580 or "
     "newer, but the driver is 535.161.08", "update the driver, or install a torch for CUDA 12.6: pip install "
     "--force-reinstall torch --index-url https://download.pytorch.org/whl/cu126"),
    (nvidia("580.65.06"), CPU_BUILD, {}, "torch 2.13.0+cpu is built without CUDA", "install a torch for CUDA 13.0: pip "
     "install --force-reinstall torch"),
    (nvidia("570.86.10"), TorchBuild(failure="not installed"), {}, "torch is not installed", "torch==2.10.0 "
     "--index-url https://download.pytorch.org/whl/cu128"),
    (nvidia("580.65.06"), TorchBuild(failure="OSError: libcudart.so.13"), {},
     "does not load (OSError: libcudart.so.13)", "repair it, or install"),
    (nvidia("580.65.06"), CUDA_13, {"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES='' leaves none visible",
     "unset CUDA_VISIBLE_DEVICES"),
    (nvidia("580.65.06"), CUDA_13, {}, "finds none: CUDA initialization: the system is not yet initialized (Error 802)",
     "collbench doctor"),
    (nvidia(None), CUDA_13, {}, "finds none", "collbench doctor"),
    (of("AMD", "/dev/kfd", version="6.3.4"), CUDA_13, {}, "(/dev/kfd): torch 2.13.0 is built without ROCm",
     "install a torch for ROCm 6.4: pip install --force-reinstall torch==2.9.1 "),
    (of("AMD", "/dev/kfd", unreadable=("/dev/kfd",)), CUDA_13, {}, "this user may not open /dev/kfd", "group"),
    (of("Intel", "/dev/dri/renderD128"), CPU_BUILD, {}, "built without XPU", "whl/xpu"),
    (of("Ascend", "/dev/davinci0"), CPU_BUILD, {}, "torch 2.13.0+cpu finds none", "install torch_npu"),
])
def test_the_reason_is_said_and_what_to_do(here, torch, environment, found, do):
    said = why_unusable(here, torch, environment)
    assert said.found.startswith(f"torch cannot use the {here.vendor} devices of this host (")
    assert found in said.found
    assert do in said.do


@pytest.mark.parametrize(("devices", "profile", "ranks"), [
    (8, "full", [8, 8]), (8, "smoke", [4] * 4), (2, "smoke", [2] * 4), (8, "check", [8] * 16), (1, "full", [1, 8, 8])])
def test_a_profile_starts_as_many_ranks_as_there_are_devices(monkeypatch, devices, profile, ranks):
    monkeypatch.setattr(bench, "accelerators_for", lambda device: Accelerators("cuda", devices))
    monkeypatch.setattr(bench, "default_ranks", lambda usable, allocation: usable.count if usable else 8)
    plan = bench.plan_bench(bench.PROFILES[profile], ["mpi", "torch"])
    assert [launch.ranks for launch in plan.launches] == ranks
    assert plan.launches[0].transport == "torch"
    assert [launch.device for launch in plan.launches] == ["auto" if devices > 1 or count == 1 else "cpu"
                                                           for count in ranks]


def test_more_ranks_than_devices_are_refused(monkeypatch):
    monkeypatch.setattr(bench, "accelerators_for", lambda device: Accelerators("cuda", 4))
    with pytest.raises(UsageError, match=r"8 ranks for 4 cuda device\(s\): two ranks cannot share one"):
        bench.plan_bench(bench.PROFILES["full"], ["torch"], ranks=8)
    assert bench.plan_bench(bench.PROFILES["full"], ["mpi"], ranks=8).launches[0].ranks == 8


# The driver's files are there, but torch finds no device: as with a driver too old for it. /dev/null stands for the
# file of a device, since no test can make one.
RUNNER = """
import sys
from collbench.collectives.topology import accelerators
from collbench.collectives import device_files
accelerators._DEVICE_FILES = ("/dev/null",)
device_files._VENDORS = (device_files._Vendor("NVIDIA", ("dev/null",)),)
if sys.argv[1] == "rank":
    from collbench.collectives.program.rank import main
    sys.argv.pop(1)
else:
    from collbench.launch.cli import main
main()
"""
REFUSED = "collbench: torch cannot use the NVIDIA devices of this host (/dev/null): "


@pytest.fixture
def unusable(tmp_path):
    """The command line on a host whose device torch cannot use."""
    if subprocess.run([sys.executable, "-c", "import sys, torch; sys.exit(torch.accelerator.is_available())"],
                      check=False).returncode:
        pytest.skip("SKIPPED: torch finds an accelerator here")

    def run(*words):
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run([sys.executable, "-c", RUNNER, *map(str, words)], cwd=tmp_path, capture_output=True,
                              text=True, timeout=240, check=False,
                              env={**environment, "PYTHONPATH": str(Path(__file__).parent.parent)})
    return run


@pytest.mark.needs("torch")
@pytest.mark.parametrize("words", [("bench", "--budget", 5), ("run", "--ranks", 2), *(
    pytest.param(words, marks=pytest.mark.slow)
    for words in (("check", "--save", "kept.jsonl"), ("links",), ("launch", "--launcher", "local")))])
def test_cpus_are_not_measured_unless_asked_for(unusable, tmp_path, words):
    done = unusable(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith(REFUSED)
    assert done.stderr.count("\n") == 1
    assert "pass --device cpu" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.needs("torch")
def test_a_rank_that_another_program_started_does_not_measure_cpus_either(unusable, tmp_path):
    done = unusable("rank", "--out", "r", "--ops", "barrier")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "finds no accelerator, but this host has some" in done.stderr
    assert "pass --device cpu" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ranks
@pytest.mark.needs("torch")
def test_cpus_are_measured_if_asked_for(unusable, tmp_path):
    done = unusable("run", "--device", "cpu", "--ranks", 2, "--ops", "barrier", "--case-seconds", 0.01, "--out", "r")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r" / "journal.jsonl").exists()


@pytest.mark.slow
@pytest.mark.needs("torch")
def test_the_doctor_says_it_too(unusable, tmp_path):
    done = unusable("doctor", "--json", "found.json")
    assert done.returncode == 1
    found = [finding for finding in json.loads((tmp_path / "found.json").read_text())["findings"]
             if finding["what"] == "accelerators"]
    assert [finding["level"] for finding in found] == ["error"]
    assert REFUSED.partition(": ")[2] in found[0]["found"]
