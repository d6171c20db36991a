"""A SuperBench micro-benchmark that runs collbench on the accelerators of one node.

Import it where SuperBench loads its benchmarks, and name it `collbench` in the configuration:

    superbench:
      benchmarks:
        collbench:
          enable: true
          modes:
            - name: local
              proc_num: 1
          parameters:
            ops: all_reduce,all_to_all
            sizes: 1M,1G
            ranks: 8

Metrics are `OP_RANKS_BYTES_busbw` in GB/s, and `OP_RANKS_BYTES_time` in us.
"""

import json

from superbench.benchmarks import BenchmarkRegistry, ReturnCode
from superbench.benchmarks.micro_benchmarks import MicroBenchmarkWithInvoke
from superbench.common.utils import logger


class CollbenchBenchmark(MicroBenchmarkWithInvoke):
    """Bus bandwidth and time of collectives, every result checked."""

    def __init__(self, name, parameters=""):
        super().__init__(name, parameters)
        self._bin_name = "collbench"

    def add_parser_arguments(self):
        """The options that this benchmark passes on."""
        super().add_parser_arguments()
        self._parser.add_argument("--ops", default="all_reduce", help="Operations, separated by commas.")
        self._parser.add_argument("--sizes", default="1K,1M,1G", help="Message sizes, separated by commas.")
        self._parser.add_argument("--ranks", type=int, default=8, help="Ranks, one for each accelerator.")
        self._parser.add_argument("--transport", default="torch", help="torch or mpi.")
        self._parser.add_argument("--more_options", default="", help="More options of collbench run.")

    def _preprocess(self):
        if not super()._preprocess():
            return False
        args = self._args
        self._commands.append(
            f"{self._bin_name} run --transport {args.transport} --ranks {args.ranks} --ops {args.ops} "
            f"--sizes {args.sizes} --group-ranks {args.ranks} {args.more_options} --json -")
        return True

    def _process_raw_result(self, cmd_idx, raw_output):
        self._result.add_raw_data(f"raw_output_{cmd_idx}", raw_output, self._args.log_raw_data)
        try:
            points = json.loads(raw_output[raw_output.index("{"):])["points"]
        except (ValueError, KeyError) as error:
            self._result.set_return_code(ReturnCode.MICROBENCHMARK_RESULT_PARSING_FAILURE)
            logger.error(f"collbench printed no JSON document: {error}")
            return False
        best = {}
        for point in points:
            if point.get("busbw_Bps"):
                key = f"{point['op']}_{point['ranks']}_{point['message_bytes']:.0f}"
                if key not in best or point["busbw_Bps"] > best[key]["busbw_Bps"]:
                    best[key] = point
        for key, point in best.items():
            self._result.add_result(f"{key}_busbw", point["busbw_Bps"] / 1e9)
            self._result.add_result(f"{key}_time", point["time_s"] * 1e6)
        return bool(best)


BenchmarkRegistry.register_benchmark("collbench", CollbenchBenchmark)
