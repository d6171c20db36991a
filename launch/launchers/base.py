"""The protocol that every launcher follows."""

import shlex
import signal
from typing import Protocol

from ..job import Job

__all__ = ["LIBRARY_LOG", "LIBRARY_LOG_ENDED", "LIBRARY_LOG_TOLD", "WAIT_FOR_STEP", "Launcher", "as_text", "indented"]

# Lines of a job script: wait for the ranks that were started in the background, whatever signals arrive.
WAIT_FOR_STEP = """\
step=$!
while kill -0 "$step" 2>/dev/null; do wait "$step"; done     # a signal interrupts `wait`, not the step
wait "$step"
status=$?"""

# Of a start for the log of the communication library: the setting, what follows its end, what the ranks are told then.
LIBRARY_LOG = """
library_log=yes     # first start the ranks for a moment with the communication library's own log: the data path"""
LIBRARY_LOG_ENDED = """\
if [[ $status == 0 ]]; then
    told=(--library-log-from "$log")
else
    echo "collbench: warning: the start for the library's log ended with status $status: its output is in $log"
fi"""
LIBRARY_LOG_TOLD = '${told[@]+"${told[@]}"} '


class Launcher(Protocol):
    """Pure functions from a job to a command, or to a script.

    Attributes:
        name: value of `--launcher`.
        stop_signal: the started process passes it on to every rank, and ranks then stop in order.
        hides_status: it ends with a status of its own, whatever that of the ranks was.
        only_here: it starts ranks on this host and nowhere else, so that they can read files of this host.
        whole_lines: it passes on the output of ranks line by line, so that a progress bar would not show.
        containers: it can start ranks in a container.
    """

    name: str
    stop_signal: signal.Signals
    hides_status: bool
    only_here: bool
    whole_lines: bool
    containers: bool

    @property
    def script_name(self) -> str | None:
        """For a batch system, the file in the results' directory that `command` submits, once it has been written.

        None for a launcher that starts the ranks itself.
        """

    def command(self, job: Job) -> list[str]:
        """The program and its arguments. UsageError if this launcher cannot start such a job."""

    def script(self, job: Job) -> str:
        """What a person can paste or submit: the command as a line for a shell, or a complete script."""


def as_text(command: list[str]) -> str:
    """One line for a shell, with what `run_job` adds to the environment."""
    return f"PYTHONSAFEPATH=1 {shlex.join(command)}\n"


def indented(text: str, spaces: int) -> str:
    """Lines of a script, moved to the right."""
    return "\n".join(" " * spaces + line if line else line for line in text.splitlines())
