"""The job scripts that are checked in: what they are rendered from renders them again, and bash reads them."""

import os
import re
import shlex
import subprocess
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from collbench.collectives.records.journal import read_journal
from collbench.launch.launchers import slurm, srun
from collbench.launch.launchers.mpirun import Mpirun
from collbench.launch.launchers.pbs import Pbs
from collbench.launch.launchers.slurm import Slurm
from collbench.launch.launchers.srun import Srun
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
[[ $1 != --help ]] || { echo "--container-image=IMAGE"; exit; }
if [[ " $* " == *" --library-log-to "* ]]; then
    printf '%s\\0' "$@" >> logged; printf '\\n' >> logged
    exit "${LOG_STATUS:-0}"
fi
printf '%s\\0' "$@" >> calls; printf '\\n' >> calls
n=$(wc -l < calls)
read -r status told <<< "$(sed -n "${n}p" status)"
trap : USR1 TERM
[[ -z $told ]] || { kill "-$told" $PPID; sleep 0.2; }
exit "$status"
"""


def walk(tmp_path, name, statuses, words=(), script=None, **environment):
    """Run a script with a stand-in for srun and scontrol; exit status, what srun was given, and the output."""
    for command, text in (("srun", FAKE_SRUN), ("scontrol", '#!/bin/bash\necho "$@" >> requeued\n')):
        (tmp_path / command).write_text(text)
        (tmp_path / command).chmod(0o755)
    (tmp_path / "status").write_text("".join(f"{status}\n" for status in statuses))
    job = PRESETS[name]
    done = subprocess.run(["bash", script or SCRIPTS / f"{name}.sbatch", *words], cwd=tmp_path, text=True,
                          capture_output=True, check=False,
                          env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "5", "SLURM_JOB_NAME": name,
                               "SLURM_JOB_NUM_NODES": str(job.nodes), "SLURM_NTASKS_PER_NODE": str(job.ranks_per_node),
                               **environment})
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
    assert calls[0][calls[0].index("--device-stride") + 1] == "2"       # one of the two dies of an NPU


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


# the data path: a start with the library's log, ahead of the measurement and over all ranks

def logged(tmp_path):
    path = tmp_path / "logged"
    return [line.split("\0")[:-1] for line in path.read_text().splitlines()] if path.exists() else []


def test_a_script_asks_for_the_library_s_log_once_and_passes_it_on(tmp_path):
    _, calls, _ = walk(tmp_path, "nvl72", [0] * 5, ["--ops", "barrier"])
    call, = logged(tmp_path)
    assert sorted(call[:4]) == ["--nodes=18", "--ntasks-per-node=4", "--ntasks=72", "--time=5"]
    assert "--resume" not in call       # it measures nothing
    assert call[-2:] == ["--ops", "barrier"]
    log = call[call.index("--library-log-to") + 1]
    assert log == "results/nvl72/library-log-5-0"
    assert [call[call.index("--library-log-from") + 1] for call in calls] == [log] * 5


def test_a_failed_log_is_one_line_and_the_measurement_goes_on(tmp_path):
    status, calls, said = walk(tmp_path, "nvl72", [0] * 5, LOG_STATUS="3")
    assert (status, len(calls)) == (0, 5)
    assert not any("--library-log-from" in call for call in calls)
    assert said.count("collbench: warning: the start for the library's log ended with status 3") == 1


@pytest.mark.parametrize("launcher", ["slurm", "pbs"])
def test_a_script_without_a_log(collbench, launcher):
    words = ("launch", "--dry-run", "--launcher", launcher, "--ranks-per-node", 2, "--ops", "barrier", "--out", "r")
    assert "library_log=yes" in collbench(*words).stdout
    for more in ("--no-library-log",), ("--device", "cpu"), ("--backend", "gloo"), ("--transport", "mpi"):
        script = collbench(*words, *more).stdout
        assert "#!/bin/bash" in script
        assert "library" not in script


def test_cpus_and_single_ranks_have_no_log(tmp_path):
    walk(tmp_path, "cpu", [0, 0])
    walk(tmp_path, "nvl72", [0], SLURM_ARRAY_TASK_ID="1")
    assert logged(tmp_path) == []


# containers: what Pyxis is asked for, by the script and by `collbench launch --launcher srun`

IMAGE = "nvcr.io#nvidia/it's a $(test):25.09"


def contained(name, **more):
    return msgspec.structs.replace(PRESETS[name], container=IMAGE, **more)


def options_of(call):
    """The options of Pyxis in a call of srun, by name; `python` and its arguments follow them."""
    own = [word for word in call[:call.index("python")] if "container" in word]
    return {word.partition("=")[0]: word.partition("=")[2] for word in own}


def test_a_script_runs_every_launch_in_the_container(tmp_path):
    script = tmp_path / "contained.sbatch"
    script.write_text(Slurm().script(contained("nvl72", container_mounts="/scratch:/scratch:ro")))
    status, calls, _ = walk(tmp_path, "nvl72", [0] * 5, script=script)
    assert (status, len(calls)) == (0, 5)
    for call in calls:
        assert options_of(call) == {
            "--container-image": IMAGE, "--container-mounts": f"{tmp_path}:{tmp_path},/scratch:/scratch:ro",
            "--container-workdir": str(tmp_path), "--no-container-mount-home": ""}
        assert call[call.index("--out") + 1] == "results/nvl72"
    assert (tmp_path / "results" / "nvl72").is_dir()


def test_results_elsewhere_are_mounted_too(tmp_path):
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    work.mkdir()
    job = contained("cpu", out_by_name=False,
                    config=msgspec.structs.replace(PRESETS["cpu"].config, journal=elsewhere / "journal.jsonl"))
    (work / "job.sbatch").write_text(Slurm().script(job))
    _, calls, _ = walk(work, "cpu", [0, 0], script=work / "job.sbatch")
    mounts = f"{work}:{work},{elsewhere}:{elsewhere}"
    assert {options_of(call)["--container-mounts"] for call in calls} == {mounts}
    assert options_of(Srun("pmix").command(job))["--container-mounts"] == (
        f"{Path.cwd()}:{Path.cwd()},{elsewhere}:{elsewhere}")


def test_the_channels_between_the_hosts_of_a_rack_are_in_the_container(tmp_path, monkeypatch):
    channels = tmp_path / "channels"
    channels.mkdir()
    for module in (slurm, srun):
        monkeypatch.setattr(module, "IMEX_CHANNELS", str(channels))
    script = tmp_path / "contained.sbatch"
    script.write_text(Slurm().script(contained("nvl72")))
    _, calls, _ = walk(tmp_path, "nvl72", [0] * 5, script=script)
    mount = f"{channels}:{channels}"
    assert options_of(calls[0])["--container-mounts"] == f"{tmp_path}:{tmp_path},{mount}"
    assert options_of(Srun("pmix").command(contained("nvl72")))["--container-mounts"].endswith(f",{mount}")


def test_without_a_container_srun_is_asked_for_none(tmp_path):
    _, calls, _ = walk(tmp_path, "nvl72", [0] * 5)
    assert [options_of(call) for call in calls] == [{}] * 5
    assert options_of(Srun("pmix").command(PRESETS["nvl72"])) == {}


def test_launch_passes_a_container_on_or_refuses(collbench):
    words = ("launch", "--dry-run", "--container", IMAGE, "--ranks-per-node", 2, "--ops", "barrier", "--out", "r")
    script = collbench(*words, "--launcher", "slurm", "--container-mounts", "/a:/a").stdout
    assert "\npython=python\n" in script
    assert f"\ncontainer={shlex.quote(IMAGE)}\nmounts=/a:/a\n" in script
    for more, said in ((("--launcher", "mpirun"), "launcher mpirun starts no containers"),
                       (("--launcher", "slurm", "--out", "a:b"), "commas and colons")):
        done = collbench(*words, *more)
        assert done.returncode == 2
        assert said in done.stderr


# PBS: a stand-in for qsub runs the script that it is given with bash, as a job on one host would

FAKE_QSUB = """\
#!/bin/bash
# stands for qsub: notes its words, then runs the script on an allocation of two slots of this host
printf '%s\\n' "$@" > "$SPOOL/submitted"
printf 'localhost\\nlocalhost\\n' > "$SPOOL/nodes"
PBS_NODEFILE="$SPOOL/nodes" PBS_JOBNAME=mine PBS_O_WORKDIR="$PWD" bash "${@: -1}" > "$SPOOL/log" 2>&1
echo "$?" > "$SPOOL/status"
echo 7.server
"""


@pytest.fixture
def qsub(tmp_path):
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / "qsub").write_text(FAKE_QSUB)
    (spool / "qsub").chmod(0o755)
    return spool


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.needs("mpi", "torch")
def test_a_job_for_pbs_is_submitted_measures_both_ways_and_resumes(collbench, tmp_path, qsub):
    environment = {"SPOOL": str(qsub), "PATH": f"{qsub}:{os.environ['PATH']}"}
    out = tmp_path / "it's 5% of; all"
    for transport in ("mpi", "torch"):
        words = ("launch", "--launcher", "pbs", "--ranks-per-node", 2, "--partition", "debug", "--transport", transport,
                 "--time", 5, "--out", out, "--ops", "all_reduce", "--sizes", "64", "--case-seconds", "0.01")
        for _ in range(2):
            done = collbench(*words, **environment)
            log = (qsub / "log").read_text()
            assert done.returncode == 0, done.stderr
            assert (qsub / "status").read_text() == "0\n", log
            assert "collbench report" in log
    assert (qsub / "submitted").read_text().splitlines() == ["-o", f"{out}/", str(out / "job.pbs")]
    directives = [line for line in (out / "job.pbs").read_text().splitlines() if line.startswith("#PBS")]
    assert directives == ["#PBS -N collbench", "#PBS -l select=1:ncpus=2:mpiprocs=2", "#PBS -l walltime=00:05:00",
                          "#PBS -q debug", "#PBS -j oe", "#PBS -r y"]
    runs, records, warnings = read_journal(out / "journal.jsonl")
    assert warnings == []
    measured = Counter((runs[record.run].transport, record.case) for record in records
                       if record.status == "ok" and record.case.op != "noop")
    assert {transport for transport, _ in measured} == {"mpi", "torch"}
    assert set(measured.values()) == {1}
    assert all(run.world == 2 for run in runs.values())


# LSF and Flux: the same with bsub, and with a flux that starts ranks with the variables of its own

FAKE_BSUB = FAKE_QSUB.replace("qsub", "bsub").replace("PBS_NODEFILE", "LSB_DJOB_HOSTFILE").replace(
    "PBS_JOBNAME", "LSB_JOBNAME").replace("PBS_O_WORKDIR", "LS_SUBCWD")
FAKE_FLUX = """\
#!/bin/bash
case $1 in
    batch) printf '%s\\n' "$@" > "$SPOOL/submitted"
           bash "${@: -1}" > "$SPOOL/log" 2>&1
           echo "$?" > "$SPOOL/status" ;;
    hostlist) echo localhost ;;
    resource) echo 1 ;;
    run) shift 2
         export FLUX_JOB_SIZE="${1#--ntasks=}" pids= worst=0
         for ((rank = 0; rank < FLUX_JOB_SIZE; rank++)); do
             FLUX_TASK_RANK=$rank FLUX_TASK_LOCAL_ID=$rank "${@:2}" &
             pids+=" $!"
         done
         for pid in $pids; do wait "$pid" || worst=$?; done
         exit "$worst" ;;
esac
"""


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.needs("torch")
@pytest.mark.parametrize(("launcher", "program", "text", "words", "directives"), [
    ("lsf", "bsub", FAKE_BSUB, ["-o", "{out}/job-%J.log", "-J", "collbench", "-n", "2", "-R", "span[ptile=2]", "-W",
                                "5", "-q", "debug", "-r", "bash"],
     ["#BSUB -J collbench", "#BSUB -n 2", "#BSUB -R span[ptile=2]", "#BSUB -W 5", "#BSUB -q debug", "#BSUB -r"]),
    ("flux", "flux", FAKE_FLUX, ["batch", "--output={out}/job-{{{{id}}}}.log"],
     ["# flux: --job-name=collbench", "# flux: --nodes=1", "# flux: --exclusive", "# flux: --time-limit=300s",
      "# flux: --queue=debug"])])
def test_a_job_for_another_batch_system_is_submitted_measures_and_resumes(
        collbench, tmp_path, launcher, program, text, words, directives):
    spool, out = tmp_path / "spool", tmp_path / "it's of; all"
    spool.mkdir()
    (spool / program).write_text(text)
    (spool / program).chmod(0o755)
    for _ in range(2):
        done = collbench("launch", "--launcher", launcher, "--ranks-per-node", 2, "--partition", "debug", "--transport",
                         "torch", "--time", 5, "--out", out, "--ops", "all_reduce", "--sizes", "64", "--case-seconds",
                         "0.01", SPOOL=str(spool), PATH=f"{spool}:{os.environ['PATH']}")
        log = (spool / "log").read_text()
        assert done.returncode == 0, done.stderr
        assert (spool / "status").read_text() == "0\n", log
        assert "collbench report" in log
    script = out / f"job.{launcher}"
    assert (spool / "submitted").read_text().splitlines() == [*(word.format(out=out) for word in words), str(script)]
    mark = directives[0].partition(" -")[0]
    assert [line for line in script.read_text().splitlines() if line.startswith(mark)] == directives
    _, records, warnings = read_journal(out / "journal.jsonl")
    assert warnings == []
    measured = Counter(record.case for record in records if record.status == "ok" and record.case.op != "noop")
    assert set(measured.values()) == {1}


def test_without_qsub_nothing_is_created(collbench, tmp_path):
    done = collbench("launch", "--launcher", "pbs", "--out", "r", PATH="/nowhere")
    assert done.returncode == 2
    assert "no qsub on the PATH" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_pbs_walks_the_rank_counts_and_stops_when_told(tmp_path):
    """With a stand-in for mpirun, which ends as the file `status` says; the third launch is told to stop."""
    mpirun = tmp_path / "mpi run"
    mpirun.write_text(FAKE_SRUN)
    mpirun.chmod(0o755)
    (tmp_path / "status").write_text("0\n1\n143 TERM\n")
    (tmp_path / "nodes").write_text("a\na\nb\nb\nc\nc\n")
    job = msgspec.structs.replace(PRESETS["hgx8"], curve=(2, 4, 6, 8))
    script = Pbs(Mpirun(str(mpirun), is_open_mpi=True)).script(job)
    done = subprocess.run(["bash", "-c", script, "job", "--ops", "all reduce"], cwd=tmp_path, text=True, check=False,
                          env={"PATH": "/usr/bin:/bin", "PBS_NODEFILE": str(tmp_path / "nodes"), "PBS_JOBNAME": "x"},
                          capture_output=True)
    calls = [line.split("\0")[:-1] for line in (tmp_path / "calls").read_text().splitlines()]
    assert done.returncode == 143, done.stderr
    assert [call[call.index("-n") + 1] for call in calls] == ["2", "4", "6"]
    assert [call[call.index("--group-ranks") + 1] for call in calls] == ["2", "4", "6"]
    assert all(call[:4] == ["-x", "PYTHONSAFEPATH", "-x", "MASTER_ADDR"] for call in calls)
    log, = logged(tmp_path)
    assert log[log.index("-n") + 1] == "8"
    assert {call[call.index("--library-log-from") + 1] for call in calls} == {log[log.index("--library-log-to") + 1]}
    assert all(call[call.index("--out") + 1] == "results/x" for call in calls)
    assert all(call[-2:] == ["--ops", "all reduce"] for call in calls)


@pytest.mark.parametrize(("words", "asked", "warned"), [
    (("--device", "cuda"), ["--gpus-per-node=4"], False), ((), [], True),
    (("--device", "npu", "--device-stride", 2), ["--gres=npu:8"], False),
    (("--device", "cpu"), [], False), (("--directive=--gres=gpu:4",), ["--gres=gpu:4"], False),
    (("--preset", "nvl72"), ["--gpus-per-node=4"], False)], ids=str)
def test_a_slurm_script_asks_for_the_devices_of_its_ranks(collbench, words, asked, warned):
    done = collbench("launch", "--launcher", "slurm", "--nodes", 2, "--ranks-per-node", 4, "--dry-run", *words)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^#SBATCH (--g\S+)$", done.stdout, re.MULTILINE) == asked
    assert ("asks Slurm for no devices" in done.stderr) == warned
