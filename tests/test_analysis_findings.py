"""Findings on figures of real logs: slow sizes and places, jumps over ranks, runs that disagree; effect sizes."""

import numpy as np
import pandas as pd
import pytest

from collbench.analysis.findings.collect import collect_findings
from collbench.analysis.findings.effect_size import least_ratio
from collbench.analysis.findings.finding import as_json
from collbench.analysis.frames.load import load
from collbench.analysis.frames.pool import pool

NCCL = """# nThread 1 nGpus 1 minBytes 1048576 maxBytes 67108864 step: 2(factor) warmup iters: 5 iters: 20 agg \
iters: 1 validation: 1 graph: 0
# Using devices
{devices}
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
{rows}
# Out of bounds values : 0 OK
"""


def nccl(path, times_us, ranks=8, hosts=("node0",)):
    """A log of nccl-tests with {size in KiB: (out of place, in place)} in us."""
    each = ranks // len(hosts)
    devices = "\n".join(f"#  Rank {rank:2} Group  0 Pid {rank:6} on {hosts[rank // each]:>10} device {rank % each:2} "
                        "[0000:00:00] NVIDIA H100 80GB HBM3" for rank in range(ranks))
    rows = []
    for kib, pair in times_us.items():
        size, factor = kib << 10, 2 * (ranks - 1) / ranks
        cells = " ".join(f"{time_us:9.1f} {size / time_us / 1e3:7.2f} {factor * size / time_us / 1e3:7.2f} 0"
                         for time_us in pair)
        rows.append(f"{size:12d} {size // 4:12d} float sum -1 {cells}")
    path.write_text(NCCL.format(devices=devices, rows="\n".join(rows)))
    return path


def kinds(*paths):
    found = collect_findings(pool([load(path) for path in paths]))
    return {finding.kind: finding for finding in found}


# One size four times slower out of place, in an all_reduce over 64 H100 (from 1 MiB on, as printed).
SLOW_SIZE = {1024: (86.45, 85.59), 2048: (92.90, 91.97), 4096: (105.8, 104.7), 8192: (526.4, 130.3),
             16384: (183.2, 181.4), 32768: (286.4, 283.6), 65536: (492.9, 487.9)}


def test_one_size_slower_out_of_place_is_a_dip_and_a_difference_of_places(tmp_path):
    found = kinds(nccl(tmp_path / "all_reduce.log", SLOW_SIZE))
    assert set(found) == {"dip over message size", "in-place against out-of-place"}
    dip, places = found["dip over message size"], found["in-place against out-of-place"]
    assert "1 size slower than the sizes next to it; worst: all_reduce 8 MiB float32 sum out-of-place" in dip.words
    assert "at 4 MiB and" in dip.words
    assert "in 1 of 7 cases; most: all_reduce 8 MiB float32 sum out-of-place" in places.words
    assert "526 µs out-of-place, 130 µs in-place" in places.words
    for finding in found.values():
        assert (finding.severity, len(finding.records)) == ("warning", 1)
        assert {"kind", "advice"} <= {name for name, value in as_json(finding).items() if value}


def test_a_smooth_curve_with_the_scatter_of_a_log_is_no_finding(tmp_path):
    rng = np.random.default_rng(3)
    smooth = {kib: tuple(np.exp(rng.normal(0, 0.05, 2)) * (80 + kib / 150)) for kib in SLOW_SIZE}
    assert kinds(nccl(tmp_path / "all_reduce.log", smooth)) == {}


def test_bandwidth_that_never_comes_back_is_a_step_and_no_dip(tmp_path):
    """From 4 MiB on half of the bandwidth."""
    step = {kib: (kib / (20 if kib < 4096 else 10),) * 2 for kib in SLOW_SIZE}
    found = kinds(nccl(tmp_path / "all_reduce.log", step))
    assert set(found) == {"bandwidth lost over message size"}
    assert "all_reduce 4 MiB" in found["bandwidth lost over message size"].words


def test_time_that_jumps_between_rank_counts_of_one_host_is_found_and_leaving_the_host_is_not(tmp_path):
    def at(ranks, factor, hosts=("node0",)):
        usual = {kib: (factor * (5 * ranks + kib / 100),) * 2 for kib in SLOW_SIZE}
        return nccl(tmp_path / f"all_reduce-{ranks}-{factor}-{len(hosts)}.log", usual, ranks, hosts)
    found = kinds(at(2, 1), at(4, 1), at(8, 5))
    assert "worst: all_reduce" in found["jump over rank counts"].words
    assert "8 ranks" in found["jump over rank counts"].words
    assert "jump over rank counts" not in kinds(at(2, 1), at(4, 1), at(8, 1))
    assert "jump over rank counts" not in kinds(at(2, 1), at(4, 1), at(8, 5, ("node0", "node1")))


def test_a_host_that_is_slow_with_every_other_is_named_and_so_is_a_slow_link(tmp_path):
    def pairs(slow, hosts=4):
        return [nccl(tmp_path / f"all_reduce-{a}-{b}.log",
                     {kib: ((11 if slow(a, b) else 1) * (50 + kib / 10),) * 2 for kib in SLOW_SIZE}, 2,
                     (f"host-{a}", f"host-{b}")) for a in range(hosts) for b in range(a + 1, hosts)]
    host = kinds(*pairs(lambda a, b: 2 in (a, b)))["runs of one case disagree"].words
    assert "every run with host-2 is slow" in host
    two = kinds(*pairs(lambda a, b: {2, 4} & {a, b}, 6))["runs of one case disagree"].words
    assert "every run with host-2 or host-4 is slow" in two
    link = kinds(*pairs(lambda a, b: (a, b) == (1, 3)))["runs of one case disagree"].words
    assert "(host-1, host-3); both hosts are fast with others, so it is the link between them" in link


@pytest.mark.parametrize(("slow", "fast", "finding"), [
    ((1.2, 1.19, 1.21), (1.0, 0.99, 1.01), True), ((1.1, 1.09, 1.11), (1.0, 0.99, 1.01), False),
    ((1.4, None, None), (1.0, None, None), False), ((1.6, None, None), (1.0, None, None), True),
    ((1.6, 1.59, 1.61), (1.0, None, None), True)])
def test_the_floor_is_10_percent_beyond_intervals_and_50_percent_without(slow, fast, finding):
    frames = [pd.DataFrame([row], columns=["time_s", "time_lo_s", "time_hi_s"], dtype=float) for row in (slow, fast)]
    assert least_ratio(*frames).notna().item() == finding
    tiny = [frame * 1e-7 for frame in frames]
    assert least_ratio(*tiny).isna().item()     # a difference of 20 to 60 ns
