"""Whether busbw over algbw is the factor of an operation, over the rows of a table."""

from collections.abc import Iterable

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import is_known

from .collector import Collector
from .printed_numbers import PrintedNumber

__all__ = ["warn_of_ratio"]

_DIGITS = 20        # units of the last place that a bandwidth must have, so that its ratio says something


def warn_of_ratio(collector: Collector, op: str, ranks: int,
                  rates: Iterable[tuple[int, PrintedNumber | None, PrintedNumber | None]]) -> None:
    """Warn if a table's bus bandwidths are not those of `op` over `ranks`: of one row, or of all.

    Args:
        rates: line, algbw and busbw of each row, in one unit.
    """
    if not is_known(op):
        return
    factor = OPERATIONS[op].bus_factor(ranks)
    seen, contrary = 0, []
    for line, algbw, busbw in rates:
        if algbw is None or busbw is None or algbw.value < 2 * _DIGITS * algbw.error:
            continue
        seen += 1
        if abs(busbw.value - factor * algbw.value) > busbw.error + factor * algbw.error + 2e-3 * busbw.value:
            contrary.append((line, busbw.value / algbw.value))
    if not contrary:
        return
    line, ratio = contrary[0]
    if 2 * len(contrary) > seen:
        collector.warn(line, f"busbw is {ratio:.4g} times algbw, which is not {op} over {ranks} ranks ({factor:.4g})")
    else:
        collector.warn(line, f"busbw is not algbw times {factor:.4g} in {len(contrary)} of {seen} rows: recomputed "
                       "from the time")
