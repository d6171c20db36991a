"""Rendezvous: the variables of every launcher, contradictions, node lists, and the handshake of ranks."""

import os
import re
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collbench.collectives.errors import CollbenchError, UsageError
from collbench.collectives.ranks.handshake import RankClaim, contradiction, doubt, meet, own_claim
from collbench.collectives.ranks.rendezvous import Place, find_place, mpi_obstacle, why_not_a_rank
from collbench.collectives.ranks.slurm_nodelist import expand_counts, expand_nodes
from collbench.collectives.text import name_ranks
from collbench.collectives.topology.device_identity import given_uuid, pci_address, visibility_mask

PLAIN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
TORCHRUN = {**PLAIN, "TORCHELASTIC_RUN_ID": "none", "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "4",
            "MASTER_ADDR": "127.0.0.2", "MASTER_PORT": "7"}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
            "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "PMIX_RANK": "1", "PMIX_NAMESPACE": "prterun-h-7@1"}
MPICH = {"PMI_RANK": "5", "PMI_SIZE": "8", "PMI_FD": "9", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "4"}
BATCH = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
         "SLURM_JOB_NODELIST": "localhost,elsewhere", "SLURMD_NODENAME": "localhost"}
STEP = {**BATCH, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1",
        "SLURM_NODEID": "1", "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_STEP_NODELIST": "localhost,elsewhere",
        "SLURMD_NODENAME": "elsewhere"}
PMIX = {"PMIX_RANK": "3", "PMIX_NAMESPACE": "slurm.pmix.7.0"}
ONE_TASK_EACH = {**STEP, "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0",
                 "SLURM_STEP_TASKS_PER_NODE": "1(x2)"}


@pytest.mark.parametrize(("environment", "expected"), [
    ({}, None),
    (PLAIN, ("plain variables", 3, 8, 1, 2)),
    ({"RANK": "3", "WORLD_SIZE": "8"}, ("plain variables", 3, 8, 3, None)),
    (TORCHRUN, ("torchrun", 3, 8, 1, 2)),
    ({**PLAIN, "COLLBENCH_LISTEN_FD": "5"}, ("collbench", 3, 8, 1, 2)),
    (OPEN_MPI, ("Open MPI", 1, 2, 1, 2)),
    (MPICH, ("MPICH", 5, 8, 1, 4)),
    ({**MPICH, "I_MPI_MPIRUN": "mpirun"}, ("Intel MPI", 5, 8, 1, 4)),
    ({"PMI_RANK": "0", "PMI_SIZE": "4"}, ("PMI", 0, 4, 0, None)),
    (STEP, ("Slurm", 3, 4, 1, 2)),
    ({**STEP, **PMIX}, ("Slurm with PMIx", 3, 4, 1, 2)),
    ({**STEP, "PMI_RANK": "3", "PMI_SIZE": "4"}, ("PMI", 3, 4, 1, 2)),
    # one world told twice: what one leaves open, the other says
    ({**STEP, "RANK": "3", "WORLD_SIZE": "4"}, ("plain variables", 3, 4, 1, 2)),
    # a job's own shell and a step of one task are no ranks; what mpirun starts in them is
    (BATCH, None),
    ({**STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
      "SLURM_STEP_TASKS_PER_NODE": "1"}, None),
    ({"PMI_RANK": "0", "PMI_SIZE": "1"}, None),
    ({**BATCH, **OPEN_MPI}, ("Open MPI", 1, 2, 1, 2)),
    ({"PMI_RANK": "0", "PMI_SIZE": "1", **OPEN_MPI}, ("Open MPI", 1, 2, 1, 2)),
    # one agent a node, started by srun: torchrun by the user, mpirun's daemons by mpirun
    ({**ONE_TASK_EACH, **TORCHRUN, "GROUP_WORLD_SIZE": "2"}, ("torchrun", 3, 8, 1, 2)),
    ({**ONE_TASK_EACH, **MPICH}, ("MPICH", 5, 8, 1, 4)),
])
def test_each_launcher_is_recognised_by_its_variables(environment, expected):
    place = find_place(environment)
    assert (place and tuple(place[:5])) == expected


@pytest.mark.parametrize(("environment", "said"), [
    ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK='x'"),
    ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 is not a rank of a world of WORLD_SIZE=2"),
    ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK='-1'"),
    ({**PLAIN, "LOCAL_RANK": "2"}, "local rank 2 of 2"),
    ({**PLAIN, "LOCAL_WORLD_SIZE": "9"}, "variables of two launches are mixed"),
    ({**PLAIN, "LOCAL_WORLD_SIZE": "1"}, "(LOCAL_RANK=1, LOCAL_WORLD_SIZE=1) does not fit rank 3 of 8"),
    ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "2"}, "local rank 2 of 2"),
    ({**PLAIN, "MASTER_PORT": "high"}, "MASTER_PORT='high'"),
    ({**PLAIN, "MASTER_ADDR": "localhost"}, "6 of 8 ranks are on other hosts"),
    ({**PLAIN, "MASTER_ADDR": "no.such.host.invalid"}, "MASTER_ADDR=no.such.host.invalid cannot be resolved"),
    ({"PMIX_RANK": "3", "PMIX_NAMESPACE": "other"}, "no variable has the world size"),
    ({**PLAIN, **OPEN_MPI}, "unset RANK and WORLD_SIZE"),
    ({**STEP, "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "0"}, "two ranks on one host would use one device"),
    ({**STEP, **TORCHRUN}, "torchrun was started 2 times on this host by Slurm"),
    ({**STEP, **OPEN_MPI}, "Open MPI was started 2 times on this host by Slurm"),
    ({**ONE_TASK_EACH, **TORCHRUN, "GROUP_WORLD_SIZE": "1"}, "use --nnodes 2"),
    ({**ONE_TASK_EACH, **TORCHRUN, "GROUP_WORLD_SIZE": "1", "RANK": "1", "WORLD_SIZE": "2"}, "use --nnodes 2"),
    ({**STEP, "SLURM_STEP_NODELIST": "n[1-"}, "brackets do not match"),
])
def test_contradictions_are_explained_in_one_line(environment, said):
    with pytest.raises(UsageError, match=re.escape(said)) as raised:
        find_place(environment)
    assert "\n" not in str(raised.value)


NUMBERS = [(TORCHRUN, "RANK", 0, 10**6), (TORCHRUN, "WORLD_SIZE", 1, 10**6), (TORCHRUN, "LOCAL_RANK", 0, 10**6),
           (TORCHRUN, "LOCAL_WORLD_SIZE", 1, 10**6), (PLAIN, "MASTER_PORT", 1, 65535),
           ({**ONE_TASK_EACH, **TORCHRUN}, "GROUP_WORLD_SIZE", 1, 10**6),
           ({**PLAIN, "COLLBENCH_LISTEN_FD": "3"}, "COLLBENCH_LISTEN_FD", 0, 10**6),
           *((OPEN_MPI, f"OMPI_COMM_WORLD_{name}", least, 10**6) for name, least in (
               ("RANK", 0), ("SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_SIZE", 1))),
           *((MPICH, name, least, 10**6) for name, least in (
               ("PMI_RANK", 0), ("PMI_SIZE", 1), ("MPI_LOCALRANKID", 0), ("MPI_LOCALNRANKS", 1))),
           ({"PMI_RANK": "0", "PMI_SIZE": "4"}, "PMI_LOCAL_RANK", 0, 10**6), ({**STEP, **PMIX}, "PMIX_RANK", 0, 10**6),
           *((STEP, name, least, 10**6) for name, least in (
               ("SLURM_PROCID", 0), ("SLURM_STEP_NUM_TASKS", 1), ("SLURM_LOCALID", 0), ("SLURM_NODEID", 0)))]


@pytest.mark.parametrize(("environment", "name", "least", "most"), NUMBERS, ids=[case[1] for case in NUMBERS])
def test_an_invalid_variable_is_named_with_its_valid_range(environment, name, least, most):
    for value in ("", "x", "1.5", "0x2", "1_0", "+1", "\u0661", "\x1b[2J", "9" * 5000, str(least - 1), str(most + 1)):
        with pytest.raises(UsageError, match=f"{name}='") as raised:
            find_place({**environment, name: value})
        assert str(raised.value).endswith(f"expected a whole number from {least} to {most}")
        assert len(str(raised.value)) < 200
        assert str(raised.value).isprintable()


def test_a_rank_outside_its_world_ends_at_once_and_leaves_nothing(tmp_path):
    done = subprocess.run([sys.executable, "-m", "collbench", "run", "--out", str(tmp_path / "r")], text=True,
                          env={**os.environ, "RANK": "7", "WORLD_SIZE": "2"}, capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "collbench: RANK=7 is not a rank of a world of WORLD_SIZE=2: ranks are from 0 to 1\n"
    assert list(tmp_path.iterdir()) == []


def test_a_slurm_step_uses_its_first_node_and_a_port_derived_from_the_job():
    host, port = find_place(STEP).address
    assert host == "localhost"
    assert 15000 <= port < 30000
    assert find_place({**STEP, "SLURM_PROCID": "2", "SLURM_LOCALID": "0"}).address == (host, port)
    assert find_place({**STEP, "SLURM_STEP_ID": "1"}).address[1] != port
    assert find_place({**STEP, "MASTER_ADDR": "127.0.0.3", "SLURM_STEP_NODELIST": "localhost",
                       "SLURM_STEP_TASKS_PER_NODE": "4", "SLURM_NODEID": "0"}).address[0] == "127.0.0.3"
    assert find_place(STEP).nodes == ("localhost", "elsewhere")


def test_only_ranks_of_a_single_host_have_a_default_address():
    assert find_place(OPEN_MPI).address[0] == "127.0.0.1"
    spread = {**OPEN_MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}
    assert find_place(spread).address is None


def test_ranks_not_started_by_mpi_are_refused_before_it_is_initialised():
    for environment in (OPEN_MPI, MPICH, {**STEP, **PMIX}):
        assert mpi_obstacle(find_place(environment), environment) is None
    assert "srun --mpi=pmix" in mpi_obstacle(find_place(STEP), STEP)
    assert "use mpirun" in mpi_obstacle(find_place(TORCHRUN), TORCHRUN)


def test_the_batch_shell_of_a_job_is_not_a_rank():
    assert "start it with srun" in why_not_a_rank(BATCH)
    assert why_not_a_rank({}) is None
    assert why_not_a_rank({**BATCH, "SLURM_NTASKS": "1"}) is None
    done = subprocess.run([sys.executable, "-m", "collbench.rank", "--out", "r"], env=BATCH, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 2
    assert "start it with srun" in done.stderr


@pytest.mark.parametrize(("text", "names"), [
    ("", ()), ("a", ("a",)), ("a,b-1", ("a", "b-1")), ("n[1-3]", ("n1", "n2", "n3")),
    ("n[08-11,3].x,y", ("n08.x", "n09.x", "n10.x", "n11.x", "n3.x", "y")),
    ("r[1-2]n[0-1]", ("r1n0", "r1n1", "r2n0", "r2n1"))])
def test_node_lists_are_expanded(text, names):
    assert expand_nodes(text) == names


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 20)), max_size=5))
def test_ranges_of_nodes_hold_every_number_once(spans):
    text = ",".join(f"n[{first}-{first + more}]" for first, more in spans)
    numbers = [number for first, more in spans for number in range(first, first + more + 1)]
    assert expand_nodes(text) == tuple(f"n{number}" for number in numbers)


@given(st.text(alphabet="n[]-,0123456789", max_size=12))
def test_a_node_list_is_expanded_or_refused(text):
    try:
        names = expand_nodes(text)
    except UsageError:
        return
    assert not any(set("[,") & set(name) for name in names)


def test_counts_are_expanded():
    assert expand_counts("4(x2),3") == (4, 4, 3)
    assert expand_counts("") == expand_counts("many") == expand_counts("4(x99999999)") == ()


# ranks that meet


class Shelf:
    """A store as torch's TCPStore behaves, for threads."""

    def __init__(self):
        self.values, self.changed = {}, threading.Condition()

    def set(self, key, value):
        with self.changed:
            self.values[key] = value.encode()
            self.changed.notify_all()

    def get(self, key):
        with self.changed:
            assert self.changed.wait_for(lambda: key in self.values, 10)
            return self.values[key]

    def add(self, key, amount):
        with self.changed:
            self.values[key] = str(int(self.values.get(key, b"0")) + amount).encode()
            return int(self.values[key])

    def compare_set(self, key, expected, desired):
        with self.changed:
            if self.values.get(key, b"") == expected.encode():
                self.values[key] = desired.encode()
                self.changed.notify_all()
            return self.values[key]

    def check(self, keys):
        with self.changed:
            return all(key in self.values for key in keys)

    def multi_get(self, keys):
        return [self.get(key) for key in keys]


def come_together(places, patience_s=5.0, one_by_one=False, **device):
    """What each rank was told: None, or the error. `one_by_one`: each comes when the one before has said its size."""
    shelf, told = Shelf(), [None] * len(places)

    def rank(index, place):
        try:
            meet(shelf, place, own_claim(place, **device), patience_s, {})
        except CollbenchError as error:
            told[index] = error
    threads = [threading.Thread(target=rank, args=pair) for pair in enumerate(places)]
    for thread in threads:
        thread.start()
        if one_by_one:
            with shelf.changed:
                assert shelf.changed.wait_for(lambda: "collbench/0/size" in shelf.values, 10)
    for thread in threads:
        thread.join()
    return told


def place(rank, size, local_rank=0):
    return Place("plain variables", rank, size, local_rank, None, None)


def test_consistent_ranks_pass():
    assert come_together([place(rank, 5) for rank in range(5)]) == [None] * 5


def test_every_rank_reports_a_duplicate_rank():
    told = come_together([place(0, 3), place(1, 3), place(1, 3)])
    assert all("two processes have rank 1 of 3" in str(error) for error in told)
    assert str(socket.gethostname()) in str(told[0])


@pytest.mark.parametrize("places", [(place(0, 2), place(1, 3)), (place(1, 3), place(0, 2))], ids=["0 first", "1 first"])
def test_every_rank_reports_different_world_sizes(places):
    told = come_together(places, one_by_one=True)
    assert all(isinstance(error, UsageError) and "started with different sizes" in str(error) for error in told)


def test_missing_ranks_are_named():
    told = come_together([place(0, 6), place(4, 6)], patience_s=0.2)
    assert all("ranks 1-3, 5 of 6 did not arrive within" in str(error) for error in told)
    assert not any(isinstance(error, UsageError) for error in told)


def test_every_rank_reports_two_ranks_on_one_device():
    told = come_together([place(0, 2), place(1, 2)], device="cuda:0", devices=4)
    assert all("ranks 0 and 1" in str(error) and "cuda:0" in str(error) for error in told)


def claims(*facts):
    return [RankClaim(**{"rank": rank, "host": "h", "boot": "b", "pid": 1, "local_rank": 0, **own})
            for rank, own in enumerate(facts)]


@pytest.mark.parametrize(("first", "second", "clash"), [
    (dict(device="cuda:0", devices=1, identity="A"), dict(device="cuda:0", devices=1, identity="B"), False),
    (dict(device="cuda:0", devices=1, identity="A"), dict(device="cuda:0", devices=1, identity="A"), True),
    (dict(device="cuda:0", devices=2, identity="A"), dict(device="cuda:1", devices=2, identity="B"), False),
    (dict(device="npu:0", devices=1), dict(device="npu:0", devices=1), False),      # each its own share, most likely
    (dict(device="npu:0", devices=8), dict(device="npu:0", devices=8), True),
    (dict(device="npu:0", devices=8), dict(device="npu:0", devices=8, boot="other"), False),
    (dict(device="npu:0", devices=8), dict(device="npu:0", devices=8, host="a container"), False),
    ({}, {}, False)])
def test_one_device_for_two_ranks_is_a_contradiction_where_it_is_certain(first, second, clash):
    assert bool(contradiction(claims(first, second))) == clash


# What each rank's device is, whether two of them are one device, and whether that remains in doubt.
@pytest.mark.parametrize(("ranks", "clash", "doubtful"), [
    # a local rank that exceeds the number of devices starts again at 0
    ([dict(device=f"npu:{local % 4}", devices=4, local_rank=local) for local in range(5)], True, False),
    ([dict(device=f"npu:{local}", devices=4, local_rank=local) for local in range(4)], False, False),
    # one device visible, as a scheduler's device cgroup leaves it, and as a mask does
    ([dict(device="npu:0", devices=1), dict(device="npu:0", devices=1)], False, True),
    ([dict(device="npu:0", devices=1, mask=str(local)) for local in range(8)], False, False),
    ([dict(device="npu:0", devices=1, mask="3"), dict(device="npu:0", devices=1, mask="3")], False, True),
    ([dict(device="xpu:0", devices=2, mask="0.0,0.1"), dict(device="xpu:1", devices=2, mask="0.2,0.1")], False, True),
    # two devices a rank: the number within the mask is not the number of the device
    ([dict(device="npu:0", devices=2, mask="0,1"), dict(device="npu:1", devices=2, mask="2,3"),
      dict(device="npu:0", devices=2, mask="4,5")], False, False),
    ([dict(device="npu:1", devices=2, mask="0,3"), dict(device="npu:1", devices=2, mask="2,3")], True, False),
    # PCI addresses of one host
    ([dict(device="cuda:0", devices=1, bus="0000:05:00.0"), dict(device="cuda:0", devices=1, bus="0000:06:00.0")],
     False, False),
    ([dict(device="cuda:0", devices=1, bus="0000:05:00.0"), dict(device="cuda:0", devices=1, bus="0000:05:00.0")],
     True, False),
    ([dict(device="cuda:0", devices=1, bus="0000:05:00.0"),
      dict(device="cuda:0", devices=1, bus="0000:05:00.0", boot="other")], False, False),
    # partitions with one uuid and one address: all visible, and one visible to each rank
    ([dict(device=f"cuda:{k}", devices=8, identity="A", bus="0000:05:00.0", partition=k) for k in range(8)],
     False, False),
    ([dict(device="cuda:3", devices=8, identity="A", bus="0000:05:00.0", partition=3)] * 2, True, False),
    ([dict(device="cuda:0", devices=1, identity="A", mask=str(k)) for k in range(2)], False, True),
    ([dict(device="cuda:0", devices=1, identity="A", mask="1"), dict(device="cuda:1", devices=2, identity="A")],
     True, False),
])
def test_devices_are_told_apart_by_uuid_address_partition_or_number(ranks, clash, doubtful):
    found = claims(*ranks)
    assert bool(contradiction(found)) == clash
    assert bool(doubt(found)) == doubtful


def test_the_refusal_names_both_devices_and_the_way_out():
    first, second = claims(dict(device="cuda:0", devices=4), dict(device="cuda:0", devices=4, local_rank=4))
    assert contradiction([first, second]) == (
        "ranks 0 and 1 on h would both use one device: cuda:0 (local rank 0) and cuda:0 (local rank 4, 4 visible): "
        "start one rank per device, let the launcher set the local rank, or measure the CPUs with --device cpu")
    assert "ranks 0-2 may share a device: no uuid" in doubt(claims(*[dict(device="npu:0", devices=1)] * 3))


def test_a_uuid_of_zeros_identifies_nothing():
    zero = "00000000-0000-0000-0000-000000000000"
    assert given_uuid("58580000-0000-0000-0000-000000000000") is None       # "XX" of ROCr
    assert own_claim(place(0, 2), device="npu:0", devices=8, identity=zero).identity is None
    assert come_together([place(rank, 2, rank) for rank in range(2)], device="npu:0", devices=1, identity=zero) == [
        None, None]


def test_the_pci_address_of_torch_is_that_of_sysfs():
    assert pci_address(SimpleNamespace(pci_domain_id=1, pci_bus_id=0xC1, pci_device_id=0)) == "0001:c1:00.0"
    assert pci_address(SimpleNamespace(name="Ascend910")) is None


@pytest.mark.parametrize(("kind", "environment", "mask"), [
    ("cuda", {"CUDA_VISIBLE_DEVICES": "2,3", "ROCR_VISIBLE_DEVICES": "0"}, "2,3"), ("cuda", {}, None),
    ("npu", {"ASCEND_RT_VISIBLE_DEVICES": "7"}, "7"), ("hip", {"ROCR_VISIBLE_DEVICES": "4,5"}, "4,5"),
    ("hip", {"ROCR_VISIBLE_DEVICES": "4,5", "HIP_VISIBLE_DEVICES": "1"}, "5"),
    ("hip", {"ROCR_VISIBLE_DEVICES": "GPU-1,GPU-2", "HIP_VISIBLE_DEVICES": "1"}, "1 of GPU-1,GPU-2")])
def test_masks_of_vendors_give_the_numbers_of_the_driver(kind, environment, mask):
    assert visibility_mask(kind, environment) == mask


@given(st.sets(st.integers(0, 99), min_size=1))
def test_ranks_are_abbreviated_without_loss(ranks):
    named = set()
    for span in name_ranks(list(ranks)).partition(" ")[2].split(", "):
        first, _, last = span.partition("-")
        named |= set(range(int(first), int(last or first) + 1))
    assert named == ranks


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.needs("torch")
@pytest.mark.parametrize(("ranks", "size", "said"), [
    ((0, 1, 1), 3, "two processes have rank 1 of 3"),
    ((0,), 2, "port {port} is in use on this host")])
def test_real_ranks_that_contradict_each_other_end_with_the_reason(tmp_path, ranks, size, said):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        if len(ranks) > 1:
            taken.close()
        jobs = [subprocess.Popen([sys.executable, "-m", "collbench.rank", "--ops", "barrier", "--out", tmp_path / "r"],
                                 env={**os.environ, "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank),
                                      "LOCAL_WORLD_SIZE": str(size), "MASTER_PORT": str(port)},
                                 stderr=subprocess.PIPE, text=True) for rank in ranks]
        for job in jobs:
            errors = job.communicate(timeout=240)[1]
            assert job.returncode in (1, 2)
            assert said.format(port=port) in errors
            assert "Traceback" not in errors
    assert not (tmp_path / "r").exists()


@pytest.mark.needs("mpi")
def test_the_mpirun_of_another_mpi_is_noticed(tmp_path):
    """Each rank would be alone in a world of its own, and all would measure nothing; or MPI would end it at once."""
    from collbench.launch.launchers.mpirun import find_mpirun
    other, found = ({"PMI_RANK": "0", "PMI_SIZE": "2"}, "finds 1") if find_mpirun().is_open_mpi else (
        {**OPEN_MPI, "OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}, "does not support")
    done = subprocess.run([sys.executable, "-m", "collbench.rank", "--transport", "mpi", "--ops", "barrier", "--out",
                           tmp_path / "r"], env={**os.environ, **other}, capture_output=True, text=True, timeout=240,
                          check=False)
    assert done.returncode == 2
    assert "started 2 ranks" in done.stderr
    assert f"{found}: use the mpirun of that MPI" in done.stderr
    assert not (tmp_path / "r").exists()
