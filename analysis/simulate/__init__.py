"""The same collectives on a network simulator that others wrote (SimGrid): an independent check of what is predicted.

The simulator knows links, latencies and the messages of an algorithm, and nothing of our formulas. It has no software
overhead, no packets and no switches that reduce, so what it says of a domain is a floor, and is called simulated.
"""

from .machine import ASSUMED_LATENCY_S, Level, Machine, machine_of, platform
from .run import COLUMNS, Case, Result, cases_of, run_cases
from .smpi import ALGORITHMS, SELECTORS, version

__all__ = ["ALGORITHMS", "ASSUMED_LATENCY_S", "COLUMNS", "SELECTORS", "Case", "Level", "Machine", "Result", "cases_of",
           "machine_of", "platform", "run_cases", "version"]
