"""The device path on an out-of-tree torch device: memory, events, streams, graphs, free memory, and a whole run.

The device is compiled from third_party_device.cpp and registered with torch like any vendor's. It is not CUDA, and no
part of collbench refers to it.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from collbench.collectives.cases import catalog
from collbench.collectives.records.journal import read_journal

HERE = Path(__file__).parent
SOURCE, PROGRAM = HERE / "third_party_device.cpp", HERE / "third_party_device.py"
RATE_BPS = 100e6        # of its asynchronous copies: 10 ms per MiB, far above timing noise

pytestmark = pytest.mark.needs("torch")


@pytest.fixture(scope="module")
def device(pytestconfig):
    """The compiled library, kept in pytest's cache as long as source and torch stay the same."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("SKIPPED: no C++ compiler, so no test device")
    home, version, python = subprocess.run(
        [sys.executable, "-c", "import sysconfig, torch; print(torch.__path__[0], torch.__version__, "
                               "sysconfig.get_path('include'))"],
        capture_output=True, text=True, check=True).stdout.split()
    digest = hashlib.sha256(SOURCE.read_bytes() + version.encode() + python.encode()).hexdigest()[:16]
    library = Path(pytestconfig.cache.mkdir("third-party-device")) / f"demo-{digest}.so"
    if not library.exists():
        draft = library.with_suffix(f".{os.getpid()}")
        done = subprocess.run(
            [compiler, "-std=c++20", "-O1", "-shared", "-fPIC", "-w", f"-I{home}/include", f"-I{python}",
             f"-I{home}/include/torch/csrc/api/include", str(SOURCE), "-o", str(draft), f"-L{home}/lib", "-ltorch",
             "-ltorch_cpu", "-ltorch_python", "-lc10", f"-Wl,-rpath,{home}/lib"],
            capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"SKIPPED: the device does not compile against torch {version}: {done.stderr[:400]}")
        draft.replace(library)
    return library


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(HERE.parent), "DEMO_COPY_BPS": str(RATE_BPS), **more}


@pytest.fixture(scope="module")
def answers(device):
    done = subprocess.run([sys.executable, PROGRAM, device], capture_output=True, text=True, timeout=120, check=False,
                          env=environment())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("op", catalog.GROUPS["copies"])
def test_queued_copies_are_timed_on_the_device_not_by_their_queueing(answers, op):
    measured_s, queueing_s = answers["times_s"][op]
    true_s = (1 << 20) / RATE_BPS
    assert true_s * 0.999 <= measured_s < 1.5 * true_s        # both directions at once too: two streams
    assert queueing_s < true_s / 2


def test_a_rank_uses_its_device_and_its_share_of_the_memory(answers):
    assert answers["device"] == "demo:1"        # local rank 3 of 2 devices
    assert answers["free"] <= answers["total"] == 1 << 30
    assert answers["room"] == answers["free"] // 3      # 5 ranks on 2 devices
    assert answers["evicted"] >= 256 << 20


def test_calls_are_captured_on_a_side_stream_after_warm_up(answers):
    assert answers["graph"] is None
    assert answers["log"] == [["begin", True], ["end", 3 + 4], ["replay", 3 + 4]]
    assert answers["stream"] == 0


def run(device, out, *options, ranks=2):
    jobs = [subprocess.Popen([sys.executable, str(PROGRAM), str(device), "--out", str(out), "--display", "quiet",
                              "--min-samples", "2", "--case-seconds", "0.005", "--alignment", "barrier", *options],
                             env=environment(RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_RANK=str(rank),
                                             LOCAL_WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT="29577",
                                             GLOO_SOCKET_IFNAME="lo"),
                             stderr=subprocess.PIPE, text=True) for rank in range(ranks)]
    try:
        errors = [job.communicate(timeout=120)[1] for job in jobs]
    finally:
        for job in jobs:
            job.kill()
    assert [job.returncode for job in jobs] == [0] * ranks, errors
    return read_journal(out / "journal.jsonl")


@pytest.mark.ranks
def test_a_whole_run_over_the_library_of_the_device(device, tmp_path):
    runs, records, warnings = run(device, tmp_path, "--ops", "all,copies,links", "--sizes", "16K", "--group-ranks", "2")
    assert warnings == []
    first = next(iter(runs.values()))
    assert first.device == "demo:Demo 1"
    assert first.library.startswith("democcl")
    assert all("in-place" in record.reason or "in place" in record.reason
               for record in records if record.status == "unsupported"), records
    ok = [record for record in records if record.status == "ok"]
    assert {record.case.op for record in ok} == set(catalog.OPERATIONS)
    for record in ok:
        assert [(timing.mode, timing.stopwatch, timing.graph) for timing in record.timings] == [
            ("isolated", "host", False), ("streamed", "device", False)]
        assert record.case.op == "noop" or record.verification.checks > 0
    copied = [record for record in ok if record.case.op == "copy_d2h"]
    assert min(min(record.timings[1].message_s(record.case)) for record in copied) >= 16384 / RATE_BPS * 0.999


@pytest.mark.ranks
def test_a_case_that_does_not_fit_or_cannot_be_captured_is_a_record(device, tmp_path):
    """The device has 1 GiB of memory, and torch a class for graphs that this device does not implement."""
    _, records, _ = run(device, tmp_path, "--ops", "all_reduce", "--sizes", "8,400M", "--group-ranks", "2", "--modes",
                        "streamed", "--graph")
    by_size = {record.case.bytes: record for record in records if record.case.in_place}
    assert by_size[400 << 20].status == "skipped-memory"
    assert "memory that is free" in by_size[400 << 20].reason
    assert by_size[8].status == "unsupported"
    assert "library refused" in by_size[8].reason
