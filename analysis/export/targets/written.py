"""What the module of a tool returns."""

from typing import NamedTuple

import pandas as pd

__all__ = ["Tables", "provenance_file"]


def provenance_file(module: str) -> str:
    """The file that says where the times of a tool's files are from; `module` is the tool's, by its full name."""
    return f"{module.rpartition('.')[2].replace('_', '-')}-provenance.csv"


class Tables(NamedTuple):
    """Files for a tool.

    Args:
        files: content by path, relative to the output folder.
        used: which rows of the costs each file holds or was fitted to.
        notes: what must be known to use the files, or why rows are not in them.
    """

    files: dict[str, str | bytes]
    used: dict[str, pd.Index]
    notes: tuple[str, ...] = ()
