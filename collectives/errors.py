"""Errors a user can act on: one clear line, never a traceback, and an exit status that says what kind."""

__all__ = ["CollbenchError", "FaultError", "UsageError", "printable"]


class CollbenchError(Exception):
    """Anything that went wrong in a way a person can understand; `main` prints it as one line."""

    exit_status = 1


class UsageError(CollbenchError):
    """What was asked for cannot be: a bad option, size, file or environment. Nothing was started."""

    exit_status = 2


class FaultError(CollbenchError):
    """A rank hung, died or never came, and so the job has to end."""

    exit_status = 3


def printable(text: str, keep: str = "") -> str:
    """`text` without what a terminal would obey: such characters as Python writes them, save those in `keep`."""
    return "".join(char if char.isprintable() or char in keep else repr(char)[1:-1] for char in text)
