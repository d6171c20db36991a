"""A host with a single accelerator: its copies and the CPUs are measured, and what needs two devices says so.

The accelerator is the compiled test device, which torch loads by itself, as it loads torch_npu.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from collbench.collectives.cases import catalog
from collbench.collectives.records.journal import read_journal

HERE = Path(__file__).parent
pytestmark = [pytest.mark.ranks, pytest.mark.needs("torch")]

# /dev/null stands for the file of the device, since no test can make one.
RUNNER = """
from collbench.collectives.topology import accelerators
accelerators._DEVICE_FILES = ("/dev/null",)
from collbench.launch.cli import main
main()
"""


@pytest.fixture
def with_one_device(device_variables, tmp_path):
    """The command line on such a host."""
    work = tmp_path / "work"
    work.mkdir()

    def run(*words, devices=1):
        environment = {**device_variables, "DEMO_VISIBLE": str(devices), "DEMO_UUID": "own"}
        return subprocess.run([sys.executable, "-c", RUNNER, *map(str, words)], cwd=work, capture_output=True,
                              text=True, timeout=300, check=False, env={**os.environ, **environment})
    run.work = work
    return run


@pytest.mark.slow
def test_bench_measures_copies_on_the_device_and_then_the_cpus(with_one_device):
    done = with_one_device("bench", "--profile", "smoke", "--budget", 10, "--transport", "torch", "--out", "r")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("one demo device, too few for operations between ranks: its copies, then 4 ranks on "
            f"{len(os.sched_getaffinity(0))} CPU cores, transports torch") in done.stdout
    runs, records, _ = read_journal(with_one_device.work / "r" / "journal.jsonl")
    measured = {}
    for record in records:
        if record.status == "ok" and record.case.op != "noop":
            measured.setdefault(runs[record.run].device, set()).add((record.case.op, record.case.ranks))
    assert measured.keys() == {"demo:Demo 1", "cpu"}        # the time decides how many cases of each
    assert measured["demo:Demo 1"] <= {(op, 1) for op in catalog.GROUPS["copies"]}
    assert not measured["cpu"] & measured["demo:Demo 1"]
    assert 4 in {ranks for _, ranks in measured["cpu"]}
    assert "report: " in done.stdout


@pytest.mark.parametrize(("words", "said"), [
    (("run", "--ranks", 2), "2 ranks for 1 demo device(s): two ranks cannot share one"),
    (("links",), "2 ranks for 1 demo device(s)"),
    (("launch", "--launcher", "local", "--ranks-per-node", 2), "2 ranks for 1 demo device(s)")])
def test_two_ranks_on_one_device_are_refused_before_anything_starts(with_one_device, words, said):
    done = with_one_device(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert "--device cpu" in done.stderr
    assert list(with_one_device.work.iterdir()) == []


@pytest.mark.slow
def test_check_measures_the_cpus_and_says_so(with_one_device):
    done = with_one_device("check", "--ranks", 2, "--save", "kept.jsonl")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "one demo device, too few for operations between ranks: 2 ranks on" in done.stdout
    runs, _, _ = read_journal(with_one_device.work / "kept.jsonl")
    assert {run.device for run in runs.values()} == {"cpu"}


@pytest.mark.slow
def test_run_measures_the_device_with_one_rank(with_one_device):
    done = with_one_device("run", "--ops", "copies", "--sizes", "64K", "--case-seconds", 0.01, "--out", "r")
    assert done.returncode == 0, done.stdout + done.stderr
    runs, _, _ = read_journal(with_one_device.work / "r" / "journal.jsonl")
    assert {run.device for run in runs.values()} == {"demo:Demo 1"}


@pytest.mark.slow
def test_a_stride_takes_one_die_of_each_package(with_one_device):
    """Four devices, two in each package: ranks on the first of each, which is also the default number of ranks."""
    quick = ("--device-stride", 2, "--ops", "barrier", "--alignment", "barrier", "--case-seconds", 0.01)
    done = with_one_device("run", *quick, "--out", "r", devices=4)
    assert done.returncode == 0, done.stdout + done.stderr
    runs, _, _ = read_journal(with_one_device.work / "r" / "journal.jsonl")
    devices = next(iter(runs.values())).provenance["devices"]
    assert [one["device"] for one in devices] == ["demo:0", "demo:2"]
    done = with_one_device("run", *quick, "--ranks", 4, devices=4)
    assert done.returncode == 2
    assert "4 ranks for 2 demo device(s)" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("words", [("run",), ("bench", "--transport", "torch", "--budget", 5)])
def test_a_backend_is_passed_on_and_must_take_tensors_of_the_device(with_one_device, words):
    done = with_one_device(*words, "--backend", "gloo", devices=2)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "--backend gloo: it takes tensors on cpu" in done.stdout + done.stderr
    assert "not on demo" in done.stdout + done.stderr
