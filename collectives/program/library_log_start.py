"""A start for the log of the communication library: what a rank sets before it opens its transport."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from .. import library_log

__all__ = ["log_library"]


def log_library(directory: Path, rank: int) -> None:
    """Make the library log into `directory`, and send the output of this rank there: some libraries print.

    A directory that cannot be made leaves both as they are: the start then tells nothing, but does not fail.
    """
    with suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
        output = os.open(directory / f"rank-{rank}.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        os.close(output)
        os.environ.update(library_log.environment(directory))
