"""Run the collectives on an independent network simulator (SimGrid) to check the predictions.

The simulator models links, latencies and the messages of each algorithm, and shares none of our formulas. It has no
software overhead, no packets and no in-network reduction, so its times are lower bounds; they are labelled simulated.
"""

from .machine import ASSUMED_LATENCY_S, Machine, MachineLevel, machine_of, platform
from .run import COLUMNS, Result, SimulatedCase, cases_of, run_cases
from .smpi import ALGORITHMS, SELECTORS, version

__all__ = ["ALGORITHMS", "ASSUMED_LATENCY_S", "COLUMNS", "SELECTORS", "Machine", "MachineLevel", "Result",
           "SimulatedCase", "cases_of", "machine_of", "platform", "run_cases", "version"]
