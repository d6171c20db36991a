"""What a scheduler lent: from its variables and files to hosts and ranks."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collbench.collectives.errors import UsageError
from collbench.collectives.topology import Accelerators
from collbench.launch.allocation import Allocation, default_ranks, find_allocation, ranks_per_host

SLURM = {"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "n[1-3]", "SLURM_JOB_CPUS_PER_NODE": "96(x2),64",
         "SLURM_TASKS_PER_NODE": "8(x3)"}


def test_slurm_says_hosts_tasks_and_cores():
    assert find_allocation(SLURM) == Allocation("Slurm", ("n1", "n2", "n3"), 8, 64)
    assert find_allocation({**SLURM, "SLURM_TASKS_PER_NODE": "1(x3)"}).slots is None
    assert find_allocation(SLURM).launcher == "srun"


@pytest.mark.parametrize("environment", [{}, {**SLURM, "SLURM_JOB_NODELIST": "n1"}, {"SLURM_JOB_ID": "1"}])
def test_one_host_is_no_allocation(environment):
    assert find_allocation(environment) is None


@pytest.mark.parametrize("variable", ["PBS_NODEFILE", "LSB_DJOB_HOSTFILE"])
def test_a_file_of_hosts_is_read(tmp_path, variable):
    (tmp_path / "hosts").write_text("b\nb\na\na\na\n")
    found = find_allocation({variable: str(tmp_path / "hosts")})
    assert (found.hosts, found.slots, found.launcher) == (("b", "a"), 2, "mpirun")
    with pytest.raises(UsageError, match=variable):
        find_allocation({variable: str(tmp_path / "gone")})


def test_ranks_are_devices_or_tasks_or_cores():
    allocation = find_allocation(SLURM)
    assert default_ranks(Accelerators("cuda", 4), allocation) == 12
    assert default_ranks(None, allocation) == 24
    assert default_ranks(None, allocation._replace(slots=None)) == 192
    assert default_ranks(None, allocation._replace(slots=None, hosts=tuple("abcdefghijkl"))) == 384
    assert ranks_per_host(None, allocation) == 8


def test_on_one_host_ranks_are_devices_or_a_power_of_two_of_the_cores():
    assert default_ranks(Accelerators("cuda", 4)) == 4
    cores = len(os.sched_getaffinity(0))
    ranks = default_ranks(None)
    assert ranks in (8, 16, 32)
    assert ranks <= max(8, cores) < 2 * max(ranks, cores // 32 * 32)


def test_the_main_job_is_no_rank(collbench, tmp_path):
    done = collbench("bench", "--budget", 5, RANK="0", WORLD_SIZE="2")
    assert done.returncode == 2
    assert "run it once, not as 2 ranks of plain variables" in done.stderr
    assert list(tmp_path.iterdir()) == []


@given(st.integers(1, 400), st.integers(2, 50))
def test_ranks_are_spread_evenly_over_as_many_hosts_as_can_be(ranks, hosts):
    names = tuple(map(str, range(hosts)))
    spread = Allocation("Slurm", names, None, None).spread(ranks)
    assert spread == names[:len(spread)]
    assert ranks % len(spread) == 0
    assert not any(ranks % more == 0 for more in range(len(spread) + 1, min(hosts, ranks) + 1))
