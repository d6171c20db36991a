"""Imported figures as rows of the frames that `tidy` makes of a journal."""

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.records.record import Imported

from ..importers.shared.names import is_known
from .points import Point

__all__ = ["EXTRA", "extra", "identity", "point", "status"]

# Columns of points that only imported figures fill; None for what collbench measured itself.
EXTRA = ("algorithm", "protocol", "variant", "ranks_per_node", "native_size_bytes", "statistic", "repeats", "source")


def identity(figure: Imported) -> tuple[object, ...]:
    """The columns of `tidy.CASE`."""
    has_place = is_known(figure.op) and OPERATIONS[figure.op].has_in_place and figure.in_place is not None
    place = ("in-place" if figure.in_place else "out-of-place") if has_place else None
    return figure.op, figure.dtype, figure.redop, place, figure.traffic, figure.ranks, figure.message_bytes


def status(figure: Imported) -> tuple[object, ...]:
    """The columns of `tidy` that say how a case ended."""
    checks = None if figure.checked is None else int(figure.checked)
    wrong = None if not checks else int(figure.status == "wrong")
    return (figure.status, figure.reason, checks, wrong, None, "; ".join(figure.notes), figure.message_bytes, 0.0, "")


def point(figure: Imported) -> Point:
    """A point without samples: what was not printed is unknown, so there is no interval."""
    time_s = float(figure.time_s or 0.0)
    nan = float("nan")

    def known(value: float | None) -> float:
        return nan if value is None else value

    return Point(
        mode=figure.mode, calls=figure.repeats if figure.mode == "streamed" and figure.repeats else 1, samples=1,
        time_s=time_s, time_lo_s=nan, time_hi_s=nan, p5_s=nan, p95_s=known(figure.p95_s), p99_s=known(figure.p99_s),
        rank_min_s=known(figure.rank_min_s), rank_mean_s=known(figure.rank_mean_s), rank_max_s=known(figure.rank_max_s),
        time_kind=figure.time_kind, precision=nan, last_rank=None, last_share=None, flags="")


def extra(figure: Imported) -> tuple[object, ...]:
    """The columns of EXTRA."""
    return tuple(getattr(figure, name) for name in EXTRA)
