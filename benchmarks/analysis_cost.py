"""CPU time of the help, of importing a log with debug output, and of extrapolating many series: the real commands.

    python benchmarks/analysis_cost.py [--megabytes 20] [--series 1000] [--rounds 3]

The log is a table of nccl-tests of 64 ranks with debug output of NCCL (NCCL_DEBUG=INFO, subsystems INIT, GRAPH, COLL
and TUNING) above it and between its rows. The series are five operations of four element types on made-up systems: 22
sizes at 2, 4, 8 and 16 ranks. CPU time is user plus system of the command and its children: the least of the rounds,
since other work on the machine only adds to it.
"""

import argparse
import os
import random
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

COLLBENCH = Path(sys.executable).parent / "collbench"
RANKS, PER_HOST = 64, 8
OPERATIONS = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all")
DTYPES = ("float32", "float16", "bfloat16", "int32")
COLUMNS = "#       size         count      type   redop    root" + 2 * "     time   algbw   busbw #wrong"


def main() -> None:
    """Write the inputs, run the commands, print their CPU time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        log, table, series = (Path(folder, name) for name in ("debug.log", "series.csv", "series.jsonl"))
        write_log(log, round(options.megabytes * 1e6))
        write_series(table, options.series)
        _cpu_s(["import", str(table), "-o", str(series)])
        for title, words in (("collbench --help", ["--help"]),
                             (f"collbench import, {options.megabytes:g} MB of debug output",
                              ["import", str(log), "-o", str(Path(folder, "{}.jsonl"))]),
                             (f"collbench extrapolate, {options.series} series", ["extrapolate", str(series)])):
            spent = [_cpu_s([word.format(number) for word in words]) for number in range(options.rounds)]
            print(f"{title:48} {min(spent):6.2f} s CPU (to {max(spent):.2f})", flush=True)


def _cpu_s(words: list[str]) -> float:
    """User and system time of `collbench`; the program ends if it fails."""
    before = os.times()
    subprocess.run([COLLBENCH, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def write_log(path: Path, most: int) -> None:
    """Write a log of about `most` bytes."""
    rng = random.Random(1)
    lines = [f"# nThread 1 nGpus 1 minBytes 8 maxBytes {8 << 24} step: 2(factor) warmup iters: 5 iters: 20"]
    lines += [f"#  Rank {rank:2} Group  0 Pid {4000 + rank:6} on node{rank // PER_HOST} device {rank % PER_HOST:2} "
              f"[0x{rank % PER_HOST:02x}] NVIDIA H100 80GB HBM3" for rank in range(RANKS)]
    with path.open("w") as file:
        file.write("\n".join(lines) + "\n")
        while file.tell() < most / 2:
            file.writelines(_start(rng) for _ in range(100))
        file.write(f"{COLUMNS}\n")
        for number in range(25):
            size = 8 << number
            while file.tell() < most / 2 * (1 + (number + 1) / 25):
                file.writelines(_call(rng, size) for _ in range(100))
            time_us = 20 + size / 3e4
            algbw = size / time_us / 1e3
            half = f"  {time_us:9.2f} {algbw:7.2f} {algbw * 2 * (RANKS - 1) / RANKS:7.2f}      0"
            file.write(f"{size:12} {size // 4:12}     float     sum      -1{half}{half}\n")


def _start(rng: random.Random) -> str:
    """A line that a rank prints when a communicator is made."""
    rank, channel = rng.randrange(RANKS), rng.randrange(24)
    peer = (rank + 1) % RANKS
    via = "P2P/CUMEM/read" if rank // PER_HOST == peer // PER_HOST else f"NET/IB/{rank % PER_HOST}/GDRDMA"
    return _head(rank) + rng.choice((
        f"Channel {channel:02}/0 : {rank}[{rank % PER_HOST}] -> {peer}[{peer % PER_HOST}] via {via}\n",
        f"Trees [0] {peer}/-1/-1->{rank}->{rank - 1} [1] {peer}/-1/-1->{rank}->{rank - 1}\n",
        "Connected all rings, use ring PXN 0 GDR 1\n",
        f"Channel {channel:02}/24 :{''.join(f' {one:3}' for one in range(RANKS))}\n"))


def _call(rng: random.Random, size: int) -> str:
    """A line that a rank prints at a call."""
    rank = rng.randrange(RANKS)
    return _head(rank) + rng.choice((
        f"AllReduce: {size} Bytes -> Algo RING proto LL channel{{Lo..Hi}}={{0..15}}\n",
        f"AllReduce: opCount {rng.randrange(1000):x} sendbuff 0x7f{rng.randrange(1 << 40):010x} recvbuff 0x7f"
        f"{rng.randrange(1 << 40):010x} acc (nil) count {size // 4} datatype 7 op 0 root 0 comm 0x55d0 "
        f"[nranks={RANKS}] stream 0x55d3\n"))


def _head(rank: int) -> str:
    return f"node{rank // PER_HOST}:{4000 + rank}:{5000 + rank} [{rank % PER_HOST}] NCCL INFO "


def write_series(path: Path, series: int) -> None:
    """Write tidy CSV with a latency per doubling of the ranks, a rate, and scatter."""
    rng = np.random.default_rng(3)
    each = len(OPERATIONS) * len(DTYPES)
    with path.open("w") as file:
        file.write("system,library,collective,dtype,n_ranks,message_bytes,time_us\n")
        for number in range(series):
            latency_us, rate = rng.uniform(2, 20), rng.uniform(1e3, 1e5)
            case = f"system{number // each},NCCL 2.{number // each % 30}.1,{OPERATIONS[number % len(OPERATIONS)]}," \
                   f"{DTYPES[number // len(OPERATIONS) % len(DTYPES)]}"
            for ranks in (2, 4, 8, 16):
                for size in (8 << power for power in range(22)):
                    time_us = latency_us * np.log2(ranks) + size / rate * 2 * (ranks - 1) / ranks
                    file.write(f"{case},{ranks},{size},{time_us * rng.lognormal(0, 0.05):.3f}\n")


if __name__ == "__main__":
    main()
