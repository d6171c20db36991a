"""Import of further tools' output. Samples are our own, in each tool's format; the figures were computed by hand."""

import random
import re

import pytest

from collbench.analysis.frames.load import load
from collbench.analysis.importers import LogHints, import_logs, read_log
from collbench.analysis.links import read_links
from collbench.collectives.errors import CollbenchError, UsageError

SAMPLES = {
    "all_reduce_bench": """Environment:
- software: torch=2.3.0, cuda=12.4, nccl=(2, 20, 5)

The average bandwidth of all_reduce over 8 ranks (5 warmups / 20 trials):

| payload |    busbw   |    algbw   |
| ------: | ---------: | ---------: |
|   32KiB |   0.92GBps |   0.53GBps |
|    4GiB | 350.00GBps | 200.00GBps |

Legend: 1KiB = 2**10 Bytes, 1MiB = 2**20 Bytes, 1GiB = 2**30 Bytes
""",
    "all_reduce_bench profile": """The 0.5GiB payload bandwidth of all_reduce over 4 ranks (5 warmups / 3 trials):

|    busbw   |    algbw   |
| ---------: | ---------: |
| 150.00GBps | 100.00GBps |
| 300.00GBps | 200.00GBps |
| 225.00GBps | 150.00GBps |
""",
    "all_reduce_bench old": """The average bandwidth of all_reduce with a 4.0GB payload (20 trials, 4 ranks):
 algbw: 200.000 GBps (1600.0 Gbps)
 busbw: 300.000 GBps (2400.0 Gbps)
""",
    "hccl_demo": """$ HCCL_COMM_ID=127.0.0.1:5555 python3 run_hccl_demo.py --nranks 8 --test all_gather --loop 10
################################################
[BANDWIDTH SUMMARY REPORT]
(src!=dst, collective=all_gather, iterations=10)

size              count             type              time              algoBW            nw_bw
(B)               (elements)                          (ms)              (GB/s)            (GB/s)
1048576           262144            float             0.100000 ms       10.485760 GB/s    73.400320 GB/s
33554432          8388608           float             0.200000 ms       167.772160 GB/s   1174.405120 GB/s
""",
    "hccl_demo old": """[SUMMARY REPORT]
(src!=dst, collective=all_reduce, iterations=10)

size          count         type          redop         time          algo_bw       nw_bw
(B)           (elements)                                (ms)          (GB/s)        (GB/s)
1048576       262144        float         sum           0.100         10.485760     18.350080
""",
    "hccl_demo block": """###############################################################################
[BENCHMARK] hcclReduceScatter(src!=dst, count=8388608, dtype=float, iterations=1000)
[BENCHMARK]     NW Bandwidth   : 140.000000 GB/s
[BENCHMARK]     Algo Bandwidth : 160.000000 GB/s
###############################################################################
[BENCHMARK] hcclAlltoAll(dataSize=1048576, count=524288, dtype=bfloat16, iterations=1000)
[BENCHMARK]     Host Latency   : 0.050000 ms
[BENCHMARK]     Device Latency : 0.040000 ms
""",
    "hccl_demo csv": "all2all,0,float,1048576,1000,70.000000 GB/s,80.000000 GB/s\n",
    "oneccl": """options:
  processes:       4
  buf_count:       2
  inplace:         0

datatype: float32
reduction: sum

#------------------------------------------------------------
# Benchmarking: allgatherv
# #processes: 4
#------------------------------------------------------------

        #bytes   #elem_count  #repetitions   t_min[usec]   t_max[usec]   t_avg[usec]  stddev[%]
          8192          2048            16         40.00         44.00         42.00       0.60

# All done
""",
    "oneccl csv": """#ranks,collective,reduction,dtype,dtype_size,#elements/buffer,message_size,#buffers,#repetitions,\
t_min[usec],t_max[usec],t_avg[usec],stddev[%],wait_t_avg[usec]
4,allreduce,sum,float32,4,1024,4096,1,16,40,44,42.5,0.6,3.1
4,reduce_scatter,sum,float32,4,1024,4096,2,16,80,88,84,0.6,3.1
""",
    "oneccl pairs": """        #bytes      #repetitions    #usec(latency)
             4                20              1.50
        #bytes      #repetitions        Mbytes/sec
          4096                20           4096.00
""",
    "perftest": """---------------------------------------------------------------------------------------
                    RDMA_Write BW Test
 Number of qps   : 2            Transport type : IB
 Connection type : RC           Using SRQ      : OFF
---------------------------------------------------------------------------------------
 #bytes     #iterations    BW peak[MB/sec]    BW average[MB/sec]   MsgRate[Mpps]
 65536      5000             11000.00            10000.00                  0.160000
---------------------------------------------------------------------------------------
                    Send Bidirectional BW Test
 Number of qps   : 1            Transport type : IB
 #bytes     #iterations    BW peak[Gb/sec]    BW average[Gb/sec]   MsgRate[Mpps]
 65536      5000             0.00               400.00             0.762939
---------------------------------------------------------------------------------------
                    RDMA_Write Latency Test
 #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    t_stdev[usec]   \
99% percentile[usec]   99.9% percentile[usec]
 2       1000          1.50           9.00         1.60               1.65           0.20    1.90    9.00
---------------------------------------------------------------------------------------
""",
    "perftest json": """{
"test_info": {
"test": "RDMA_Write_BW_Test",
"Number_of_qps": 1,
"Connection_type": "RC"
},
"results": {
"MsgSize": 65536,
"n_iterations": 5000,
"BW_peak": 0.00,
"BW_average": 400.00,
"MsgRate": 0.762939
}
}
""",
    "nccl_inspector": "".join(f'''{{"header":{{"id":"0x7f8c","rank":{rank},"n_ranks":2,"nnodes":1}},\
"metadata":{{"inspector_output_format_version":"v4.0","dump_timestamp_us":1,"hostname":"n1","pid":7}},\
"coll_perf":{{"coll":"AllGather","coll_sn":{call},"coll_msg_size_bytes":1048576,"coll_exec_time_us":{time},\
"coll_timing_source":"kernel_gpu","coll_algobw_gbs":{2097.152 / time:.6f},"coll_busbw_gbs":{1048.576 / time:.6f}}}}}
''' for rank, call, time in ((0, 1, 100), (1, 1, 104), (0, 2, 110), (1, 2, 108), (0, 3, 500))),
    "nccom json": """{
    "results": [
        {
            "size(B)": 65536,
            "count(elems)": 16384,
            "type": "fp32",
            "algbw(GB/s)": 8.0,
            "busbw(GB/s)": 7.75,
            "time:avg(us)": 8.192,
            "time:p99(us)": 9
        }
    ]
}
""",
    "superbench": """{"node": "sb-01", "ib-loopback/IB_write_512_Avg_0:0": 1492.89, \
"nccl-bw:default/allreduce_8388608_busbw:0": 175.0, "nccl-bw:default/allreduce_8388608_algbw:0": 100.0, \
"nccl-bw:default/allreduce_8388608_time:0": 83.89}
{"node": "sb-02", "rccl-bw/allgather_0_1:8388608_busbw": 87.5, "rccl-bw/allgather_0_1:8388608_algbw": 100.0, \
"rccl-bw/allgather_0_1:8388608_time": 83.89}
""",
    "dlcomm": """[2025-08-20 17:39:22,561][DL_COMM][INFO] - [CONFIG] Framework            : pytorch
[2025-08-20 17:39:22,561][DL_COMM][INFO] - [CONFIG] Backend              : nccl
[2025-08-20 17:39:22,561][DL_COMM][INFO] - [CONFIG] World Size           : 8
[2025-08-20 17:39:22,561][DL_COMM][INFO] - [CONFIG] Mode                 : within_node
[2025-08-20 17:39:22,562][DL_COMM][INFO] - [CONFIG] Topology             : 2 nodes x 4 devices
[2025-08-20 17:39:22,562][DL_COMM][INFO] - [CONFIG] Collective Name      : allgather
[2025-08-20 17:39:22,562][DL_COMM][INFO] - [CONFIG] Operation            : N/A
[2025-08-20 17:39:22,562][DL_COMM][INFO] - [CONFIG] Data Type            : float32
[2025-08-20 17:39:22,562][DL_COMM][INFO] - [CONFIG] Buffer Size          : 100KB (102400 bytes)
[2025-08-20 17:39:24,456][DL_COMM][OUTPUT] - [TIMERS] ITERATION TABLE FOR ALLGATHER (seconds):
[2025-08-20 17:39:24,456][DL_COMM][OUTPUT] - Iteration    (Within-Group-0)    (Within-Group-1)
[2025-08-20 17:39:24,456][DL_COMM][OUTPUT] -             LOGGING RANK - 0    LOGGING RANK - 4
[2025-08-20 17:39:24,456][DL_COMM][OUTPUT] - ----------------------------------------------------
[2025-08-20 17:39:24,456][DL_COMM][OUTPUT] - 0                0.000356            0.000456
[2025-08-20 17:39:24,456][DL_COMM][OUTPUT] - 1                0.000398            0.000498
[2025-08-20 17:39:24,456][DL_COMM][OUTPUT] - 2                0.000389            0.000489
[2025-08-20 17:39:24,456][DL_COMM][OUTPUT] - ----------------------------------------------------
[2025-08-20 17:39:24,457][DL_COMM][OUTPUT] - [BANDWIDTH] BANDWIDTH TABLE FOR ALLGATHER (bytes/seconds):
[2025-08-20 17:39:24,457][DL_COMM][OUTPUT] - Iteration    (Within-Group-0)    (Within-Group-1)
[2025-08-20 17:39:24,457][DL_COMM][OUTPUT] - 0              1150561797           898245614
""",
    "deepep intranode": """[config] num_tokens=4096, hidden=7168, num_topk=8
[layout] Kernel performance: 0.033 ms

[tuning] SMs 24, NVL chunk 4: 200.00 GB/s (NVL), 600.00 us
[tuning] Best dispatch (FP8): SMs 24, NVL chunk 8, 300.00 GB/s (NVL), t: 400.00 us
[tuning] Best combine: SMs 24, NVL chunk 3: 350.00 GB/s (NVL), t: 700.00 us
""",
    "deepep internode": """[config] num_tokens=4096, hidden=7168, num_topk_groups=4, num_topk=8
[tuning] Best dispatch (BF16): SMs 24, NVL chunk 8, RDMA chunk 32: 25 + 2000 us, 17.77 GB/s (RDMA), 58.00 GB/s (NVL)
[tuning] Best combine: SMs 24, NVL chunk 1, RDMA chunk 32, 25.00 + 2500.00 us, 22.66 GB/s (RDMA), 74.00 GB/s (NVL)
""",
    "deepep other versions": """[tuning] Best dispatch (FP8): SMs 24, NVL chunk 24: 300.00 GB/s (NVL), 255 us
[tuning] Best combine: SMs 24, NVL chunk 4, RDMA chunk 8, transmit: 2500.00 us, notify: 30.00 us, \
BW: 40.00 GB/s (RDMA), 80.00 GB/s (NVL)
""",
    "deepep low latency": """Allocating buffer size: 2116.291072 MB ...
[rank 1] Dispatch + combine bandwidth: 200.00 GB/s, avg_t=110.00 us, min_t=101.01 us, max_t=117.50 us
[rank 0] Dispatch + combine bandwidth: 193.00 GB/s, avg_t=114.00 us, min_t=111.01 us, max_t=117.50 us
[rank 0] Dispatch bandwidth: 203.70 GB/s, avg_t=36.88 us | Combine bandwidth: 215.93 GB/s, avg_t=67.32 us
[rank 1] Dispatch bandwidth: 200.00 GB/s, avg_t=40.00 us | Combine bandwidth: 250.00 GB/s, avg_t=60.00 us
[rank 0] Dispatch send/recv time: 20.00 + 5.00 us | Combine send/recv time: 18.85 us
""",
    "deepep elastic": """Config:
 > Ranks: 1 x 2
 > Experts: 8/256
 > Tokens: 8192 (max: 8192), hidden: 7168
 > #SM: 24, #QPs: 4/4

 > Testing with do_handle_copy=True, expert_alignment=128, use_fp8_dispatch=True, num_bias=0 ...
   * EP:   0/2 | dispatch: 0 GB/s (SO), 600 GB/s (SU), 100.000 us, 60000000 bytes | copy: 100 GB/s, 20.000 us
   * EP:   1/2 | dispatch: 0 GB/s (SO), 500 GB/s (SU), 120.000 us, 60000000 bytes | copy: 100 GB/s, 20.000 us
   + EP:   0/2 | reduced combine: 9 GB/s (SO), 600 GB/s (SU), 200.000 us, 120000000 bytes | reduce: 1 GB/s, 20.000 us
""",
    "collectivex": """{"version": 1, "record_type": "case-attempt",
 "identity": {"case_id": "x", "case_factors": {"sku": "gb200", "case": {"backend": "deepep-v2", "ep": 8, "experts": 256,
  "gpus_per_node": 4, "hidden": 7168, "mode": "normal", "phase": "decode", "precision": "fp8", "routing": "uniform",
  "topk": 8}}},
 "measurement": {"combine_dtype": "bf16", "dispatch_dtype": "fp8", "rows": [
  {"tokens_per_rank": 64, "correctness": {"passed": true},
   "byte_provenance": {"dispatch": {"total_logical_bytes": 8000000}, "combine": {"total_logical_bytes": 16000000},
                       "roundtrip": {"total_logical_bytes": 24000000}},
   "components": {
    "dispatch": {"sample_count": 2048, "percentiles_us": {"p50": 50.5, "p90": 51, "p95": 52, "p99": 60}},
    "combine": {"sample_count": 2048, "percentiles_us": {"p50": 70.5, "p90": 71, "p95": 72, "p99": 80}},
    "stage": {"percentiles_us": null, "sample_count": 0},
    "pair_period": {"sample_count": 448, "percentiles_us": {"p50": 100.0, "p90": 101, "p95": 102, "p99": 110}}}},
  {"tokens_per_rank": 128, "correctness": {"passed": false},
   "components": {"dispatch": {"percentiles_us": {"p50": 90.0}}}}]},
 "implementation": {"name": "deepep-v2", "library_version": "2.0"},
 "topology": {"device_product": "NVIDIA GB200", "world_size": 8}, "outcome": {"status": "success"}}
""",
    "nvbandwidth": """$ ./nvbandwidth -b 256
nvbandwidth Version: v0.8

Running host_to_device_memcpy_ce.
memcpy CE CPU(row) -> GPU(column) bandwidth (GB/s)
           0         1
 0     50.00     51.00

SUM host_to_device_memcpy_ce 101.00

Running device_to_device_memcpy_write_ce.
memcpy CE GPU(row) <- GPU(column) bandwidth (GB/s)
           0         1
 0       N/A    268.44
 1    134.22       N/A

SUM device_to_device_memcpy_write_ce 402.66

Running device_to_device_bidirectional_memcpy_read_ce.
memcpy CE GPU(row) <-> GPU(column) Read1 bandwidth (GB/s)
           0         1
 0       N/A    250.00
 1    250.00       N/A

SUM device_to_device_bidirectional_memcpy_read_ce_read1 500.00

memcpy CE GPU(row) <-> GPU(column) Total bandwidth (GB/s)
           0         1
 0       N/A    500.00
 1    500.00       N/A

SUM device_to_device_bidirectional_memcpy_read_ce_total 1000.00

Running host_device_latency_sm.
memory latency SM CPU(row) <-> GPU(column) (ns)
           0         1
 0    772.50    773.50

SUM host_device_latency_sm 1546.00
""",
    "nvbandwidth json": """{"nvbandwidth": {"CUDA Runtime Version": 12080, "version": "v0.8", "testcases": [
 {"name": "device_to_device_memcpy_read_ce", "status": "Passed", "sum": 402.66,
  "bandwidth_description": "memcpy CE GPU(row) -> GPU(column) bandwidth (GB/s)",
  "bandwidth_matrix": [["N/A", "268.435456"], ["134.217728", "N/A"]]},
 {"name": "device_to_device_bidirectional_memcpy_read_ce", "status": "Passed",
  "bandwidth_description": "memcpy CE GPU(row) <-> GPU(column) Total bandwidth (GB/s)",
  "bandwidth_matrix": [["N/A", "1"], ["1", "N/A"], ["N/A", "2"], ["2", "N/A"], ["N/A", "536.870912"],
                       ["536.870912", "N/A"]]}]}}
""",
    "nvloom": "nvloom_cli 1.3.0\nBuffer size: 512 MiB\nIteration count: 16\n\n"
              "Running device_to_device_unidir_write_ce\n\t0\t1\t\n0\tN/A\t268.44\t\n1\t134.22\tN/A\t\n\n"
              "Min device_to_device_unidir_write_ce 134.22 GB/s\nAvg device_to_device_unidir_write_ce 201.33 GB/s\n"
              "ExecutionTime device_to_device_unidir_write_ce 1.2 s\nDone device_to_device_unidir_write_ce\n\n"
              "Running bisect_device_to_device_write_sm\n\t0\t\n0->1\t380.00\t\n1->0\t381.00\t\n\n"
              "Min bisect_device_to_device_write_sm 380.00 GB/s\nDone bisect_device_to_device_write_sm\n",
}

# What some tools do not print, as options.
ASKED = {"hccl_demo block": {"ranks": 8}, "nccom json": {"op": "all_gather"},
         "deepep intranode": {"ranks": 8}, "deepep other versions": {"ranks": 8}, "deepep internode": {"ranks": 16}}
PIECES = ["", "0", "-1", "9" * 30, "1e400", "nan", "inf", "N/A", "\x1b[31m", "\r", "\n", "|", ",", '"', "{", "]", "#",
          "٣", "0x10", "null", "{}", "-0.0", "\0"]


def read(tmp_path, text, **asked):
    path = tmp_path / "a.log"
    path.write_text(text)
    return read_log(path, LogHints(**asked))


def figures(found):
    """Operation, ranks, message bytes and time in us of each result."""
    return [(result.op, result.ranks, result.message_bytes, pytest.approx(result.time_s * 1e6, rel=1e-6))
            for result in found.results]


def test_each_sample_is_read_by_its_tool_alone(tmp_path):
    for name, text in SAMPLES.items():
        found = read(tmp_path, text, **ASKED.get(name, {}))
        assert len(found.tools) == 1, (name, found.tools)
        assert found.warnings == [], name
        assert found.results, name


NCCL = """# nThread 1 nGpus 8 minBytes 1048576 maxBytes 1048576 step: 2(factor) warmup iters: 5 iters: 20 agg iters: 1
#       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw  #wrong
     1048576        262144     float     sum      -1   100.00   10.49   18.35       0   100.00   10.49   18.35       0
"""


@pytest.mark.parametrize(("name", "last"), [("hccl_demo old", "18.350080\n"), ("oneccl", "0.60\n"),
                                            ("perftest", "0.160000\n")])
def test_a_table_that_is_cut_claims_nothing_below_it(tmp_path, name, last):
    begun = SAMPLES[name][:SAMPLES[name].index(last) + len(last)]
    found = read(tmp_path, begun + NCCL)
    assert figures(found).count(("all_reduce", 8, 1 << 20, 100.0)) >= 2      # out of place and in place
    assert (len(found.tools), len(found.results), found.warnings) == (2, 3, [])


@pytest.mark.parametrize("garbage", ["1x2", "-1", ""])
def test_a_garbled_number_loses_no_figure_without_a_warning(tmp_path, garbage):
    for name, text in SAMPLES.items():
        asked = ASKED.get(name, {})
        whole = read(tmp_path, text, **asked)
        places = [found.span() for found in re.finditer(r"(?<![\w.])\d[\d.]*(?=[\s|,}a-zA-Z]|$)", text)]
        for begin, end in places[:: max(1, len(places) // 25)]:
            try:
                garbled = read(tmp_path, f"{text[:begin]}{garbage}{text[end:]}", **asked)
            except CollbenchError:
                continue
            lost = len(garbled.results) < len(whole.results) or garbled.rows < whole.rows
            assert garbled.warnings or not lost, (name, text[:end].count("\n") + 1, text[begin:end])


PREFIXES = {"tag": "[1,0]<stdout>:", "srun": " 0: ", "pdsh": "node7: ", "quote": "> ", "torchrun": "[default0]:",
            "clock": "2025-08-20 17:39:22,561 ", "kubectl": "[pod/a-0/x] ", "colour": "\x1b[32m"}


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
def test_prefixes_change_no_figure(tmp_path, prefix):
    for name, text in SAMPLES.items():
        asked = ASKED.get(name, {})
        found = read(tmp_path, "".join(f"{prefix}{line}\n" for line in text.splitlines()), **asked)
        want = read(tmp_path, text, **asked)
        assert (figures(found), found.warnings) == (figures(want), []), name


@pytest.mark.slow
def test_mutated_samples(tmp_path):
    rng, path = random.Random(18), tmp_path / "a.log"
    for name, text in SAMPLES.items():
        for _ in range(20):
            begin, end = sorted(rng.randrange(len(text) + 1) for _ in range(2))
            end = min(end, begin + rng.choice((0, 1, 8, 80)))
            path.write_text(text[:begin] + rng.choice(PIECES) + text[end:], errors="surrogatepass")
            try:
                found = read_log(path, LogHints(**ASKED.get(name, {})))
                load(path, LogHints(**ASKED.get(name, {})))
            except CollbenchError:
                continue
            for result in found.results:
                assert result.status != "ok" or 0 < result.time_s < float("inf"), name


def test_all_reduce_bench(tmp_path):
    found = read(tmp_path, SAMPLES["all_reduce_bench"])
    # 4 GiB / 200 GB/s = 21474.8 us
    assert figures(found) == [("all_reduce", 8, 32768, 61.82641509), ("all_reduce", 8, 1 << 32, 21474.83648)]
    assert (found.results[1].busbw_Bps, found.results[1].repeats) == (350e9, 20)
    # the median call: 0.5 GiB / 150 GB/s
    assert figures(read(tmp_path, SAMPLES["all_reduce_bench profile"])) == [("all_reduce", 4, 1 << 29, 3579.139413)]
    # 4 * 10^9 bytes / 200 GB/s
    assert figures(read(tmp_path, SAMPLES["all_reduce_bench old"])) == [("all_reduce", 4, 4 * 10**9, 20000.0)]
    garbled = read(tmp_path, SAMPLES["all_reduce_bench"].replace("200.00GBps", "20.00GBps"))
    assert (len(garbled.results), garbled.rows, len(garbled.warnings)) == (1, 2, 1)
    assert "a.log:9: row skipped: busbw is not algbw times 2(n-1)/n" in garbled.warnings[0]


def test_hccl_demo(tmp_path):
    found = read(tmp_path, SAMPLES["hccl_demo"])
    # the size is a rank's block
    assert figures(found) == [("all_gather", 8, 8 << 20, 100.0), ("all_gather", 8, 8 << 25, 200.0)]
    assert found.results[0].native_size_bytes == 1 << 20
    found = read(tmp_path, SAMPLES["hccl_demo old"])
    assert figures(found) == [("all_reduce", 8, 1 << 20, 100.0)]        # 18.35 / 10.49 = 2 * 7 / 8
    assert (found.results[0].busbw_Bps, found.results[0].redop) == (pytest.approx(18.35008e9), "sum")
    found = read(tmp_path, SAMPLES["hccl_demo block"], ranks=8)
    assert figures(found) == [("reduce_scatter", 8, 1 << 25, 209.7152), ("all_to_all", 8, 1 << 20, 50.0)]
    assert [result.mode for result in found.results] == ["streamed", "isolated"]
    assert figures(read(tmp_path, SAMPLES["hccl_demo csv"])) == [("all_to_all", 8, 1 << 20, 13.1072)]
    garbled = read(tmp_path, SAMPLES["hccl_demo"].replace("0.100000 ms", "0.1x0000 ms"))
    assert (len(garbled.results), garbled.rows, len(garbled.warnings)) == (1, 2, 1)


def test_oneccl_benchmark(tmp_path):
    found = read(tmp_path, SAMPLES["oneccl"])
    # two buffers of 4096 bytes per rank in 42 us; four ranks
    assert figures(found) == [("all_gather", 4, 4 * 4096, 21.0)]
    result, = found.results
    assert (result.rank_min_s, result.rank_max_s) == (pytest.approx(20e-6), pytest.approx(22e-6))
    assert (result.variant, result.in_place) == ("allgatherv with equal counts;2 buffers at once", False)
    found = read(tmp_path, SAMPLES["oneccl csv"])
    assert figures(found) == [("all_reduce", 4, 4096, 42.5), ("reduce_scatter", 4, 4096, 42.0)]
    together = SAMPLES["oneccl csv"] + "4,bcast,,float32,4,1024,4096,1,16,40,44,42.5,0.6,3.1\n"
    found = read(tmp_path, together)
    assert (len(found.results), len(found.warnings)) == (1, 2)
    assert "the sum over allreduce, bcast" in found.warnings[0]
    assert "the sum over allgatherv, bcast" in read(tmp_path, SAMPLES["oneccl"] + SAMPLES["oneccl"].replace(
        "allgatherv", "allgatherv bcast")).warnings[0]
    # half a round trip; 4096 bytes / 4096 MB/s
    assert figures(read(tmp_path, SAMPLES["oneccl pairs"])) == [("ping_pong", 2, 4, 1.5), ("bandwidth", 2, 4096, 1.0)]


def test_perftest(tmp_path):
    found = read(tmp_path, SAMPLES["perftest"])
    # MB/sec are MiB/sec: 65536 / (10000 * 2^20) = 6.25 us; both directions together 400 Gbit/s: 65536 / 25 GB/s
    assert figures(found) == [("bandwidth", 2, 65536, 6.25), ("bi_bandwidth", 2, 65536, 2.62144),
                              ("ping_pong", 2, 2, 1.6)]
    assert [result.busbw_Bps for result in found.results] == [10000 * 2**20, 50e9, None]
    assert (found.results[0].variant, found.results[2].p99_s) == ("RDMA write;RC;2 qps", pytest.approx(1.9e-6))
    # 400 = 65536 * 0.762939e6 in Gbit/s
    assert figures(read(tmp_path, SAMPLES["perftest json"])) == [("bandwidth", 2, 65536, 1.31072)]
    unnamed = read(tmp_path, SAMPLES["perftest"].replace("   MsgRate[Mpps]", "", 1))
    assert (figures(unnamed), len(unnamed.warnings)) == (figures(found), 1)
    wrong = read(tmp_path, SAMPLES["perftest"].replace("10000.00 ", "1000.00 "))
    assert (len(wrong.results), wrong.rows) == (2, 3)
    assert "not size times MsgRate" in wrong.warnings[0]
    reads = SAMPLES["perftest"].replace("RDMA_Write Latency", "RDMA_Read Latency")
    assert read(tmp_path, reads).results[2].status == "unsupported"


def test_nccl_inspector(tmp_path):
    found = read(tmp_path, SAMPLES["nccl_inspector"])
    # the block is 1 MiB; 104 and 110 us are the slowest ranks of the two calls that both ranks recorded
    assert figures(found) == [("all_gather", 2, 2 << 20, 107.0)]
    result, = found.results
    assert (result.time_kind, result.repeats, result.ranks_per_node, found.rows) == ("slowest rank", 2, 2, 5)
    flat = re.sub(r'"(header|metadata)":\{([^{}]*)\}', r"\2", SAMPLES["nccl_inspector"])
    assert figures(read(tmp_path, flat)) == figures(found)
    cut = read(tmp_path, SAMPLES["nccl_inspector"][:-60])
    assert (cut.rows, "1 of 5 objects are incomplete" in cut.warnings[0]) == (5, True)
    joined = read(tmp_path, SAMPLES["nccl_inspector"].replace("}\n{", "}{", 1))       # one object is read of a line
    assert (joined.rows, "1 of 5 objects are incomplete" in joined.warnings[0]) == (5, True)
    wrong = read(tmp_path, SAMPLES["nccl_inspector"].replace("1048576", "2097152"))
    assert "not size over time: it counts the message twice" not in wrong.warnings[0]
    assert "not size over time" in wrong.warnings[0]


def test_nccom_json(tmp_path):
    found = read(tmp_path, SAMPLES["nccom json"], op="all_gather")
    assert figures(found) == [("all_gather", 32, 65536, 8.192)]          # 7.75 / 8 = 31 / 32
    assert found.results[0].p99_s == pytest.approx(9e-6)
    found = read(tmp_path, SAMPLES["nccom json"].replace("7.75", "15.5"))
    assert figures(found) == [("all_reduce", 32, 65536, 8.192)]          # above algbw: an all-reduce
    with pytest.raises(UsageError, match="--log-op NAME"):
        read(tmp_path, SAMPLES["nccom json"])
    assert "32 ranks, not 16" in read(tmp_path, SAMPLES["nccom json"], op="all_gather", ranks=16).warnings[0]


def test_superbench(tmp_path):
    found = read(tmp_path, SAMPLES["superbench"])
    assert figures(found) == [("all_reduce", 8, 1 << 23, 83.89), ("all_gather", 8, 1 << 23, 83.89)]
    assert [result.variant for result in found.results] == ["default;node sb-01", "pattern 0_1;node sb-02"]
    assert [run.library for run in found.runs] == ["NCCL, version not stated", "RCCL, version not stated"]
    assert "GiB/s" in read(tmp_path, SAMPLES["superbench"].replace("83.89", "78.13")).warnings[0]


def test_dlcomm(tmp_path):
    found = read(tmp_path, SAMPLES["dlcomm"])
    # the buffer is a rank's block; groups of four; the median of three iterations
    assert figures(found) == [("all_gather", 4, 4 * 102400, 389.0), ("all_gather", 4, 4 * 102400, 489.0)]
    assert [result.variant for result in found.results] == ["Within-Group-0", "Within-Group-1"]
    single = SAMPLES["dlcomm"].replace("allgather", "alltoallsingle").replace("ALLGATHER", "ALLTOALLSINGLE")
    assert figures(read(tmp_path, single))[0] == ("all_to_all", 4, 102400, 389.0)
    begun = SAMPLES["dlcomm"] + "[2025-08-20 17:40:00,000][DL_COMM][INFO] - [CONFIG] Collective Name      : reduce\n"
    assert "reduce: the log has no times of it" in read(tmp_path, begun).warnings[0]
    head = SAMPLES["dlcomm"][:SAMPLES["dlcomm"].index("[TIMERS]")]
    one = f"{head}[TIMERS][LOGGING RANK - 0] (Within-Group-0)                    = 0.000356 s\n"
    assert figures(read(tmp_path, one)) == [("all_gather", 4, 4 * 102400, 356.0)]


def test_deepep(tmp_path):
    found = read(tmp_path, SAMPLES["deepep intranode"], ranks=8)
    # 300 GB/s in 400 us are 120 MB
    assert figures(found) == [("moe_dispatch", 8, 120_000_000, 400.0), ("moe_combine", 8, 245_000_000, 700.0)]
    assert [result.dtype for result in found.results] == ["fp8", "bfloat16"]
    assert found.results[0].variant == "num_tokens_per_rank=4096;hidden=7168;topk=8;sms=24"
    with pytest.raises(UsageError, match="--log-ranks N"):
        read(tmp_path, SAMPLES["deepep intranode"])
    found = read(tmp_path, SAMPLES["deepep internode"], ranks=16)
    assert figures(found) == [("moe_dispatch", 16, 116_000_000, 2000.0), ("moe_combine", 16, 185_000_000, 2500.0)]
    assert found.results[0].notes[:2] == ("17.77 GB/s by RDMA", "without the notify kernel, 25 us")
    found = read(tmp_path, SAMPLES["deepep other versions"], ranks=8)
    assert figures(found) == [("moe_dispatch", 8, 76_500_000, 255.0), ("moe_combine", 8, 200_000_000, 2500.0)]
    found = read(tmp_path, SAMPLES["deepep low latency"])
    # the slowest of two ranks
    assert figures(found) == [("moe_pair", 2, 22_002_000, 114.0), ("moe_dispatch", 2, 8_000_000, 40.0),
                              ("moe_combine", 2, 15_000_000, 67.32), ("moe_dispatch", 2, 0, 25.0),
                              ("moe_combine", 2, 0, 18.85)]
    assert found.results[1].rank_min_s == pytest.approx(36.88e-6)
    found = read(tmp_path, SAMPLES["deepep elastic"])
    assert figures(found) == [("moe_dispatch", 2, 60_000_000, 120.0), ("moe_combine", 2, 120_000_000, 200.0)]
    assert [result.time_kind for result in found.results] == ["slowest rank", "one rank"]
    assert (found.results[0].dtype, found.results[1].variant.rpartition(";")[2]) == ("fp8", "reduced")


def test_collectivex(tmp_path):
    found = read(tmp_path, SAMPLES["collectivex"])
    # bytes of all eight ranks
    assert figures(found)[:3] == [("moe_dispatch", 8, 1_000_000, 50.5), ("moe_combine", 8, 2_000_000, 70.5),
                                  ("moe_pair", 8, 3_000_000, 100.0)]
    assert [result.mode for result in found.results[:3]] == ["isolated", "isolated", "streamed"]
    assert [result.status for result in found.results] == ["ok", "ok", "ok", "wrong"]
    assert found.results[0].variant.startswith("num_tokens_per_rank=64;hidden=7168;topk=8;experts=256")
    assert (found.runs[0].provenance["cluster"], found.results[0].p99_s) == ("gb200", pytest.approx(60e-6))


def links(found):
    """Operation, pair, message bytes, time in us and bus bandwidth in GB/s of each result that is a link."""
    return [(result.op, result.traffic, result.message_bytes, pytest.approx(result.time_s * 1e6, rel=1e-3),
             pytest.approx(result.busbw_Bps / 1e9)) for result in found.results if result.op.startswith("link_")]


def test_nvbandwidth_between_one_device_and_all_others(tmp_path):
    text = "nvbandwidth Version: v0.8\nRunning {}.\nmemcpy CE GPU(row) {} GPU(column) Total bandwidth (GB/s)\n" \
        "           0         1         2\n 0    {}    400.00    N/A\nSUM {} 900.00\n"
    for test, arrow, op in (("all_to_one_write_ce", "<-", "incast"), ("one_to_all_read_ce", "->", "outcast")):
        found = read(tmp_path, text.format(test, arrow, "512.00", test))
        assert [(one.op, one.traffic, one.ranks, one.message_bytes, one.variant) for one in found.results] == [
            (op, "fan", 3, 1 << 30, f"{test}, device {device}") for device in (0, 1)]
        # 512 MiB to or from each of two devices at 512 GB/s together
        assert [one.time_s for one in found.results] == pytest.approx([(1 << 30) / 512e9, (1 << 30) / 400e9])


def test_nvbandwidth(tmp_path):
    found = read(tmp_path, SAMPLES["nvbandwidth"])
    # `<-`: the column sends. 256 MiB / 268.44 GB/s = 1000 us; in both directions at once 2 * 256 MiB / 500 GB/s
    assert links(found) == [("link_bandwidth", "pair-1-0", 1 << 28, 1000.0, 268.44),
                            ("link_bandwidth", "pair-0-1", 1 << 28, 2000.0, 134.22),
                            ("link_bi_bandwidth", "pair-0-1", 1 << 28, 1073.74, 500.0),
                            ("link_bi_bandwidth", "pair-1-0", 1 << 28, 1073.74, 500.0)]
    rest = [result for result in found.results if not result.op.startswith("link_")]
    assert [(result.op, result.status) for result in rest] == [("copy_h2d", "unsupported")] * 2 + [
        ("host_device_latency_sm", "unsupported")] * 2
    assert rest[2].time_s == pytest.approx(772.5e-9)
    found = read(tmp_path, SAMPLES["nvbandwidth json"])
    assert links(found) == [("link_bandwidth", "pair-0-1", 1 << 29, 2000.0, 268.435456),
                            ("link_bandwidth", "pair-1-0", 1 << 29, 4000.0, 134.217728),
                            ("link_bi_bandwidth", "pair-0-1", 1 << 29, 2000.0, 536.870912),
                            ("link_bi_bandwidth", "pair-1-0", 1 << 29, 2000.0, 536.870912)]
    assert found.results[0].notes == ("buffer size not printed: 512 MiB, the default, is assumed",)


def test_nvloom(tmp_path):
    found = read(tmp_path, SAMPLES["nvloom"])
    # the column sends
    assert links(found) == [("link_bandwidth", "pair-1-0", 1 << 29, 2000.0, 268.44),
                            ("link_bandwidth", "pair-0-1", 1 << 29, 4000.0, 134.22)]
    assert [(result.op, result.status) for result in found.results[2:]] == [
        ("bisect_device_to_device_write_sm", "unsupported")] * 2

    # rows of a large matrix are numbered like the lines of a listing
    ranks = range(72)
    rows = "".join(f"{row}\t" + "\t".join("N/A" if row == column else f"{300 + row}.00" for column in ranks) + "\t\n"
                   for row in ranks)
    columns = "\t".join(map(str, ranks))
    large = f"nvloom_cli 1.3.0\nRunning device_to_device_unidir_read_sm\n\t{columns}\t\n{rows}"
    found = read(tmp_path, large)
    assert (found.warnings, len(found.results)) == ([], 72 * 71)
    assert links(found)[-1][:2] == ("link_bandwidth", "pair-70-71")


def test_imported_links_are_a_matrix_with_findings(tmp_path):
    rows = [[" N/A" if row == column else "20.50" if (row, column) == (2, 5) else f"{270 + row + column / 10:.2f}"
             for column in range(6)] for row in range(6)]
    text = "\n".join(["Running device_to_device_memcpy_read_ce.", "memcpy CE GPU(row) -> GPU(column) bandwidth (GB/s)",
                      "    0 1 2 3 4 5", *(f" {row} {' '.join(cells)}" for row, cells in enumerate(rows)), ""])
    log, out = tmp_path / "a.log", tmp_path / "out.jsonl"
    log.write_text(text)
    import_logs([log], out, LogHints())
    matrix, = read_links(out)
    assert (matrix.ranks, matrix.message_bytes) == (6, {"bandwidth": 1 << 29})
    assert matrix.square("bandwidth_Bps").loc[2, 5] == pytest.approx(20.5e9)
    assert len(matrix.cells) == 30
    slow, = [finding for finding in matrix.findings if finding.severity == "warning"]
    assert "link from rank 2 to rank 5 is slow in this direction" in slow.words
    assert len(load(out).points) == 0       # links are no curve over sizes
