"""Several files as one: logs of one system at several rank counts, say, or the parts of a campaign."""

from collections.abc import Sequence

import pandas as pd

from .load import Loaded

__all__ = ["pool"]


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
                  [words for part in parts for words in part.warnings], together([part.lateness for part in parts]))
