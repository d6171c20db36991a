"""Imported results as rows of the frames that `load` builds from a journal."""

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import is_known
from collbench.collectives.records.record import Imported

from .points import Point

__all__ = ["EXTRA", "extra", "identity", "point", "status"]

# Columns of points that only imported results fill; None for what collbench measured itself.
EXTRA = ("algorithm", "protocol", "variant", "ranks_per_node", "native_size_bytes", "statistic", "repeats", "source")


def identity(result: Imported) -> dict[str, object]:
    """The columns CASE."""
    has_place = is_known(result.op) and OPERATIONS[result.op].has_in_place and result.in_place is not None
    place = ("in-place" if result.in_place else "out-of-place") if has_place else None
    return {"op": result.op, "dtype": result.dtype, "redop": result.redop, "place": place, "traffic": result.traffic,
            "ranks": result.ranks, "message_bytes": result.message_bytes}


def status(result: Imported) -> dict[str, object]:
    """The columns STATUS, apart from the label."""
    checks = None if result.checked is None else int(result.checked)
    wrong = None if not checks else int(result.status == "wrong")
    return {"status": result.status, "reason": result.reason, "checks": checks, "timed_calls": None,
            "compared_calls": None, "probed_calls": None, "wrong": wrong, "fault": None,
            "notes": "; ".join(result.notes), "asked_bytes": result.message_bytes, "at_s": 0.0, "reproduce": ""}


def point(result: Imported) -> Point:
    """A point without samples: whatever was not printed is unknown, so there is no confidence interval."""
    time_s = float(result.time_s or 0.0)
    nan = float("nan")

    def known(value: float | None) -> float:
        return nan if value is None else value

    return Point(
        mode=result.mode, calls=result.repeats if result.mode == "streamed" and result.repeats else 1, samples=1,
        time_s=time_s, time_lo_s=nan, time_hi_s=nan, p5_s=nan, p95_s=known(result.p95_s), p99_s=known(result.p99_s),
        rank_min_s=known(result.rank_min_s), rank_mean_s=known(result.rank_mean_s), rank_max_s=known(result.rank_max_s),
        as_called_s=nan,
        time_kind=result.time_kind, precision=nan, last_rank=None, last_share=None, flags="")


def extra(result: Imported) -> dict[str, object]:
    """The columns EXTRA."""
    return {name: getattr(result, name) for name in EXTRA}
