"""A start for the log of the communication library: a short run, of which only that log is of interest.

Started ahead of a measurement with the same options, it makes the same communicator of all ranks.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from .. import library_log
from ..options import RunConfig
from ..records.record import Policy

__all__ = ["log_library", "remove_output", "short_run"]

_OPS = ("all_reduce", "all_to_all")         # rings and trees; a connection of every pair
_SIZES = 8
_BUDGET_S, _CASE_LIMIT_S = 20.0, 120.0      # communicators alone may take a minute


def short_run(request: RunConfig, ranks: int) -> RunConfig:
    """The run whose log stands for `request`: all ranks, its smallest, largest and some sizes between."""
    directory = request.library_log_to
    assert directory is not None
    sizes, last = request.sweep.sizes, len(request.sweep.sizes) - 1
    few = tuple(dict.fromkeys(sizes[round(step * last / (_SIZES - 1))] for step in range(_SIZES)))
    sweep = msgspec.structs.replace(request.sweep, ops=_OPS, sizes=few, ranks=(ranks,), dtypes=("float32",),
                                    redops=("sum",), traffics=("linear",))
    policy = Policy(modes=("isolated",), alignment="barrier", case_s=1e-3, min_samples=1)
    return msgspec.structs.replace(
        request, sweep=sweep, policy=policy, journal=directory / "journal.jsonl", budget_s=_BUDGET_S, display="quiet",
        case_limit_s=_CASE_LIMIT_S, resume="never", settled=(), library_log_from=None)


def log_library(directory: Path, rank: int) -> None:
    """Make the library log into `directory`, and send the output of this rank there: some libraries print.

    A directory that cannot be made leaves both as they are: the start then tells nothing, but does not fail.
    """
    with suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
        output = os.open(_output(directory, rank), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        os.close(output)
        os.environ.update(library_log.environment(directory))


def remove_output(directory: Path, rank: int) -> None:
    """Undo `log_library` for a library that has no log; the last rank removes the directory."""
    with suppress(OSError):
        _output(directory, rank).unlink()
        directory.rmdir()


def _output(directory: Path, rank: int) -> Path:
    return directory / f"rank-{rank}.out"
