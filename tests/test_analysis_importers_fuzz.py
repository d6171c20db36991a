"""No input makes an importer raise a foreign exception, hang, or use excessive memory.

Seeded mutations of small logs of every format, run for a bounded number of seconds; and inputs built to hurt.
"""

import json
import random
import resource
import time

import pytest

from collbench.analysis.frames.load import load
from collbench.analysis.importers import LogHints, read_log
from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.errors import CollbenchError
from collbench.collectives.records.record import Imported

SECONDS = 6.0          # for all formats together
ONE_LOG_S = 5.0        # CPU time for any one input; inputs here are far below 1 MB, or their time is linear in the size
HEAD = """# nccl-tests version 2.18.3 nccl-headers=22902 nccl-library=22902
# Collective test starting: all_reduce_perf
# nThread 1 nGpus 2 minBytes 8 maxBytes 16 step: 2(factor) warmup iters: 5 iters: 20 agg iters: 1 validation: 1 graph: 0
#  Rank  0 Group  0 Pid  1 on node0 device  0 [0000:1b:00] NVIDIA H100 80GB HBM3
#  Rank  1 Group  0 Pid  1 on node0 device  1 [0000:2b:00] NVIDIA H100 80GB HBM3
#       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw  #wrong
"""
JSON = {"version": 2, "args": ["/opt/bin/all_reduce_perf"], "env": ["A=b"], "nccl_version": 22807,
        "config": {"iterations": 20, "devices": [{"rank": 0, "hostname": "n", "device_info": "[0] X"}, {"rank": 1}]},
        "results": [{"size": 8192, "count": 2048, "type": "float", "redop": "sum", "root": "    -1",
                     "out_of_place": {"time": 35.15, "alg_bw": 0.23, "bus_bw": 0.23, "nwrong": 0.0},
                     "in_place_per_iter": {"p99_us": "nan"}, "in_place": {"cpu_time": 3, "nwrong": None}}] * 2,
        "out_of_bounds": {"count": 0, "okay": "true"}}
SEEDS = {
    "nccl": HEAD + "  8  2  float sum -1 35.1 0.00 0.00 0 30.3 0.00 0.00 0\n 16 4 float sum -1 40.1 0.00 0.00 N/A"
                   "node0:1:1 [0] NCCL INFO AllReduce: 16 Bytes -> Algo NVLS proto SIMPLE\n 30.3 0.00 0.00 0\n",
    "nccl old": "# size count type redop time algbw busbw error time algbw busbw error\n"
                "8192 2048 float sum 35.1 0.23 0.40 2e-07 30.3 0.27 0.47 N/A\n",
    "nccl json": json.dumps(JSON, indent=1),
    "rccl csv": "numCycle,collective,ranks,size,type,redop,inplace,time,algbw,busbw,#wrong\n"
                "0,AllReduce,8,1048576,float,sum,1,20.97,50.00,87.5,0\n",
    "rccl json": '[{"numCycle": 0, "name": "AllGather", "ranks": 8, "size": 8192, "type": "half", "redop": "none", '
                 '"inPlace": 0, "time": 8.192, "algBw": 1.0, "busBw": 0.875, "wrong": 2}]',
    "osu": "$ mpirun -np 4 ./osu\n# OSU MPI Allgather Latency Test v7.4\n# Size  Avg Latency(us)\n1   10.00\n8  11.0\n",
    "imb": "#    Intel(R) MPI Benchmarks 2019, MPI-1 part\n# MPI_Datatype   :   MPI_BYTE\n# Benchmarking Alltoall\n"
           "# #processes = 8\n  #bytes #repetitions  t_min[usec]  t_max[usec]  t_avg[usec]\n8 1000 1.0 3.0 2.0\n"
           "9 out-of-mem.; x\n",
    "hccl": "mpirun -n 8 ./all_reduce_test -b 8 -d fp32 -p 8\n"
            "data_size(Bytes): | aveg_time(us): | alg_bandwidth(GB/s): | check_result:\n"
            "8192 | 764.55 | 0.01 | success\n",
    "param": "\tCOMMS-RES-all_gather-float32 1048576 32768 100.0 101.0 102.0 10.486 9.175\n",
    "csv": "system,library,collective,algorithm,dtype,n_ranks,ranks_per_node,message_bytes,time_us,variant,statistic\n"
           "s,l,AllReduce,default,half,8,4,1024,10.5,in-place;x=1,mean over ranks\ns,l,moe,,fp8,16,8,,33,,\n",
    "journal": '{"line":"run","schema":1}\n{"line":"imported"}\n',
    "mscclpp": '{"name":"allreduce", "kernel":2, "ranks":8, "ranksPerNode":8, "size":8192, "time":6.51}\n',
    "deepspeed": "---- Performance of all_reduce on 8 devices ---\n1.0 GB  100x4   3.1 ms   171.2   149.8\n",
    "ucc": "Collective: Alltoall\nMemory type: cuda\n65536 262144 76.46 72.62 82.30 24.00 25.27 22.30\n",
    "nccom": "size(B)    count(elems)    type    time:avg(us)    algbw(GB/s)    busbw(GB/s)\n8 2 fp32 63.5 0.0 0.0\n",
    "aiconfigurator": "framework,version,device,op_name,kernel_source,nccl_dtype,num_gpus,message_size,latency\n"
                      "TRTLLM,2.27.3,NVIDIA H100,alltoall,NCCL,half,8,1024,0.0118\n",
    "aiconfigurator moe": "framework,version,kernel_source,comm_backend,phase,comm_dtype,ep_size,node_num,num_tokens,"
                          "latency\nvLLM,0.24.0,deepep,deepep_ht,dispatch,default,16,2,128,77.5\n",
    "vidur": ",time_stats.all_reduce.median,rank,num_workers,size,collective,devices_per_node,max_devices_per_node\n"
             "0,0.037,0,8,2048,all_reduce,8,8\n",
    "umd": "srun ./all-gather.x\nNumber of GPUs: 8\n0: 2097152 0.000505 seconds\n",
}
PIECES = ["", "0", "-1", "999999999999999999999999999", "1e400", "nan", "inf", "-inf", "N/A", "1_0", "٣", "\0",
          "\x1b[31m", "\r", "\n", "\n\n", "|", ",", '"', "'", "{", "[", "]", "}", "#", "float", "sum", " " * 50,
          "\u2028", "0x10", "1.5e308", "9" * 400, "[1,0]<stdout>:", "true", "null", "{}", "[]", "-0.0"]


def attempt(path, text, asked=None):
    """Import the log and load it as frames: only CollbenchError may be raised, and no figure is impossible."""
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    begin = time.process_time()
    try:
        for figure in read_log(path, asked).results:
            assert not isinstance(figure, Imported) or figure.status != "ok" or possible(figure), (figure, text[:2000])
        load(path, asked)
    except CollbenchError:
        pass
    assert time.process_time() - begin < ONE_LOG_S, text[:200]


def possible(figure):
    """Whether a machine can have measured it: no faster than light over a metre, or than memory of 2e13 bytes/s."""
    return 2 <= figure.ranks <= 1 << 24 and 0 <= figure.message_bytes <= 1 << 50 \
        and (figure.time_s is None or 1e-8 <= figure.time_s <= 1e6) \
        and (figure.time_s is None or figure.op not in OPERATIONS or figure.message_bytes / figure.time_s
             * OPERATIONS[figure.op].bus_factor(figure.ranks) <= 2e13)


def mutated(text, rng):
    for _ in range(rng.randint(1, 6)):
        at, to = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        to = min(to, at + rng.choice((0, 1, 8, 200)))
        choice = rng.randrange(5)
        if choice == 0:
            text = text[:at] + rng.choice(PIECES) + text[to:]
        elif choice == 1:
            text = text[:at] + text[to:]
        elif choice == 2:
            text = text[:to] + text[at:]
        elif choice == 3:
            words = text.split(" ")
            words[rng.randrange(len(words))] = rng.choice(PIECES)
            text = " ".join(words)
        else:
            text += rng.choice(list(SEEDS.values()))
    return text or "x"


@pytest.mark.slow
def test_mutated_logs(tmp_path):
    rng, end = random.Random(20261124), time.process_time() + SECONDS
    path, tried = tmp_path / "fuzz.log", 0
    while time.process_time() < end:
        for seed in SEEDS.values():
            asked = LogHints(rng.choice((None, 1, 8)), rng.choice((None, "all_reduce", "barrier")))
            attempt(path, mutated(seed, rng), asked)
            tried += 1
    assert tried > 20


def test_random_bytes(tmp_path):
    rng, path = random.Random(7), tmp_path / "fuzz.log"
    for size in (1, 10, 1000, 100_000):
        path.write_bytes(rng.randbytes(size))
        with pytest.raises(CollbenchError):
            read_log(path)


HURTFUL = {
    "one long line": "1 " * 500_000,
    "digits": "9" * 1_000_000,
    "blanks": " " * 1_000_000 + "x",
    "deep json": '{"results": [' + "[" * 200_000,
    "many open objects": '{"results": [\n' + '{"size":\n' * 50_000,
    "braces": "{\n" * 200_000,
    "json of many keys": json.dumps({"results": [{"size": 8} for _ in range(20_000)]}),
    "prefixes": "".join(f"{task}: # size count type time\n" for task in range(20_000)),
    "tasks": "".join(f"[1,{task % 60}]<stdout>:# size count type time\n" for task in range(20_000)),
    "headers": HEAD * 2_000,
    "half rows": "1024 256 float sum -1\n" * 50_000,
    "glue": HEAD + ("8 2 float sum -1n:1:1 [0] NCCL INFO\n" * 20_000),
    "colons": "a:1:1 [0] " * 400 + "\n" + "x:" * 100_000 + "\n# nThread 1 nGpus 1\n",
    "escape": "\x1b[" * 300_000 + "\n# OSU MPI Allreduce Latency Test v7\n",
    "osu titles": "# OSU MPI Allreduce Latency Test v7.4\n" * 30_000,
    "imb blocks": "# Benchmarking Alltoall\n# #processes = 4\n#bytes #repetitions t[usec]\n1 1 1\n" * 5_000,
    "bars": "data_size(Bytes): | a | b | c\n" + "1 | 2 | 3 | success\n" * 30_000,
    "csv quotes": "collective,n_ranks,message_bytes,time_us\n" + 'all_reduce,"8,8,1\n' * 30_000,
    "csv huge field": "collective,n_ranks,message_bytes,time_us\n" + "x" * 300_000 + ",1,1,1\n",
    "csv rows": "collective,n_ranks,message_bytes,time_us\n" + "all_reduce,x,1,1\n" * 30_000,
    "ucc": "Collective: Alltoall\n" * 20_000 + "Memory type: cuda\n",
    "umd": "Number of GPUs: 8\n" * 20_000,
}


@pytest.mark.parametrize("text", HURTFUL.values(), ids=HURTFUL)
def test_adversarial_inputs(tmp_path, text):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    attempt(tmp_path / "hurt.log", text, LogHints(8, "all_reduce"))
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 200 * 1024 + 100 * len(text) // 1024
