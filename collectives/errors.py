"""Errors a user can act on: one clear line, never a traceback unless requested, and an exit status for the kind."""

import os
import traceback
from contextlib import suppress

__all__ = ["CollbenchError", "FaultError", "MissingLibraryError", "UsageError", "printable", "show_traceback",
           "write_error"]


class CollbenchError(Exception):
    """An error with a message for the user; `main` prints it as one line."""

    exit_status = 1


class UsageError(CollbenchError):
    """Invalid request or environment: a bad option, size or file. Nothing was started."""

    exit_status = 2


class MissingLibraryError(UsageError, ImportError):
    """An optional library is not installed; the message says how to install it."""


class FaultError(CollbenchError):
    """A rank hung, died or never arrived, so the job has to end."""

    exit_status = 3


def printable(text: str, keep: str = "") -> str:
    """`text` with control characters escaped as in Python, except those in `keep`."""
    return "".join(char if char.isprintable() or char in keep else repr(char)[1:-1] for char in text)


def show_traceback(error: BaseException) -> None:
    """Print where `error` was raised on standard error if COLLBENCH_TRACEBACK is set, for developers."""
    if os.environ.get("COLLBENCH_TRACEBACK"):
        traceback.print_exception(error)


def write_error(text: str) -> None:
    """Write lines to standard error in one piece, with control characters escaped.

    Buffers, whose lock another thread may hold, are bypassed. No run ends because standard error is full or closed.
    """
    with suppress(OSError):
        os.write(2, printable(text, keep="\n").encode(errors="backslashreplace") + b"\n")
