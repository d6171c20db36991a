"""The job scripts that are checked in: what they are rendered from renders them again, and bash reads them."""

import re
import subprocess

import pytest

from collbench.launch.presets import PRESETS, SCRIPTS, render


def test_the_scripts_are_what_is_rendered():
    assert {path: path.read_text() for path in SCRIPTS.glob("*.sbatch")} == render(), "stale: collbench.launch.presets"


@pytest.mark.parametrize("name", PRESETS)
def test_bash_reads_a_script(name):
    path = SCRIPTS / f"{name}.sbatch"
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, path.read_text().splitlines())) <= 130


FAKE_SRUN = """\
#!/bin/bash
# stands for srun: notes its words, ends as the file `status` says for this call; the job's shell is told first
printf '%s\\0' "$@" >> calls; printf '\\n' >> calls
n=$(wc -l < calls)
read -r status told <<< "$(sed -n "${n}p" status)"
trap : USR1 TERM
[[ -z $told ]] || { kill "-$told" $PPID; sleep 0.2; }
exit "$status"
"""


def walk(tmp_path, name, statuses, words=(), **environment):
    """Run a script with a stand-in for srun and scontrol; exit status, what srun was given, and the output."""
    for command, text in (("srun", FAKE_SRUN), ("scontrol", '#!/bin/bash\necho "$@" >> requeued\n')):
        (tmp_path / command).write_text(text)
        (tmp_path / command).chmod(0o755)
    (tmp_path / "status").write_text("".join(f"{status}\n" for status in statuses))
    job = PRESETS[name]
    done = subprocess.run(["bash", SCRIPTS / f"{name}.sbatch", *words], cwd=tmp_path, capture_output=True, text=True,
                          env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "5", "SLURM_JOB_NAME": name,
                               "SLURM_JOB_NUM_NODES": str(job.nodes), "SLURM_NTASKS_PER_NODE": str(job.ranks_per_node),
                               **environment}, check=False)
    calls = [line.split("\0")[:-1] for line in (tmp_path / "calls").read_text().splitlines()]
    return done.returncode, calls, done.stdout


def shape(call):
    return tuple(int(re.fullmatch(r"--[\w-]+=(\d+)", word)[1]) for word in call[:3])


def test_a_rack_is_walked_from_one_node_to_all(tmp_path):
    status, calls, said = walk(tmp_path, "nvl72", [0] * 5, ["--ops", "all reduce"])
    assert (status, [shape(call) for call in calls]) == (0, [(1, 4, 4), (2, 8, 4), (4, 16, 4), (9, 36, 4), (18, 72, 4)])
    assert all(call[-2:] == ["--ops", "all reduce"] for call in calls)
    assert all(call[call.index("--out") + 1] == "results/nvl72" for call in calls)
    assert "collbench report results/nvl72" in said


def test_less_than_a_node_is_one_task_a_rank(tmp_path):
    _, calls, _ = walk(tmp_path, "hgx8", [0] * 5)
    assert [shape(call) for call in calls] == [(1, 2, 2), (1, 4, 4), (1, 8, 8), (2, 16, 8), (4, 32, 8)]


def test_an_array_measures_one_rank_count_a_job(tmp_path):
    _, calls, _ = walk(tmp_path, "cloudmatrix384", [0], SLURM_ARRAY_TASK_ID="384")
    assert [shape(call) for call in calls] == [(48, 384, 8)]


def test_both_transports_take_all_tasks(tmp_path):
    _, calls, _ = walk(tmp_path, "cpu", [0, 0])
    assert [(shape(call), call[3], call[call.index("--transport") + 1]) for call in calls] == [
        ((2, 16, 8), "--mpi=pmix", "mpi"), ((2, 16, 8), "--mpi=none", "torch")]


@pytest.mark.parametrize(("statuses", "expected", "launches"), [
    ([0, 1, 0, 0, 0], 1, 5),        # a wrong result is in the journal; the rest is measured
    ([0, 2], 2, 2), ([137], 137, 1)])
def test_the_worst_status_is_the_jobs(tmp_path, statuses, expected, launches):
    status, calls, said = walk(tmp_path, "nvl72", statuses)
    assert (status, len(calls)) == (expected, launches)
    assert "measured; next" not in said
    assert not (tmp_path / "requeued").exists()


def test_out_of_time_it_requeues_itself_and_not_for_ever(tmp_path):
    assert walk(tmp_path, "nvl72", [0, "143 USR1"])[0] == 143
    assert (tmp_path / "requeued").read_text() == "requeue 5\n"
    status, calls, _ = walk(tmp_path, "nvl72", [0, 0, 0, "143 USR1"], SLURM_RESTART_COUNT="5")
    assert (status, len(calls)) == (143, 4)
    assert (tmp_path / "requeued").read_text() == "requeue 5\n"


@pytest.mark.parametrize("status", ["0 USR1", "138 USR1", "1 USR1"])
def test_told_between_two_launches_or_before_the_ranks_listen_it_requeues_as_well(tmp_path, status):
    assert walk(tmp_path, "nvl72", [0, status])[0] in (143, 138, 1)
    assert (tmp_path / "requeued").read_text() == "requeue 5\n"


@pytest.mark.parametrize("status", ["143 TERM", "0 TERM", "143"])
def test_cancelled_or_failed_it_does_not_requeue_itself(tmp_path, status):
    """143 alone: srun ended ranks because one of them had failed."""
    ended, calls, _ = walk(tmp_path, "nvl72", [status])
    assert (ended, len(calls)) == (143, 1)
    assert not (tmp_path / "requeued").exists()
