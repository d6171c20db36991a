"""Several hosts: network namespaces joined by a bridge, each with an address, a name and a wire that can be pulled."""

import fcntl
import os
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import msgspec
import pytest

from collbench.analysis.importers import LogHints, import_logs
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import Policy
from collbench.launch.job import Job
from collbench.launch.launchers import open_launcher
from collbench.launch.launchers.torchrun import Torchrun
from collbench.launch.manifests import pods
from collbench.launch.workload import Workload

BESIDE = Path(sys.executable).parent
QUICK = ("--case-seconds", "0.02", "--min-samples", "3", "--modes", "isolated", "--place", "both")
DELAY_S = 0.005
pytestmark = [pytest.mark.slow, pytest.mark.ranks]


def ip(*words):
    done = subprocess.run(["ip", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(map(str, words))}: {done.stderr.strip()}")


class Hosts:
    """Some namespaces: `run` starts a program on one of them, `pull` its plug."""

    def __init__(self, count, tag, folder):
        self.count, self.tag, self.folder, self.started = count, tag, folder, []

    def build(self):
        ip("-n", f"{self.tag}sw", "link", "add", "bridge0", "type", "bridge")
        ip("-n", f"{self.tag}sw", "link", "set", "bridge0", "up")
        for host in range(self.count):
            space = f"{self.tag}h{host}"
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
            ip("-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", f"port{host}",
               "netns", f"{self.tag}sw")
            ip("-n", space, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", f"{self.tag}sw", "link", "set", f"port{host}", "master", "bridge0", "up")
        names = "".join(f"{self.address(host)} h{host}\n" for host in range(self.count))
        (self.folder / "names").write_text(f"127.0.0.1 localhost\n{names}")

    @staticmethod
    def address(host):
        return f"10.78.0.{host + 1}"

    def on(self, host):
        """Words that go before a command to run it there, under the host's own name; it knows all hosts' names."""
        return ["ip", "netns", "exec", f"{self.tag}h{host}", "unshare", "--uts", "--mount", "sh", "-c",
                f'hostname h{host}; mount --bind {self.folder}/names /etc/hosts; exec "$@"', "sh"]

    def run(self, host, *words, **environment):
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        clean.update(PYTHONSAFEPATH="1", GLOO_SOCKET_IFNAME="eth0", OMP_NUM_THREADS="1", **environment)
        log = open(self.folder / f"log{len(self.started)}", "w+")     # noqa: SIM115  (read after the process ended)
        process = subprocess.Popen([*self.on(host), *map(str, words)], cwd=self.folder, env=clean, text=True,
                                   stdout=log, stderr=subprocess.STDOUT)
        self.started.append((process, log))
        return process

    def agent(self):
        """A program that starts a command on a host as ssh would: its address, then the command."""
        path = self.folder / "agent"
        path.write_text(textwrap.dedent(f"""\
            #!/bin/sh
            while [ "${{1#-}}" != "$1" ]; do shift; done
            host=$1; shift; number=$((${{host##*.}} - 1))
            exec ip netns exec {self.tag}h$number unshare --uts sh -c "hostname h$number; $*"
            """))
        path.chmod(0o755)
        return path

    def end(self, process, timeout_s=240):
        """Exit status and everything that was said."""
        process.wait(timeout_s)
        log = next(log for started, log in self.started if started is process)
        log.seek(0)
        return process.returncode, log.read()

    def shape(self, host, *words):
        """False where this kernel has no such queue."""
        done = subprocess.run(["ip", "netns", "exec", f"{self.tag}h{host}", "tc", "qdisc", "replace", "dev", "eth0",
                               "root", *words], capture_output=True, text=True, check=False)
        return done.returncode == 0

    def relay(self, host, delay_s):
        """What netem would do: frames of this host's wire cross a program that holds them for a while, each way."""
        space = f"{self.tag}sw"
        ip("-n", space, "link", "set", f"port{host}", "nomaster")
        ip("-n", space, "link", "add", "late0", "type", "veth", "peer", "name", "late1")
        ip("-n", space, "link", "set", "late1", "master", "bridge0", "up")
        ip("-n", space, "link", "set", "late0", "up")
        for at, wire in ((f"{self.tag}h{host}", "eth0"), *((space, name) for name in ("late0", "late1"))):
            subprocess.run(["ip", "netns", "exec", at, sys.executable, __file__, "plain", wire], check=True)
        for other in set(range(self.count)) - {host}:
            subprocess.run(["ip", "netns", "exec", f"{self.tag}h{other}", sys.executable, __file__, "plain", "eth0"],
                           check=True)
        process = subprocess.Popen(["ip", "netns", "exec", space, sys.executable, __file__, "relay", f"port{host}",
                                    "late0", str(delay_s)])
        self.started.append((process, None))

    def pull(self, host):
        """Everything on the host ends at once, and nothing of it is heard by anybody."""
        ip("-n", f"{self.tag}sw", "link", "set", f"port{host}", "down")
        pids = subprocess.run(["ip", "netns", "pids", f"{self.tag}h{host}"], capture_output=True, text=True, check=True)
        for pid in map(int, pids.stdout.split()):
            os.kill(pid, 9)

    def clear(self):
        for process, log in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()
            if log:
                log.close()
        for space in (*(f"{self.tag}h{host}" for host in range(self.count)), f"{self.tag}sw"):
            pids = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=False)
            for pid in map(int, pids.stdout.split()):
                os.kill(pid, 9)
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)


@pytest.fixture
def hosts(tmp_path):
    if os.geteuid() or not shutil.which("ip") or not shutil.which("unshare"):
        pytest.skip("SKIPPED: hosts are network namespaces, which need root and iproute2")
    made = Hosts(2, f"cb{os.getpid()}", tmp_path)
    try:
        ip("netns", "add", f"{made.tag}sw")
    except OSError as error:
        pytest.skip(f"SKIPPED: no network namespaces here: {error}")
    try:
        made.build()
        yield made
    finally:
        made.clear()


def ranks(hosts, host, rank, size, *options):
    return hosts.run(host, sys.executable, "-m", "collbench.rank", "--out", hosts.folder / "r", *options,
                     RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK="0", LOCAL_WORLD_SIZE="1",
                     MASTER_ADDR=hosts.address(0), MASTER_PORT="29512")


def verified(folder):
    """Names of the ranks' hosts, and the records, all of them right."""
    runs, records, warnings = read_journal(folder / "journal.jsonl")
    assert warnings == []
    good = [record for record in records if record.status == "ok"]
    assert {record.status for record in records} <= {"ok", "unsupported"}
    assert all(record.verification.wrong == 0 for record in good if record.case.op != "noop")
    (run,) = runs.values()
    return run.provenance["hosts"], good


@pytest.mark.slow
@pytest.mark.needs("torch")
def test_torchrun_meets_across_hosts_and_gloo_is_verified(hosts):
    """As `collbench launch` writes it: torchrun's own rendezvous, c10d, which gives the first host to whom it likes."""
    workload = Workload(ops=("all_reduce", "all_to_all", "ping_pong"), sizes=(4096,),
                        policy=Policy(case_s=0.02, min_samples=3, modes=("isolated",)))
    job = Job(config=workload.config("torch", hosts.folder / "r", on_device=False), ranks=4, nodes=2,
              hosts=("h0", "h1"))
    started = [hosts.run(host, *Torchrun().command(job)) for host in (0, 1)]
    for process in started:
        status, said = hosts.end(process)
        assert status == 0, said
    names, good = verified(hosts.folder / "r")
    assert names in (["h0", "h0", "h1", "h1"], ["h1", "h1", "h0", "h0"])
    assert {(record.case.op, record.case.ranks) for record in good} >= {("all_reduce", 4), ("all_to_all", 4)}


@pytest.mark.needs("mpi")
def test_mpirun_reaches_the_other_host_through_a_launch_agent(hosts):
    from collbench.launch.launchers.mpirun import find_mpirun
    mpirun = find_mpirun()
    agent = hosts.agent()
    program = [sys.executable, "-m", "collbench.rank", "--transport", "mpi", "--ops",
               "all_reduce,all_to_all,all_reduce_one_shot,incast", "--sizes", "4K", *QUICK, "--out", hosts.folder / "r"]
    if mpirun.is_open_mpi:
        spread = ",".join(f"{hosts.address(host)}:2" for host in (0, 1))
        words = [mpirun.path, "--allow-run-as-root", "--prtemca", "plm_ssh_agent", agent, "--host", spread,
                 "--bind-to", "none", "-x", "PYTHONSAFEPATH", "-n", 4]
    else:
        words = [mpirun.path, "-launcher", "ssh", "-launcher-exec", agent, "-iface", "eth0",
                 "-hosts", ",".join(map(hosts.address, (0, 1))), "-ppn", 2, "-n", 4]
    status, said = hosts.end(hosts.run(0, *words, *program))
    assert status == 0, said
    names, good = verified(hosts.folder / "r")
    assert names == ["h0", "h0", "h1", "h1"]
    assert {(record.case.op, record.case.ranks) for record in good} >= {
        ("all_reduce", 4), ("all_to_all", 4), ("incast", 4), ("all_reduce_one_shot", 2)}
    _, records, _ = read_journal(hosts.folder / "r" / "journal.jsonl")
    apart = [record for record in records if record.case.op == "all_reduce_one_shot" and record.case.ranks == 4]
    assert [record.status for record in apart] == ["unsupported"]
    assert "only 2 of 4 ranks share memory" in apart[0].reason


@pytest.mark.slow
@pytest.mark.needs("torch")
def test_point_to_point_follows_the_delay_of_a_link(hosts):
    if not hosts.shape(1, "netem", "delay", f"{DELAY_S * 2e3}ms"):       # there and back, half each in the mean
        hosts.relay(1, DELAY_S)
    (latency_s,) = half_round_trips(hosts, "8")
    assert DELAY_S <= latency_s < 10 * DELAY_S


@pytest.mark.slow
@pytest.mark.needs("torch")
def test_point_to_point_follows_the_rate_of_a_link(hosts):
    rate_Bps, size = 10e6 / 8, 256 << 10
    for host in (0, 1):
        if not hosts.shape(host, "tbf", "rate", "10mbit", "burst", "16k", "latency", "500ms"):
            pytest.skip("SKIPPED: this kernel has no tbf queue")
    (one_way_s,) = half_round_trips(hosts, str(size))
    assert 0.8 * size / rate_Bps < one_way_s < 3 * size / rate_Bps


def half_round_trips(hosts, *sizes):
    """Median time one way of a ping-pong between the two hosts, by size."""
    started = [ranks(hosts, host, host, 2, "--ops", "ping_pong", "--sizes", ",".join(sizes), "--alignment", "barrier",
                     *QUICK) for host in (0, 1)]
    for process in started:
        status, said = hosts.end(process)
        assert status == 0, said
    _, good = verified(hosts.folder / "r")
    return [statistics.median(record.timings[0].message_s(record.case)) for record in good
            if record.case.op == "ping_pong"]


@pytest.mark.slow
@pytest.mark.needs("torch")
def test_a_host_that_never_comes_up_is_named_within_the_time_out(hosts):
    begin = time.monotonic()
    status, said = hosts.end(ranks(hosts, 0, 0, 3, "--ops", "all_reduce", "--rendezvous-seconds", "3"))
    assert status == 3, said
    assert "ranks 1-2 of 3 did not arrive within 3 s" in said
    assert time.monotonic() - begin < 200      # 300 s without the option
    assert not (hosts.folder / "r" / "journal.jsonl").exists()


def measured(journal):
    return sum(record.status == "ok" and record.case.op != "noop" for record in read_journal(journal)[1])


@pytest.mark.slow
@pytest.mark.needs("torch")
def test_a_host_that_vanishes_ends_the_job_with_the_names_of_its_ranks(hosts):
    """No farewell comes through a wire that was pulled: the time-out of the case has to notice."""
    first, _ = (ranks(hosts, host, host, 2, "--ops", "all_reduce", "-b", "1K", "-e", "1M", "--case-seconds", "0.5",
                      "--place", "in", "--modes", "isolated", "--min-samples", "50", "--precision", "0",
                      "--case-limit", "8") for host in (0, 1))
    journal = hosts.folder / "r" / "journal.jsonl"
    deadline = time.monotonic() + 240
    while not (journal.exists() and measured(journal) > 1):
        assert first.poll() is None, hosts.end(first)[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    hosts.pull(1)
    begin = time.monotonic()
    status, said = hosts.end(first)
    assert status not in (0, None), said
    assert re.search(r"rank 1 \(pid \d+ on h1\).* did not arrive", said), said
    assert time.monotonic() - begin < 200      # 300 s without the option
    assert measured(journal) > 1
    assert read_journal(journal)[1][-1].status == "timeout"


def _plain(wire):
    """Frames as they are on a cable: whole checksums, none longer than the wire takes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for command in (0x17, 0x1F, 0x24, 0x2C):        # ETHTOOL_STXCSUM, _STSO, _SGSO, _SGRO
            value = bytearray(struct.pack("II", command, 0))
            address = (struct.unpack("P", struct.pack("P", _address(value)))[0])
            request = struct.pack("16sP", wire.encode(), address).ljust(40, b"\0")
            fcntl.ioctl(asking, 0x8946, request)


def _address(buffer):
    import ctypes
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def _relay(first, second, delay_s):
    import select
    ends = []
    for name in (first, second):
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        end.bind((name, 0))
        ends.append(end)
    waiting = []
    while True:
        left_s = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for end in select.select(ends, [], [], left_s)[0]:
            frame, (_, _, kind, *_) = end.recvfrom(65536)
            if kind != 4:        # PACKET_OUTGOING: our own
                waiting.append((time.monotonic() + delay_s, ends[1 - ends.index(end)], frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, end, frame = waiting.pop(0)
            end.send(frame)


def small_job(launcher, name):
    workload = Workload(ops=("all_reduce", "all_to_all"), sizes=(4096,))
    config = workload.config("mpi" if launcher == "mpijob" else "torch", Path("r"), on_device=False)
    policy = msgspec.structs.replace(config.policy, case_s=0.02, min_samples=3, modes=("isolated",))
    return Job(config=msgspec.structs.replace(config, policy=policy, device="cpu"), ranks=4, nodes=2, name=name,
               container="image", python=sys.executable)


def environment_of(launcher, job, host):
    """What each operator sets in the container of a pod, beyond what the manifest has."""
    master = {"trainjob": f"{job.name}-node-0-0.{job.name}", "pytorchjob": f"{job.name}-master-0"}.get(launcher)
    variables = {"PET_NODE_RANK": str(host)}
    if master:
        variables |= {"PET_MASTER_ADDR": master, "PET_MASTER_PORT": "29400", "PET_NNODES": "2",
                      "PET_NPROC_PER_NODE": "2"}
    if launcher == "pytorchjob":
        variables |= {"MASTER_ADDR": master, "MASTER_PORT": "29400", "WORLD_SIZE": "4", "RANK": str(host)}
    return variables


@pytest.mark.needs("torch")
@pytest.mark.parametrize("launcher", ["trainjob", "jobset", "pytorchjob"])
def test_the_pods_of_two_hosts_measure_and_the_log_has_it_all(hosts, launcher):
    """The container's own command, the operator's variables, a namespace for each pod; the journal from the log."""
    name = f"cb{os.getpid()}"
    job = small_job(launcher, name)
    with (hosts.folder / "names").open("a") as names:
        for first in (f"{name}-node-0-0.{name}", f"{name}-master-0"):
            names.write(f"{hosts.address(0)} {first}\n")
    container = first_container(open_launcher(launcher).objects(pods.checked(job)))
    started = [hosts.run(host, *container["command"], **environment_of(launcher, job, host)) for host in (0, 1)]
    logs = []
    for process in started:
        status, said = hosts.end(process)
        assert status == 0, said
        logs.append(said)
    check_log(hosts.folder, logs[0])
    shutil.rmtree(f"/tmp/{name}", ignore_errors=True)


@pytest.mark.needs("mpi")
def test_the_launcher_pod_of_mpi_measures_and_the_log_has_it_all(hosts):
    from collbench.launch.launchers.mpirun import find_mpirun
    mpirun = find_mpirun()
    if not mpirun.is_open_mpi:
        pytest.skip("SKIPPED: the manifest is for Open MPI")
    name = f"cb{os.getpid()}"
    shell, option, script = first_container(open_launcher("mpijob").objects(pods.checked(
        small_job("mpijob", name))))["command"]
    table = hosts.folder / "hostfile"
    table.write_text("".join(f"{hosts.address(host)} slots=2\n" for host in (0, 1)))
    agent = hosts.agent()
    script = script.replace("/etc/mpi/hostfile", str(table)).replace("exec mpirun ", f"exec {mpirun.path} ")
    status, said = hosts.end(hosts.run(0, shell, option, script, PRTE_MCA_plm_ssh_agent=str(agent),
                                       OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                                       PRTE_ALLOW_RUN_AS_ROOT="1", PRTE_ALLOW_RUN_AS_ROOT_CONFIRM="1"))
    assert status == 0, said
    check_log(hosts.folder, said)
    shutil.rmtree(f"/tmp/{name}", ignore_errors=True)


def first_container(manifest):
    """The first container of the first pod in a manifest."""
    if isinstance(manifest, dict):
        return manifest["containers"][0] if "containers" in manifest else first_container(list(manifest.values()))
    found = (first_container(one) for one in manifest if isinstance(one, dict | list))
    return next((one for one in found if one), None)


def check_log(folder, said):
    """The journal from what `kubectl logs` would give, with time stamps and the lines of other ranks among them."""
    log = folder / "pod.log"
    log.write_text("".join(f"2026-11-29T10:00:00Z [pod/x] {line}\n" for line in said.splitlines()))
    written = import_logs([log], folder / "rebuilt" / "journal.jsonl", LogHints())
    assert written.warnings == []
    names, good = verified(folder / "rebuilt")
    assert names == ["h0", "h0", "h1", "h1"]
    assert {(record.case.op, record.case.ranks) for record in good} >= {("all_reduce", 4), ("all_to_all", 4)}


if __name__ == "__main__":
    {"plain": _plain, "relay": lambda a, b, s: _relay(a, b, float(s))}[sys.argv[1]](*sys.argv[2:])
