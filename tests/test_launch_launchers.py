"""Launchers are pure: a job in, words out that a shell gives back unchanged, whatever is in them."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collbench.collectives.errors import UsageError
from collbench.collectives.records.journal import read_journal
from collbench.launch.job import Job, parse_time
from collbench.launch.launchers import LAUNCHERS
from collbench.launch.launchers.base import as_text
from collbench.launch.launchers.flux import Flux
from collbench.launch.launchers.local import Local
from collbench.launch.launchers.lsf import Lsf
from collbench.launch.launchers.mpirun import Mpirun, find_mpirun
from collbench.launch.launchers.pbs import Pbs
from collbench.launch.launchers.slurm import Slurm, slurm_time
from collbench.launch.launchers.srun import Srun
from collbench.launch.launchers.torchrun import Torchrun
from collbench.launch.supervise import run_job
from collbench.launch.workload import Workload

OPEN_MPI, HYDRA = Mpirun("/opt/a b/mpirun", is_open_mpi=True), Mpirun("mpiexec", is_open_mpi=False)
HOSTILE = ["a b", "it's", 'say "x"', "a;rm -rf b", "$HOME`id`$(id)", "new\nline", "-x", "*?[a]", "\\", "ü", "#", "%j",
           "a\n#SBATCH --nodes=99\n"]
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12) | st.sampled_from(HOSTILE)


def job_of(transport="torch", out="r", device="auto", **more):
    """A job that measures one operation with the default options."""
    config = Workload(ops=("all_reduce",), sizes=(1024,)).config(transport, Path(out), on_device=False, device=device)
    return Job(**{"config": msgspec.structs.replace(config, display="auto"), "ranks": 2, "draw_seed": True, **more})


@given(TEXT.filter(bool), TEXT.filter(bool))
def test_a_shell_gives_back_the_words(device, out):
    job = job_of(device=device, out=out)
    for launcher in (Local(), Torchrun(), OPEN_MPI, HYDRA, Srun("pmix")):
        command = launcher.command(job)
        assert command[-len(job.arguments()):] == job.arguments()
        assert shlex.split(launcher.script(job)) == ["PYTHONSAFEPATH=1", *command]


BATCH = (Slurm(), Pbs(HYDRA), Lsf(HYDRA), Flux())


@pytest.mark.parametrize("launcher", BATCH, ids=lambda launcher: launcher.name)
@pytest.mark.parametrize("word", HOSTILE)
def test_a_real_shell_gives_back_the_words_too(word, launcher, tmp_path):
    """bash itself, on the command of a launcher and on the options and the directory of a job script."""
    job = job_of(device=word, out=f"{word}/{word}", name="n", python="p q")
    echo = [sys.executable, "-c", "import sys; sys.stdout.write('\\0'.join(sys.argv[1:]))", *job.arguments()]
    shown = subprocess.run(["bash", "-c", as_text(echo)], capture_output=True, check=True).stdout
    assert shown.decode().split("\0") == job.arguments()
    script = launcher.script(job)
    variables = re.search(r"^python=.*?^# --$", script, re.MULTILINE | re.DOTALL)[0]
    program = f'{variables}\nprintf "%s\\0" "$python" "$out" "${{options[@]}}"\n'
    shown = subprocess.run(["bash", "-uc", program], capture_output=True, check=True, cwd=tmp_path,
                           env={**os.environ, "SLURM_JOB_NUM_NODES": "1", "PBS_NODEFILE": "/dev/null"}).stdout
    assert shown.decode().split("\0")[:-1] == ["p q", str(job.out), *job.options()]
    directives = [line for line in script.partition("\nset -uo")[0].splitlines() if line.startswith("#SBATCH")]
    assert ("#SBATCH --nodes=1" in directives) == (launcher.name == "slurm")
    assert not any("99" in line for line in directives)


@pytest.mark.parametrize("change", [
    dict(name=word) for word in HOSTILE] + [
    dict(partition="a b"), dict(account="a\nb"), dict(hosts=("h;i",)), dict(hosts=("-oProxyCommand=x",)),
    dict(hosts=("h1", "h2")), dict(directives=("--comment=a b",)), dict(directives=("nodes=9",)),
    dict(directives=("--x=1\n#SBATCH --y",)), dict(ranks=0), dict(nodes=0), dict(nodes=2, ranks=3), dict(nodes=-1),
    dict(curve=(1, 3)), dict(curve=(0,)), dict(time_limit_s=0.0), dict(time_limit_s=float("nan")),
    dict(device="a\0b"), dict(out="a\0b"), dict(title="a\nb")], ids=str)
def test_a_job_that_cannot_be_is_refused_in_one_line(change):
    with pytest.raises(UsageError) as raised:
        job_of(**change)
    assert "\n" not in str(raised.value)


SPREAD = job_of("mpi", ranks=8, nodes=2, hosts=("h1", "h2"), python="py")
WORDS = "--ops all_reduce --sizes 1K --expected-ranks 8"


def test_several_hosts_are_reached_as_each_launcher_wants_it():
    torch = job_of(ranks=8, nodes=2, hosts=("h1", "h2"), python="py")
    assert shlex.join(Torchrun().command(torch)) == (
        "py -m torch.distributed.run --nnodes 2 --rdzv-backend c10d --rdzv-endpoint h1:29400 --rdzv-id collbench "
        f"--nproc-per-node 4 -m collbench.rank {WORDS} --transport torch --out r")
    assert Torchrun().script(torch).startswith("# on each of: h1 h2\n")
    assert shlex.join(OPEN_MPI.command(SPREAD)) == (
        "'/opt/a b/mpirun' --host h1:4,h2:4 --map-by ppr:4:node -x PYTHONSAFEPATH=1 -x MASTER_ADDR=h1 -n 8 "
        f"py -m collbench.rank {WORDS} --transport mpi --out r")
    assert shlex.join(HYDRA.command(SPREAD)) == (
        "mpiexec -hosts h1,h2 -ppn 4 -genv PYTHONSAFEPATH 1 -genv MASTER_ADDR h1 -n 8 "
        f"py -m collbench.rank {WORDS} --transport mpi --out r")
    for cores, asked in ((4, ["-bind-to", "core"]), (3, ["-hosts", "h1,h2"])):
        assert Mpirun("mpiexec", is_open_mpi=False, cores=cores, binds=True).command(SPREAD)[1:3] == asked
    assert Srun("pmix").command(SPREAD)[:7] == ["srun", "--nodes=2", "--ntasks=8", "--ntasks-per-node=4",
                                                "--nodelist=h1,h2", "--mpi=pmix", "--kill-on-bad-exit=1"]
    crowded = Mpirun("mpirun", is_open_mpi=True, is_root=True, cores=2)
    assert shlex.join(crowded.command(SPREAD)).startswith(
        "mpirun --allow-run-as-root --host h1:4,h2:4 --map-by ppr:4:node:OVERSUBSCRIBE --bind-to none ")


@pytest.mark.parametrize(("launcher", "job", "said"), [
    (Local(), SPREAD, "this host only"), (Torchrun(), SPREAD, "cannot start MPI ranks"), (Srun(None), SPREAD, "pmi2"),
    (Local(), job_of("mpi"), "cannot start MPI ranks"),
    (Torchrun(), job_of(nodes=2), "--hosts"), (Pbs(HYDRA), job_of(out="h:r"), "colon")])
def test_what_a_launcher_cannot_start_is_said(launcher, job, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        launcher.command(job)


@pytest.mark.parametrize(("text", "seconds"), [("90", 5400), ("5:30", 330), ("1:30:00", 5400), ("2-12", 216000),
                                               ("2-12:30", 217800), ("1-00:00:01", 86401)])
def test_times_are_read_as_slurm_reads_them(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1", "0", "1:2:3:4", "1.5", "1-"])
def test_a_time_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="time"):
        parse_time(text)


@given(st.integers(1, 10**7))
def test_a_time_for_slurm_is_never_shorter(seconds):
    assert 0 <= parse_time(slurm_time(seconds)) - seconds < 60


@pytest.mark.parametrize("name", sorted({*LAUNCHERS} - {"jobset", "mpijob", "pytorchjob", "trainjob"}))
def test_a_dry_run_shows_and_starts_nothing(collbench, tmp_path, name):
    """What is missing on this machine is said; everything else is shown."""
    done = collbench("launch", "--launcher", name, "--dry-run", "--ops", "all_reduce", "--sizes", "1K,4K", "--out",
                     "it's here")
    if done.returncode:
        assert done.returncode == 2
        assert re.search(r"no (srun|mpirun)", done.stderr)
    else:
        assert shlex.quote("it's here") in done.stdout
        assert "--ops all_reduce --sizes 1K,4K" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [
    ("--launcher", "pigeon"), (), ("--launcher", "local", "--nodes", 2), ("--launcher", "torchrun", "--nodes", 2),
    ("--launcher", "torchrun", "--transport", "mpi"), ("--launcher", "local", "--time", "soon"),
    ("--launcher", "slurm", "--partition", "a b"), ("--launcher", "slurm", "--preset", "nvl73"),
    ("--launcher", "local", "--ops", "all_redcue"), ("--launcher", "local", "--transport", "torch", "--persistent"),
    ("--launcher", "mpirun", "--nodes", 2, "--hosts", "a")])
def test_a_mistake_is_said_and_nothing_is_started(collbench, tmp_path, words):
    done = collbench("launch", *words)
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    assert list(tmp_path.iterdir()) == []


class UnknownLauncher(Local):
    """Starts the processes, and tells them nothing."""

    def command(self, job):
        start = f'for rank in {{1..{job.ranks}}}; do "$@" & done; wait -n'
        return ["bash", "-c", start, "-", job.python, "-m", "collbench.rank", *job.arguments()]


@pytest.mark.ranks
@pytest.mark.needs("torch", "mpi")
@pytest.mark.parametrize("transport", ["torch", "mpi"])
def test_ranks_that_do_not_find_each_other_are_noticed(tmp_path, capfd, transport):
    assert run_job(UnknownLauncher(), job_of(transport, tmp_path / "r", python=sys.executable)) == 2
    said = capfd.readouterr().err
    assert "2 ranks are expected, but this process finds 1: its launcher sets no variables" in said
    assert not (tmp_path / "r").exists()


TRANSPORTS = {"local": "torch", "torchrun": "torch", "mpirun": "mpi"}


@pytest.fixture
def started(tmp_path, temporary):
    """Start a job that measures for long, its temporary files apart; returned once it has measured."""
    def start(name):
        words = ("--transport", TRANSPORTS[name], "--ranks-per-node", "2", "--ops", "all_reduce,broadcast",
                 "--case-seconds", "0.1", "--precision", "0", "--out", tmp_path / "it's")
        job = subprocess.Popen([Path(sys.executable).parent / "collbench", "launch", "--launcher", name, *words],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env={**os.environ, "TMPDIR": str(temporary)})
        journal = tmp_path / "it's" / "journal.jsonl"
        deadline = time.monotonic() + 120
        while not (journal.exists() and journal.read_text().count('"status":"ok"') > 2):
            if job.poll() is not None or time.monotonic() > deadline:
                job.terminate()
                pytest.fail(f"nothing measured: {job.communicate(timeout=240)[0]}")
            time.sleep(0.05)
        return job, journal
    return start


@pytest.mark.ranks
@pytest.mark.needs("torch", "mpi")
@pytest.mark.parametrize("name", TRANSPORTS)
def test_it_measures_and_ends_in_order_when_told(started, name):
    """Through each launcher: told to stop, everything measured is in the journal, and the status says so."""
    job, journal = started(name)
    job.terminate()
    output, _ = job.communicate(timeout=240)
    assert job.returncode == 128 + signal.SIGTERM, output
    assert "the run was stopped" in output
    runs, records, warnings = read_journal(journal)
    assert warnings == []
    assert sum(record.status == "ok" for record in records) > 2
    launch = next(iter(runs.values())).provenance["launch"]
    mpi = "Open MPI" if find_mpirun().is_open_mpi else "MPICH"
    assert launch["launcher"] == {"local": "collbench", "torchrun": "torchrun", "mpirun": mpi}[name]
    assert launch["ranks_per_node"] == [2]


@pytest.mark.ranks
@pytest.mark.needs("mpi")
def test_a_killed_launcher_leaves_no_files(started, temporary):
    """Not those of mpirun, nor the memory that its ranks shared, nor those of a `collbench` that was killed before."""
    abandoned = temporary / "collbench-job-1"
    abandoned.mkdir()
    os.utime(abandoned, (0, 0))
    job, journal = started("mpirun")
    assert not abandoned.exists()
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    output, _ = job.communicate(timeout=240)
    assert job.returncode not in (0, 2), output
    assert read_journal(journal)[2] == []


@pytest.mark.ranks
@pytest.mark.needs("mpi")
def test_too_little_shared_memory_is_said_before_the_start(tmp_path):
    """In a mount namespace of its own whose /dev/shm has no room for two ranks."""
    if subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("SKIPPED: mount namespaces need root and unshare")
    command = [Path(sys.executable).parent / "collbench", "launch", "--launcher", "mpirun", "--transport", "mpi",
               "--ranks-per-node", "2", "--ops", "noop", "--case-seconds", "0.01", "--out", tmp_path / "r"]
    done = subprocess.run(["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=12m tmpfs /dev/shm && exec "
                           + shlex.join(map(str, command))], capture_output=True, text=True, timeout=240, check=False)
    assert "/dev/shm has 12 MiB free, and 2 ranks need up to 32 MiB" in done.stderr.splitlines()[0]
    assert read_journal(tmp_path / "r" / "journal.jsonl")[1][0].status == "ok"
