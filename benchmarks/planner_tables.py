"""How far off aiconfigurator is at rank counts that its table lacks: by itself, and with collbench's forecasts in it.

    python benchmarks/planner_tables.py [--python PYTHON] [--rows]

Every public series below is cut at each of its rank counts: the table has the smaller ones, and aiconfigurator itself
is asked for the larger ones at the sizes that were measured there. By itself it keeps the bus bandwidth of its largest
rank count, times the ratio of the nominal rates in the system's .yaml; without that ratio, it is constant. With
`collbench export --to aiconfigurator` the table also has forecasts, made without what was learned from the same
machine. PYTHON is an interpreter with aiconfigurator-core 0.12 (pip install aiconfigurator-core); by default this one.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from collbench.analysis.domains.facts import load_domains
from collbench.analysis.export.targets import export_costs, target_named
from collbench.analysis.frames.bandwidth import bus_factor
from collbench.analysis.frames.load import load
from collbench.analysis.models.calibration import load_calibration, machine_of
from collbench.analysis.projection import home_of

DATA = Path(__file__).parent.parent / "analysis" / "data" / "validation"
# Asked of aiconfigurator by another interpreter: answers of a table in ms, null where it has none.
ASK = """
import json, logging, sys, warnings
logging.disable(logging.CRITICAL); warnings.simplefilter("ignore")
from pathlib import Path
import aiconfigurator_core, yaml
from aiconfigurator_core.sdk import common
from aiconfigurator_core.sdk.operations.communication import NCCL
from aiconfigurator_core.sdk.perf_database import get_database
answers = []
for job in json.load(sys.stdin):
    spec = yaml.safe_load((Path(aiconfigurator_core.__file__).parent / "systems/gb200.yaml").read_text())
    spec["data_dir"], spec["misc"]["nccl_version"] = "data", job["version"]
    spec["node"] = job["node"] or spec["node"]
    (Path(job["folder"]) / "asked.yaml").write_text(yaml.safe_dump(spec))
    (Path(job["folder"]) / "data/comm/trtllm/1").mkdir(parents=True)        # a version of the framework without tables
    database = get_database("asked", "trtllm", "1", systems_paths=job["folder"], allow_missing_data=True,
                            allow_unlisted_version=True, shared_layer=False)
    def ask(op, ranks, elements):
        try:
            return float(NCCL("", 1.0, op, elements, ranks, common.CommQuantMode.half)._engine_query(database, x=1))
        except Exception as error:
            return str(error)
    answers.append([ask(*query) for query in job["queries"]])
print(json.dumps(answers))
"""


class System(NamedTuple):
    """A public data set: its file, a part of the system's name, and the nodes as its aiconfigurator user would state.

    `node` has rates per accelerator in bytes per second; None: those that aiconfigurator ships for GB200.
    """

    label: str
    file: str
    named: str
    node: dict[str, Any] | None


def _node(per_node: int, intra_Bps: float, inter_Bps: float) -> dict[str, Any]:
    return {"num_gpus_per_node": per_node, "intra_node_bw": intra_Bps, "inter_node_bw": inter_Bps, "pcie_bw": 64e9,
            "p2p_latency": 1e-5}


SYSTEMS = (
    System("GB200 NVL72 and racks", "oci_gb200_b300_mi355x_collectives.csv", "GB200", None),
    System("MI355X, Pollara", "oci_gb200_b300_mi355x_collectives.csv", "MI355X.8 Pollara", _node(8, 535.5e9, 50e9)),
    System("GB200, InfiniBand alone", "meta_ctran_gb200_ib_ring_srd.csv", "Meta GB200", _node(2, 100e9, 100e9)))


class Case(NamedTuple):
    """A measured time at a rank count that the table lacks."""

    label: str
    op: str
    largest: int
    ranks: int
    size_bytes: int
    true_s: float


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="interpreter with aiconfigurator-core")
    parser.add_argument("--rows", action="store_true", help="print each case")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cases, jobs = _tables(Path(folder))
        done = subprocess.run([args.python, "-c", ASK], input=json.dumps(jobs), capture_output=True, text=True)
        if done.returncode:
            print(f"{args.python}: aiconfigurator-core cannot be asked (pip install aiconfigurator-core pyyaml): "
                  f"{done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
            return 2
        answers = json.loads(done.stdout)
    tables = [[answer for table in answers[start::3] for answer in table] for start in range(3)]
    tables[0] = [_kept(case, answer) for case, answer in zip(cases, tables[0], strict=True)]
    _show(cases, tables, args.rows)
    return 0


def _tables(folder: Path) -> tuple[list[Case], list[dict[str, Any]]]:
    """The cases, and for each cut of a series three tables with the queries to make.

    The first is asked at the largest rank count that it has; the second, without forecasts, and the third, with them,
    at the rank count of the case.
    """
    domains, target = load_domains(), target_named("aiconfigurator")
    cases: list[Case] = []
    jobs: list[dict[str, Any]] = []
    for system in SYSTEMS:
        points = load(DATA / system.file).points
        points = points[points["system"].str.contains(system.named, regex=False)]
        home = home_of(points, domains)
        known = load_calibration(machine_of(points["system"].iloc[0]))
        for series, counts in _series(points):
            for until in range(1, len(counts)):
                seen = series[series["ranks"] <= counts[until - 1]]
                wanted = [_case(system.label, row, counts[until - 1]) for row in
                          series[series["ranks"] > counts[until - 1]].to_dict("records")]
                cases += wanted
                for ranks, asked in (([], counts[until - 1]), ([], None), (counts[until:], None)):
                    made = export_costs(seen, target, ranks, (home, domains[home]) if home else None, known)
                    place = folder / str(len(jobs))
                    for name, content in made.files.items():
                        file = place / "data" / name
                        file.parent.mkdir(parents=True, exist_ok=True)
                        file.write_bytes(content.encode() if isinstance(content, str) else content)
                    version = next(iter(made.files)).split("/")[2]
                    jobs.append({"folder": str(place), "version": version, "node": system.node, "queries": [
                        (target.OPS[case.op], asked or case.ranks, case.size_bytes // 2) for case in wanted]})
    return cases, jobs


def _series(points: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, list[int]]]:
    """Points that differ in rank count and size alone, and their rank counts."""
    usable = points[points["message_bytes"] % 2 == 0]
    for _, rows in usable.groupby(["op", "dtype", "place", "algorithm", "variant"], dropna=False):
        yield rows, sorted(rows["ranks"].unique().tolist())


def _case(label: str, row: dict[Any, Any], largest: int) -> Case:
    return Case(label, row["op"], largest, row["ranks"], row["message_bytes"], row["time_s"])


def _kept(case: Case, answer: float | str) -> float | str:
    """The time at the bus bandwidth of `answer`, which is for the largest rank count of the table."""
    return answer if isinstance(answer, str) else answer * (bus_factor(case.op, case.ranks)
                                                           / bus_factor(case.op, case.largest))


def _show(cases: list[Case], tables: list[list[float | str]], rows: bool) -> None:
    """Print the errors of the three answers to every case."""
    if rows:
        for case, *answers in zip(cases, *tables, strict=True):
            print(f"{case.label:24} {case.op:11} {case.largest:4} to {case.ranks:4} ranks {case.size_bytes:12} B "
                  f"{case.true_s * 1e3:10.4f} ms measured; {'; '.join(f'{answer!s:.10}' for answer in answers)}")
    print(f"{'error as a factor: median and worst':47} {'n':>4} {'constant busbw':>16} {'aiconfigurator':>16} "
          f"{'with forecasts':>16} {'nearer':>7}")
    for label in [*dict.fromkeys(case.label for case in cases), "all"]:
        for name, least, most in (("up to 2 x the largest", 1, 2), ("beyond", 2, math.inf), ("all", 1, math.inf)):
            chosen = [at for at, case in enumerate(cases) if label in (case.label, "all")
                      and least < case.ranks / case.largest <= most]
            if not chosen:
                continue
            errors = [[_error(cases[at], table[at]) for at in chosen] for table in tables]
            nearer = sum(third < second for _, second, third in zip(*errors, strict=True)) / len(chosen)
            cells = " ".join(f"{statistics.median(found):8.2f} {max(found):7.2f}" for found in errors)
            print(f"{label:24} {name:22} {len(chosen):4} {cells} {nearer:7.0%}")


def _error(case: Case, answer: float | str) -> float:
    """The factor between the answer and the measured time, 1 or more; infinite where there is no answer."""
    if isinstance(answer, str):
        return math.inf
    return math.exp(abs(math.log(answer / 1e3 / case.true_s)))


if __name__ == "__main__":
    sys.exit(main())
