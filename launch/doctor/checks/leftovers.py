"""Temporary directories that killed jobs of collbench left behind; they are removed."""

from ...job_tmpdir import places, remove_abandoned
from ..check_api import CheckRequest, CheckResult

__all__ = ["ORDER", "examine"]

ORDER = 75


def examine(request: CheckRequest) -> list[CheckResult]:
    """Nothing if there are none, which is the rule."""
    removed = [folder for place in places() for folder in remove_abandoned(place)]
    if not removed:
        return []
    return [CheckResult(level="note", what="leftovers", facts={"removed": [str(folder) for folder in removed]},
                        found=f"of killed jobs, removed: {', '.join(map(str, removed))}")]
