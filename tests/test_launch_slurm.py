"""A private Slurm of two nodes on this host: the CPU job script to a verified journal, cut short and resumed."""

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from collbench.collectives.records.journal import read_journal
from collbench.launch.launchers.srun import mpi_protocol
from collbench.launch.presets import SCRIPTS

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.ranks, pytest.mark.needs("torch", "mpi")]

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "sinfo")
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
CONFIGURATION = """\
ClusterName={cluster}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge/socket
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/%n
TmpFS={root}/%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=20
MpiDefault=none
NodeName=n0 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=4 RealMemory=1000 State=UNKNOWN
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=4 RealMemory=1000 State=UNKNOWN
PartitionName=test Nodes=n0,n1 Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


class Cluster:
    """Two slurmd, a slurmctld and a munged of our own, in a directory of their own."""

    def __init__(self, root):
        self.root = root
        self.environment = {**{name: value for name, value in os.environ.items()
                               if not name.startswith(("SLURM", "SBATCH", "PMI", "OMPI")) and name != "PYTHONPATH"},
                            "SLURM_CONF": str(root / "slurm.conf"), "PATH": PATH}

    def start(self):
        host = socket.gethostname().partition(".")[0]
        controller, first, second = free_ports(3)
        (self.root / "slurm.conf").write_text(CONFIGURATION.format(
            root=self.root, cluster=f"test{os.getpid()}", host=host, user=pwd.getpwuid(os.getuid()).pw_name,
            controller=controller, first=first, second=second))
        for name in ("munge", "state", "n0", "n1"):
            (self.root / name).mkdir(mode=0o755)
        key = self.root / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        at = self.root / "munge"
        self.call("munged", "--force", "--key-file", key, "--socket", at / "socket", "--seed-file", at / "seed",
                  "--pid-file", self.root / "munged.pid", "--log-file", at / "log")
        self.call("slurmctld", "-c")
        for node in ("n0", "n1"):
            self.call("slurmd", "-N", node)
        self.settle()

    def settle(self):
        """Return when both nodes are idle."""
        wait_until(lambda: self.call("sinfo", "--noheader", "-N", "-o", "%T").split() == ["idle", "idle"], 40, self.log)

    def log(self):
        return "".join(f"{path.name}:\n{path.read_text()[-2000:]}\n" for path in self.root.glob("*.log"))

    def stop(self):
        """By pid file, and only what was started here; jobs first."""
        with contextlib.suppress(Exception):
            for job in self.call("squeue", "--noheader", "-o", "%i").split():
                self.call("scancel", "--full", "--signal=KILL", job)
                self.call("scancel", job)
            wait_until(lambda: not self.call("squeue", "--noheader"), 10, self.log)
        pids = [int(path.read_text()) for path in self.root.glob("*.pid")]
        for number, patience_s in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            deadline = time.monotonic() + patience_s
            while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in pids):
                time.sleep(0.05)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def processes(self):
        """Whatever still has this cluster's directory in its environment or among its open files."""
        mark = str(self.root)
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if path.name != str(os.getpid()) and (mark.encode() in (path / "environ").read_bytes() or any(
                        os.readlink(file).startswith(mark) for file in (path / "fd").iterdir())):
                    yield int(path.name)

    def call(self, *words, cwd=None):
        done = subprocess.run([*map(str, words)], env=self.environment, cwd=cwd or self.root, capture_output=True,
                              text=True, timeout=240, check=False)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def submit(self, script, *words, cwd, options=()):
        """The number of the job."""
        output = self.call("sbatch", "--parsable", *options, script, *words, cwd=cwd)
        return output.strip().partition(";")[0]

    def show(self, job):
        """What the controller knows of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.call("scontrol", "--oneliner", "show", "job", job)))

    def wait(self, job, *states, seconds=300):
        wait_until(lambda: self.show(job)["JobState"] in states, seconds, lambda: self.show(job))
        return self.show(job)


def wait_until(condition, seconds, tell):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, tell()
        time.sleep(0.1)


@pytest.fixture(scope="module")
def cluster():
    missing = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    if missing:
        pytest.skip(f"SKIPPED: no {', '.join(missing)} on this machine: apt-get install munge slurmctld slurmd "
                    "slurm-client")
    with tempfile.TemporaryDirectory(prefix="slurm", dir="/tmp", ignore_cleanup_errors=True) as root:
        cluster = Cluster(Path(root))
        Path(root).chmod(0o755)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture
def protocol(cluster):
    """How ranks of this MPI find each other."""
    wanted = mpi_protocol()
    if wanted not in cluster.call("bash", "-c", "srun --mpi=list 2>&1"):
        pytest.skip(f"SKIPPED: this Slurm knows no {wanted}, so that it starts no ranks of this MPI: "
                    "apt-get install libpmix-dev")
    return wanted


def ok_cases(journal):
    """How often each case was measured, by transport; the journal has to be whole."""
    runs, records, warnings = read_journal(journal)
    assert warnings == []
    assert {record.status for record in records} <= {"ok", "unsupported"}
    return Counter((runs[record.run].transport, record.case) for record in records if record.status == "ok")


QUICK = ("--ops", "all_reduce,all_to_all", "--sizes", "1K", "--case-seconds", "0.01", "--min-samples", "3")
LONG = ("--ops", "all_reduce,broadcast,all_gather", "--sizes", "32,128,512", "--case-seconds", "0.3",
        "--precision", "0", "--modes", "isolated")
TWO_BY_TWO = ("--nodes=2", "--ntasks-per-node=2", "--time=10")


@pytest.mark.slow
def test_the_cpu_script_measures_over_gloo_and_mpi_on_both_nodes(cluster, protocol, tmp_path):
    job = cluster.submit(cpu_script(tmp_path, protocol, "mpi torch"), *QUICK, cwd=tmp_path,
                         options=(*TWO_BY_TWO, "--job-name=first"))
    state = cluster.wait(job, "COMPLETED", "FAILED", "CANCELLED")
    log = (tmp_path / f"first-{job}.log").read_text()
    assert (state["JobState"], state["ExitCode"]) == ("COMPLETED", "0:0"), log
    assert "collbench report results/first" in log
    journal = tmp_path / "results" / "first" / "journal.jsonl"
    runs, records, _ = read_journal(journal)
    measured = ok_cases(journal)
    assert {transport for transport, _ in measured} == {"mpi", "torch"}
    assert {case.ranks for _, case in measured} == {2, 4}
    assert all(record.verification.checks > 0 and record.verification.wrong == 0 for record in records
               if record.status == "ok" and record.case.op != "noop")
    launches = {run.transport: run.provenance["launch"] for run in runs.values()}
    mpi = {"pmix": "Slurm with PMIx", "pmi2": "PMI"}[protocol]
    assert {launch.pop("launcher") for launch in launches.values()} == {"Slurm", mpi}
    assert all(launch == {"nodes": ["n0", "n1"], "ranks_per_node": [2, 2], "placement": "block"}
               for launch in launches.values())


def cpu_script(tmp_path, protocol, transports):
    """The script for CPUs with two of its lines edited."""
    script = tmp_path / "edited.sbatch"
    script.write_text((SCRIPTS / "cpu.sbatch").read_text().replace("mpi=pmix ", f"mpi={protocol} ")
                      .replace("transports='mpi torch'", f"transports='{transports}'"))
    return script


def started(cluster, tmp_path, name, transport, protocol="none"):
    """A long job that has measured a few cases; its number and its journal, log and script."""
    script = cpu_script(tmp_path, protocol, transport)
    job = cluster.submit(script, *LONG, cwd=tmp_path, options=(*TWO_BY_TWO, f"--job-name={name}"))
    journal = tmp_path / "results" / name / "journal.jsonl"
    log = tmp_path / f"{name}-{job}.log"
    wait_until(lambda: journal.exists() and journal.read_text().count('"status":"ok"') > 2, 120,
               lambda: log.read_text() if log.exists() else cluster.show(job))
    return job, journal, log, script


@pytest.mark.slow
def test_out_of_time_it_requeues_itself_and_measures_what_is_missing(cluster, tmp_path):
    """Before the time limit Slurm signals the job's shell; here it is told so, as that clock ticks in minutes."""
    job, journal, log, _ = started(cluster, tmp_path, "cut", "torch")
    cluster.call("scancel", "--batch", "--signal=USR1", job)
    wait_until(lambda: cluster.show(job)["Restarts"] == "1" and cluster.show(job)["JobState"] == "PENDING", 30,
               lambda: (cluster.show(job), log.read_text()))
    cluster.settle()
    before = ok_cases(journal)
    assert len(before) > 2
    time.sleep(5)       # the credential of the first start is revoked, in whole seconds: one as old is refused as well
    cluster.call("scontrol", "update", f"JobId={job}", "StartTime=now")     # Slurm waits two minutes by itself
    state = cluster.wait(job, "COMPLETED", "FAILED", "CANCELLED")
    assert (state["JobState"], state["ExitCode"]) == ("COMPLETED", "0:0"), log.read_text() + cluster.log()
    assert "out of time; results so far are in results/cut" in log.read_text()
    after = ok_cases(journal)
    assert before.keys() < after.keys()
    assert not {case: times for case, times in after.items() if times > 1 and case[1].op != "noop"}


@pytest.mark.slow
def test_cancelled_it_loses_nothing_and_a_resubmission_goes_on(cluster, protocol, tmp_path):
    job, journal, log, script = started(cluster, tmp_path, "cancelled", "mpi", protocol)
    cluster.call("scancel", job)
    state = cluster.wait(job, "CANCELLED", seconds=90)
    wait_until(lambda: cluster.show(job)["ExitCode"] != "0:0" or cluster.show(job)["JobState"] != "CANCELLED", 30,
               lambda: state)
    assert cluster.show(job)["ExitCode"] == f"{128 + signal.SIGTERM}:0", log.read_text()
    assert "the run was stopped" in log.read_text()
    assert "requeued" not in log.read_text()
    before = ok_cases(journal)
    assert len(before) > 2
    again = cluster.submit(script, *LONG, cwd=tmp_path, options=(*TWO_BY_TWO, "--job-name=cancelled"))
    assert cluster.wait(again, "COMPLETED", "FAILED", "CANCELLED")["JobState"] == "COMPLETED", log.read_text()
    after = ok_cases(journal)
    assert before.keys() < after.keys()
    assert not {case: times for case, times in after.items() if times > 1 and case[1].op != "noop"}


def test_a_launch_is_submitted_and_keeps_script_and_log_with_the_results(cluster, tmp_path):
    """`collbench launch`, with a directory whose name no shell and no Slurm must see unquoted."""
    out = tmp_path / "it's 5% of; all"
    done = subprocess.run([Path(sys.executable).parent / "collbench", "launch", "--launcher", "slurm", "--nodes", "2",
                           "--ranks-per-node", "1", "--time", "5", "--name", "mine", "--out", out, "--ops",
                           "all_reduce", "--sizes", "64", "--case-seconds", "0.01"], env=cluster.environment,
                          cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    job = re.search(r"Submitted batch job (\d+)", done.stdout)[1]
    state = cluster.wait(job, "COMPLETED", "FAILED", "CANCELLED")
    log = (out / f"job-{job}.log").read_text()
    assert state["JobState"] == "COMPLETED", log
    assert sum(ok_cases(out / "journal.jsonl").values()) > 0
    assert (out / "job.sbatch").read_text().startswith("#!/bin/bash\n")


def test_launchers_inside_each_other_are_explained_before_anything_is_started(cluster, tmp_path):
    """torchrun by every task of a step, and MPI without a protocol to start it."""
    python = [sys.executable, "-m"]
    step = ["srun", "--nodes=2", "--ntasks=4", "--ntasks-per-node=2", "--kill-on-bad-exit=1"]
    for words, said in (
            ([*python, "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "collbench.rank"],
             "torchrun was started 2 times on this host by Slurm"),
            ([*python, "collbench.rank", "--transport", "mpi"], "use srun --mpi=pmix")):
        done = subprocess.run([*step, *words, "--ops", "barrier", "--out", "r"], env=cluster.environment, cwd=tmp_path,
                              capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode != 0
        assert said in done.stderr
    assert not (tmp_path / "r").exists()


def test_why_open_mpi_refuses_a_third_rank_of_a_node_is_said(cluster, protocol, tmp_path):
    """Here Slurm's names of the nodes are not the host's own."""
    if protocol == "pmix":
        done = subprocess.run(["srun", "--nodes=1", "--ntasks=3", "--mpi=pmix", sys.executable, "-m", "collbench.rank",
                               "--transport", "mpi", "--ops", "barrier", "--out", "r"], env=cluster.environment,
                              cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
        assert re.search(r"rank 2: Slurm calls this host n\d, but it calls itself", done.stderr), done.stderr


@pytest.mark.slow
def test_the_main_job_spreads_over_the_allocation(cluster, tmp_path):
    """`collbench bench` in an allocation of two nodes starts its ranks on both, through srun."""
    (tmp_path / "bench.sh").write_text("#!/bin/bash\ncollbench bench --transport torch --budget 5 --out r\n")
    job = cluster.submit(tmp_path / "bench.sh", cwd=tmp_path,
                         options=("--nodes=2", "--ntasks-per-node=2", "--output=log", "--time=5"))
    state = cluster.wait(job, "COMPLETED", "FAILED", "CANCELLED")
    log = (tmp_path / "log").read_text()
    assert state["JobState"] == "COMPLETED", log
    assert "4 ranks on 2 hosts of this Slurm job" in log
    runs, records, _ = read_journal(tmp_path / "r" / "journal.jsonl")
    assert next(iter(runs.values())).provenance["launch"]["ranks_per_node"] == [2, 2]
    assert any(record.status == "ok" for record in records)
    assert (tmp_path / "r" / "report.html").exists()


@pytest.mark.slow
def test_a_fleet_is_the_nodes_of_the_allocation(cluster, tmp_path):
    """Two nodes are one pair, measured through srun and right, but too few to call one of them slow."""
    (tmp_path / "fleet.sh").write_text("#!/bin/bash\ncollbench fleet --transport torch --sizes 1K --rounds 1 "
                                       "--case-seconds 0.05 --out r --allow-inconclusive\n")
    job = cluster.submit(tmp_path / "fleet.sh", cwd=tmp_path, options=("--nodes=2", "--output=log", "--time=5"))
    state = cluster.wait(job, "COMPLETED", "FAILED", "CANCELLED")
    log = (tmp_path / "log").read_text()
    assert state["JobState"] == "COMPLETED", log
    assert "2 nodes: 2 cannot tell; 1 pair in 1 round" in log
    assert "its results are right, but fewer than 4 nodes were measured" in log


def test_a_container_needs_pyxis_which_this_slurm_lacks(cluster, tmp_path):
    """In a job script, and at once in a shell of the allocation; a Slurm with Pyxis would start the ranks in it."""
    words = ["--container", "image.sqsh", "--ranks-per-node", "1", "--ops", "barrier"]
    collbench = Path(sys.executable).parent / "collbench"
    done = subprocess.run([collbench, "launch", "--launcher", "srun", *words, "--out", tmp_path / "r"], cwd=tmp_path,
                          env=cluster.environment, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, "it needs the plugin Pyxis" in done.stderr) == (2, True), done.stderr
    script = subprocess.run([collbench, "launch", "--launcher", "slurm", *words, "--out", tmp_path / "r", "--dry-run"],
                            env=cluster.environment, capture_output=True, text=True, timeout=240, check=True).stdout
    (tmp_path / "job.sbatch").write_text(script)
    job = cluster.submit(tmp_path / "job.sbatch", cwd=tmp_path)
    state = cluster.wait(job, "COMPLETED", "FAILED", "CANCELLED")
    log = (tmp_path / f"collbench-{job}.log").read_text()
    assert (state["JobState"], state["ExitCode"]) == ("FAILED", "2:0"), log
    assert log == "collbench: container=image.sqsh, but this srun has no --container-image: it needs the plugin Pyxis\n"
    assert not (tmp_path / "r").exists()
