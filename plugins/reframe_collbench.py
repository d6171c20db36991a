"""A ReFrame test of collbench: every result right, and no bus bandwidth below its reference.

    reframe -c reframe_collbench.py -r -S ranks=8 -S ops=all_reduce -S sizes=1M,64M -S reference_file=reference.py

On a partition whose launcher is `local`, collbench starts the ranks itself; on any other the launcher does. The
reference file is that of `collbench expect ... --thresholds reference.py --format reframe`.
"""

import csv
import runpy
from pathlib import Path

import reframe as rfm
import reframe.utility.sanity as sn
from reframe.core.builtins import run_after, run_before, sanity_function, variable


@rfm.simple_test
class CollbenchCheck(rfm.RunOnlyRegressionTest):
    """Measures collectives over `ranks` ranks."""

    ranks = variable(int, value=2)
    ranks_per_node = variable(int, value=0)
    ops = variable(str, value="all_reduce")
    sizes = variable(str, value="1K,1M")
    transport = variable(str, value="torch")
    more_options = variable(str, value="")
    reference_file = variable(str, value="")

    descr = "bandwidth and latency of collectives"
    valid_systems = ["*"]
    valid_prog_environs = ["*"]
    keep_files = ["results/journal.jsonl", "points.csv"]

    @run_after("setup")
    def say_what_to_run(self):
        """The ranks, and the points as CSV for the figures."""
        what = ["--transport", self.transport, "--ops", self.ops, "--sizes", self.sizes, "--group-ranks",
                str(self.ranks), "--out", "results", *self.more_options.split()]
        if self.current_partition.launcher_type.registered_name == "local":
            self.executable, self.executable_opts = "collbench", ["run", "--ranks", str(self.ranks), *what]
        else:
            self.num_tasks, self.num_tasks_per_node = self.ranks, self.ranks_per_node or None
            self.executable = "python"
            self.executable_opts = ["-m", "collbench.rank", "--expected-ranks", str(self.ranks), *what]
        self.postrun_cmds = ["status=$?", "collbench export results --format csv -o points.csv", "exit $status"]

    @sanity_function
    def every_result_is_right(self):
        """Status 0 says that every case was measured, checked and right."""
        return sn.all([sn.assert_eq(self.job.exitcode, 0), sn.assert_true(sn.path_isfile("points.csv"))])

    @run_before("performance")
    def name_the_figures(self):
        """One for each operation, rank count and size, by the names of the reference file."""
        self.perf_variables = {name: sn.make_performance_function(sn.defer(value), "GB/s")
                               for name, value in busbw_GBps(Path(self.stagedir) / "points.csv").items()}
        if self.reference_file:
            stated = runpy.run_path(self.reference_file)["reference"]["*"]
            self.reference = {"*": {name: stated[name] for name in self.perf_variables if name in stated}}


def busbw_GBps(path):
    """The best of isolated and streamed, in-place and not, by name."""
    found = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["busbw_GBps"]:
                name = f"{row['collective']}_{row['n_ranks']}_{row['message_bytes']}_busbw"
                found[name] = max(found.get(name, 0.0), float(row["busbw_GBps"]))
    return found
