"""Lines that job scripts share."""

__all__ = ["LIBRARY_LOG", "LIBRARY_LOG_ENDED", "LIBRARY_LOG_TOLD", "WAIT_FOR_STEP", "indented"]

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


def indented(text: str, spaces: int) -> str:
    """Lines of a script, moved to the right."""
    return "\n".join(" " * spaces + line if line else line for line in text.splitlines())
