"""Debug output of NCCL and RCCL around the rows of a table: which of it is not worth a closer look.

A long log consists of little else, and hardly any of it says something about a table.
"""

import re

__all__ = ["TELLING", "TUNED", "without_idle_output"]

# Words of the lines that say something about a table: choices for a call, and settings, versions, commands, failures.
_CALL_WORD = "Algo "
_OTHER_WORDS = ("ALGO", "PROTO", "_perf", " version", "rror", "ailure", "launch failed", "Blocking")
TELLING = (_CALL_WORD, *_OTHER_WORDS)
TUNED = re.compile(r"NCCL INFO (?:\w+: )?(\d{1,18}) Bytes -> Algo (\w+) proto (\w+)")

# Groups: the prefix of Open MPI or srun, and the host.
_LINE = re.compile(r"(\[[^\[\]\s]{1,64},\d{1,7}\]<std(?:out|err)>: ?|\s{0,9}\d{1,7}: |)([A-Za-z\d][\w.-]{0,127})"
                   r":\d{1,10}:\d{1,10} \[\d+\] (?=NCCL INFO )")
_CALL = re.compile(TUNED.pattern + r" (?:channel\{Lo\.\.Hi\}=\{\d+\.\.\d+\}|time [\d.]+)\s*$")
# In a row or an object that a tool printed on the same line, behind the output.
_GLUED = (" float", " half", " double", "int8", "int32", "int64", " fp", "bf16", '{"')
_KEPT = (*_OTHER_WORDS, *_GLUED)
_MOST_HOSTS = 4096


def without_idle_output(lines: list[str]) -> list[str]:
    """`lines` with debug output blank that says nothing about a table, or only repeats what it said since the last row.

    The first line of each host and task stays, because a host's name may stick to a cell elsewhere.
    """
    take = _Output().take
    return [take(line) for line in lines]


class _Output:
    """What the lines so far have said."""

    def __init__(self) -> None:
        self._sources: set[tuple[str, str]] = set()                 # task and host
        self._hosts: dict[str, bool] = {}                           # whether the name can be nothing but a host
        self._choices: dict[int, tuple[tuple[str, str], set[str]]] = {}     # by size, with the tasks that reported it

    def take(self, line: str) -> str:
        """The line, or nothing if it can be left out."""
        found = _LINE.match(line) if "] NCCL INFO " in line else None
        if found is None or self._is_new(found) or any(map(line.__contains__, _KEPT)):
            if line.strip():
                self._choices.clear()
            return line
        if _CALL_WORD not in line:
            return ""
        call = _CALL.match(line, found.end())
        if call is None:
            self._choices.clear()
            return line
        return "" if self._is_repeated(found[1], int(call[1]), (call[2], call[3])) else line

    def _is_new(self, found: re.Match[str]) -> bool:
        """Whether a host or its task is seen for the first time, or the name may be more than a host."""
        if found.groups() not in self._sources:
            self._sources.add((found[1], found[2]))
            self._add(found[2])
            return True
        return not self._hosts.get(found[2])

    def _add(self, host: str) -> None:
        """Note a host. A name that ends with another may be a cell and a host, such as `0node7`."""
        if host in self._hosts or len(self._hosts) == _MOST_HOSTS:
            return
        longer = [name for name in self._hosts if name.endswith(host)]
        self._hosts.update(dict.fromkeys(longer, False))
        self._hosts[host] = not any(map(host.endswith, self._hosts))

    def _is_repeated(self, task: str, size: int, choice: tuple[str, str]) -> bool:
        """Whether a task repeats the last choice for a size; tasks are told apart, since each may be read by itself."""
        last, tasks = self._choices.get(size, (None, set()))
        if last != choice:
            last, tasks = self._choices[size] = choice, set()
        repeated = task in tasks
        tasks.add(task)
        return repeated
