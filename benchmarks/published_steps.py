"""How well the published tables of communication libraries alone predict measurements over nodes.

    python benchmarks/published_steps.py FOLDER

Compares each measured time over nodes in the tidy CSV files of FOLDER, for the systems below, with the estimate of
`analysis/cost/published_steps.py`; nothing is fitted. Errors are |ln(measured / predicted)|; drift is its signed
median, above 0 where the measurement is later.
"""

import argparse
import csv
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from collbench.analysis.cost.cards import parse_nic
from collbench.analysis.cost.published_steps import Estimate, fastest


class System(NamedTuple):
    """A measured system: how its rows are recognised, and the facts that a user would state."""

    name: str
    library_name: str
    library: str
    generation: str | None
    network: str
    nic: str
    cpu: str | None
    version: str | None
    node: int | None = None             # ranks of a node as the library sees it, where rows say otherwise
    algorithms: tuple[str, ...] = ("default",)
    protocol: str | None = None         # where the transport is not NCCL's own
    in_network: bool = False


SYSTEMS = (
    System("Perlmutter A100", "NCCL", "nccl", "ampere", "slingshot-11", "4x200G", "amd", None),
    System("Alps", "NCCL", "nccl", "hopper", "slingshot-11", "4x200G", "other", "2.23"),
    System("GB200.4", "NCCL", "nccl", "blackwell", "roce", "64x400G", "other", "2.27", node=64),
    System("BM.GPU.B300.8", "NCCL", "nccl", "blackwell", "roce", "8x800G", None, "2.28"),
    System("MI355X.8 Pollara", "RCCL", "rccl", None, "roce", "8x400G", "amd", None),
    System("p6-b300", "NCCL", "nccl", "blackwell", "efa-p6-b300", "16x400G", "intel", "2.30"),
    System("p5.48xlarge", "NCCL", "nccl", "hopper", "efa-p5", "32x100G", "amd", "2.30"),
    # CTRAN replaces NCCL's transport but not its steps; it copies without LL.
    System("Meta GB200", "CTRAN", "nccl", "blackwell", "infiniband", "2x400G", "other", "2.27", node=1,
           algorithms=("ctring",), protocol="Simple"))
BANDS = ((1 << 16, "< 64 KiB"), (1 << 20, "64 KiB to 1 MiB"), (1 << 26, "1 to 64 MiB"), (math.inf, ">= 64 MiB"))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of tidy CSV files")
    parser.add_argument("--protocol", help="the protocol of every row, instead of the cheapest")
    parser.add_argument("--rows", action="store_true", help="print each row")
    args = parser.parse_args()
    errors = defaultdict(list)
    for system, op, ranks, size, late, estimate in compared(args.folder, args.protocol):
        band = next(name for limit, name in BANDS if size < limit)
        errors[system.name, op, band].append(late)
        if args.rows:
            print(f"{system.name:18} {op:15} {ranks:5} {size:12} {late:+.3f} "
                  f"{estimate.facts.algorithm}/{estimate.facts.protocol}")
    if not errors:
        print(f"{args.folder}: no rows of the systems {', '.join(system.name for system in SYSTEMS)}", file=sys.stderr)
        return 1
    print(f"{'system':18} {'operation':15} {'sizes':16} {'rows':>5} {'median |ln|':>12} {'drift':>7} "
          f"{'within 25 %':>12}")
    for (system_name, op, band), found in sorted(errors.items(), key=lambda item: (item[0][0], item[0][1],
                                                 [name for _, name in BANDS].index(item[0][2]))):
        sizes = [abs(late) for late in found]
        near = sum(size <= math.log(1.25) for size in sizes) / len(sizes)
        print(f"{system_name:18} {op:15} {band:16} {len(found):5} {statistics.median(sizes):12.3f} "
              f"{statistics.median(found):+7.3f} {near:12.0%}")
    return 0


def compared(folder: Path, protocol: str | None) -> Iterator[tuple[System, str, int, int, float, Estimate]]:
    """Rows over nodes: system, operation, ranks, bytes, ln(measured / predicted), estimate."""
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                system = next((each for each in SYSTEMS if each.name in (row.get("system") or "")
                               and each.library_name in row["library"] and "MPI" not in row["library"]
                               and row["algorithm"] in each.algorithms), None)
                if system is None or not row["time_us"] or not row["message_bytes"]:
                    continue
                op = {"alltoall": "all_to_all"}.get(row["collective"], row["collective"])
                ranks, size = int(row["n_ranks"]), int(float(row["message_bytes"]))
                node = system.node or int(row["ranks_per_node"])
                if ranks <= node or size == 0:
                    continue
                cards = parse_nic(system.nic)
                estimate = fastest(op, ranks, node, size, system.library, system.generation, system.network,
                                   cards.count, cards.rate_Bps, in_network=system.in_network,
                                   version=system.version, cpu=system.cpu,
                                   algorithm="ring" if system.algorithms != ("default",) else None,
                                   protocol=protocol or system.protocol)
                if estimate is not None:
                    yield system, op, ranks, size, math.log(float(row["time_us"]) / 1e6 / estimate.seconds), estimate


if __name__ == "__main__":
    sys.exit(main())
