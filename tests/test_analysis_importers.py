"""Import of other tools' logs, with the pitfalls of each format. Fixtures are our own, in the tools' formats.

The last test reads real logs, which we cannot ship, from the folder COLLBENCH_LOGS.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from collbench.analysis.frames.load import load
from collbench.analysis.importers import LogError, LogHints, UnknownFormatError, import_logs, importers, read_log
from collbench.collectives.cases.names import dtype_name
from collbench.collectives.errors import UsageError
from collbench.collectives.records.journal import read_journal, read_lines
from collbench.collectives.records.record import Imported

HEAD = """# nccl-tests version 2.18.3 nccl-headers=22902 nccl-library=22902
# Collective test starting: {program}
# nThread 1 nGpus 1 minBytes 1024 maxBytes 4194304 step: 2(factor) warmup iters: 5 iters: 20 agg iters: 1 validation: 1
#
# Using devices
{devices}
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw  #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)             (us)  (GB/s)  (GB/s)
"""
FOOT = "# Out of bounds values : 0 OK\n# Avg bus bandwidth    : 12.3\n"


def devices(ranks, per_node=4):
    return "\n".join(f"#  Rank {rank:2d} Group  0 Pid {100 + rank} on node{rank // per_node} device {rank % per_node} "
                     "[0000:1b:00] NVIDIA H100 80GB HBM3" for rank in range(ranks))


def cells(size, time_us, factor, wrong="0"):
    algbw = size / time_us / 1e3
    return f" {time_us:8.2f} {algbw:7.2f} {algbw * factor:7.2f} {wrong:>6}"


def row(size, count, time_us, factor, redop="sum", root="-1", dtype="float", wrong=("0", "0")):
    left = f"{size:12d} {count:13d} {dtype:>9} {redop:>7} {root:>7} "
    return left + cells(size, time_us, factor, wrong[0]) + cells(size, time_us * 1.5, factor, wrong[1]) + "\n"


def all_reduce(ranks=8, program="all_reduce_perf", **more):
    factor = 2 * (ranks - 1) / ranks
    rows = "".join(row(size, size // 4, size / 1e4 + 20, factor, **more) for size in (1 << k for k in range(10, 23)))
    return HEAD.format(program=program, devices=devices(ranks)) + rows + FOOT


def write(tmp_path, text, name="a.log"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(tmp_path, text, **asked):
    return read_log(write(tmp_path, text), LogHints(**asked))


def test_every_tool_has_a_module_and_none_recognises_plain_text():
    names = {module.__name__.rpartition(".")[2] for module in importers()}
    assert {"collbench", "nccl_tests", "rccl_tests", "osu", "imb", "hccl_test", "param", "tidy_csv"} <= names
    for text in ("", "\n\n", "size time busbw\n8 1 2\n", "the minbytes is 8\n", "{}", "[1, 2]", "a,b\n1,2\n"):
        assert not any(module.recognise(text) for module in importers()), text


def test_nccl_tests_text(tmp_path):
    found = read(tmp_path, all_reduce())
    assert found.tools == ("nccl-tests",)
    assert not found.warnings
    assert (found.rows, len(found.results), len(found.runs)) == (13, 26, 1)
    first = found.results[0]
    assert (first.op, first.ranks, first.message_bytes, first.dtype, first.redop) == ("all_reduce", 8, 1024, "float32",
                                                                                     "sum")
    assert (first.in_place, first.ranks_per_node, first.repeats, first.checked) == (False, 4, 20, True)
    assert first.source == "a.log:17"
    assert found.runs[0].library == "NCCL 2.29.2"
    assert found.runs[0].device == "NVIDIA H100 80GB HBM3"


def test_points_have_the_printed_bandwidth(tmp_path):
    loaded = load(write(tmp_path, all_reduce()))
    results = read_log(tmp_path / "a.log").results
    for rate in ("algbw_Bps", "busbw_Bps"):
        assert np.allclose(loaded.points[rate], [getattr(figure, rate) for figure in results], atol=6e6), rate
    assert set(loaded.points["time_kind"]) == {"mean over ranks"}
    assert set(loaded.points["place"]) == {"in-place", "out-of-place"}


PREFIXES = {"tag-output": "[1,0]<stdout>:", "prterun": "[prterun-node0-17@1,0]<stdout>: ", "srun -l": " 0: ",
            "mpiexec -l": "[0] ", "pdsh": "node17: ", "quoted": "> ", "kubectl": "2024-05-01T12:00:00.123Z ",
            "colour": "\x1b[0;32m", "indented": "    "}


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
def test_launcher_prefixes_are_removed(tmp_path, prefix):
    text = "".join(f"{prefix}{line}\n" for line in all_reduce().splitlines())
    found = read(tmp_path, text)
    assert (found.rows, len(found.results), found.results[0].ranks) == (13, 26, 8)
    assert not found.warnings


def test_line_endings_encodings_and_surrounding_text(tmp_path):
    plain = all_reduce()
    for data in (plain.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + plain.encode(), plain.encode("utf-16"),
                 ("# Title\n\n```text\n" + plain + "```\nprose, 3 4 5\n").encode(), plain.encode() + b"\xff\xfe\x80"):
        assert read(tmp_path, data).rows == 13


def test_debug_output_inside_rows_is_removed(tmp_path):
    noise = "node0:17:18 [0] NCCL INFO AllReduce: {} Bytes -> Algo NVLS proto SIMPLE channel{{Lo..Hi}}={{0..15}}\n"
    lines = []
    for line in all_reduce().splitlines(keepends=True):
        if line.lstrip()[:1].isdigit():
            size = line.split()[0]
            said = noise.format(size)
            fields = line.split()
            left, out, inside = (" ".join(fields[part]) for part in (slice(5), slice(5, 9), slice(9, None)))
            lines += [left + said, said, out + said, said, inside + "\n"]
        else:
            lines.append(line)
    found = read(tmp_path, "".join(lines))
    plain = read(tmp_path, all_reduce())
    assert [figure.time_s for figure in found.results] == [figure.time_s for figure in plain.results]
    assert {(figure.algorithm, figure.protocol) for figure in found.results} == {("NVLS", "SIMPLE")}


def test_pieces_of_different_rows_are_not_joined(tmp_path):
    text = HEAD.format(program="all_reduce_perf", devices=devices(8)) + row(1024, 256, 20, 1.75)
    text += row(1 << 20, 1 << 18, 100, 1.75)[:52] + "\nnode0:1:1 [0] NCCL INFO x\n" + cells(1 << 24, 900, 1.75) \
        + cells(1 << 24, 900, 1.75) + "\n"
    found = read(tmp_path, text)
    assert len(found.results) == 2
    assert any("cut short or has unknown columns" in warning for warning in found.warnings)


@pytest.mark.parametrize(("program", "op"), [
    ("all_gather_perf", "all_gather"), ("alltoall_perf_mpi", "all_to_all"), ("/opt/reduce_scatter_perf",
                                                                              "reduce_scatter")])
def test_block_operations_have_the_total_as_size(tmp_path, program, op):
    redop = "sum" if op == "reduce_scatter" else "none"
    wrong = ("0", "N/A") if op == "all_to_all" else ("0", "0")
    rows = "".join(row(size, size // 32, 50, 7 / 8, redop, wrong=wrong) for size in (32768, 65536))
    found = read(tmp_path, HEAD.format(program=program, devices=devices(8)) + rows + FOOT)
    assert {(figure.op, figure.message_bytes) for figure in found.results} == {(op, 32768), (op, 65536)}
    assert not found.warnings


OLD = {  # left columns of the programs before 2.13, and a row of each
    "all_reduce": ("redop", "{s:12d} {c:12d} float sum ", 1, 1.75),
    "all_gather": ("", "{s:12d} {c:12d} float ", 8, .875),
    "broadcast": ("root", "{s:12d} {c:12d} float 0 ", 1, 1.0),
    "all_to_all": ("redop", "{s:12d} {c:12d} float ", 8, .875),
    "reduce": ("redop root", "{s:12d} {c:12d} float sum 0 ", 1, 1.0),
    "reduce_scatter": ("redop", "{s:12d} {c:12d} float sum ", 8, .875)}


@pytest.mark.parametrize("op", OLD)
def test_operation_of_tables_before_2022_is_inferred_from_the_columns(tmp_path, op):
    names, left, share, factor = OLD[op]
    text = f"#  size  count  type  {names}  time  algbw  busbw  error  time  algbw  busbw  error\n"
    for size in (1 << 20, 1 << 24, 1 << 28):
        time_us = size / 1e5
        text += left.format(s=size, c=size // 4 // share) + cells(size, time_us, factor, "2e-07") \
            + cells(size, time_us, factor, "N/A") + "\n"
    found = read(tmp_path, text, ranks=8)
    assert {figure.op for figure in found.results} == {op}
    assert all("inferred" in " ".join(figure.notes) for figure in found.results)
    assert {figure.status for figure in found.results} == {"ok"}


def test_an_old_deviation_beyond_tolerance_is_wrong(tmp_path):
    text = "# size count type redop time algbw busbw error time algbw busbw error\n" \
        + "1048576 262144 float sum " + cells(1 << 20, 10, 1.75, "3e-01") + cells(1 << 20, 10, 1.75, "4e-07") + "\n"
    found = read(tmp_path, text, ranks=8)
    assert [figure.status for figure in found.results] == ["wrong", "ok"]


def test_ranks_are_inferred_from_the_columns_and_noted(tmp_path):
    text = "".join(row(size, size // 4, size / 2e5, 2 * 95 / 96) for size in (1 << 29, 1 << 30, 1 << 31))
    found = read(tmp_path, text)
    assert {figure.ranks for figure in found.results} == {96}
    assert "96 ranks inferred from the columns" in found.results[0].notes


def test_unknown_facts_require_an_option(tmp_path):
    small = row(8, 2, 20, 0) + row(16, 4, 20, 0)
    with pytest.raises(UsageError, match="--log-ranks N"):
        read(tmp_path, small)
    assert read(tmp_path, small, ranks=8).results[0].ranks == 8
    either = row(65536, 2048, 50, 7 / 8, "none", wrong=("N/A", "N/A"))
    with pytest.raises(UsageError, match=r"all_gather, all_to_all.*--log-op NAME"):
        read(tmp_path, either)
    assert read(tmp_path, either, op="alltoall").results[0].op == "all_to_all"
    with pytest.raises(UsageError, match="known are"):
        read(tmp_path, either, op="all_shuffle")


def test_an_option_does_not_override_the_log(tmp_path):
    found = read(tmp_path, all_reduce(8), ranks=4)
    assert {figure.ranks for figure in found.results} == {8}
    assert "--log-ranks 4 is ignored" in found.warnings[0]


def test_a_device_list_that_the_columns_contradict_is_reported(tmp_path):
    text = all_reduce(8).replace(devices(8), devices(16))
    assert any("do not look like all_reduce over 16 ranks; they fit all_reduce over 8" in warning
               for warning in read(tmp_path, text).warnings)


def test_size_zero_and_one_rank_are_kept_as_unsupported(tmp_path):
    rows = row(0, 0, 0.25, 0, "none") + row(32768, 1024, 50, 7 / 8, "none")
    path = write(tmp_path, HEAD.format(program="all_gather_perf", devices=devices(8)) + rows + FOOT)
    loaded = load(path)
    assert len(loaded.records) == 4
    assert set(loaded.points["message_bytes"]) == {32768}
    assert "size 0" in loaded.records["reason"].iloc[0]
    one = read(tmp_path, HEAD.format(program="all_reduce_perf", devices=devices(1)) + row(1024, 256, 1, 0))
    assert {figure.reason for figure in one.results} == {"one rank: nothing crosses a link"}


def test_wrong_results_are_records_without_times(tmp_path):
    text = all_reduce().replace(FOOT, "") + row(1 << 23, 1 << 21, 900, 1.75, wrong=("4224", "0"))
    loaded = load(write(tmp_path, text + "# Out of bounds values : 1 FAILED\n"))
    assert loaded.records["status"].value_counts().to_dict() == {"ok": 27, "wrong": 1}
    assert len(loaded.points) == 27


def test_units_are_checked(tmp_path):
    binary = HEAD.format(program="all_reduce_perf", devices=devices(8))
    for size in (1 << 26, 1 << 28):
        algbw = size / (size / 1e5) / 1e3 * 1e9 / 2**30
        binary += f"{size} {size // 4} float sum -1 {size / 1e5:.1f} {algbw:.2f} {algbw * 1.75:.2f} 0\n"
    warning, = [w for w in read(tmp_path, binary).warnings if "algbw" in w]
    assert warning.endswith("in 2 places: it fits GiB/s (2^30), not GB/s; recomputed from the time")
    assert ":17: " in warning


def test_several_runs_in_one_file(tmp_path):
    text = all_reduce(4) + all_reduce(8) + "### ALGO=Tree\n" + row(1 << 28, 1 << 26, 1700, 1.75) \
        + "# Avg bus bandwidth : 1\n### ALGO=NVLS\n" + row(1 << 28, 1 << 26, 1100, 1.75) + "### ALGO=CollnetChain\n"
    found = read(tmp_path, text)
    assert [run.world for run in found.runs] == [4, 8, 8, 8]
    assert [figure.algorithm for figure in found.results[-4:]] == ["Tree", "Tree", "NVLS", "NVLS"]


def test_interleaved_jobs_of_one_rank_are_not_joined(tmp_path):
    one = HEAD.format(program="all_reduce_perf", devices=devices(1)) + row(1 << 20, 1 << 18, 10, 0)
    lines = [f"[1,{task}]<stdout>:{line}\n" for line in one.splitlines() for task in (0, 1)]
    found = read(tmp_path, "".join(lines))
    assert [run.world for run in found.runs] == [1, 1]
    assert len(found.results) == 4


def test_truncated_files_and_failed_launches(tmp_path):
    whole = all_reduce()
    found = read(tmp_path, whole[:whole.index("131072") + 30])
    assert found.rows == 7
    assert any("cut short" in warning for warning in found.warnings)
    with pytest.raises(LogError, match="no complete row"):
        read(tmp_path, HEAD.format(program="all_reduce_perf", devices=devices(8)))
    with pytest.raises(UnknownFormatError, match="not a collbench journal"):
        read(tmp_path, "launch failed on node0: no port\n")
    with pytest.raises(LogError, match="NUL bytes"):
        read(tmp_path, b"\0\1\2" * 100)
    with pytest.raises(LogError, match="cannot be read"):
        read_log(tmp_path / "absent")


def document(misspelt=False, nwrong=0.0, **more):
    bandwidth = "bandwidith" if misspelt else "bandwidth"
    half = {"time": 35.15, "alg_bw": 8192 / 35150, "bus_bw": 8192 / 35150 * 1.75, "nwrong": nwrong}
    return {"version": 1, "start_time": "x", "args": ["/opt/bin/all_reduce_perf", "-b", "8K"],
            "env": ["PATH=/bin", "API_TOKEN=planted-secret"], "nccl_version": 22807,
            "config": {"nthreads": 1, "ngpus": 1, "iterations": 20, "aggregated_iterations": 1, "graph": 0,
                       "devices": [{"rank": rank, "group": 0, "pid": 1, "hostname": f"n{rank // 4}", "device": rank % 4,
                                    "device_info": "[0000:1b:00] NVIDIA H100"} for rank in range(8)]},
            "results": [{"size": 8192, "count": 2048, "type": "float", "redop": "sum", "root": "    -1",
                         "out_of_place": half, "in_place": half, **more}],
            "out_of_bounds": {"count": 0, "okay": "true"},
            f"average_bus_{bandwidth}": {bandwidth: 1.0, "okay": "unchecked"}}


@pytest.mark.parametrize("misspelt", [True, False])
def test_nccl_tests_json_of_every_schema(tmp_path, misspelt):
    text = json.dumps(document(misspelt), indent=1) + "\n" + json.dumps(document(out_of_place_per_iter={
        "p50_us": 35.0, "p95_us": 36.0, "p99_us": "nan"}))
    found = read(tmp_path, text)
    assert (found.rows, len(found.results), [run.world for run in found.runs]) == (2, 4, [8, 8])
    figure = found.results[2]
    assert (figure.op, figure.time_s, figure.p95_s, figure.p99_s) == ("all_reduce", 35.15e-6, 36e-6, None)
    assert figure.ranks_per_node == 4
    assert not found.warnings


def test_the_environment_in_a_json_is_never_imported(tmp_path):
    path = write(tmp_path, json.dumps(document(nwrong=3.0)))
    out = tmp_path / "out.jsonl"
    import_logs([path], out, LogHints())
    assert "planted-secret" not in out.read_text()
    assert "API_TOKEN" not in out.read_text()
    assert "wrong" in {figure.status for figure in read_log(path).results}


def test_a_truncated_json_gives_its_complete_rows(tmp_path):
    text = json.dumps({**document(), "results": document()["results"] * 3}, indent=1)
    found = read(tmp_path, text[:text.rindex('"in_place"')])
    assert found.rows == 2
    assert {figure.ranks for figure in found.results} == {8}
    assert "cut short: 2 rows" in found.warnings[0]


def test_rccl_tests(tmp_path):
    text = "# nThread 1 nGpus 1 minBytes 8 maxBytes 8 step: 2(factor) warmup iters: 5 iters: 20\n" \
        "rccl-tests: Version develop:abc\n" + devices(8).replace("NVIDIA H100 80GB HBM3", "AMD MI300X") + "\n" \
        "# size count type redop root time hipevt algbw busbw #wrong\n" \
        "1024  256  float  sum  -1  5.71  2.78  0.18  0.31  0 Ring LL 16\n" \
        "# Errors with asterisks indicate errors that have exceeded the maximum threshold.\n"
    found = read(tmp_path, text)
    figure, = found.results
    assert (figure.op, figure.ranks, figure.time_s) == ("all_reduce", 8, 5.71e-6)
    assert (figure.algorithm, figure.protocol, figure.in_place) == ("Ring", "LL", False)
    assert found.runs[0].transport == "rccl-tests"
    csv = "numCycle,collective,ranks,rankspernode,gpusperrank,size,type,redop,inplace,time,algbw,busbw,#wrong\n" \
        "0,AllReduce,2,16,8,1,1048576,float,sum,1,20.97,50.00,93.75,0\n0,AllReduce,16,8,1,1048576,float,sum,0,x,1,1,0\n"
    found = read(tmp_path, csv)
    assert (found.results[0].ranks, found.results[0].in_place, found.results[0].message_bytes) == (16, True, 1 << 20)
    assert "no size, or no time" in found.warnings[0]
    line = {"numCycle": 0, "name": "AllGather", "nodes": 1, "ranks": 8, "ranksPerNode": 8, "size": 8192,
            "type": "half", "redop": "none", "inPlace": 0, "time": 8.192, "algBw": 1.0, "busBw": 0.875}
    for text in (json.dumps([{**line, "wrong": 2}]), json.dumps({**line, "#wrong": "2"}) + "\n"):
        figure, = read(tmp_path, text).results
        assert (figure.op, figure.dtype, figure.status, figure.ranks_per_node) == ("all_gather", "float16", "wrong", 8)


OSU = """# OSU MPI{device} {title} Test v7.4
# Datatype: MPI_CHAR.
# Size       Avg Latency(us)
"""


def test_osu_collectives_print_sizes_per_rank(tmp_path):
    text = "$ mpirun -np 4 ./osu_allgather\n\n" + OSU.format(device="", title="Allgather Latency") + \
        "1                      10.00\n1024                   20.00\n"
    found = read(tmp_path, text)
    assert [(figure.message_bytes, figure.native_size_bytes, figure.time_s) for figure in found.results] \
        == [(4, 1, 1e-5), (4096, 1024, 2e-5)]
    assert "4 ranks from the command" in found.results[0].notes[0]
    with pytest.raises(UsageError, match="--log-ranks N"):
        read(tmp_path, text.partition("\n")[2])


def test_osu_columns_without_names_validation_and_non_blocking(tmp_path):
    text = OSU.format(device="-CUDA", title="Reduce Latency") + "8       50.0      18.0      89.0        1000\n" + \
        "# OSU MPI Allreduce Latency Test v7.4\n# Size       Avg Latency(us)   Validation\n16   1.51   Fail\n" \
        "32  2.0  Pass\n# OSU MPI Non-blocking Allgather Latency Test v5.3\n" \
        "# Overall = Coll. Init + Compute + MPI_Test + MPI_Wait\n\n" \
        "# Size           Overall(us)       Compute(us)    Pure Comm.(us)        Overlap(%)\n" \
        "1  216.50   140.95  135.61  44.3\n"
    found = read(tmp_path, text, ranks=4)
    reduce, failed, passed, pending = found.results
    assert (reduce.rank_min_s, reduce.rank_max_s, reduce.repeats) == (18e-6, 89e-6, 1000)
    assert (failed.status, passed.status, passed.checked) == ("wrong", "ok", True)
    assert (pending.op, pending.variant, pending.time_s) == ("all_gather", "non-blocking", pytest.approx(135.61e-6))


def test_osu_point_to_point(tmp_path):
    text = "# OSU MPI Latency Test v7.4\n# Size          Latency (us)\n0  1.0\n8   2.00\n" \
        "# OSU MPI Bi-Directional Bandwidth Test v7.4\n# Size      Bandwidth (MB/s)\n4194304   20000.00\n" \
        "# OSU MPI Multiple Bandwidth / Message Rate Test v7.4\n# [ pairs: 4 ] [ window size: 64 ]\n" \
        "# Size                  MB/s        Messages/s\n1000   4000.00   4000000.00\n1000   4000.00   9000000.00\n" \
        "# OSU MPI_Put Bandwidth Test v7.4\n# Size      Bandwidth (MB/s)\n8   1.00\n"
    found = read(tmp_path, text)
    assert [figure.op for figure in found.results] == ["ping_pong"] * 2 + ["bi_bandwidth"] \
        + ["message_rate"] * 2 + ["put bandwidth"]
    points = load(tmp_path / "a.log").points
    assert points["busbw_Bps"].tolist() == pytest.approx([4e6, 20e9, 4e9, 4e9])       # the sum over 4 pairs
    assert points["time_s"].tolist()[3] == pytest.approx(1e-6)                          # of each of them
    assert points["ranks"].tolist() == [2, 2, 8, 8]
    assert sum("messages per second" in warning for warning in found.warnings) == 1


def test_osu_congestion_is_a_fan_of_one_rank_on_each_host(tmp_path):
    text = "$ mpirun -n 4 osu_bw_fan_in\n# OSU MPI Bandwidth Congestion In Test v7.5\n# Size      Bandwidth (MB/s)\n" \
        "1000   3000.00\n$ mpirun -n 4 osu_bw_fan_out\n# Size      Bandwidth (MB/s)\n1000   1500.00\n"
    found = read(tmp_path, text)
    assert [(one.op, one.traffic, one.ranks, one.message_bytes, one.native_size_bytes) for one in found.results] == [
        ("incast", "fan", 4, 3000, 1000), ("outcast", "fan", 4, 3000, 1000)]
    assert [one.time_s for one in found.results] == pytest.approx([1e-6, 2e-6])
    assert all("one rank on each host, as far as the log tells" in one.notes for one in found.results)
    hosts = "".join(f"[{rank}] MPI startup(): {rank} {100 + rank} node{rank // 2} 0\n" for rank in range(6))
    (shared,) = read(tmp_path, "[0] MPI startup(): Rank    Pid      Node name       Pin cpu\n" + hosts
                     + text.partition("\n")[2].partition("$")[0]).results
    assert (shared.ranks, shared.message_bytes, shared.busbw_Bps) == (3, 2000, 1.5e9)     # two fans of 3 ranks at once


IMB = """#------------------------------------------------------------
#    Intel(R) MPI Benchmarks {version}, MPI-1 part
# MPI_Datatype                   :   MPI_BYTE
# MPI_Datatype for reductions    :   MPI_FLOAT
#----------------------------------------------------------------
# Benchmarking {name}
# #processes = {ranks}
#----------------------------------------------------------------
"""
IMB_COLUMNS = "       #bytes #repetitions  t_min[usec]  t_max[usec]  t_avg[usec]\n"


def test_imb_over_all_pairs_is_a_message_rate_and_a_bisection(tmp_path):
    columns = "       #bytes #repetitions   Mbytes/sec      Msg/sec\n"
    text = IMB.format(version="2019 Update 6", name="Uniband", ranks=4) + columns + "0  1000   0.00   2459867\n" \
        "1000  1000  4000.00  4000000\n" + IMB.format(version="2019 Update 6", name="Biband", ranks=4) + columns + \
        "1000  1000  8000.00  8000000\n"
    rate, both = read(tmp_path, text).results
    assert (rate.op, rate.ranks, rate.traffic, rate.time_s) == ("message_rate", 4, None, pytest.approx(5e-7))
    assert (both.op, both.ranks, both.traffic, both.time_s) == ("bisection", 4, "halves", pytest.approx(5e-7))
    assert load(tmp_path / "a.log").points["busbw_Bps"].tolist() == pytest.approx([4e9, 8e9])


def test_imb(tmp_path):
    text = IMB.format(version="2019 Update 6", name="Alltoall", ranks=512) + IMB_COLUMNS + \
        "            0         1000         0.04         0.21         0.05\n" \
        "            8         1000       118.31       138.40       128.01\n" \
        "      2097152 out-of-mem.; needed X=   2.001 GB; use flag\n      4194304 time-out.; x\n"
    found = read(tmp_path, text)
    assert [figure.status for figure in found.results] == ["unsupported", "ok", "skipped-memory", "timeout"]
    figure = found.results[1]
    assert (figure.message_bytes, figure.native_size_bytes, figure.dtype) == (4096, 8, "byte")
    assert (figure.time_s, figure.rank_mean_s) == (138.4e-6, pytest.approx(128.01e-6))


def test_imb_bandwidths_multi_mode_and_reduce_scatter(tmp_path):
    text = IMB.format(version="2019", name="Sendrecv", ranks=4) + \
        "       #bytes #repetitions  t_min[usec]  t_max[usec]  t_avg[usec]   Mbytes/sec\n" \
        "      4194304           10      4015.28      6542.11      5247.35      1282.25\n" \
        "# Benchmarking Multi-Allgather\n# ( 60 groups of 2 processes each running simultaneous )\n" + IMB_COLUMNS + \
        "          512       100000        30.48        37.96        33.80\n"
    found = read(tmp_path, text)
    assert load(tmp_path / "a.log").points["busbw_Bps"].iloc[0] == pytest.approx(1282.25e6 / 2, rel=1e-4)
    assert (found.results[1].ranks, found.results[1].variant) == (2, "60 groups at once")
    assert not found.warnings
    sizes = {version: read(tmp_path, IMB.format(version=version, name="Reduce_scatter", ranks=4) + IMB_COLUMNS +
                           "1024  1000  1.0  2.0  1.5\n").results[0].message_bytes for version in ("2018", "2021.8")}
    assert sizes == {"2018": 1024, "2021.8": 4096}
    old = IMB.format(version="4.1", name="PingPong", ranks=2) + "  #bytes #repetitions  t[usec]  Mbytes/sec\n" \
        "      4194304           10     36946.39       108.26\n"
    assert "it fits MiB/s (2^20)" in read(tmp_path, old).warnings[0]


def test_imb_times_follow_from_decimal_megabytes_if_not_printed(tmp_path):
    """4 MB/s of 10^6 bytes: 1 MB takes a quarter of a second."""
    text = IMB.format(version="2019", name="Uniband", ranks=2) + "  #bytes #repetitions  Mbytes/sec  Msg/sec\n" \
        "  1000000           10        4.00        4\n"
    assert read(tmp_path, text).results[0].time_s == pytest.approx(0.25)


@pytest.mark.parametrize(("printed", "dtype"), [
    ("MPI_FLOAT", "float32"), ("MPI_DOUBLE", "float64"), ("MPI_INT", "int32"), ("long", "int64"), ("half", "float16"),
    ("bf16", "bfloat16"), ("int8", "int8"), ("uint64", "uint64"), ("fp8_e4m3", "fp8_e4m3"), ("torch.half", "float16"),
    ("mpi_byte", "byte"), ("hif8", "hif8"), ("", None), (None, None)])
def test_printed_names_of_element_types(printed, dtype):
    assert dtype_name(printed) == dtype


def test_hccl_test(tmp_path):
    table = "the minbytes is 8192, maxbytes is 67108864, iters is 20, warmup_iters is 5\n" \
        "data_size(Bytes): | aveg_time(us): | alg_bandwidth(GB/s): | check_result:\n" \
        "8192              |     764.55    |       0.00998        | success\n" \
        "67108864          |    2630.20    |      23.76245        | failed\n"
    found = read(tmp_path, "# mpirun -n 8 ./bin/all_reduce_test -b 8K -e 64M -d fp32 -o sum -p 8\n" + table)
    assert [figure.status for figure in found.results] == ["ok", "wrong"]
    assert (found.results[0].op, found.results[0].ranks, found.results[0].dtype) == ("all_reduce", 8, "float32")
    assert "GiB/s (2^30)" in found.warnings[0]
    with pytest.raises(UsageError, match="the operation is not in the log"):
        read(tmp_path, table)
    stub = table.replace("764.55", "1000.00").replace("2630.20", "1000.00")
    assert any("simulator" in warning for warning in read(tmp_path, stub, ranks=2, op="allreduce").warnings)


def test_param(tmp_path):
    text = "world_size: 8\n\tCOMMS-RES-all_reduce-float32           1073741824         268435456          41187.0" \
        "     41190.2     41204.9     41180.1     41210.3         26.070      45.622                 0.0\n" \
        "\tCOMMS-RES-QUANT-all_reduce-float32 1 2 3\n"
    found = read(tmp_path, text)
    figure, = found.results
    assert (figure.op, figure.ranks, figure.time_s) == ("all_reduce", 8, pytest.approx(41187e-6))
    assert (figure.p95_s, figure.rank_max_s) == (None, pytest.approx(41210.3e-6))
    assert "quantised" in found.warnings[0]
    short = "COMMS-RES-all_gather-float32 1048576 32768 100.0 101.0 102.0 10.486 9.175\n"
    figure, = read(tmp_path, short).results
    assert (figure.ranks, figure.op) == (8, "all_gather")


CSV = """system,library,collective,algorithm,dtype,n_ranks,ranks_per_node,message_bytes,time_us,variant,statistic
s,l,AllReduce,default,half,8,4,1024,10.5,in-place;x=1,mean over ranks
s,l,alltoall,,float,16,0,2048,20,,maximum over ranks
s,l,sendrecv,ring,byte,x,,2048,20,,
s,l,moe_dispatch,ll,fp8,16,8,,33,,as published
s,l,all_gather,ring,byte,16,8
"""


def test_tidy_csv(tmp_path):
    found = read(tmp_path, CSV)
    first, second, third = found.results
    assert (first.op, first.dtype, first.in_place, first.variant) == ("all_reduce", "float16", True, "in-place;x=1")
    assert (second.op, second.ranks_per_node, second.algorithm) == ("all_to_all", None, None)
    assert [figure.time_kind for figure in found.results] == ["mean over ranks", "slowest rank", "not stated"]
    assert (third.op, third.status) == ("moe_dispatch", "unsupported")
    assert ":4: row skipped: n_ranks 'x'" in found.warnings[0]
    assert "7 values under 11 column names" in found.warnings[1]
    assert [figure.time_s for figure in found.results] == pytest.approx([10.5e-6, 20e-6, 33e-6])
    in_seconds = read(tmp_path, CSV.replace("time_us", "time_s")).results
    assert [figure.time_s for figure in in_seconds] == pytest.approx([10.5, 20, 33])
    write(tmp_path, CSV)
    points = load(tmp_path / "a.log").points
    assert points["system"].tolist() == ["s", "s"]
    assert points["ranks_per_node"].isna().tolist() == [False, True]


def test_a_time_is_computed_from_a_defined_bandwidth(tmp_path):
    text = "collective;n_ranks;message_bytes;busbw_GBps;bw_definition\nall_reduce;8;1000000;1.75;nccl-tests busbw\n" \
        "all_reduce;8;1000000;1.75;wire\n"
    found = read(tmp_path, text)
    assert found.results[0].time_s == pytest.approx(1e-3)
    assert found.results[0].notes == ("time computed from busbw",)
    assert "no time" in found.warnings[0]


def test_other_tools(tmp_path):
    mscclpp = '{"name":"allreduce", "kernel":2, "ranks":16, "ranksPerNode":8, "algBw":1.25, "busBw":2.34, ' \
        '"size":8192, "time":6.51, "target":"latency"}\n'
    figure, = read(tmp_path, mscclpp).results
    assert (figure.algorithm, figure.ranks, figure.ranks_per_node) == ("kernel 2", 16, 8)
    assert (figure.time_s, figure.busbw_Bps) == (pytest.approx(6.51e-6), pytest.approx(2.34e9))
    deepspeed = "n0: ---- Performance of all_reduce on 8 devices ----\n" \
        "n0: 31.67 GB             8501054668x4              3176.620 ms          171.272              149.863\n"
    found = read(tmp_path, deepspeed)
    assert (found.results[0].message_bytes, found.warnings) == (8501054668 * 4, [])
    ucc = "Collective:             Alltoall\nMemory type:            cuda\nDatatype:               float32\n" \
        "   65536   262144   76.46   72.62   82.30   24.00   25.27   22.30\n"
    assert (read(tmp_path, ucc).results[0].ranks, read(tmp_path, ucc).results[0].message_bytes) == (8, 8 * 262144)
    nccom = "size(B)    count(elems)    type    time:avg(us)    algbw(GB/s)    busbw(GB/s)\n" \
        "524288  131072  fp32  343.84  1.42  2.80\n"
    assert "GiB/s" in read(tmp_path, nccom, ranks=64, op="all_reduce").warnings[0]
    umd = "srun -n 64 ./reduce_scatter.x 64\n0: Number of GPUs: 64\n0: Number of iterations: 10\n" \
        + "".join(f"0: {1 << k} 5.00 seconds\n" for k in range(20, 26))
    assert any("do not depend on the size" in w for w in read(tmp_path, umd, op="reduce_scatter").warnings)


def test_import_writes_a_readable_journal(tmp_path):
    logs = [write(tmp_path, all_reduce(ranks), f"n{ranks}.log") for ranks in (4, 8, 16)]
    out = tmp_path / "out.jsonl"
    done = import_logs([*logs, write(tmp_path, "nothing\n", "x.log")], out, LogHints(system="cluster"))
    assert (done.files, done.rows, done.results) == (3, 39, 78)
    assert "not a collbench journal" in done.warnings[0]
    loaded = load(out)
    assert set(loaded.points["system"]) == {"cluster"}
    assert sorted(set(loaded.points["ranks"])) == [4, 8, 16]
    assert sum(isinstance(line, Imported) for line in read_lines(out, [])) == 78
    assert read_journal(out)[1] == []
    again = tmp_path / "again.jsonl"
    import_logs([out], again, LogHints())
    assert len(load(again).points) == len(loaded.points)
    with pytest.raises(UsageError, match="exists already"):
        import_logs(logs, out, LogHints())
    with pytest.raises(UnknownFormatError):
        import_logs([tmp_path / "x.log"], tmp_path / "y.jsonl", LogHints())
    assert not (tmp_path / "y.jsonl").exists()


def collbench(*words):
    return subprocess.run([sys.executable, "-m", "collbench", *map(str, words)], capture_output=True, text=True,
                          cwd=Path(__file__).parent.parent)


def test_commands_and_exit_statuses(tmp_path):
    good, cut = write(tmp_path, all_reduce(), "good.log"), write(tmp_path, all_reduce()[:-400], "cut.log")
    done = collbench("import", good, cut, "-o", tmp_path / "1.jsonl")
    assert (done.returncode, done.stdout.count("rows of 2 of 2 logs")) == (0, 1)
    assert "cut.log:" in done.stderr
    assert collbench("import", cut, "-o", tmp_path / "2.jsonl", "--strict").returncode == 1
    assert collbench("import", good, "-o", tmp_path / "3.jsonl", "--strict").returncode == 0
    done = collbench("import", write(tmp_path, row(8, 2, 20, 0), "small.log"), "-o", tmp_path / "4.jsonl")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    done = collbench("export", tmp_path / "1.jsonl", "--format", "csv")
    assert done.stdout.startswith("system,library,collective,")
    done = collbench("extrapolate", good, "--to", "72", "--json", "-")
    assert {line["kind"] for line in json.loads(done.stdout)["predictions"]} == {"extrapolated"}


# Read manually from the real logs: file, --ranks, --op; rows, results, of them ok and wrong, operations and ranks, bus
# bandwidth in GB/s of the first and last point, warnings. Without rows: nothing can be imported. The same of an
# excerpt, whose first lines and rows are in EXCERPTS, with where the log was published; some logs are there alone.
EXPECTED = Path(__file__).parent / "expected_logs.json"
EXCERPTS = Path(__file__).parent / "log_excerpts"


def check_log(path, want, hints):
    found, points = read_log(path, hints), load(path, hints).points
    statuses = [figure.status for figure in found.results]
    assert {"rows": found.rows, "figures": len(statuses), "ok": statuses.count("ok"),
            "wrong": statuses.count("wrong"), "warnings": len(found.warnings),
            "ops": sorted({f"{figure.op}@{figure.ranks}" for figure in found.results})} \
        == {key: want[key] for key in ("rows", "figures", "ok", "wrong", "warnings", "ops")}, path.name
    if not len(points):
        return      # links, which `collbench links` reads
    ends = points["busbw_Bps"].iloc[[0, -1]].fillna(0) / 1e9
    assert ends.tolist() == pytest.approx(want["busbw_GBps"], rel=2e-3, abs=6e-3), path.name
    printed = [(figure.busbw_Bps, at) for at, figure in enumerate(f for f in found.results if f.status == "ok")
               if figure.busbw_Bps and figure.busbw_Bps > 1e9]
    for busbw_Bps, at in printed:
        assert points["busbw_Bps"].iloc[at] == pytest.approx(busbw_Bps, rel=0.02), (path.name, at)


def test_excerpts_of_real_logs():
    wanted = {name: want for name, want in json.loads(EXPECTED.read_text()).items() if "excerpt" in want}
    assert all(want["source"] for want in wanted.values())
    assert {path.stem for path in EXCERPTS.iterdir()} == set(wanted)
    for name, want in wanted.items():
        check_log(EXCERPTS / f"{name}{want.get('suffix', '.txt')}", want["excerpt"],
                  LogHints(want.get("ranks"), want.get("op")))


@pytest.mark.skipif("COLLBENCH_LOGS" not in os.environ,
                    reason="COLLBENCH_LOGS names no folder of real logs: the table of expectations is not checked")
def test_real_logs():
    folder, missing = Path(os.environ["COLLBENCH_LOGS"]), []
    for name, want in json.loads(EXPECTED.read_text()).items():
        path = folder / f"{name}{want.get('suffix', '.txt')}"
        if "excerpt" in want and "rows" not in want:
            continue
        if not path.exists():
            missing.append(name)
            continue
        hints = LogHints(want.get("ranks"), want.get("op"))
        if "rows" in want:
            check_log(path, want, hints)
            continue
        with pytest.raises((LogError, UnknownFormatError)):
            read_log(path, hints)
    assert not missing, f"not in {folder}: {', '.join(missing)}"
