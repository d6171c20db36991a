"""Several files as one: logs of one system at several rank counts, say, or the parts of a campaign."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from collbench.collectives.errors import CollbenchError

from ..importers import LogHints, files_of
from .load import Loaded, load

__all__ = ["data_files", "load_all", "pool"]


def data_files(paths: Sequence[Path]) -> list[Path]:
    """Run directories and files; in place of any other folder the runs in it, or if it has none, its files.

    Raises:
        LogError: a folder has no file, or too many.
    """
    found = []
    for path in paths:
        if not path.is_dir() or (path / "journal.jsonl").is_file():
            found.append(path)
        else:
            files = files_of(path)
            found += [file.parent for file in files if file.name == "journal.jsonl"] or files
    return list(dict.fromkeys(found))


def load_all(paths: Sequence[Path], hints: LogHints | None = None) -> Loaded:
    """Load and pool `paths`, as `data_files` returns them; of several, those that cannot be read are warnings.

    Raises:
        CollbenchError: as `load`; of several, only if none can be read.
    """
    parts, refused = [], []
    for path in paths:
        try:
            parts.append(load(path, hints))
        except CollbenchError as error:
            refused.append(error)
    if not parts:
        raise refused[0]
    whole = pool(parts)
    whole.warnings[:0] = map(str, refused)
    return whole


def pool(parts: Sequence[Loaded]) -> Loaded:
    """The records of all parts, in order; a run that several of them hold is taken from the last."""
    if len(parts) == 1:
        return parts[0]
    holder = {run: number for number, part in enumerate(parts) for run in part.runs}

    def together(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
        kept = [frame[frame["run"].map(holder) == number] for number, frame in enumerate(frames)]
        # Without those that are empty, which have no types to keep.
        return pd.concat([frame for frame in kept if len(frame)] or kept[:1], ignore_index=True)
    return Loaded(together([part.points for part in parts]), together([part.records for part in parts]),
                  {run: part.runs[run] for part in parts for run in part.runs},
                  [words for part in parts for words in part.warnings], together([part.lateness for part in parts]),
                  together([part.comparisons for part in parts]),
                  on_axes=together([part.on_axes for part in parts]))
