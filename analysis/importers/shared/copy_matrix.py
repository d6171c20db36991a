"""Results of tools that print a matrix of bandwidths between devices: single links, and copies of other kinds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from collbench.collectives.cases.link_rounds import single_pair
from collbench.collectives.records.record import Imported

from .collector import UNSTATED, Collector, Origin
from .printed_numbers import PrintedNumber

__all__ = ["CopyMatrix", "add_matrix"]


@dataclass
class CopyMatrix:
    """A matrix as printed; a cell is None where there is no figure.

    Args:
        test: the tool's name of the test.
        link: the operation, if each cell is a pair of devices: `link_bandwidth`, or `link_bi_bandwidth`, where a cell
            is the sum of both directions.
        row_sends: whether the device of the row is the source.
        unit: bytes per second, or seconds, in one unit of a cell.
        is_time: whether cells are times.
        fan: the operation, if each cell is one device with all others: `incast` or `outcast`.
        op: the operation of a test that is not between pairs of devices; by default the name of the test.
    """

    test: str
    line: int
    unit: float
    link: str | None = None
    row_sends: bool = True
    is_time: bool = False
    op: str | None = None
    fan: str | None = None
    columns: tuple[str, ...] = ()
    rows: list[tuple[int, str, Sequence[PrintedNumber | None]]] = field(default_factory=list)

    def cells(self) -> Iterator[tuple[int, str, str, float]]:
        """Line, labels of row and column, and value in SI units of each cell above zero."""
        for line, label, numbers in self.rows:
            for column, number in zip(self.columns, numbers, strict=True):
                if number and number.value > 0:
                    yield line, label, column, number.value * self.unit


def add_matrix(collector: Collector, tool: str, matrix: CopyMatrix, size: int, notes: tuple[str, ...] = ()) -> None:
    """Add each cell; `size` is the bytes of one copy.

    Links are named `pair-SOURCE-TARGET`; a matrix of links has a run of its own, as it would have in collbench.
    """
    ranks = max(len(matrix.rows), len(matrix.columns)) if matrix.link or matrix.fan else 1
    moved = size * (ranks - 1) if matrix.fan and ranks > 1 else size
    if matrix.link:
        collector.warn_of((line, f"{matrix.test}: no figure between some devices")
                          for line, label, numbers in matrix.rows
                          for column, number in zip(matrix.columns, numbers, strict=True)
                          if label != column and not (number and number.value > 0))
    run = collector.run(Origin(tool, library=f"{tool} {matrix.test}", device="cuda", ranks=ranks))
    for line, label, column, value in matrix.cells():
        if not matrix.link:
            pair = None
        elif not (label.isdigit() and column.isdigit()):
            collector.warn(line, f"{matrix.test}: a link between {label!r:.20} and {column!r:.20} left out: expected "
                                 "numbers of devices")
            continue
        elif label != column:
            source, target = (label, column) if matrix.row_sends else (column, label)
            pair = single_pair(int(source), int(target))
        else:
            continue
        both_ways = 2 if matrix.link == "link_bi_bandwidth" else 1
        collector.add(Imported(
            run=run, op=matrix.link or matrix.fan or matrix.op or matrix.test, ranks=ranks,
            message_bytes=0 if matrix.is_time else moved, native_size_bytes=None if matrix.is_time else size,
            traffic="fan" if matrix.fan else pair or f"row {label}, column {column}", mode="streamed",
            time_s=value if matrix.is_time else both_ways * moved / value, statistic="median or mean over samples",
            time_kind=UNSTATED, busbw_Bps=None if matrix.is_time else value, notes=notes,
            variant=f"{matrix.test}, device {column}" if matrix.fan else matrix.test,
            source=collector.source(line)))
