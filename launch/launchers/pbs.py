"""PBS (OpenPBS, PBS Professional): a job script that people can read and edit, and the command that submits it.

Within the job, mpirun starts the ranks of either transport on the hosts in $PBS_NODEFILE.
"""

import shlex
import signal

from collbench.collectives.errors import UsageError

from ..job import Job
from .base import LIBRARY_LOG, LIBRARY_LOG_ENDED, LIBRARY_LOG_TOLD, WAIT_FOR_STEP, indented
from .mpirun import Mpirun, find_mpirun

__all__ = ["FACTORY", "TITLE", "Pbs", "find_pbs"]

TITLE = "submits a job script with qsub"

# Doubled braces are those of the shell.
_SCRIPT = """\
#!/bin/bash
{title}#
#   qsub SCRIPT                                measure; results go to the directory `out` below
#
# If submitted again, or rerun after a failure, it resumes where it stopped.
{directives}

set -uo pipefail
cd "${{PBS_O_WORKDIR:-.}}" || exit 2

# -- adapt to your site: load modules here, and name a Python that has collbench on every node
python={python}
out={out}
transports={transports}
mpirun=({mpirun})
ranks="{ranks}"
options=({options}){log_setting}
# --

export PYTHONSAFEPATH=1
MASTER_ADDR=$(head -n 1 "$PBS_NODEFILE")
export MASTER_ADDR
hosts=$(mktemp) || exit 2
trap 'rm -f "$hosts"' EXIT
stopped=
trap 'stopped=1; kill -USR1 "${{step:-}}" 2>/dev/null' TERM       # qdel or the time limit; pass it on to the ranks

{log_start}worst=0
for transport in $transports; do
    for n in $ranks; do
        [[ -z $stopped ]] || exit 143         # stopped by a signal, everything saved
        head -n "$n" "$PBS_NODEFILE" > "$hosts"
        "${{mpirun[@]}}" -machinefile "$hosts" -n "$n" \\
            "$python" -m collbench.rank --transport "$transport" --expected-ranks "$n" {groups}\\
            --out "$out" --resume {told}"${{options[@]}}" "$@" &
{wait}
        case $status in
            0) ;;
            1) worst=1 ;;       # a wrong result or a failed case; the journal names it
            *) exit "$status" ;;
        esac
    done
done

[[ $worst == 0 ]] && echo "collbench: measured; next: collbench report $out"
exit "$worst"
"""
_LOG_START = """\
told=()
all=${ranks##* }
if [[ -n $library_log && $all -gt 1 ]]; then
    log="$out/library-log-${PBS_JOBID:-0}"
    head -n "$all" "$PBS_NODEFILE" > "$hosts"
    "${mpirun[@]}" -machinefile "$hosts" -n "$all" \\
        "$python" -m collbench.rank --transport torch --expected-ranks "$all" \\
        --library-log-to "$log" --out "$out" "${options[@]}" "$@" &
WAIT
ENDED
fi

""".replace("WAIT", indented(WAIT_FOR_STEP, 4)).replace("ENDED", indented(LIBRARY_LOG_ENDED, 4))


class Pbs:
    """Renders a job script, and submits it once it lies in the results' directory."""

    name = "pbs"
    stop_signal = signal.SIGTERM
    hides_status = False
    only_here = False
    whole_lines = False
    containers = False
    script_name = "job.pbs"

    def __init__(self, mpirun: Mpirun) -> None:
        """`mpirun` starts the ranks on the nodes."""
        self.mpirun = mpirun

    def command(self, job: Job) -> list[str]:
        """What submits the script; the log is kept beside it."""
        if ":" in str(job.out):
            raise UsageError(f"--out {job.out}: qsub takes what precedes a colon for a host")
        path = str(job.out / self.script_name)
        return ["qsub", "-o", f"{job.out}/", path if path.startswith("/") else f"./{path}"]

    def script(self, job: Job) -> str:
        """The complete script."""
        return _SCRIPT.format(
            wait=indented(WAIT_FOR_STEP, 8), told=LIBRARY_LOG_TOLD if job.logs_library else "",
            log_setting=LIBRARY_LOG if job.logs_library else "", log_start=_LOG_START if job.logs_library else "",
            title=job.heading,
            directives="\n".join(f"#PBS {word}" for word in self._directives(job)),
            python=shlex.quote(job.python),
            out='"results/$PBS_JOBNAME"' if job.out_by_name else shlex.quote(str(job.out)),
            transports=shlex.quote(" ".join(job.transports)), mpirun=shlex.join(self._mpirun()),
            ranks=" ".join(map(str, job.curve)) if job.curve else '$(wc -l < "$PBS_NODEFILE")',
            options=shlex.join(job.options()), groups='--group-ranks "$n" ' if job.curve else "")

    def _directives(self, job: Job) -> list[str]:
        """The #PBS lines; `Job` has checked that none needs quoting."""
        each = job.ranks_per_node
        time = [] if job.time_limit_s is None else [f"-l walltime={_clock(job.time_limit_s)}"]
        named = (("q", job.partition), ("A", job.account))
        return [f"-N {job.name}", f"-l select={job.nodes}:ncpus={each}:mpiprocs={each}", *time,
                *(f"-{option} {value}" for option, value in named if value), *job.directives, "-j oe", "-r y"]

    def _mpirun(self) -> list[str]:
        """Open MPI passes variables to other hosts only on request, MPICH always."""
        if not self.mpirun.is_open_mpi:
            return [self.mpirun.path]
        root = ["--allow-run-as-root"] if self.mpirun.is_root else []
        return [self.mpirun.path, *root, "-x", "PYTHONSAFEPATH", "-x", "MASTER_ADDR"]


def find_pbs() -> Pbs:
    """With the mpirun of this host. UsageError if there is none."""
    return Pbs(find_mpirun())


def _clock(seconds: float) -> str:
    """HH:MM:SS."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"


FACTORY = find_pbs
