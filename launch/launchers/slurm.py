"""Slurm: a job script that people can read and edit, and the command that submits it."""

import shlex
import signal
from pathlib import Path

from collbench.collectives.transport_names import TRANSPORTS

from ..job import Job
from ..script_lines import LIBRARY_LOG, LIBRARY_LOG_ENDED, LIBRARY_LOG_TOLD, WAIT_FOR_STEP, indented
from .srun import IMEX_CHANNELS, mpi_protocol

__all__ = ["FACTORY", "TITLE", "Slurm", "find_slurm", "slurm_time"]

TITLE = "submits a job script with sbatch"

_WARNING_S = 120        # signal the ranks this long before the time limit: enough for several of the longest cases

# Doubled braces are those of the shell.
_SCRIPT = """\
#!/bin/bash
{title}#
#   sbatch SCRIPT                              measure; results go to the directory `out` below
{renamed}#   sbatch SCRIPT --ops all_reduce -e 4M       options after the script go to the ranks and take precedence
{array}#
# If submitted again, or requeued after a preemption, it resumes where it stopped. Shortly before the time limit the
# ranks stop after the current case, with everything saved, and the job requeues itself.
{directives}

set -uo pipefail

# -- adapt to your site: load modules here, and name a Python that has collbench on every node
python={python}
out={out}
transports={transports}
per_node="${{SLURM_NTASKS_PER_NODE:-{per_node}}}"
ranks="{ranks}"
mpi={mpi}        # the PMI for MPI ranks, see srun --mpi=list: pmix for Open MPI, pmi2 for MPICH
restarts=5      # how often the job may requeue itself
options=({options}){log_setting}
# to run in a container, through Pyxis: its image, as srun --container-image takes it (`python` is then the one inside),
# and what else of the host it is to see, SRC:DST[:FLAGS],... (this directory and `out` it sees anyway)
container={container}
mounts={mounts}
# --

export PYTHONSAFEPATH=1
late=
cancelled=
trap 'late=1; kill -USR1 "${{step:-}}" 2>/dev/null' USR1  # Slurm warns of the time limit; pass it on to the ranks
trap 'cancelled=1' TERM # scancel or preemption: Slurm signals the ranks as well, and this shell waits for them

end() {{                  # status 143: stopped by a signal, everything saved
    if [[ -n $late && -z $cancelled && ${{SLURM_RESTART_COUNT:-0}} -lt $restarts ]]; then
        echo "collbench: out of time; results so far are in $out; the job is requeued and will resume"
        scontrol requeue "$SLURM_JOB_ID"
    fi
    exit "$1"
}}

inside=()
if [[ -n $container ]]; then
    if [[ $(srun --help 2>&1) != *--container-image* ]]; then
        echo "collbench: container=$container, but this srun has no --container-image: it needs the plugin Pyxis" >&2
        exit 2
    fi
    mkdir -p "$out" && results=$(realpath -- "$out") || exit 2
    seen="$PWD:$PWD"
    [[ $results/ == "$PWD"/* ]] || seen+=",$results:$results"
    # NVL72: with ENROOT_RESTRICT_DEV=yes the container has no IMEX channels, and NVLink then ends at the host
    [[ ! -e {imex} ]] || seen+=",{imex}:{imex}"
    inside=(--container-image="$container" --container-mounts="$seen${{mounts:+,$mounts}}" --container-workdir="$PWD"
            --no-container-mount-home)
fi

{log_start}worst=0
for transport in $transports; do
    case $transport in {mpi_transports}) start=$mpi ;; *) start=none ;; esac
{loop}
done

[[ $worst == 0 ]] && echo "collbench: measured; next: collbench report $out"
exit "$worst"
"""
_SRUN = """\
[[ -z $late$cancelled ]] || end 143
srun --nodes={nodes} --ntasks={ntasks} --ntasks-per-node={each} \\
    --mpi="$start" --kill-on-bad-exit=1 ${{inside[@]+"${{inside[@]}}"}} \\
    "$python" -m collbench.rank --transport "$transport" --expected-ranks {ntasks} {groups}\\
    --out "$out" --resume {told}"${{options[@]}}" "$@" &
{wait}
case $status in
    0) ;;
    1) worst=1          # a wrong result or a failed case; the journal names it
       [[ -z $late$cancelled ]] || end 1 ;;
    *) end "$status" ;;
esac"""
_LOG_START = """\
told=()
all=${ranks##* }
if [[ -n $library_log && $all -gt 1 ]]; then
    log="$out/library-log-$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}"
    srun --nodes=$(((all + per_node - 1) / per_node)) --ntasks="$all" --time=5 \\
        --ntasks-per-node=$((all < per_node ? all : per_node)) \\
        --mpi=none --kill-on-bad-exit=1 ${inside[@]+"${inside[@]}"} \\
        "$python" -m collbench.rank --transport torch --expected-ranks "$all" \\
        --library-log-to "$log" --out "$out" "${options[@]}" "$@" &
WAIT
ENDED
fi

""".replace("WAIT", indented(WAIT_FOR_STEP, 4)).replace("ENDED", indented(LIBRARY_LOG_ENDED, 4))
_WALK = """\
for n in $ranks; do
    nodes=$(((n + per_node - 1) / per_node))
{srun}
done"""
_RENAMED = "#   sbatch --job-name=second SCRIPT            the same, in results/second\n"
_ARRAY = '#   {command:42} one job per rank count, one after another\n'


class Slurm:
    """Renders a job script, and submits it once it lies in the results' directory."""

    name = "slurm"
    stop_signal = signal.SIGTERM
    hides_status = False
    only_here = False
    whole_lines = False
    containers = True
    script_name = "job.sbatch"

    def __init__(self, mpi: str = "pmix") -> None:
        """`mpi` is the PMI for MPI ranks, one of `srun --mpi=list`."""
        self.mpi = mpi

    def command(self, job: Job) -> list[str]:
        """What submits the script."""
        path = str(job.out / self.script_name)
        return ["sbatch", f"--output={_log(job.out)}", path if path.startswith("/") else f"./{path}"]

    def script(self, job: Job) -> str:
        """The complete script."""
        quoted = " ".join(shlex.quote(word) for word in job.options())
        counts = " ".join(map(str, job.curve))
        array = f"sbatch --array={','.join(map(str, job.curve))}%1 SCRIPT"
        return _SCRIPT.format(
            title=job.heading,
            renamed=_RENAMED if job.out_by_name else "",
            array=_ARRAY.format(command=array) if job.curve else "",
            directives="\n".join(f"#SBATCH {word}" for word in self._directives(job)),
            python=shlex.quote(job.python),
            out='"results/$SLURM_JOB_NAME"' if job.out_by_name else shlex.quote(str(job.out)),
            transports=shlex.quote(" ".join(job.transports)),
            mpi_transports="|".join(row.name for row in TRANSPORTS.values() if row.mpi_ranks),
            ranks=f"${{SLURM_ARRAY_TASK_ID:-{counts}}}" if job.curve else
            "${SLURM_NTASKS:-$((SLURM_JOB_NUM_NODES * per_node))}",
            per_node=job.ranks_per_node, mpi=self.mpi, options=quoted, loop=self._loop(job), imex=IMEX_CHANNELS,
            log_setting=LIBRARY_LOG if job.logs_library else "", log_start=_LOG_START if job.logs_library else "",
            container=shlex.quote(job.container) if job.container else "",
            mounts=shlex.quote(job.container_mounts) if job.container_mounts else "")

    def _directives(self, job: Job) -> list[str]:
        """The #SBATCH lines; `Job` has checked that none needs quoting."""
        time = [] if job.time_limit_s is None else [f"--time={slurm_time(job.time_limit_s)}"]
        named = (("partition", job.partition), ("account", job.account))
        place = [f"--{name}={value}" for name, value in named if value]
        return [f"--job-name={job.name}", f"--nodes={job.nodes}", f"--ntasks-per-node={job.ranks_per_node}",
                *time, *place, *job.directives, "--output=%x-%j.log", "--open-mode=append", "--requeue",
                f"--signal=B:USR1@{_WARNING_S}"]

    @staticmethod
    def _loop(job: Job) -> str:
        told = f"\\\n    {LIBRARY_LOG_TOLD}" if job.logs_library else ""
        if not job.curve:
            return indented(_SRUN.format(wait=WAIT_FOR_STEP, nodes='"$SLURM_JOB_NUM_NODES"', ntasks='"$ranks"',
                                         each='"$per_node"', groups="", told=told), 4)
        srun = _SRUN.format(wait=WAIT_FOR_STEP, told=told, nodes='"$nodes"', ntasks='"$n"',
                            each="$((n < per_node ? n : per_node))", groups='--group-ranks "$n" ')
        return indented(_WALK.format(srun=indented(srun, 4)), 4)


def find_slurm() -> Slurm:
    """For the MPI of this Python."""
    return Slurm(mpi_protocol())


def slurm_time(seconds: float) -> str:
    """In the notation of Slurm, rounded up to whole minutes, which is its resolution."""
    minutes = max(1, -(-int(seconds) // 60))
    days, minutes = divmod(minutes, 24 * 60)
    return f"{f'{days}-' if days else ''}{minutes // 60:02d}:{minutes % 60:02d}:00"


def _log(out: Path) -> str:
    """The log beside the script; a literal % is doubled, since Slurm substitutes patterns."""
    return f"{str(out).replace('%', '%%')}/job-%j.log"


FACTORY = find_slurm
