"""The axis of charts with one mark for each rank."""

import math

from .chart import Spec

__all__ = ["MOST_LABELS", "rank_axis"]

MOST_LABELS = 16


def rank_axis(count: int) -> Spec:
    """The x channel for `count` ranks, with at most `MOST_LABELS` labels."""
    step = max(1, math.ceil(count / MOST_LABELS))
    return {"field": "rank", "type": "ordinal", "title": "rank",
            "axis": {"labelAngle": 0, "values": list(range(0, count, step)), "grid": False}}
