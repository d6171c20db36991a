"""Simulate many calls, several at a time, and return them as tidy rows."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import pandas as pd

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.errors import CollbenchError, UsageError

from .machine import Machine, platform
from .smpi import ALGORITHMS, SELECTORS, replay, version

__all__ = ["COLUMNS", "Result", "SimulatedCase", "cases_of", "run_cases"]

COLUMNS = ("system", "library", "transport", "collective", "algorithm", "dtype", "redop", "n_ranks", "ranks_per_node",
           "message_bytes", "native_size_bytes", "variant", "time_us", "statistic", "mode", "source")
_DTYPE, _ITEM = "float32", 4


class SimulatedCase(NamedTuple):
    """One call; `algorithm` is our name, printed in the row, and `smpi` is the simulator's."""

    op: str
    algorithm: str
    smpi: str
    ranks: int
    asked_bytes: int
    message_bytes: int


@dataclass(frozen=True)
class Result:
    """Rows of COLUMNS, and an error message for each call that the simulator did not finish."""

    rows: pd.DataFrame
    failures: list[str]


def cases_of(machine: Machine, ops: Sequence[str], algorithms: Sequence[str], ranks: Sequence[int],
             sizes: Sequence[int]) -> list[SimulatedCase]:
    """The calls to simulate, cheapest first.

    A message size is rounded up to whole elements per rank, since simulated algorithms treat remainders differently.

    Args:
        algorithms: our names, SMPI's names, or libraries whose selection is simulated; empty for all of ours.

    Raises:
        UsageError: an operation or algorithm cannot be simulated, or the ranks do not fit into the domain.
    """
    most = machine.levels[-1].ranks
    if most and max(ranks) > most:
        raise UsageError(f"{machine.key} has {most} ranks: {max(ranks)} do not fit")
    found = []
    for op in ops:
        for algorithm, smpi in dict.fromkeys(_algorithms(op, algorithms)):
            for n in ranks:
                for size in sizes if OPERATIONS[op].has_payload else (0,):
                    unit = n * _ITEM
                    found.append(SimulatedCase(op, algorithm, smpi, n, size, -(-size // unit) * unit))
    if not found:
        raise UsageError(f"no algorithm {', '.join(algorithms)} of {', '.join(ops)} can be simulated; supported are "
                         + "; ".join(f"{op}: {', '.join(ALGORITHMS[op])}" for op in ops))
    return sorted(found, key=lambda case: (case.ranks, case.message_bytes))


def _algorithms(op: str, algorithms: Sequence[str]) -> Iterator[tuple[str, str]]:
    if op not in ALGORITHMS:
        raise UsageError(f"{op} cannot be simulated; supported are {', '.join(ALGORITHMS)}")
    known = ALGORITHMS[op]
    if not algorithms:
        yield from known.items()
    for name in algorithms:
        if name in known:
            yield name, known[name]
        elif name in known.values():
            yield next((ours, smpi) for ours, smpi in known.items() if smpi == name)
        elif name in SELECTORS:
            yield "default", name


def run_cases(machine: Machine, cases: Sequence[SimulatedCase], timeout_s: float, workers: int = 1,
              done: Callable[[], None] | None = None) -> Result:
    """Simulate every case; `done` is called after each.

    Raises:
        CollbenchError: no call finished; gives the reason of the first.
    """
    library = f"SMPI replay, SimGrid {version()}"
    hosts = lru_cache(maxsize=workers + 1)(lambda ranks: platform(machine, ranks))

    def one(case: SimulatedCase) -> float | str:
        try:
            return replay(hosts(case.ranks), case.op, case.smpi, case.ranks, case.message_bytes, timeout_s).time_s
        except UsageError:
            raise
        except CollbenchError as error:
            return str(error)
        finally:
            if done:
                done()

    with ThreadPoolExecutor(workers) as pool:
        times = list(pool.map(one, cases))
    rows = [_row(machine, library, case, time_s) for case, time_s in zip(cases, times, strict=True)
            if not isinstance(time_s, str)]
    failures = [words for words in times if isinstance(words, str)]
    if not rows:
        raise CollbenchError(failures[0])
    order = ["collective", "algorithm", "variant", "n_ranks", "native_size_bytes"]
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values(order, ignore_index=True, kind="stable")
    return Result(frame.astype({"ranks_per_node": "Int64"}), failures)


def _row(machine: Machine, library: str, case: SimulatedCase, time_s: float) -> tuple[object, ...]:
    node = machine.levels[-2].ranks if len(machine.levels) > 1 else None
    return (f"simulated {machine.key}", library, "smpi", case.op, case.algorithm, _DTYPE,
            "sum" if OPERATIONS[case.op].reduces else "", case.ranks, min(node, case.ranks) if node else None,
            case.message_bytes, case.asked_bytes, f"selector {case.smpi}" if case.algorithm == "default" else "",
            round(time_s * 1e6, 6), "simulated makespan", "isolated",
            f"SimGrid {version()}; {machine.words()}")
