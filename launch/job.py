"""What is to be started: a frozen request that knows nothing of collectives."""

import re
import sys
from pathlib import Path

import msgspec

from collbench.collectives.errors import UsageError

__all__ = ["Job", "parse_time"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:+-]*")
_DIRECTIVE = re.compile(r"-[A-Za-z0-9_.,:@%+=/\[\]&|*()~-]+")
_LONGEST_TIME = 20      # characters
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<parts>\d+(?::\d+){0,2})")


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Ranks of one program, on this host or on several.

    Args:
        arguments: what each rank's program is given; the same for all.
        ranks: how many processes.
        nodes: how many hosts they are spread over, evenly.
        hosts: their names where a launcher needs them, the one of rank 0 first; empty: the launcher knows.
        transports: measured one after the other; with more than one or none, `arguments` say it all.
        curve: rank counts to walk through, each as a launch of its own; empty: one launch over all ranks.
        time_limit_s: the job is ended after this; None for no limit of ours.
        out: directory of the results; None where `arguments` name it.
        resume: go on with the journal that is in `out`.
        name, partition, account, directives: what a scheduler is told; directives are whole options.
        python: the interpreter that every host starts.
        title: what this job is, for people who read its script.
    """

    arguments: tuple[str, ...]
    ranks: int
    nodes: int = 1
    hosts: tuple[str, ...] = ()
    transports: tuple[str, ...] = ()
    curve: tuple[int, ...] = ()
    time_limit_s: float | None = None
    out: Path | None = None
    resume: bool = False
    name: str = "collbench"
    partition: str | None = None
    account: str | None = None
    directives: tuple[str, ...] = ()
    python: str = sys.executable
    title: str = ""

    def __post_init__(self) -> None:
        if self.ranks < 1:
            raise UsageError(f"a job of {self.ranks} ranks: at least 1 is needed")
        if self.nodes < 1 or self.ranks % self.nodes:
            raise UsageError(f"{self.ranks} ranks do not spread evenly over {self.nodes} nodes")
        if self.hosts and len(self.hosts) != self.nodes:
            raise UsageError(f"{len(self.hosts)} hosts are named for a job of {self.nodes} nodes")
        if self.curve and not 0 < min(self.curve) <= max(self.curve) <= self.ranks:
            raise UsageError(f"rank counts {self.curve} of a job of {self.ranks} ranks")
        if self.time_limit_s is not None and not self.time_limit_s > 0:
            raise UsageError(f"a time limit of {self.time_limit_s} s: it has to be more than 0")
        self._check_words()

    def _check_words(self) -> None:
        for word in (*self.arguments, self.python, str(self.out or "")):
            if "\0" in word:
                raise UsageError("an argument holds a NUL character, which no program can be given")
        for what, word in (("name", self.name), ("partition", self.partition), ("account", self.account),
                           *(("host", host) for host in self.hosts)):
            if word is not None and not _NAME.fullmatch(word):
                raise UsageError(f"{what} {word!r}: letters, digits and any of _.@:+- are possible")
        for word in self.directives:
            if not _DIRECTIVE.fullmatch(word):
                raise UsageError(f"directive {word!r}: expected one option such as --constraint=gpu, without spaces")
        if "\n" in self.title:
            raise UsageError("the title of a job is one line")

    @property
    def ranks_per_node(self) -> int:
        """Processes on each host."""
        return self.ranks // self.nodes

    def words(self) -> list[str]:
        """All arguments of the rank program; the transport and the directory too where they were given apart."""
        words = list(self.arguments)
        if len(self.transports) == 1:
            words += ["--transport", self.transports[0]]
        if self.out is not None:
            words += ["--out", str(self.out)]
        return [*words, "--resume"] if self.resume else words


def parse_time(text: str) -> float:
    """Seconds of a Slurm-like time: `90` minutes, `1:30:00`, `2-12:00:00`. UsageError when it is none."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"time {text!r}: expected minutes, HH:MM:SS or D-HH:MM:SS")
    if len(text) > _LONGEST_TIME:
        raise UsageError(f"time {text!r:.40}...: no job takes so long")
    parts = [int(part) for part in match["parts"].split(":")]
    if match["days"]:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0, (*parts, 0)[:2]
    total_s = ((int(match["days"] or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    if total_s == 0:
        raise UsageError(f"time {text!r}: it has to be more than 0")
    return float(total_s)
