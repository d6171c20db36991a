"""What the doctor says of this machine, and of things that are really broken."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

BESIDE = Path(sys.executable).parent
needs_a_transport = pytest.mark.needs("torch")


@pytest.fixture
def doctor(tmp_path):
    """Run it with changed variables and lower limits; exit status, findings by name, and all that was printed."""
    def run(*words, python=sys.executable, limits=(), drop=(), **environment):
        clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", *drop)}

        def lower():
            for which, value in limits:
                resource.setrlimit(which, (value, value))
        done = subprocess.run([python, "-m", "collbench", "doctor", "--json", "found.json", *map(str, words)],
                              cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
                              preexec_fn=lower, env={**clean, **environment})
        assert "Traceback" not in done.stderr, done.stderr
        written = json.loads((tmp_path / "found.json").read_text())
        assert done.returncode == (written["worst"] == "error"), done.stdout + done.stderr
        for finding in written["findings"]:
            assert "\n" not in finding["found"]
            assert finding["level"] in ("ok", "note") or finding["do"]
        return done.returncode, {finding["what"]: finding for finding in written["findings"]}, done.stdout
    return run


@needs_a_transport
def test_this_machine_is_fit_to_measure(doctor):
    status, found, said = doctor("--ranks", 2, "--transport", "torch")
    assert status == 0, said
    assert "gloo" in found["torch"]["facts"]["backends"]
    assert found["cores"]["facts"]["usable"] == len(os.sched_getaffinity(0))
    assert found["open files"]["facts"]["soft"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert "lo 127.0.0.1" in found["interfaces"]["found"]
    assert "torch: 2 ranks, backend" in said


@pytest.mark.needs("mpi")
def test_an_mpi_that_is_whole_starts_two_ranks(doctor):
    status, found, said = doctor("--transport", "mpi", MPICH_GPU_SUPPORT_ENABLED="1")     # of Cray MPICH alone
    assert status == 0, said
    assert found["MPI ranks"]["works"] == {"mpi": True}
    assert found["mpi4py"]["facts"]["vendor"] in found["mpi4py"]["found"]
    assert found["mpi4py"]["facts"]["device_support"] is None
    assert "host buffers only (MPIX_Query_cuda_support: no" in found["mpi4py"]["found"]


@pytest.mark.needs("mpi")
def test_a_library_that_is_not_there_is_named_with_its_variable(doctor, tmp_path):
    lost = str(tmp_path / "libmpi.so.99")
    status, found, said = doctor("--transport", "mpi", MPI4PY_LIBMPI=lost)
    assert status == 1
    assert found["mpi4py"]["level"] == "error"
    assert lost in found["mpi4py"]["do"]
    assert "mpi: does not work here" in said


def test_without_mpirun_there_is_no_mpi_but_torch_is_enough(doctor, tmp_path):
    """An interpreter in another folder, and nothing on the PATH: neither mpirun nor mpicc nor srun."""
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    code = "import sys; from collbench.launch.cli import main; sys.argv[0] = 'collbench'; main()"
    empty = tmp_path / "empty"
    empty.mkdir()
    elsewhere = empty / "python"
    elsewhere.symlink_to(os.path.realpath(sys.executable))
    done = subprocess.run([elsewhere, "-c", code, "doctor", "--transport", "mpi", "--json", "-"], cwd=empty,
                          env={"PATH": str(empty), "PYTHONPATH": os.pathsep.join(
                              [str(Path(__file__).parent.parent), packages]), "HOME": str(tmp_path)},
                          capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1, done.stderr
    written = json.loads(done.stdout)
    assert written["document"] == "collbench doctor"
    found = {finding["what"]: finding for finding in written["findings"]}
    assert found["mpirun"]["level"] == "error"
    assert "no mpirun or mpiexec" in found["mpirun"]["found"]
    assert found["compiler"]["level"] == "note"
    assert found["Slurm"]["level"] == "ok"


def test_libraries_that_break_when_imported_are_findings_not_crashes(doctor, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "torch.py").write_text("raise ImportError('libcudart.so.99: cannot open shared object file')\n")
    (broken / "mpi4py.py").write_text("import os; os.abort()\n")
    status, found, said = doctor(PYTHONPATH=str(broken))
    assert status == 1
    assert "libcudart.so.99" in found["torch"]["found"]
    assert found["mpi4py"]["works"] == {"mpi": False}
    assert found["transports"]["level"] == "error"
    assert "ERROR" in said


@pytest.mark.slow
def test_limits_too_low_for_so_many_ranks_are_errors_with_the_number_needed(doctor):
    status, found, _ = doctor("--ranks", 384, limits=[(resource.RLIMIT_NOFILE, 256), (resource.RLIMIT_MEMLOCK, 65536)])
    assert status == 1
    files = found["open files"]
    assert files["level"] == "error"
    assert files["facts"]["hard"] == 256
    assert str(files["facts"]["need"]) in files["do"]
    assert found["locked memory"]["found"].startswith("0.0625 MiB")
    assert found["cores"]["level"] in ("note", "ok")
    assert doctor("--ranks", 2, limits=[(resource.RLIMIT_NOFILE, 256)])[1]["open files"]["level"] == "ok"


def test_an_interface_that_does_not_exist_is_an_error(doctor):
    status, found, _ = doctor("--ranks", 2, GLOO_SOCKET_IFNAME="nosuch7")
    assert status == 1
    assert "nosuch7" in found["interfaces"]["found"]
    assert "lo" in found["interfaces"]["do"]


@pytest.mark.parametrize(("environment", "found"), [
    ({"SLURM_GPUS_PER_TASK": "1"}, "SLURM_GPUS_PER_TASK=1"),
    ({"SLURM_GPU_BIND": "single:1"}, "SLURM_GPU_BIND=single:1"),
    ({"SLURM_TRES_PER_TASK": "gres/gpu:1"}, "SLURM_TRES_PER_TASK=gres/gpu:1"),
    ({"SLURM_GPU_BIND": "none", "SLURM_TRES_PER_TASK": "cpu=4", "SLURM_GPUS_PER_NODE": "8"}, None)])
def test_a_scheduler_that_gives_each_rank_its_own_device_is_a_warning(environment, found):
    from collbench.launch.doctor.check_api import CheckRequest
    from collbench.launch.doctor.checks.device_binding import examine

    said = examine(CheckRequest(ranks=8, environment={"SLURM_JOB_ID": "7", **environment}))
    assert [(finding.level, finding.found.partition(": ")[0]) for finding in said] == ([("warning", found)] if found
                                                                                       else [])
    assert examine(CheckRequest(ranks=8, environment=environment)) == []


def test_a_rank_that_sees_one_device_beside_other_ranks_is_a_warning():
    from collbench.launch.doctor.check_api import CheckRequest
    from collbench.launch.doctor.checks.device_binding import examine

    rank = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "localhost"}
    for environment, devices, warned in ((rank, 1, True), (rank, 4, False), ({}, 1, False),
                                         ({**rank, "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "RANK": "0",
                                           "LOCAL_RANK": "0"}, 1, False)):
        said = examine(CheckRequest(ranks=4, accelerators=("cuda", devices), environment=environment))
        assert bool(said) == warned
