"""Logs as people paste them: disguised, garbled in one cell, wrapped, compressed; and the kinds of fault that follow.

What a tool printed is read, or one line says what is not; nothing decides an operation, a rank count or a unit except
what the table says as a whole. Samples are our own.
"""

import gzip
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from collbench.analysis.findings.collect import collect_findings
from collbench.analysis.frames.load import load
from collbench.analysis.importers import LogHints, import_logs, read_log
from collbench.collectives.errors import CollbenchError

HEADING = """# nThread 1 nGpus 1 minBytes 1048576 maxBytes 33554432 step: 2(factor) warmup iters: 5 iters: 20
#
# Using devices
{devices}
#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                             ({time})  ({rate})  ({rate})   ({time})  ({rate})  ({rate})
"""
SIZES = [1 << k for k in range(20, 26)]


def nccl(op="all_gather", ranks=4, time="us", rate="GB/s", scale=1.0):
    """A table of nccl-tests; `scale` is the unit of its times in us, and of its bandwidths in MB/s over 1000."""
    factor, redop, blocks, wrong = {
        "all_gather": ((ranks - 1) / ranks, "none", ranks, "0"),
        "all_reduce": (2 * (ranks - 1) / ranks, "sum", 1, "0"),
        "all_to_all": ((ranks - 1) / ranks, "none", ranks, "N/A"), "broadcast": (1.0, "none", 1, "0")}[op]
    root = 3 if op == "broadcast" else -1
    devices = "\n".join(f"#  Rank {rank:2} Group  0 Pid   {1000 + rank} on      node{rank // 4} device {rank % 4:2} "
                        f"[0000:0{rank % 4}:00] NVIDIA H100 80GB HBM3" for rank in range(ranks))
    rows = ""
    for size in SIZES:
        rows += f"{size:12} {size // 4 // blocks:13} {'float':>9} {redop:>7} {root:>7}"
        for slower, found in ((1.0, "0"), (0.98, wrong)):
            time_us = (20 + size / 1e5) * slower
            algbw = size / time_us / 1e3
            rows += f" {time_us / scale:10.5f} {algbw * scale:9.4f} {algbw * scale * factor:9.4f} {found:>6}"
        rows += "\n"
    return HEADING.format(devices=devices, time=time, rate=rate) + rows + "# Out of bounds values : 0 OK\n#\n"


def osu():
    return "$ mpirun -n 4 ./osu_allgather\n\n# OSU MPI Allgather Latency Test v7.4\n# Size       Avg Latency(us)\n" \
        + "".join(f"{size:<24}{10 + size / 1e4:10.2f}\n" for size in SIZES)


def imb():
    return "#    Intel(R) MPI Benchmarks 2021.3, MPI-1 part\n# MPI_Datatype                   :   MPI_BYTE\n" \
        "#----------------------------------------\n# Benchmarking Allgather\n# #processes = 4\n" \
        "#----------------------------------------\n" \
        "       #bytes #repetitions  t_min[usec]  t_max[usec]  t_avg[usec]\n" \
        + "".join(f"{size:13} {1000:12} {10 + size / 1e4:12.2f} {12 + size / 1e4:12.2f} {11 + size / 1e4:12.2f}\n"
                  for size in SIZES)


def hccl():
    return "mpirun -n 8 ./bin/all_reduce_test -b 1M -e 32M -d fp32 -o sum -p 8\n" \
        "the minbytes is 1048576, maxbytes is 33554432, iters is 20, warmup_iters is 5\n" \
        "data_size(Bytes): | avg_time(us): | alg_bandwidth(GB/s): | check_result:\n" \
        + "".join(f"{size:<18}| {20 + size / 1e5:10.2f}    | {size / (20 + size / 1e5) / 1e3:12.5f}        | success\n"
                  for size in SIZES)


def nccom():
    return "nccom-test -r 8 allg\n    size(B)    count(elems)    type    time:avg(us)    algbw(GB/s)    busbw(GB/s)\n" \
        + "".join(f"{size:11}  {size // 4:14}    fp32  {20 + size / 1e5:14.2f}  "
                  f"{size / (20 + size / 1e5) / 1e3 * 1e9 / 2**30:13.2f}  "
                  f"{size / (20 + size / 1e5) / 1e3 * 1e9 / 2**30 * 7 / 8:13.2f}\n" for size in SIZES)


def ucc():
    return "Collective:             Alltoall\nMemory type:            host\nDatatype:               float32\n" \
        "Reduction:              N/A\nInplace:                0\n\n" \
        "       Count        Size                Time, us                           Bandwidth, GB/s\n" \
        "                                 avg         min         max         avg         max         min\n" \
        + "".join(f"{size // 4:12} {size:11} {t:11.2f} {t - 2:11.2f} {t + 2:11.2f} {7 * size / t / 1e3:11.2f} "
                  f"{7 * size / (t - 2) / 1e3:11.2f} {7 * size / (t + 2) / 1e3:11.2f}\n"
                  for size, t in ((size, 30 + size / 1e4) for size in SIZES))


def ds_bench():
    return "---- Performance of all_reduce on 8 devices ---------------------------------------------------------\n" \
        "Size (Bytes)         Description               Duration             Throughput (Gbps)    BusBW (Gbps)\n" \
        "----------------------------------------------------------------------------------------------------\n" \
        + "".join(f"{size / 2**20:.1f} MB               {size // 4}x4                {t:.3f} us            "
                  f"{16 * size / t / 1e3:.3f}              {8 * 1.75 * size / t / 1e3:.3f}\n"
                  for size, t in ((size, 20 + size / 1e5) for size in SIZES))


TOOLS = {"nccl-tests": nccl, "OSU": osu, "IMB": imb, "hccl_test": hccl, "nccom-test": nccom, "ucc_perftest": ucc,
         "ds_bench": ds_bench}


def each(prefix):
    return lambda text: "".join(f"{prefix(number) if callable(prefix) else prefix}{line}\n"
                                for number, line in enumerate(text.splitlines()))


def behind(suffix):
    return lambda text: "".join(f"{line}{suffix}\n" for line in text.splitlines())


DISGUISES = {
    "mpirun tag": each("[1,0]<stdout>:"), "prterun": each("[prterun-n0-17@1,0]<stdout>: "), "srun -l": each("0: "),
    "mpiexec -l": each("[0] "), "torchrun": each("[default0]:"), "rank": each("[rank0]: "),
    "PALS": each("x1000c0s0b0n0 0: "), "pdsh": each("node17: "), "kubectl --prefix": each("[pod/run-abcde/main] "),
    "kubectl --timestamps": each("2024-05-01T12:00:00.123Z "), "docker compose": each("bench-1  | "),
    "Ray": each("(Worker pid=1234, ip=10.0.0.1) "), "syslog": each("Nov 29 11:20:07 node0 bench[17]: "),
    "clock": each(lambda n: f"[12:{n // 60 % 60:02}:{n % 60:02}] "), "dmesg": each(lambda n: f"[ {n + 100}.123456] "),
    "unknown": each("run=7/job-a ~ "), "glog": each("I0501 12:00:00.123456 4711 log.cc:17] "), "diff": each("+"),
    "quoted": each("> "), "quoted twice": each(">> "), "indented": each(" " * 24), "tab": each("\t"),
    "colour": each("\x1b[0;32m"), "colour without escape": each("[0;32m"), "fence": lambda text: f"```\n{text}```\n",
    "numbered": each(lambda n: f"{n + 1:6}\t"), "grep -n": each(lambda n: f"{n + 1}:"), "bar behind": behind(" |"),
    "backslash behind": behind("\\"), "break behind": behind("<br/>"), "blanks behind": behind("   "),
    "CRLF": lambda text: text.replace("\n", "\r\n"), "CR": lambda text: text.replace("\n", "\r"),
    "NUL in front": lambda text: "\0" * 64 + text, "byte-order mark": lambda text: "\ufeff" + text,
    "no-break blanks": lambda text: text.replace("  ", "\u00a0 "), "escaped": lambda text: text.replace("#", "\\#"),
    "HTML": lambda text: "<pre><code>" + text + "</code></pre>\n", "entities": each("&gt; "),
    "prose around": lambda text: "# What I see\n\nHello, it is slow:\n\n" + text + "\nThanks, 3 4 5\n",
    "container log": lambda text: "".join(f'{{"log":{quoted(line)},"stream":"stdout"}}\n'
                                          for line in text.splitlines()),
}


def quoted(line):
    return json.dumps(line + "\n")


def write(tmp_path, text, name="a.log"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def figures(found):
    return [(figure.op, figure.ranks, figure.message_bytes, figure.in_place, figure.time_s, figure.status)
            for figure in found.results]


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
def test_disguises_change_nothing(tmp_path, tool):
    plain = read_log(write(tmp_path, TOOLS[tool]()))
    assert len(plain.results) == len(SIZES) * (2 if tool == "nccl-tests" else 1)
    assert not [words for words in plain.warnings if "GiB/s" not in words]
    for name, disguise in DISGUISES.items():
        found = read_log(write(tmp_path, disguise(TOOLS[tool]())))
        assert figures(found) == figures(plain), name
        assert len(found.warnings) == len(plain.warnings), (name, found.warnings)


GARBLED = ("", "x", "nan", "-nan", "12.3us", "1,234", "--", "1e999", "\u00bd", "-1", "0|", "N/A", "?")


@pytest.mark.parametrize("tool", TOOLS)
def test_one_garbled_cell_costs_at_most_its_row_and_is_told(tmp_path, tool):
    rng = random.Random(18)
    text = TOOLS[tool]()
    plain = read_log(write(tmp_path, text))
    meant = {(figure.op, figure.ranks, figure.message_bytes, figure.in_place) for figure in plain.results}
    lines = text.splitlines()
    rows = [at for at, line in enumerate(lines) if line.split() and line.split()[0].replace(".", "").isdigit()]
    for _ in range(80):
        at, word = rng.choice(rows), rng.choice(GARBLED)
        cells = lines[at].split()
        place = rng.randrange(len(cells))
        if cells[place] == "|" or (word == "N/A" and cells[place] in ("0", "N/A")):
            continue
        cells[place] = word
        try:
            found = read_log(write(tmp_path, "\n".join([*lines[:at], "  ".join(cells), *lines[at + 1:]]) + "\n"))
        except CollbenchError as error:
            pytest.fail(f"{lines[at]!r} with {word!r} in place {place}: {error}")
        read = {(figure.op, figure.ranks, figure.message_bytes, figure.in_place)
                for figure in found.results if figure.status == "ok"}
        changed, lost = read - meant, meant - read
        said = len(found.warnings) > len(plain.warnings)
        assert {key[:2] for key in read} == {key[:2] for key in meant}, (word, place, found.warnings)
        assert not (lost or changed) or said, (word, place, lost, changed)
        assert len(lost) <= 2, (word, place, lost)


@pytest.mark.parametrize("op", ["all_reduce", "all_to_all", "broadcast"])
def test_one_garbled_cell_never_changes_the_operation_of_nccl_tests(tmp_path, op):
    rng = random.Random(4)
    lines = nccl(op, 8).splitlines()
    rows = [at for at, line in enumerate(lines) if line.split()[:1] and line.split()[0].isdigit()]
    for _ in range(100):
        at = rng.choice(rows)
        cells = lines[at].split()
        cells[rng.randrange(len(cells))] = rng.choice(GARBLED)
        found = read_log(write(tmp_path, "\n".join([*lines[:at], "  ".join(cells), *lines[at + 1:]]) + "\n"))
        assert {(figure.op, figure.ranks) for figure in found.results if figure.status == "ok"} == {(op, 8)}


def test_units_stand_in_the_heading(tmp_path):
    plain = figures(read_log(write(tmp_path, nccl())))
    slow = read_log(write(tmp_path, nccl(time="ms", rate="MB/s", scale=1e3)))
    assert [row[:4] for row in figures(slow)] == [row[:4] for row in plain]
    assert [row[4] for row in figures(slow)] == pytest.approx([row[4] for row in plain], rel=1e-3)
    assert not slow.warnings
    for words, size, time_s in (("Latency(ms)", 1024, 0.0082), ("Bandwidth (GB/s)", 1 << 20, (1 << 20) / 8.2e9)):
        title = "Latency" if "Latency" in words else "Bandwidth"
        figure, = read_log(write(tmp_path, f"# OSU MPI {title} Test v7.4\n# Size    {words}\n{size}   8.20\n")).results
        assert figure.time_s == pytest.approx(time_s)
    bytes_unit = ds_bench().replace("Gbps", "GBps")
    assert read_log(write(tmp_path, bytes_unit)).results[0].busbw_Bps == pytest.approx(
        8 * read_log(write(tmp_path, ds_bench())).results[0].busbw_Bps)
    raw = read_log(write(tmp_path, ds_bench().replace("Duration   ", "Duration (us)").replace(" us ", "    ")
                         .replace(" MB ", "    ")))
    assert raw.results[0].time_s == pytest.approx((20 + 2**20 / 1e5) * 1e-6, rel=1e-4)


def test_a_table_whose_bandwidths_have_other_names_is_not_read_as_nccl_tests(tmp_path):
    text = nccl() + "\n" + nccl().replace("algbw", "bw1").replace("busbw", "bw2")
    found = read_log(write(tmp_path, text))
    assert len(found.results) == 2 * len(SIZES)
    assert any("without the columns algbw and busbw" in words for words in found.warnings)


@pytest.mark.parametrize("behind", [" ok", " | ok", " 7", " x y z"])
def test_a_field_too_many_shifts_nothing(tmp_path, behind):
    plain = read_log(write(tmp_path, nccl("broadcast")))
    lines = [line + behind * (line.split()[:1] != [] and line.split()[0].isdigit())
             for line in nccl("broadcast").splitlines()]
    found = read_log(write(tmp_path, "\n".join(lines)))
    assert figures(found) == figures(plain)
    assert len(found.warnings) == 1
    assert "more than the heading names" in found.warnings[0]


def test_commands_belong_to_the_table_that_follows_them(tmp_path):
    both = nccom() + "Avg bus bandwidth: 5.0GB/s\n" + nccom().replace("-r 8 allg", "-r 2 allr").replace(" 7 / 8", "")
    found = read_log(write(tmp_path, both))
    assert [(figure.op, figure.ranks) for figure in found.results] == [("all_gather", 8)] * 6 + [("all_reduce", 2)] * 6
    assert any("which is not all_reduce over 2 ranks" in words for words in found.warnings)
    alone = nccom() + nccom().partition("\n")[2]
    assert len(read_log(write(tmp_path, alone)).results) == 6
    assert any("give it with --log-op NAME" in words for words in read_log(write(tmp_path, alone)).warnings)
    hccl_both = hccl() + hccl().replace("-n 8 ./bin/all_reduce", "-n 2 ./bin/broadcast")
    assert {(figure.op, figure.ranks) for figure in read_log(write(tmp_path, hccl_both)).results} \
        == {("all_reduce", 8), ("broadcast", 2)}


def test_other_columns_of_nccom_test(tmp_path):
    text = "nccom-test -r 8 --stats avg p50 p99 allg\n" \
        "    size(B)    count(elems)    total_input_size(B)    type    time:avg(us)    time:p50(us)    time:p99(us)" \
        "    algbw(GB/s)    busbw(GB/s)    algorithm\n" \
        "     65536           16384    8192    fp32           11.31              11              13           5.79" \
        "           5.07    mesh\n     524288    Failure running neuron-bench - log file /tmp/x.log\n"
    first, failed = read_log(write(tmp_path, text)).results
    assert (first.time_s, first.p50_s, first.p99_s) == pytest.approx((11.31e-6, 11e-6, 13e-6))
    assert first.algorithm == "mesh"
    assert (failed.message_bytes, failed.status) == (524288, "failed")


def test_a_second_heading_below_rows_is_a_table_of_its_own(tmp_path):
    text = "--- osu_bw ---\n# OSU MPI Bandwidth Test v7.5\n# Size      Bandwidth (MB/s)\n4096     700.00\n{name}\n" \
        "# Size       Avg Latency(us)\n4096                     8.20\n"
    assert [figure.op for figure in read_log(write(tmp_path, text.format(name="--- osu_latency ---"))).results] \
        == ["bandwidth", "ping_pong"]
    found = read_log(write(tmp_path, text.format(name="--- next ---")))
    assert [figure.op for figure in found.results] == ["bandwidth"]
    assert any("the operation of rows without a title" in words for words in found.warnings)


def test_remarks_and_words_that_are_no_numbers(tmp_path):
    text = "# OSU MPI Latency Test v7.5\n# Size       Avg Latency(us)\n256    0.36\n512    8.43   <- jumps here\n" \
        "1024   nan\n2048   8.55\n"
    found = read_log(write(tmp_path, text))
    assert [(figure.message_bytes, figure.time_s) for figure in found.results] == [
        (256, pytest.approx(0.36e-6)), (512, pytest.approx(8.43e-6)), (2048, pytest.approx(8.55e-6))]
    assert [words.rpartition("a.log")[2][:3] for words in found.warnings] == [":4:", ":5:"]


def test_the_command_names_an_all_gather_of_2019(tmp_path):
    """Its busbw was that of size times (n-1)/n, as the hypercube's still is."""
    rows = "33554432  2097152  float  12000  2.10  2.10  0e+00  12100  2.08  2.08  0e+00\n"
    text = "{command}\n# nThread 1 nGpus 4 minBytes 33554432 maxBytes 33554432 step: 1048576(bytes)\n" + "".join(
        f"#   Rank  {rank} Pid   4711 on     host-a device  {rank} [0x0c] Card\n" for rank in range(4)) \
        + "#  size  count  type  time  algbw  busbw  error  time  algbw  busbw  error\n" + rows
    for command, op in (("$ ./all_gather_perf -g 4", "all_gather"), ("", "hypercube")):
        assert {figure.op for figure in read_log(write(tmp_path, text.format(command=command))).results} == {op}


def test_the_majority_decides_against_misprints(tmp_path):
    lines = nccl().splitlines()
    row = next(at for at, line in enumerate(lines) if line.split()[:1] == ["4194304"])
    cells = lines[row].split()
    plain = figures(read_log(write(tmp_path, nccl())))
    for place, words in ((7, "busbw is not algbw times 0.75"), (6, "algbw is not size over time"), (1, "")):
        wrong = [*cells[:place], "99.99" if place > 1 else "77", *cells[place + 1:]]
        found = read_log(write(tmp_path, "\n".join([*lines[:row], "  ".join(wrong), *lines[row + 1:]])))
        assert figures(found) == plain
        assert not words or any(words in told for told in found.warnings)
    late = [*cells[:5], "99999.0", *cells[6:]]
    found = read_log(write(tmp_path, "\n".join([*lines[:row], "  ".join(late), *lines[row + 1:]])))
    assert figures(found) == [row for row in plain if row[2:4] != (4194304, False)]
    assert "time or size is misprinted" in found.warnings[0]


def test_a_damaged_line_of_the_device_list_changes_no_rank_count(tmp_path):
    for old, new in (("Rank  3 Group", "Rank  x Group"), ("device  3 [0000:03:00]", "")):
        found = read_log(write(tmp_path, nccl().replace(old, new)))
        assert {figure.ranks for figure in found.results} == {4}
        assert any("device list" in words for words in found.warnings)


def test_lines_wrapped_at_the_width_of_a_terminal(tmp_path):
    plain = figures(read_log(write(tmp_path, nccl())))
    for width in (80, 100, 72):
        text = "".join(line[start:start + width] + "\n" for line in nccl().splitlines()
                       for start in range(0, max(len(line), 1), width))
        assert figures(read_log(write(tmp_path, text))) == plain, width


def test_a_row_with_a_field_too_many_is_not_joined_to_the_next(tmp_path):
    head = "# Benchmarking: allreduce\n# #processes: 2\n\n" \
        "        #bytes  #repetitions   t_min[usec]   t_max[usec]   t_avg[usec]  stddev[%]\n"
    rows = [f"{size:14} {16:13} {30.5:13.2f} {30.9:13.2f} {30.7:13.2f} {0.6:10.2f}\n" for size in (4, 8, 16)]
    rows[1] = rows[1].replace("            16", "            1 2", 1)
    found = read_log(write(tmp_path, head + "".join(rows)))
    assert [figure.message_bytes for figure in found.results] == [4, 16]
    assert len(found.warnings) == 1


def test_a_failure_after_good_rows_is_told(tmp_path):
    cut = nccl().partition("# Out of")[0] + "node0: Test NCCL failure common.cu:1012 'unhandled system error'\n"
    found = read_log(write(tmp_path, cut))
    assert len(found.results) == 2 * len(SIZES)
    assert any("the run failed after 6 rows: Test NCCL failure" in words for words in found.warnings)


def test_times_that_cannot_be_are_not_analysed(tmp_path):
    for printed in ("0.00", "-3.50", "0.000000001"):
        text = f"# OSU MPI Latency Test v7.5\n# Size    Avg Latency(us)\n1048576   {printed}\n2097152   100.0\n"
        found = read_log(write(tmp_path, text))
        assert [figure.status for figure in found.results] == ["unsupported", "ok"]
        assert any(":3: " in words for words in found.warnings)
    csv = "collective,n_ranks,message_bytes,time_us\nall_reduce,8,1073741824,7.3\nall_reduce,8,1073741824,7300\n"
    found = read_log(write(tmp_path, csv))
    assert [figure.status for figure in found.results] == ["unsupported", "ok"]
    assert "GB/s in each rank is impossible" in found.warnings[0]


def test_folders_compressed_files_and_standard_input(tmp_path):
    folder = tmp_path / "logs"
    (folder / "deep").mkdir(parents=True)
    write(folder, osu(), "a.txt")
    write(folder / "deep", gzip.compress(nccl().encode()), "b.log.gz")
    write(folder, "hidden", ".c")
    done = import_logs([folder], tmp_path / "out.jsonl", LogHints())
    assert (done.files, done.asked, done.results) == (2, 2, 18)
    write(folder, gzip.compress((tmp_path / "out.jsonl").read_bytes()), "journal.gz")
    assert import_logs([folder / "journal.gz"], tmp_path / "again.jsonl", LogHints()).results == 18
    with pytest.raises(CollbenchError, match="unpacked"):
        read_log(write(tmp_path, gzip.compress(nccl().encode())[:60]))
    with pytest.raises(CollbenchError, match="is an archive"):
        read_log(write(tmp_path, b"PK\3\4" + bytes(40)))
    run = subprocess.run([sys.executable, "-m", "collbench", "import", "-", "-o", str(tmp_path / "in.jsonl")],
                         input=nccl().encode(), capture_output=True, cwd=Path(__file__).parent.parent)
    assert (run.returncode, run.stderr) == (0, b"")
    assert len(load(tmp_path / "in.jsonl").points) == 12


@pytest.mark.slow
def test_an_imported_journal_of_every_tool_can_be_reported(tmp_path):
    logs = [write(tmp_path, text(), f"{tool}.log") for tool, text in TOOLS.items()]
    assert import_logs(logs, tmp_path / "x.jsonl", LogHints()).files == len(TOOLS)
    run = subprocess.run([sys.executable, "-m", "collbench", "report", str(tmp_path / "x.jsonl"), "-o",
                          str(tmp_path / "page")], capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert (run.returncode, run.stderr) == (0, "")
    assert (tmp_path / "page" / "report.html").stat().st_size > 10_000


def test_runs_of_one_case_that_disagree_are_a_finding(tmp_path):
    for first, second, slow in ((0, 1, 1.0), (0, 2, 1.0), (1, 2, 1.0), (1, 3, 11.0), (2, 3, 1.0), (0, 3, 1.0)):
        here = slower(slow).replace("on      node0 device  0", f"on      host-{first} device  0") \
            .replace("on      node0 device  1", f"on      host-{second} device  0")
        write(tmp_path, here, f"pair-{first}-{second}.log")
    import_logs(sorted(tmp_path.glob("*.log")), tmp_path / "x.jsonl", LogHints(op="all_reduce"))
    words, = [found.words for found in collect_findings(load(tmp_path / "x.jsonl")) if "do not agree" in found.words]
    assert "6 runs of all_reduce over 2 ranks" in words
    assert "slow: pair-1-3.log" in words
    assert "(host-1, host-3)" in words


def slower(times):
    """The all_reduce over two ranks, so many times slower."""
    text = HEADING.format(devices="\n".join(
        f"#  Rank {rank:2} Group  0 Pid   100 on      node0 device {rank:2} [0000:00:00] NVIDIA H100 80GB HBM3"
        for rank in range(2)), time="us", rate="GB/s")
    for size in SIZES:
        time_us = (20 + size / 1e5) * times
        half = f" {time_us:10.3f} {size / time_us / 1e3:9.4f} {size / time_us / 1e3:9.4f} 0"
        text += f"{size} {size // 4} float sum -1{half}{half}\n"
    return text
