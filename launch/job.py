"""What to start: a run configuration, and the processes that carry it out."""

import re
import sys
from pathlib import Path

import msgspec

from collbench.collectives.errors import UsageError
from collbench.collectives.options import RunConfig
from collbench.collectives.transport_names import TRANSPORTS

from .pod_needs import PodNeeds
from .render_options import rank_arguments, render_options

__all__ = ["Job", "may_log", "parse_time"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:+-]*")
_DIRECTIVE = re.compile(r"-[A-Za-z0-9_.,:@%+=/\[\]&|*()~-]+")
_LONGEST_TIME = 20      # characters
_WITHOUT_LOG = ("gloo", "mpi", "ucc")       # backends of torch.distributed
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<parts>\d+(?::\d+){0,2})")


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Ranks of one program, on this host or on several.

    Args:
        config: what every rank is to do.
        ranks: number of processes.
        nodes: number of hosts, with equally many ranks on each.
        hosts: their names if the launcher needs them, that of rank 0 first; empty if the launcher knows them.
        more_transports: measured after that of `config`, one after another; batch scripts only.
        curve: rank counts to launch separately, one after another; empty for one launch of all ranks. Batch scripts
            only.
        time_limit_s: the job is ended after this; None for no limit of ours.
        out_by_name: results go to results/NAME, where NAME is the one that a batch script is submitted under.
        draw_seed: the seed of `config` was not requested: options omit it, so that each start draws its own.
        library_log: a batch script first starts the ranks for the log of the communication library, see `logs_library`.
        config_file: file that holds `config`, if every rank can read it; None to pass options instead.
        name, partition, account, directives: for the batch system; directives are complete options.
        container: image that ranks run in, as Pyxis takes it in `srun --container-image`, or as pods do; None for no
            container.
        container_mounts: what else of the host is mounted in it, `SRC:DST[:FLAGS],...`.
        pods: what it needs of a Kubernetes cluster.
        python: the interpreter to start on every host, or in the container.
        variables: of the environment of the ranks, in addition to those of this process; not in batch scripts.
        title: one line on top of a batch script.
        notes: more lines below it.
    """

    config: RunConfig
    ranks: int
    nodes: int = 1
    hosts: tuple[str, ...] = ()
    more_transports: tuple[str, ...] = ()
    curve: tuple[int, ...] = ()
    time_limit_s: float | None = None
    out_by_name: bool = False
    draw_seed: bool = False
    library_log: bool = True
    config_file: Path | None = None
    name: str = "collbench"
    partition: str | None = None
    account: str | None = None
    directives: tuple[str, ...] = ()
    container: str | None = None
    container_mounts: str = ""
    pods: PodNeeds = PodNeeds()
    python: str = sys.executable
    variables: dict[str, str] = {}
    title: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.ranks < 1:
            raise UsageError(f"a job of {self.ranks} ranks: at least 1 is needed")
        if self.nodes < 1 or self.ranks % self.nodes:
            raise UsageError(f"{self.ranks} ranks do not divide evenly among {self.nodes} nodes")
        if self.hosts and len(self.hosts) != self.nodes:
            raise UsageError(f"{len(self.hosts)} hosts are named for a job of {self.nodes} nodes")
        if self.curve and not 0 < min(self.curve) <= max(self.curve) <= self.ranks:
            raise UsageError(f"rank counts {self.curve} for a job of {self.ranks} ranks")
        if self.time_limit_s is not None and not self.time_limit_s > 0:
            raise UsageError(f"time limit {self.time_limit_s} s: must be more than 0")
        self._check_words()

    def _check_words(self) -> None:
        for word in (self.config.device, self.python, str(self.out), self.container or "", self.container_mounts):
            if "\0" in word:
                raise UsageError("an argument contains a NUL character, which cannot be passed to a program")
        if self.container_mounts and not self.container:
            raise UsageError("--container-mounts without --container: there is nothing to mount in")
        if self.container and re.search("[,:]", str(self.out)):
            raise UsageError(f"--out {self.out}: it is mounted in the container, and mounts are split at commas and "
                             "colons")
        for what, text in (("name", self.name), ("partition", self.partition), ("account", self.account),
                           *(("host", host) for host in self.hosts)):
            if text is not None and not _NAME.fullmatch(text):
                raise UsageError(f"{what} {text!r}: must consist of letters, digits and _.@:+-")
        for word in self.directives:
            if not _DIRECTIVE.fullmatch(word):
                raise UsageError(f"directive {word!r}: expected one option such as --constraint=gpu, without spaces")
        if any("\n" in line for line in (self.title, *self.notes)):
            raise UsageError("the title of a job must be one line, and so must each of its notes")

    @property
    def heading(self) -> str:
        """Title and notes as comments of a script."""
        return "".join(f"# {line}\n" for line in (self.title, *self.notes) if line)

    @property
    def ranks_per_node(self) -> int:
        """Processes on each host."""
        return self.ranks // self.nodes

    @property
    def transports(self) -> tuple[str, ...]:
        """All transports, in the order in which they are measured."""
        return (self.config.transport, *self.more_transports)

    @property
    def needs_mpi(self) -> bool:
        """Whether ranks have to be started as MPI ranks."""
        return any(TRANSPORTS[name].mpi_ranks for name in self.transports)

    @property
    def logs_library(self) -> bool:
        """Whether `library_log` is asked for and ranks may be on a device, whose library has a log."""
        config = msgspec.structs.replace(self.config, transport="torch")
        return self.library_log and "torch" in self.transports and may_log(config, config.device != "cpu")

    @property
    def out(self) -> Path:
        """Directory of the results."""
        return self.config.journal.parent

    @property
    def rank_config(self) -> RunConfig:
        """The configuration with the number of ranks, so that ranks which do not find each other are noticed."""
        return msgspec.structs.replace(self.config, expected_ranks=self.config.expected_ranks or self.ranks)

    def arguments(self) -> list[str]:
        """Arguments of the rank program."""
        if self.config_file is not None:
            return ["--config", str(self.config_file)]
        return rank_arguments(self.rank_config, seed=not self.draw_seed)

    def options(self) -> list[str]:
        """What and how to measure, as options for a batch script that adds transport, directory and resume itself."""
        return render_options(self.config, seed=not self.draw_seed)


def may_log(config: RunConfig, on_device: bool) -> bool:
    """Whether the library that carries the bytes may have a log: that of the device, or of a backend that was named."""
    return config.transport == "torch" and config.backend not in _WITHOUT_LOG and (on_device or bool(config.backend))


def parse_time(text: str) -> float:
    """Seconds in a Slurm-like time: `90` (minutes), `1:30:00`, `2-12:00:00`. UsageError if it is malformed."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"time {text!r}: expected minutes, HH:MM:SS or D-HH:MM:SS")
    if len(text) > _LONGEST_TIME:
        raise UsageError(f"time {text!r:.40}...: too long")
    parts = [int(part) for part in match["parts"].split(":")]
    if match["days"]:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0, (*parts, 0)[:2]
    total_s = ((int(match["days"] or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    if total_s == 0:
        raise UsageError(f"time {text!r}: must be more than 0")
    return float(total_s)
