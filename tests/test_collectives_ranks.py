"""Real ranks: gloo processes and mpirun, as a user would start them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from collbench.collectives.cases import catalog
from collbench.collectives.records.journal import read_journal

FORK = "collbench.collectives.program.fork"

pytestmark = pytest.mark.ranks
TRANSPORTS = [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("torch", "mpi")]
QUICK = ("--case-seconds", 0.01, "--min-samples", 3)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_operation_over_2_and_4_ranks_in_both_modes(collbench, tmp_path, transport):
    done = collbench("run", "--transport", transport, "--ranks", 4, "--ops", "all", "-b", 96, "-e", "6K", "-f", 64,
                     "--out", "r", *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    runs, records, warnings = read_journal(tmp_path / "r" / "journal.jsonl")
    assert warnings == []
    assert {record.status for record in records} == {"ok"}
    ok = [record for record in records if record.status == "ok"]
    expected = {("copy", 1), ("noop", 1), *((op, n) for op in catalog.GROUPS["all"] for n in (2, 4))}
    assert {(r.case.op, r.case.ranks) for r in ok} == expected
    for record in ok:
        assert [timing.mode for timing in record.timings] == ["isolated", "streamed"]
        assert record.case.op == "noop" or record.verification.checks > 0
        assert record.verification is None or record.verification.wrong == 0
    assert next(iter(runs.values())).clock.kind == "shared"
    assert json.loads((tmp_path / "r" / "run.json").read_text())["runs"][0]["transport"] == transport


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_element_type_and_reduce_operation_is_right(collbench, tmp_path, transport):
    done = collbench("run", "--transport", transport, "--ranks", 3, "--ops", "all_reduce,all_gather,reduce_scatter",
                     "-b", "1K", "-e", "1K", "--dtypes", "all", "--redops", "all", "--group-ranks", 3, "--modes",
                     "isolated", "--out", "r", *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    _, records, _ = read_journal(tmp_path / "r" / "journal.jsonl")
    # What is known not to work was not asked for by name; what else the library refuses is found by trying.
    assert all(r.status == "ok" or r.reason.startswith("the library refused it") for r in records)
    right = {(r.case.op, r.case.dtype, r.case.redop) for r in records if r.status == "ok"}
    for dtype in ("float32", "float64", "int8", "int32", "int64"):
        for redop in ("sum", "prod", "min", "max"):
            assert ("all_reduce", dtype, redop) in right
    moved = set(catalog.DTYPES) - ({"fp8_e4m3"} if transport == "torch" else set())       # gloo refuses it
    assert {dtype for op, dtype, _ in right if op == "all_gather"} == moved


@pytest.mark.needs("torch")
def test_torchrun_starts_the_rank_program(tmp_path):
    torchrun = Path(sys.executable).parent / "torchrun"
    if not torchrun.exists():
        pytest.skip("SKIPPED: no torchrun beside this Python")
    done = subprocess.run([torchrun, "--standalone", "--nproc-per-node", "2", "-m", "collbench.rank", "--ops",
                           "all_reduce", "-b", "64", "-e", "64", "--out", tmp_path / "r", "--case-seconds", "0.01"],
                          capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    _, records, _ = read_journal(tmp_path / "r" / "journal.jsonl")
    assert [record.case.op for record in records] == ["noop", "all_reduce"]


@pytest.fixture
def long_job(tmp_path):
    """Two gloo ranks that have measured a few cases of many; the process that forked them, and their journal."""
    job = subprocess.Popen([sys.executable, "-m", FORK, "2", "--ops", "all", "--out", str(tmp_path / "r"),
                            "--case-seconds", "0.1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "r" / "journal.jsonl"
    deadline = time.monotonic() + 240
    while not (journal.exists() and journal.read_text().count('"status":"ok"') > 3):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield job, journal
    job.kill()


@pytest.mark.needs("torch")
def test_a_killed_rank_ends_the_job_and_keeps_what_was_measured(long_job):
    job, journal = long_job
    ranks = subprocess.run(["ps", "-o", "pid=", "--ppid", str(job.pid)], capture_output=True, text=True,
                           check=True).stdout.split()
    subprocess.run(["kill", "-KILL", ranks[-1]], check=True)
    _, errors = job.communicate(timeout=240)
    assert job.returncode == 3
    assert "died" in errors
    _, records, warnings = read_journal(journal)
    assert warnings == []
    assert sum(record.status == "ok" for record in records) > 3
    left = subprocess.run(["ps", "-o", "stat=", "-p", ",".join(ranks)], capture_output=True, text=True, check=False)
    assert left.stdout.strip("Z \n") == ""


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_stop_signal_ends_the_run_after_the_case_with_everything_saved(tmp_path, transport):
    job = subprocess.Popen([Path(sys.executable).parent / "collbench", "run", "--transport", transport, "--ranks", "2",
                            "--ops", "all", "--out", tmp_path / "r", "--case-seconds", "0.1", "--precision", "0"],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    journal = tmp_path / "r" / "journal.jsonl"
    deadline = time.monotonic() + 240
    while not (journal.exists() and journal.read_text().count('"status":"ok"') > 3):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    job.terminate()
    output, _ = job.communicate(timeout=240)
    assert job.returncode == 128 + signal.SIGTERM, output
    assert "the run was stopped" in output
    assert read_journal(journal)[2] == []


def under_mpirun(ranks, program, tmp_path):
    """Run a Python program as ranks of MPI; returns its output."""
    from collbench.launch.job import Job
    from collbench.launch.launchers.mpirun import find_mpirun
    from collbench.launch.workload import Workload
    (tmp_path / "program.py").write_text(program)
    config = Workload().config("mpi", tmp_path / "r", on_device=False)
    command = find_mpirun().command(Job(config=config, ranks=ranks))
    launch = command[:command.index(sys.executable) + 1]
    done = subprocess.run([*launch, str(tmp_path / "program.py")], capture_output=True, text=True, timeout=240,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def under_torchrun(ranks, program, tmp_path):
    """As `under_mpirun`, as ranks of torch.distributed."""
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
                           str(ranks), str(tmp_path / "program.py")], capture_output=True, text=True, timeout=240,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


MEASURE_ALL = """
from collbench.collectives.cases import catalog
from collbench.collectives.cases.case import Sweep
from collbench.collectives.interfaces import CallSettings
from collbench.collectives.loop.clock import SAME
from collbench.collectives.loop.measure import measure
from collbench.collectives.records.record import Policy
from collbench.collectives.transports import mpi
{opening}
communicator = transport.communicator(transport.size)
policy = Policy(alignment="barrier", case_s=0.001, min_samples=3, precision=0.5)
ops = tuple(name for name, row in catalog.OPERATIONS.items() if not row.lifecycle)
for case in Sweep(ops=ops, sizes=(24, 5000), ranks=(transport.size,)).cases():
    if case.operation.memories or case.operation.composition:      # not MPI calls, or several
        continue
    outcome = measure(case, communicator, SAME, policy, 0.001, 1)
    assert outcome.status == "ok", (case.label(), outcome.status, outcome.reason, outcome.fault)
    own = case.operation.group in ("patterns", "shared_memory") and not case.operation.pairs     # in the Python loop
    if communicator.rank == 0 and not own:      # output of ranks that print at once may share a line
        print({probe}, flush=True)
"""


ON_TENSORS = """
import torch
from collbench.collectives.interfaces import CallSettings
from collbench.collectives.transports import mpi
from collbench.collectives.transports.torch_mpi_buffers import torch_buffers
transport = mpi.MpiTransport(torch_buffers(torch.device("cpu")))
used, reason = transport.configure(CallSettings({loop!r}, compiles=transport.rank == 0))
"""


@pytest.mark.slow
@pytest.mark.needs("mpi")
@pytest.mark.needs("torch")
@pytest.mark.parametrize("loop", ["auto", "python"])
def test_mpi_accepts_tensors_as_a_device_aware_mpi_would(tmp_path, loop):
    """CPU tensors take the path of device tensors: memory that only torch fills and compares."""
    printed = under_mpirun(2, MEASURE_ALL.format(opening=ON_TENSORS.format(loop=loop),
                                                 probe="outcome.modes[0].loop, used"), tmp_path)
    if "no mpicc" not in printed:
        assert {tuple(line.split()) for line in printed.splitlines()} == {
            ("native", "native") if loop == "auto" else ("python", "python")}


@pytest.mark.needs("mpi")
@pytest.mark.needs("torch")
def test_tensors_reach_mpi_by_their_address(tmp_path):
    """Every buffer argument is mpi4py's own object over the tensor's memory: a tensor costs more in each call."""
    program = """
import numpy as np, torch
from collbench.collectives.cases.case import Case
from collbench.collectives.interfaces import layout
from collbench.collectives.transports import mpi, mpi_calls
for row in (torch.zeros(1 << 20, dtype=torch.uint8), np.zeros(1 << 20, np.uint8)):
    begin = row.ctypes.data if isinstance(row, np.ndarray) else row.data_ptr()
    for op in ("all_gather", "bandwidth"):
        case = Case(op=op, ranks=2, bytes=4096, dtype="float32")
        place = layout(case, 0)
        at = mpi_calls.Buffers(case, row[place.send_at:][:place.send_bytes], row[place.recv_at:][:place.recv_bytes])
        specs = [(at.send, place.send_at, place.send_bytes), (at.recv, place.recv_at, place.recv_bytes),
                 (at.vector([1, 1], at.send_bytes), place.send_at, place.send_bytes)]
        if case.operation.windowed:
            specs += [(spec, place.send_at + n % (place.send_bytes // 4096) * 4096, 4096)
                      for n, spec in enumerate(at.messages(at.send_bytes))]
            assert len(specs) > 3
        for (buffer, *_), offset, length in specs:
            assert type(buffer).__name__ in ("buffer", "memory"), buffer
            assert buffer.nbytes == length, (op, buffer.nbytes, length)
            assert length == 0 or buffer.address == begin + offset, (op, offset)
print("looked at", len(specs))
"""
    assert under_mpirun(1, program, tmp_path).startswith("looked at")


@pytest.mark.needs("mpi")
@pytest.mark.parametrize(("loop", "persistent"), [("native", False), ("native", True), ("python", True)])
def test_every_mpi_loop_is_right_on_every_operation(tmp_path, loop, persistent):
    opening = (f"transport = mpi.open_transport(None, 'cpu')\n"
               f"settings = CallSettings('auto' if {loop!r} == 'native' else {loop!r}, persistent={persistent}, "
               f"compiles=transport.rank == 0)\n"
               f"used, reason = transport.configure(settings)")
    printed = under_mpirun(3 if loop == "native" else 2,
                           MEASURE_ALL.format(opening=opening, probe="outcome.modes[0].loop, reason or ''")
                           .replace("sizes=(24, 5000), ranks=(transport.size,)",
                                    "sizes=(24, 5000), ranks=(transport.size // 2 * 2,)")
                           .replace("communicator(transport.size)", "communicator(transport.size // 2 * 2)\n"
                                    "if communicator is None:\n    raise SystemExit"), tmp_path)
    if loop == "native" and "no mpicc" in printed:
        pytest.skip("SKIPPED: no mpicc here, so no compiled loop")
    assert {line.split()[0] for line in printed.splitlines()} == {loop}


@pytest.mark.needs("mpi")
@pytest.mark.parametrize("memory", ["host", pytest.param("tensor", marks=pytest.mark.needs("torch"))])
def test_the_compiled_loop_notices_a_wrong_result_and_goes_on(tmp_path, memory):
    """The expected result of every other sample is changed: the loop stops there, the inspector reports, it goes on.

    On warm buffers all samples of a round have the same data, and all are wrong.
    """
    opening = ON_TENSORS.format(loop="auto") if memory == "tensor" else """
transport = mpi.open_transport(None, "cpu")
used, reason = transport.configure(CallSettings(compiles=transport.rank == 0))
"""
    program = """
import numpy as np
from collbench.collectives.cases.case import Case
from collbench.collectives.interfaces import CallSettings
from collbench.collectives.loop.alignment import ALIGNMENTS
from collbench.collectives.loop.caches import CACHES
from collbench.collectives.loop.clock import SAME
from collbench.collectives.loop.timing import time_samples
from collbench.collectives.loop.verify import Inspector
from collbench.collectives.transports import mpi
OPENING
communicator = transport.communicator(2)
case = Case(op="all_gather", ranks=2, bytes=4096, dtype="int32")
prepared = communicator.prepare(case, 3)
inspector = Inspector(case, communicator.rank, prepared)
alignment = ALIGNMENTS["agreed"](communicator, SAME)
rotated = CACHES["rotated"](inspector, communicator)
figures = time_samples(inspector, communicator, alignment, rotated, 0, 6)
assert (inspector.checks, inspector.wrong) == (18, 0)
if communicator.rank == 1:
    inspector._expected[1].tiles[0, 400] ^= 1
    inspector.wanted[1] = prepared.memory.keep(inspector._expected[1])
figures = time_samples(inspector, communicator, alignment, rotated, 0, 6)
assert all(len(row) == 6 and min(row) > 0 for row in figures[:2]), figures
if communicator.rank == 1:
    assert inspector.checks == 36 and inspector.wrong == 9, (inspector.checks, inspector.wrong)
    assert inspector.fault.rank == 1 and inspector.fault.index == 100, inspector.fault
else:
    assert (inspector.checks, inspector.wrong) == (36, 0)
inspector = Inspector(case, communicator.rank, communicator.prepare(case, 1, 4))
if communicator.rank == 1:
    inspector._expected[1].tiles[0, 400] ^= 1
    inspector.wanted[1] = inspector.prepared.memory.keep(inspector._expected[1])
warm = CACHES["warm"](inspector, communicator)
for turn in range(2):       # the first one has the data whose expected result is changed
    figures = time_samples(inspector, communicator, alignment, warm, 6 * turn, 6)
    assert all(len(row) == 6 and min(row) > 0 for row in figures[:2]), figures
    assert inspector.checks == 7 * (turn + 1), inspector.checks
    assert inspector.wrong == (7 if communicator.rank == 1 else 0), inspector.wrong
if communicator.rank == 0:
    print(used)
"""
    printed = under_mpirun(2, program.replace("OPENING", opening), tmp_path)
    assert set(printed.split()) <= {"native", "python"}


LAZY_MPI = """
int every, calls;
int MPI_Allgather(const void *send, int send_count, MPI_Datatype send_type, void *recv, int recv_count,
                  MPI_Datatype recv_type, MPI_Comm comm)
{
    if (every && ++calls % every == 0)
        return MPI_SUCCESS;
    return PMPI_Allgather(send, send_count, send_type, recv, recv_count, recv_type, comm);
}
"""


@pytest.mark.needs("mpi")
def test_the_compiled_loop_notices_a_call_that_does_nothing_on_warm_buffers(tmp_path, mpi_shim):
    """The call before has left the right result there; only the word that is overwritten between them tells."""
    program = f"""
import ctypes
lazy = ctypes.CDLL({str(mpi_shim(LAZY_MPI))!r}, ctypes.RTLD_GLOBAL)       # before MPI, to take its place
every = ctypes.c_int.in_dll(lazy, "every")
from collbench.collectives.cases.case import Case
from collbench.collectives.interfaces import CallSettings
from collbench.collectives.loop.alignment import ALIGNMENTS
from collbench.collectives.loop.caches import CACHES
from collbench.collectives.loop.clock import SAME
from collbench.collectives.loop.timing import time_samples
from collbench.collectives.loop.verify import Inspector
from collbench.collectives.transports import mpi
transport = mpi.open_transport(None, "cpu")
assert transport.configure(CallSettings("native", compiles=transport.rank == 0)).loop == "native"
communicator = transport.communicator(2)
case = Case(op="all_gather", ranks=2, bytes=4096, dtype="int32")
inspector = Inspector(case, communicator.rank, communicator.prepare(case, 1, 1))
warm = CACHES["warm"](inspector, communicator)
for every.value in 0, 7:
    time_samples(inspector, communicator, ALIGNMENTS["barrier"](communicator, SAME), warm, 0, 60)
    if communicator.rank == 0:
        print(inspector.wrong, flush=True)
"""
    right, lazy = map(int, under_mpirun(2, program, tmp_path).split())
    assert (right, lazy > 0) == (0, True), (right, lazy)


@pytest.mark.needs("mpi")
def test_the_rank_that_answers_is_ready_before_the_agreed_start(tmp_path):
    """It begins as long before the other one as the start is ahead, here 20 ms; both read the same clock."""
    program = """
import statistics
from mpi4py import MPI
from collbench.collectives.cases.case import Case
from collbench.collectives.interfaces import CallSettings
from collbench.collectives.loop.alignment import ALIGNMENTS
from collbench.collectives.loop.caches import CACHES
from collbench.collectives.loop.clock import SAME
from collbench.collectives.loop.timing import time_samples
from collbench.collectives.loop.verify import Inspector
from collbench.collectives.transports import mpi
transport = mpi.open_transport(None, "cpu")
communicator = transport.communicator(2)
for loop in "auto", "python":
    transport.configure(CallSettings(loop, compiles=transport.rank == 0))
    for op in "ping_pong", "all_reduce":
        case = Case(op=op, ranks=2, bytes=64, dtype="int32", redop="sum" if op == "all_reduce" else None)
        inspector = Inspector(case, communicator.rank, communicator.prepare(case, 1, 1))
        alignment = ALIGNMENTS["agreed"](communicator, SAME)
        alignment.lead_ns = 20_000_000
        begin, _, late = time_samples(inspector, communicator, alignment, CACHES["warm"](inspector, communicator), 0, 9)
        begins = MPI.COMM_WORLD.gather(begin)
        if communicator.rank == 0:
            print(statistics.median(one - other for one, other in zip(*begins)), flush=True)
"""
    exchange, together, *interpreted = map(float, under_mpirun(2, program, tmp_path).split())
    for ahead_ns, apart_ns in ((exchange, together), interpreted):
        assert ahead_ns > 10_000_000 > abs(apart_ns), (exchange, together, interpreted)


@pytest.mark.slow
@pytest.mark.needs("torch")
def test_a_backend_of_torch_can_be_chosen(collbench, tmp_path):
    few = ("--ranks", 2, "--ops", "barrier", "--case-seconds", 0.05, "--out", tmp_path / "r")
    done = collbench("run", "--transport", "torch", "--backend", "gloo", *few)
    assert done.returncode == 0, done.stderr
    runs, _, _ = read_journal(tmp_path / "r" / "journal.jsonl")
    assert all(run.library.startswith("gloo,") for run in runs.values())
    for words in (("torch", "nope"), ("mpi", "gloo")):
        refused = collbench("run", "--transport", words[0], "--backend", words[1], *few[:-1], tmp_path / words[0])
        assert refused.returncode == 2, refused
        assert f"--backend {words[1]}: " in refused.stderr
        assert refused.stderr.count("\n") == 1


NEW_OPERATION = """
from types import MappingProxyType
from collbench.collectives.cases import catalog
from collbench.collectives.cases.catalog import Operation, Piece

def both_neighbours(case, rank):
    return [Piece((rank + step) % case.ranks, 0, start, case.count // 2)
            for step, start in ((-1, case.count // 2), (1, 0))]

halo = Operation("halo", lambda n: 1.0, lambda case, rank: [Piece(rank, 0, 0, case.count)], both_neighbours, "")
catalog.OPERATIONS = MappingProxyType({**catalog.OPERATIONS, "halo": halo})
from collbench.collectives.program.rank import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_new_operation_needs_only_its_row_of_the_catalog(tmp_path, transport):
    """Each rank sends its upper half to the right and its lower half to the left; no transport has such a call."""
    words = ["--transport", transport, "--ops", "halo", "--sizes", "64,8K", "--group-ranks", "3", "--out",
             str(tmp_path / "r"), "--display", "quiet", *map(str, QUICK)]
    program = f"import sys\nsys.argv[1:] = {words}\n{NEW_OPERATION}"
    (under_mpirun if transport == "mpi" else under_torchrun)(3, program, tmp_path)
    lines = map(json.loads, (tmp_path / "r" / "journal.jsonl").read_text().splitlines())
    halos = [line for line in lines if line["line"] == "record" and line["case"]["op"] == "halo"]
    assert [(line["status"], line["verification"]["checks"] > 0) for line in halos] == [("ok", True)] * 2


LITTLE_SHARED_MEMORY = """
import collections, shutil, sys
real, small = shutil.disk_usage, collections.namedtuple("usage", "total used free")(1 << 20, 0, 1 << 20)
shutil.disk_usage = lambda path: small if path == "/dev/shm" else real(path)
sys.argv[1:] = {words}
from collbench.collectives.program.rank import main
main()
"""


@pytest.mark.slow
@pytest.mark.needs("mpi")
def test_a_one_shot_that_shared_memory_has_no_room_for_is_left_out_and_others_run(tmp_path):
    words = ["--transport", "mpi", "--ops", "all_reduce_one_shot", "--sizes", "64K,1M", "--case-seconds", "0.01",
             "--display", "quiet", "--out", str(tmp_path / "r")]
    under_mpirun(2, LITTLE_SHARED_MEMORY.format(words=words), tmp_path)
    lines = map(json.loads, (tmp_path / "r" / "journal.jsonl").read_text().splitlines())
    found = {line["case"]["bytes"]: (line["status"], line.get("reason")) for line in lines if line["line"] == "record"}
    assert found[1 << 16] == ("ok", None)
    assert found[1 << 20][0] == "skipped-memory"
    assert "/dev/shm has 1 MiB free, and 4 MiB are needed" in found[1 << 20][1]
