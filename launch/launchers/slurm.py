"""Slurm: a job script that a person can read and edit, and the command that submits it."""

import shlex
import signal
from pathlib import Path

from collbench.collectives.errors import UsageError

from ..job import Job
from .srun import mpi_protocol

__all__ = ["Slurm", "find_slurm", "slurm_time"]

_WARNING_S = 120        # how long before the time limit the ranks are told to stop: several of the longest cases

# Doubled braces are the shell's.
_SCRIPT = """\
#!/bin/bash
{title}#
#   sbatch SCRIPT                              measure; results in the directory that is named below
{renamed}#   sbatch SCRIPT --ops all_reduce -e 4M       what follows the script goes to the ranks, and wins
{array}#
# Submitted again, or requeued after a preemption, it goes on where the last one stopped. Before its time limit the
# ranks are told, end at the next case with everything saved, and the job requeues itself.
{directives}

set -uo pipefail

# -- what you may want to change: load modules here, and name the Python that has collbench, on every node
python={python}
out={out}
transports={transports}
per_node="${{SLURM_NTASKS_PER_NODE:-{per_node}}}"
ranks="{ranks}"
mpi={mpi}        # how ranks of MPI find each other: srun --mpi=list; pmix for Open MPI, pmi2 for MPICH
restarts=5      # how often the job may requeue itself
options=({options})
# --

export PYTHONSAFEPATH=1
late=
told=
trap 'late=1; kill -USR1 "${{step:-}}" 2>/dev/null' USR1  # Slurm warns of the time limit; the ranks are told
trap 'told=1' TERM      # scancel and preemption: Slurm tells the ranks as well, and this shell waits for them

end() {{                  # status 143 is: told to stop, everything saved
    if [[ -n $late && -z $told && ${{SLURM_RESTART_COUNT:-0}} -lt $restarts ]]; then
        echo "collbench: out of time; what was measured is in $out; the job goes on as soon as it can"
        scontrol requeue "$SLURM_JOB_ID"
    fi
    exit "$1"
}}

worst=0
for transport in $transports; do
    [[ $transport == mpi ]] && start=$mpi || start=none
{loop}
done

[[ $worst == 0 ]] && echo "collbench: measured; next: collbench report $out"
exit "$worst"
"""
_SRUN = """\
[[ -z $late$told ]] || end 143
srun --nodes={nodes} --ntasks={ntasks} --ntasks-per-node={each} \\
    --mpi="$start" --kill-on-bad-exit=1 \\
    "$python" -m collbench.rank --transport "$transport" {groups}--out "$out" --resume "${{options[@]}}" "$@" &
step=$!
while kill -0 "$step" 2>/dev/null; do wait "$step"; done     # a signal ends a wait, not the step
wait "$step"
status=$?
case $status in
    0) ;;
    1) worst=1          # a result was wrong or a case failed; the journal says which
       [[ -z $late$told ]] || end 1 ;;
    *) end "$status" ;;
esac"""
_WALK = """\
for n in $ranks; do
    nodes=$(((n + per_node - 1) / per_node))
{srun}
done"""
_RENAMED = "#   sbatch --job-name=second SCRIPT            the same, in a directory of that name\n"
_ARRAY = '#   {command:43}each rank count as a job of its own, one after another\n'


class Slurm:
    """Renders a job script; submits one that lies in the results' directory."""

    name = "slurm"
    stop_signal = signal.SIGTERM
    hides_status = False

    def __init__(self, mpi: str = "pmix") -> None:
        """`mpi` is how ranks of MPI find each other, of what `srun --mpi=list` names."""
        self.mpi = mpi

    def command(self, job: Job) -> list[str]:
        """What submits the script, once it has been written to `script_path(job)`."""
        if job.out is None:
            raise UsageError("a Slurm job needs --out: its script, its log and its results are kept there")
        path = str(self.script_path(job))
        return ["sbatch", f"--output={_log(job.out)}", path if path.startswith("/") else f"./{path}"]

    @staticmethod
    def script_path(job: Job) -> Path:
        """Where the script of a job is kept."""
        return (job.out or Path(".")) / "job.sbatch"

    def script(self, job: Job) -> str:
        """The whole script."""
        quoted = " ".join(shlex.quote(word) for word in job.arguments)
        counts = " ".join(map(str, job.curve))
        array = f"sbatch --array={','.join(map(str, job.curve))}%1 SCRIPT"
        return _SCRIPT.format(
            title=f"# {job.title}\n" if job.title else "",
            renamed=_RENAMED if job.out is None else "",
            array=_ARRAY.format(command=array) if job.curve else "",
            directives="\n".join(f"#SBATCH {word}" for word in self._directives(job)),
            python=shlex.quote(job.python),
            out='"results/$SLURM_JOB_NAME"' if job.out is None else shlex.quote(str(job.out)),
            transports=shlex.quote(" ".join(job.transports or ("torch",))),
            ranks=f"${{SLURM_ARRAY_TASK_ID:-{counts}}}" if job.curve else
            "${SLURM_NTASKS:-$((SLURM_JOB_NUM_NODES * per_node))}",
            per_node=job.ranks_per_node, mpi=self.mpi, options=quoted, loop=self._loop(job))

    def _directives(self, job: Job) -> list[str]:
        """What Slurm reads of a script; no part of it needs quoting, `Job` sees to that."""
        time = [] if job.time_limit_s is None else [f"--time={slurm_time(job.time_limit_s)}"]
        named = (("partition", job.partition), ("account", job.account))
        place = [f"--{name}={value}" for name, value in named if value]
        return [f"--job-name={job.name}", f"--nodes={job.nodes}", f"--ntasks-per-node={job.ranks_per_node}",
                *time, *place, *job.directives, "--output=%x-%j.log", "--open-mode=append", "--requeue",
                f"--signal=B:USR1@{_WARNING_S}"]

    @staticmethod
    def _loop(job: Job) -> str:
        if not job.curve:
            return _indent(_SRUN.format(nodes='"$SLURM_JOB_NUM_NODES"', ntasks='"$ranks"', each='"$per_node"',
                                        groups=""), 4)
        srun = _SRUN.format(nodes='"$nodes"', ntasks='"$n"', each="$((n < per_node ? n : per_node))",
                            groups='--group-ranks "$n" ')
        return _indent(_WALK.format(srun=_indent(srun, 4)), 4)


def find_slurm() -> Slurm:
    """For the MPI that is beside this Python."""
    return Slurm(mpi_protocol())


def slurm_time(seconds: float) -> str:
    """As Slurm writes it; never less than asked for, and whole minutes, which is what Slurm counts in."""
    minutes = max(1, -(-int(seconds) // 60))
    days, minutes = divmod(minutes, 24 * 60)
    return f"{f'{days}-' if days else ''}{minutes // 60:02d}:{minutes % 60:02d}:00"


def _log(out: Path) -> str:
    """Slurm replaces % in the name of a log."""
    return f"{str(out).replace('%', '%%')}/job-%j.log"


def _indent(text: str, spaces: int) -> str:
    return "\n".join(" " * spaces + line if line else line for line in text.splitlines())

