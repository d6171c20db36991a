"""The logs of communication libraries: what is read from each format, and from logs that are torn."""

import os
import random
import stat
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collbench.collectives import library_log
from collbench.collectives.cases.case import Sweep
from collbench.collectives.library_log import Choice
from collbench.collectives.options import RunConfig
from collbench.collectives.program.library_log_start import short_run
from collbench.collectives.records.journal import read_runs
from collbench.collectives.records.record import Policy
from collbench.launch.job import Job
from collbench.launch.launchers import launcher_for
from collbench.launch.library_log import has_log, log_library
from collbench.launch.supervise import run_job

HEAD = "{host}:41{rank}:42{rank} [{device}] NCCL INFO "


def write(directory, rank, text, host="node1", device=None):
    """The log of one process: each line of `text` behind the prefix of NCCL, unless it has one."""
    directory.mkdir(exist_ok=True)
    head = HEAD.format(host=host, rank=rank, device=rank if device is None else device)
    lines = [line.strip() for line in text.strip().splitlines()]
    lines = [line if " NCCL WARN " in line or line.startswith("[") else head + line for line in lines]
    (directory / f"nccl.{host}.41{rank}.log").write_text("\n".join(lines) + "\n")


def hgx(directory):
    """Four ranks of NCCL 2.27 on one board with switches; the last pair of the ring over host memory."""
    for rank in range(4):
        peer = (rank + 1) % 4
        told = "NCCL version 2.27.3+cuda12.9" if rank == 0 else "NCCL_DEBUG set by environment to INFO"
        rings = "Channel 00/24 : 0 1 2 3\nChannel 01/24 : 0 1 2 3\nChannel 02/24 : 0 3 2 1" if rank == 0 else ""
        made = f"comm 0x55d0{rank} rank {rank} nranks 4 cudaDev {rank} nvmlDev {rank} busId {rank}b000 commId 0x1d3f"
        write(directory, rank, f"""
            {told}
            ncclCommInitRankConfig {made} - Init START
            Pattern 4, crossNic 0, nChannels 12, bw 30.000000/30.000000, type NVL/PIX, sameChannels 1
            Pattern 1, crossNic 0, nChannels 12, bw 30.000000/30.000000, type SYS/PIX, sameChannels 1
            comm 0x55d0{rank} rank {rank} nRanks 4 nNodes 1 localRanks 4 localRank {rank} MNNVL 0
            {rings}
            Trees [0] 1/-1/-1->0->-1 [1] 1/-1/-1->0->-1
            24 coll channels, 24 collnet channels, 16 nvls channels, 32 p2p channels, 32 p2p channels per peer
            ncclCommInitRankConfig {made} - Init COMPLETE
            Init timings - ncclCommInitRankConfig: rank {rank} nranks 4 total 0.5{rank} (kernels 0.17, alloc 0.01, \
bootstrap 0.20, allgathers 0.00, topo 0.07, graphs 0.01, connections 0.05, rest 0.01)
            Channel 00/0 : {rank}[{rank}] -> {peer}[{peer}] via P2P/CUMEM/read
            Channel 01/0 : {rank}[{rank}] -> {peer}[{peer}] via {'SHM/direct/direct' if rank == 3 else 'P2P/CUMEM'}
            Connected all rings, use ring PXN 0 GDR 1
            """ + ("""
            AllReduce: 1024 Bytes -> Algo TREE proto LL channel{Lo..Hi}={0..0}
            AllReduce: 1024 Bytes -> Algo TREE proto LL channel{Lo..Hi}={0..0}
            AllReduce: 1073741824 Bytes -> Algo NVLS proto SIMPLE channel{Lo..Hi}={0..15}
            AllGather [Symmetric]: 65536 Bytes -> Kernel AllGather_LLMC nchannels 8 nthreads 512 nWorks 1
            node1:410:420 [0] transport/nvls.cc:288 NCCL WARN Failed to bind NVLink SHARP (NVLS) Multicast memory
            """ if rank == 0 else ""))
    return directory


def test_what_nccl_says_of_one_host(tmp_path):
    facts = library_log.read(hgx(tmp_path / "log"))
    assert (facts.library, facts.version, facts.logs, facts.ranks) == ("NCCL", "2.27.3", 4, 4)
    assert (facts.nodes, facts.local_ranks, facts.mnnvl, facts.link) == (1, 4, False, "NVL")
    assert (facts.channels, facts.nvls_channels) == (24, 16)
    assert facts.transports == {"P2P/CUMEM": 3, "SHM": 1}       # of several transports the slowest
    assert facts.pairs == [(0, 1, "P2P/CUMEM"), (1, 2, "P2P/CUMEM"), (2, 3, "P2P/CUMEM"), (3, 0, "SHM")]
    assert facts.rings == [[0, 1, 2, 3], [0, 3, 2, 1]]
    assert facts.choices == [Choice(op="all_gather", bytes=65536, algorithm="SYMMETRIC", protocol="AllGather_LLMC"),
                             Choice(op="all_reduce", bytes=1024, algorithm="TREE", protocol="LL"),
                             Choice(op="all_reduce", bytes=1 << 30, algorithm="NVLS", protocol="SIMPLE")]
    assert facts.init_s == [0.50, 0.51, 0.52, 0.53]
    assert facts.warnings == ["Failed to bind NVLink SHARP (NVLS) Multicast memory"]
    assert facts.words() == "NCCL 2.27.3: 3 pairs over P2P/CUMEM, 1 pair over SHM, 24 channels, NVLS"


@pytest.mark.parametrize(("told", "transport"), [
    ("0[0] -> 1[1] via P2P/MNNVL", "P2P/MNNVL"),
    ("0[0] -> 1[1] via P2P/direct pointer/read", "P2P/direct"),
    ("0[0] -> 1[1] via P2P/IPC/CE", "P2P/IPC"),
    ("0[0] -> 1[1] via P2P/indirect/2[2]", "P2P/indirect"),
    ("0[c1000] -> 1[c6000] via P2P/IPC comm 0x7f53bc00 nRanks 02", "P2P/IPC"),              # RCCL
    ("0[0] -> 1[1] via P2P/CUMEMMNNVL comm 0x7f53bc00 nRanks 02", "P2P/MNNVL"),
    ("0[0] -> 1[1] [send] via NET/IB/3/GDRDMA", "NET/IB/GDRDMA"),
    ("0[0] -> 1[1] [receive] via NET/IB/3(2)/GDRDMA(PCI)/Shared", "NET/IB/GDRDMA"),
    ("0[0] -> 1[1] [send] via NET/IBext_v8/7", "NET/IBext_v8"),
    ("0[0] -> 1[1] [send] via NET/Socket/0/Shared", "NET/Socket"),
    ("0[d6] -> 1[d6] [receive] via NET/AWS Libfabric/2/GDRDMA comm 0x9bbf nRanks 02", "NET/AWS Libfabric/GDRDMA"),
])
def test_names_of_transports(tmp_path, told, transport):
    write(tmp_path / "log", 0, f"""comm 0xa rank 0 nRanks 2 nNodes 1 localRanks 2 localRank 0 MNNVL 1
                                   Channel 00/0 : {told}""")
    assert library_log.read(tmp_path / "log").transports == {transport: 1}


def test_the_first_formats_without_hosts_and_with_numbers(tmp_path):
    """NCCL 2.18: no word of nodes, algorithms by number and without the operation."""
    write(tmp_path / "log", 0, """
        NCCL version 2.18.3+cuda12.1
        comm 0x5581 rank 0 nranks 2 cudaDev 0 nvmlDev 0 busId 1b000 commId 0xdd51 - Init START
        Channel 00/02 :    0   1
        Channel 00 : 0[0] -> 1[1] via SHM/direct/direct
        2 coll channels, 0 nvls channels, 2 p2p channels, 2 p2p channels per peer
        comm 0x5581 rank 0 nranks 2 cudaDev 0 nvmlDev 0 busId 1b000 commId 0xdd51 - Init COMPLETE
        4 Bytes -> Algo 0 proto 0 time 25.200462
        AllReduce: 805306368 Bytes -> Algo 1 proto 2 time 3970.683594
        comm 0x5581 rank 0 nranks 2 cudaDev 0 busId 1b000 - Destroy COMPLETE""")
    facts = library_log.read(tmp_path / "log")
    assert (facts.version, facts.ranks, facts.nodes, facts.mnnvl, facts.init_s) == ("2.18.3", 2, None, None, [])
    assert (facts.nvls_channels, facts.transports, facts.rings) == (0, {"SHM": 1}, [[0, 1]])
    assert facts.choices == [Choice(op="", bytes=4, algorithm="TREE", protocol="LL"),
                             Choice(op="all_reduce", bytes=805306368, algorithm="RING", protocol="SIMPLE")]
    assert facts.words() == "NCCL 2.18.3: 1 pair over SHM, 2 channels, no NVLS, as told by 1 of 2 ranks"


def test_a_communicator_of_two_ranks_does_not_add_pairs_to_that_of_all(tmp_path):
    write(tmp_path / "log", 5, """
        RCCL version : 2.22.3-HEAD:7d8d67c
        comm 0xa rank 5 nRanks 8 nNodes 2 localRanks 4 localRank 1 MNNVL 0
        Channel 00/0 : 5[c6000] -> 6[c9000] via P2P/IPC comm 0xa nRanks 08
        comm 0xb rank 1 nRanks 2 nNodes 1 localRanks 2 localRank 1 MNNVL 0
        Channel 00/0 : 1[c6000] -> 0[c1000] via SHM/direct/direct comm 0xb nRanks 02
        Channel 01/0 : 5[c6000] -> 1[c6000] [send] via NET/IB/1/GDRDMA comm 0xa nRanks 08""")
    facts = library_log.read(tmp_path / "log")
    assert (facts.library, facts.ranks, facts.nodes, facts.local_ranks) == ("RCCL", 8, 2, 4)
    assert facts.pairs == [(5, 1, "NET/IB/GDRDMA"), (5, 6, "P2P/IPC")]


def test_what_hccl_says(tmp_path):
    run = tmp_path / "log" / "run" / "plog"
    run.mkdir(parents=True)
    head = "[INFO] HCCL(343,python3.11):2026-07-15-18:50:49.284.233 [op_base.cc:1281] [343]"
    (run / "plog-343_2026.log").write_text("\n".join((
        head + "Entry-HcclCommInitRootInfoConfigInner:ranks[16], rank[3], rootinfo: host ip[172.16.1.2] port[64000] "
        "nicDeploy[1] identifier[group_name_3], deviceLogicId[3]",
        head + "[Communicator Key Info]identifier[group_name_3] rankSize[16] serverNum[2] moduleNum[1] superPodNum[1]",
        head + "Entry-HcclAllReduce: tag[AllReduce_172.16.1.2%eth_60000_0_17], sendBuf[0x12], recvBuf[0x12], "
        "count[4096], dataType[float32], op[sum], localRank[3], streamId[7],comm[0xff], deviceLogicId[3]",
        head + "[AllReduceOperator][SelectAlg]userRank_[3], algName[AllReduceMeshOpbaseExecutor] actual level1 algo[1]",
        "[INFO] RUNTIME(343,python3.11):2026-07-15-18:50:49.284.233 [api_c.cc:1798] 343 rtSetDevice")) + "\n")
    facts = library_log.read(tmp_path / "log")
    assert (facts.library, facts.ranks, facts.nodes, facts.transports) == ("HCCL", 16, 2, {})
    assert facts.choices == [Choice(op="all_reduce", bytes=16384, algorithm="AllReduceMeshOpbaseExecutor")]
    assert facts.words() == "HCCL: algorithms AllReduceMeshOpbaseExecutor, as told by 1 of 16 ranks"


def test_no_library_no_facts(tmp_path):
    assert library_log.read(tmp_path / "absent") is None
    (tmp_path / "other.log").write_bytes(b"\xff\x00 gloo says nothing\n")
    assert library_log.read(tmp_path) is None


@given(seed=st.integers(0, 1 << 32))
def test_torn_and_interleaved_lines_are_skipped(tmp_path_factory, seed):
    """Every fact that is still read is one of the whole log: nothing is made up from two halves of a line."""
    draw = random.Random(seed)
    directory = hgx(tmp_path_factory.mktemp("torn") / "log")
    whole = library_log.read(directory)
    for file in directory.iterdir():
        lines = [line if draw.random() < 0.6 else line[:draw.randrange(len(line) + 1)] for line in
                 file.read_text().splitlines()]
        draw.shuffle(lines)
        file.write_text("".join(line + draw.choice(("\n", "\n", "\n", "")) for line in lines))
    facts = library_log.read(directory)
    assert facts is None or set(facts.pairs) <= {*whole.pairs, (3, 0, "P2P/CUMEM")}
    assert facts is None or set(facts.choices) <= set(whole.choices)


def test_two_lines_in_one_and_a_line_without_its_end_tell_nothing(tmp_path):
    write(tmp_path / "log", 0, """
        comm 0xa rank 0 nRanks 4 nNodes 1 localRanks 4 localRank 0 MNNVL 0
        Channel 00/0 : 0[0] -> 1[1] via P2P/indirect/node1:410:420 [0] NCCL INFO Channel 01/0 : 0[0] -> 2[2] via P2P/IPC
        Channel 02/0 : 0[0] -> 3[3] [send] via NET/IB/0""")
    file, = (tmp_path / "log").iterdir()
    file.write_text(file.read_text().rstrip("\n"))      # GDRDMA may have followed
    assert library_log.read(tmp_path / "log").pairs == []


def test_the_environment_makes_libraries_log_and_keeps_what_the_user_set(tmp_path):
    found = library_log.environment(tmp_path / "100%", {"NCCL_DEBUG_SUBSYS": "ALL"})
    assert found["NCCL_DEBUG"] == "INFO"
    assert "NCCL_DEBUG_SUBSYS" not in found
    assert found["NCCL_DEBUG_FILE"] == f"{tmp_path}/100%%/nccl.%h.%p.log"       # NCCL expands %
    assert found["ASCEND_PROCESS_LOG_PATH"] == f"{tmp_path}/100%"


# An interpreter that knows one more backend: gloo, which logs as NCCL does if it is told to, or dies of it.
PYTHON = """#!{python}
import os, runpy, socket, sys
import torch.distributed as dist

at_start = os.environ.get("NCCL_DEBUG")

def make(store, rank, size, timeout):
    if "NCCL_DEBUG_FILE" in os.environ and os.environ.get("NCCL_DEBUG") == "INFO":
        assert "BROKEN" not in os.environ, "this library cannot log"
        name = os.environ["NCCL_DEBUG_FILE"].replace("%h", "node1").replace("%p", str(os.getpid()))
        with open(name, "a") as file:
            head = f"node1:1:1 [{{rank}}] NCCL INFO "
            print(head + f"comm 0xa rank {{rank}} nRanks {{size}} nNodes 1 localRanks 2 localRank 0 MNNVL 0", file=file)
            print(head + f"Channel 00/0 : {{rank}}[0] -> {{(rank + 1) % size}}[1] via P2P/IPC", file=file)
        print("|CCL_INFO| a library that prints, loaded with", at_start)
    return dist.ProcessGroupGloo(store, rank, size, timeout)

dist.Backend.register_backend("talkative", make, devices=["cpu"])
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Two ranks of a backend that logs, with an interpreter that knows it."""
    python = tmp_path / "python"
    python.write_text(PYTHON.format(python=sys.executable))
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    for name in library_log.environment(tmp_path, {}):
        monkeypatch.delenv(name, raising=False)
    config = RunConfig(transport="torch", device="cpu", backend="talkative", display="quiet", budget_s=20.0,
                       sweep=Sweep(ops=("broadcast",), sizes=(8, 16), ranks=()),
                       policy=Policy(case_s=0.01, alignment="barrier"),
                       journal=tmp_path / "out" / "journal.jsonl")
    config.journal.parent.mkdir()
    return Job(config=config, ranks=2, python=str(python), time_limit_s=100)


@pytest.mark.needs("torch")
@pytest.mark.ranks
def test_a_start_before_the_measurement_tells_over_what_the_bytes_went(job, capfd):
    launcher = launcher_for("torch")
    job.config.journal.write_text("of an earlier run")
    status, log = log_library(launcher, job)
    out = job.config.journal.parent
    assert (status, log) == (0, out / "library-log")
    assert capfd.readouterr().err == "collbench: NCCL: 2 pairs over P2P/IPC\n"      # and nothing that ranks print
    assert job.config.journal.read_text() == "of an earlier run"
    job.config.journal.unlink()
    assert not list(log.glob("journal*"))       # it is no measurement
    assert "a library that prints, loaded with INFO" in (log / "rank-1.out").read_text()    # set before the import
    config = msgspec.structs.replace(job.config, library_log_from=log)
    assert run_job(launcher, msgspec.structs.replace(job, config=config)) == 0
    run, = read_runs(job.config.journal).values()
    told = run.provenance["library_log"]
    assert told["words"] == "NCCL: 2 pairs over P2P/IPC"
    assert msgspec.convert(told, library_log.LibraryFacts).pairs == [(0, 1, "P2P/IPC"), (1, 0, "P2P/IPC")]
    assert "NCCL_DEBUG" not in run.provenance["settings"]       # the measured library does not log


@pytest.mark.needs("torch")
@pytest.mark.ranks
def test_ranks_that_a_script_starts_set_the_environment_themselves(job, tmp_path):
    config = msgspec.structs.replace(job.config, library_log_to=tmp_path / "log")
    assert run_job(launcher_for("torch"), msgspec.structs.replace(job, config=config)) == 0
    assert library_log.read(tmp_path / "log").transports == {"P2P/IPC": 2}


@pytest.mark.needs("torch")
@pytest.mark.ranks
@pytest.mark.parametrize(("setting", "words"), [
    ({"BROKEN": "1"}, "warning: the start with the communication library's log ended with status"),
    ({"NCCL_DEBUG": "WARN"}, "wrote no log that collbench can read (NCCL_DEBUG, as set in the environment)")])
def test_without_a_log_the_measurement_goes_on_after_one_line(job, capfd, monkeypatch, setting, words):
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    assert log_library(launcher_for("torch"), job) == (0, None)
    line = capfd.readouterr().err
    assert words in line
    assert line.count("\n") == 1, line


@pytest.mark.needs("torch")
@pytest.mark.ranks
def test_on_cpus_nothing_is_started_before_and_a_log_of_other_ranks_is_not_taken(collbench, tmp_path):
    four = hgx(tmp_path / "four")
    done = collbench("run", "--ranks", 2, "--ops", "barrier", "--sizes", "8", "--out", "mine", "--device", "cpu",
                     "--alignment", "barrier", "--library-log-from", four)
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path / "mine").count("library-log") == 0
    run, = read_runs(tmp_path / "mine" / "journal.jsonl").values()
    assert "library_log" not in run.provenance


@pytest.mark.needs("torch")
@pytest.mark.ranks
def test_on_cpus_a_script_that_asks_for_a_log_gets_none_and_no_files(collbench, tmp_path):
    """Job scripts start it wherever a device is possible."""
    done = collbench("run", "--ranks", 2, "--ops", "barrier", "--sizes", "8", "--out", "mine", "--device", "cpu",
                     "--library-log-to", "mine/log")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list((tmp_path / "mine").rglob("*")) == []


def test_the_start_is_a_short_run_over_all_ranks(tmp_path):
    sizes = tuple(1 << power for power in range(10, 31, 2))
    config = RunConfig(transport="torch", sweep=Sweep(ops=("all_gather",), sizes=sizes, ranks=(2, 4)),
                       policy=Policy(), journal=tmp_path / "journal.jsonl", resume="same", settled=("a",),
                       library_log_to=tmp_path / "library-log")
    short = short_run(config, 72)
    assert (short.sweep.ranks, short.sweep.ops) == ((72,), ("all_reduce", "all_to_all"))
    assert {sizes[0], sizes[-1]} <= set(short.sweep.sizes)
    assert short.journal.parent == tmp_path / "library-log"
    assert (short.resume, short.settled) == ("never", ())
    assert has_log(config, on_device=True)
    assert not has_log(config, on_device=False)
    assert not has_log(msgspec.structs.replace(config, backend="gloo"), on_device=True)
    assert not has_log(msgspec.structs.replace(config, transport="mpi"), on_device=True)
