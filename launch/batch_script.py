"""The job script that batch systems other than Slurm share: what differs is how they start ranks, and a few names."""

import shlex
import signal
from abc import ABC, abstractmethod
from typing import NamedTuple

from .job import Job
from .script_lines import LIBRARY_LOG, LIBRARY_LOG_ENDED, LIBRARY_LOG_TOLD, WAIT_FOR_STEP, indented

__all__ = ["BatchLauncher", "BatchSystem"]

# Doubled braces are those of the shell.
_SCRIPT = """\
#!/bin/bash
{title}#
#   {submit:42} measure; results go to the directory `out` below
#
# If submitted again, or rerun after a failure, it resumes where it stopped.
{directives}

set -uo pipefail
cd "${{{directory}:-.}}" || exit 2

# -- adapt to your site: load modules here, and name a Python that has collbench on every node
python={python}
out={out}
transports={transports}
{settings}
ranks="{ranks}"
options=({options}){log_setting}
# --

export PYTHONSAFEPATH=1
{set_up}
stopped=
# Cancelled, or out of time: pass it on to the ranks.
trap 'stopped=1; {stop}' TERM

start() {{        # a number of ranks, and what each runs
{start}
}}

{log_start}worst=0
for transport in $transports; do
    for n in $ranks; do
        [[ -z $stopped ]] || exit 143         # stopped by a signal, everything saved
        start "$n" "$python" -m collbench.rank --transport "$transport" --expected-ranks "$n" {groups}\\
            --out "$out" --resume {told}"${{options[@]}}" "$@"
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
all=${{ranks##* }}
if [[ -n $library_log && $all -gt 1 ]]; then
    log="$out/library-log-${{{job}:-0}}"
    start "$all" "$python" -m collbench.rank --transport torch --expected-ranks "$all" \\
        --library-log-to "$log" --out "$out" "${{options[@]}}" "$@"
{wait}
{ended}
fi

"""


class BatchSystem(NamedTuple):
    """What differs between batch systems. Names are those of shell variables.

    Args:
        submit: how a script is submitted.
        mark: what a line of directives begins with.
        job, name, directory: variables with the job's number, its name, and the directory it was submitted from.
        all_ranks: an expression of the shell for the number of slots.
        settings: lines that a site may adapt.
        set_up: lines that run once, and export MASTER_ADDR.
        start: lines that start $1 ranks of the command in "${@:2}", in the background.
        stop: sends SIGUSR1 to these ranks, which then stop after the current case.
    """

    submit: str
    mark: str
    job: str
    name: str
    directory: str
    all_ranks: str
    settings: str
    set_up: str
    start: str
    stop: str = 'kill -USR1 "${step:-}" 2>/dev/null'


def _script(job: Job, system: BatchSystem, directives: list[str]) -> str:
    """The complete script; `Job` has checked that no directive needs quoting."""
    log = _LOG_START.format(job=system.job, wait=indented(WAIT_FOR_STEP, 4), ended=indented(LIBRARY_LOG_ENDED, 4))
    return _SCRIPT.format(
        title=job.heading, submit=system.submit, directives="\n".join(f"{system.mark} {word}" for word in directives),
        directory=system.directory, python=shlex.quote(job.python),
        out=f'"results/${system.name}"' if job.out_by_name else shlex.quote(str(job.out)),
        transports=shlex.quote(" ".join(job.transports)), settings=system.settings,
        ranks=" ".join(map(str, job.curve)) if job.curve else system.all_ranks, options=shlex.join(job.options()),
        log_setting=LIBRARY_LOG if job.logs_library else "", set_up=system.set_up, stop=system.stop,
        start=indented(system.start, 4),
        log_start=log if job.logs_library else "", groups='--group-ranks "$n" ' if job.curve else "",
        told=LIBRARY_LOG_TOLD if job.logs_library else "", wait=indented(WAIT_FOR_STEP, 8))


class BatchLauncher(ABC):
    """Renders a job script, and submits it once it lies in the results' directory; see `launchers.base`."""

    name: str
    script_name: str
    stop_signal = signal.SIGTERM
    hides_status = False
    only_here = False
    whole_lines = False
    containers = False

    @abstractmethod
    def command(self, job: Job) -> list[str]:
        """What submits the script; the log is kept beside it."""

    @abstractmethod
    def system(self, job: Job) -> BatchSystem:
        """Names, and how ranks start."""

    @abstractmethod
    def directives(self, job: Job) -> list[str]:
        """What the batch system is asked for, an option a line."""

    def script(self, job: Job) -> str:
        """The complete script."""
        return _script(job, self.system(job), self.directives(job))

    def path(self, job: Job) -> str:
        """Where the script lies, never without a slash: the programs would look for it elsewhere."""
        path = str(job.out / self.script_name)
        return path if path.startswith("/") else f"./{path}"
