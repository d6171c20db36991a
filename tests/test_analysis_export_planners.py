"""Tables of costs for planners and simulators: units, what is a forecast, and a parser of each tool's own grammar.

Where a tool itself is at hand, it reads the files too: COLLBENCH_AICONFIGURATOR and COLLBENCH_EXTRAP name interpreters
that can import aiconfigurator-core and extrap, COLLBENCH_CALCULON a folder with Calculon's sources, and
COLLBENCH_NCCL_TUNER the shared object of NCCL's example tuner plugin.
"""

import ctypes
import io
import json
import os
import re
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from collbench.analysis.export.costs import by_fabric, costs
from collbench.analysis.export.exchanges import exchanges
from collbench.analysis.export.nccl_tuner import first_match, parse
from collbench.analysis.export.targets import export_costs, target_named
from collbench.analysis.export.targets.astra_sim import ring_time_s
from collbench.analysis.frames.load import load
from collbench.analysis.importers import LogError, importers
from collbench.collectives.errors import UsageError
from collbench.launch.commands.export import _TOOLS

SIZES = [2**bit for bit in range(10, 31, 4)]
HEADING = ("system,library,device,op,dtype,ranks,ranks_per_node,message_bytes,time_us,mode,place,algorithm,protocol,"
           "variant\n")


def time_us(op, ranks, size):
    """A ring with 2 us a step and 100 GB/s a rank; over nodes of 8 another 3 us and a tenth of the rate."""
    steps = (ranks - 1) * (2 if op == "all_reduce" else 1)
    return steps * (5 if ranks > 8 else 2) + steps * size / ranks / (1e4 if ranks > 8 else 1e5)


def rows(ops=("all_reduce", "all_gather", "all_to_all", "broadcast"), counts=(2, 4, 8, 16)):
    return [f"c,NCCL 2.28.7,NVIDIA H100,{op},float16,{ranks},{min(ranks, 8)},{size},{time_us(op, ranks, size)},"
            f"streamed,{'out-of-place' if op != 'broadcast' else ''},,,"
            for op in ops for ranks in counts for size in SIZES]


def points_of(folder, lines):
    path = folder / "data.csv"
    path.write_text(HEADING + "\n".join(lines) + "\n")
    return load(path).points


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    extra = ["c,NCCL 2.28.7,NVIDIA H100,ping_pong,float16,2,2,1048576,20,isolated,,,,",
             "c,NCCL 2.28.7,NVIDIA H100,all_reduce,float16,8,8,1024,1,streamed,in-place,,,"]
    return points_of(tmp_path_factory.mktemp("planners"), [*rows(), *extra])


@pytest.fixture(scope="module")
def exported(points):
    made = {}

    def one(name, ranks=(32,)):
        if (name, ranks) not in made:
            made[name, ranks] = export_costs(points, target_named(name), ranks)
        return made[name, ranks]
    return one


def provenance(made):
    [name] = [name for name in made.files if name.endswith("-provenance.csv")]
    return pd.read_csv(io.StringIO(made.files[name]))


def write(folder, made):
    for name, content in made.files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)


def test_every_tool_has_a_module_that_says_what_it_writes_and_lacks():
    assert len(_TOOLS) == 7
    for name in _TOOLS:
        module = target_named(name)
        assert module.TITLE
        assert module.LACKS[0].islower() or module.LACKS.startswith(("SimAI", "vidur"))


def test_a_case_has_one_time_and_says_whether_it_was_measured(points):
    table, refused = costs(points, [8, 32])
    assert not table.duplicated(["op", "dtype", "ranks", "message_bytes"]).any()
    assert refused == [
        ("ping_pong", "ping_pong at 8, 32 ranks: not forecast: involves pairs of ranks; more were not measured")]
    at = table.set_index(["op", "ranks", "message_bytes"])
    time_s = at.loc[("all_reduce", 8, 1024), "time_s"]
    assert time_s * 1e6 == pytest.approx(time_us("all_reduce", 8, 1024)), "not in place"
    assert set(table.loc[table["ranks"] == 32, "kind"]) == {"extrapolated"}
    assert set(table.loc[table["ranks"] == 8, "kind"]) == {"measured"}
    forecast = table[table["kind"] == "extrapolated"]
    assert (forecast["level"] == 0.9).all()
    assert ((forecast["time_lo_s"] <= forecast["time_s"]) & (forecast["time_s"] <= forecast["time_hi_s"])).all()


def test_repeats_give_their_median_and_range_and_the_librarys_choice_beats_a_named_algorithm(tmp_path):
    lines = [f"c,NCCL,H100,all_reduce,float16,4,4,1024,{time},streamed,,{algorithm},," for time, algorithm in
             ((10, ""), (14, ""), (11, ""), (1, "Ring"))]
    table, _ = costs(points_of(tmp_path, lines))
    assert table[["time_s", "time_lo_s", "time_hi_s"]].iloc[0].tolist() == pytest.approx([11e-6, 10e-6, 14e-6])
    assert table["runs"].tolist() == [3]
    forced = [line.replace(",,,,", ",,Tree,,") if ",,,," in line else line for line in lines]
    table, _ = costs(points_of(tmp_path, forced))
    assert table["time_s"].tolist() == pytest.approx([1e-6]), "the fastest of several named ones"


def test_exchanges_of_experts_and_uneven_traffic_are_left_out_with_a_word(tmp_path):
    lines = [*rows(("all_reduce",), (2,)),
             *(f"c,NCCL 2.28.7,NVIDIA H100,moe_dispatch,float16,8,8,4096,{time},isolated,,deepep,,hidden={hidden}"
               for time, hidden in ((10, 4096), (20, 7168)))]
    table, notes = costs(points_of(tmp_path, lines))
    assert set(table["op"]) == {"all_reduce"}
    assert notes == [("", "2 points of moe_dispatch left out: their times depend on more than ranks and size")]


def test_every_row_of_a_table_has_its_origin_beside_it(exported):
    for name in ("extra-p", "vidur", "calculon"):
        made = exported(name)
        beside = provenance(made)
        assert len(beside) == made.measured + made.extrapolated
        assert set(beside["file"]) == set(made.files) - {f"{name}-provenance.csv"}
        stated = beside.loc[beside["kind"] == "extrapolated", ["time_lo_us", "time_hi_us", "track_record"]]
        assert stated.notna().to_numpy().all()


def test_operations_that_a_tool_lacks_are_named_in_one_line(exported):
    [line] = [note for note in exported("vidur").notes if "left out" in note]
    assert re.match(r"\d+ rows left out, all_gather \(\d+\), all_to_all \(\d+\), broadcast \(\d+\): vidur has ", line)


def test_data_without_any_operation_of_a_tool_are_an_error(tmp_path):
    points = points_of(tmp_path, rows(("broadcast",), (2, 4)))
    for name in set(_TOOLS) - {"extra-p"}:
        with pytest.raises(UsageError, match="nothing to write: the data have broadcast"):
            export_costs(points, target_named(name))


def test_aiconfigurator_has_elements_milliseconds_and_every_power_of_two(tmp_path, exported):
    fastparquet = pytest.importorskip("fastparquet", reason="fastparquet is not installed: no Parquet table is read")
    made = exported("aiconfigurator", (72,))
    write(tmp_path, made)
    file = tmp_path / "comm/nccl/2.28.7/nccl_perf.parquet"
    table = fastparquet.ParquetFile(str(file)).to_pandas()
    assert table.dtypes[["num_gpus", "message_size", "latency"]].tolist() == ["int64", "int64", "float64"]
    assert set(table["op_name"]) == {"all_reduce", "all_gather", "alltoall"}
    assert sorted(table["num_gpus"].unique()) == [2, 4, 8, 16, 32, 64, 72], "any it skips can no longer be looked up"
    assert not table.duplicated(["op_name", "nccl_dtype", "num_gpus", "message_size"]).any()
    at = table.set_index(["op_name", "nccl_dtype", "num_gpus", "message_size"])["latency"]
    for dtype, width in (("half", 2), ("int8", 1)):
        assert at["all_reduce", dtype, 8, 2**22 // width] == pytest.approx(time_us("all_reduce", 8, 2**22) / 1e3)
    assert json.loads((file.parent / "collection_meta.yaml").read_text())["tables"]["nccl_perf"]["rows"] == len(table)
    again = load(file)
    assert set(again.points["ranks"]) == {2, 4, 8, 16}, "forecasts are not read back as measurements"
    assert any("a forecast, not a measurement" in words for words in again.warnings)
    half = again.points[(again.points["op"] == "all_reduce") & (again.points["ranks"] == 16)
                        & (again.points["dtype"] == "float16")].sort_values("message_bytes")
    assert half["time_s"].tolist() == pytest.approx([time_us("all_reduce", 16, size) / 1e6 for size in SIZES])


def exchanged(folder):
    """Dispatch and combine of DeepEP on 8 ranks: 10 us, and a microsecond for every four tokens."""
    return points_of(folder, [
        f"c,vLLM 0.24.0,NVIDIA H100,moe_{phase},,8,8,0,{10 + tokens / 4},isolated,,deepep_ht,,"
        f"num_tokens_per_rank={tokens};hidden=7168;topk=8;experts=256;sms=20"
        for phase in ("dispatch", "combine") for tokens in (16, 128, 1024)])


def test_exchanges_of_experts_have_a_table_by_tokens_in_microseconds(tmp_path):
    fastparquet = pytest.importorskip("fastparquet", reason="fastparquet is not installed: no Parquet table is read")
    made = export_costs(exchanged(tmp_path), target_named("aiconfigurator"), [16])
    write(tmp_path, made)
    file = tmp_path / "comm/vllm/0.24.0/moe_a2a_perf.parquet"
    table = fastparquet.ParquetFile(str(file)).to_pandas()
    key = ["comm_backend", "phase", "comm_dtype", "ep_size", "node_num", "hidden_size", "topk", "num_experts", "sms",
           "num_tokens"]
    assert not table.duplicated(key).any()
    measured = table[table["kind"] == "measured"].set_index(key)["latency"]
    assert measured["deepep_ht", "dispatch", "default", 8, 1, 7168, 8, 256, 20, 128] == pytest.approx(42)
    forecast = table.loc[table["kind"] != "measured", ["ep_size", "node_num"]]
    assert forecast.drop_duplicates().to_numpy().tolist() == [[16, 2]]
    assert (made.measured, made.extrapolated) == (6, 6)
    again = load(file).points
    assert again["time_s"].sum() * 1e6 == pytest.approx(measured.sum())


def test_exchanges_of_a_run_of_ours_have_no_file_as_their_source(tmp_path):
    table, _ = exchanges(exchanged(tmp_path).assign(source=None))
    assert len(table)
    assert table["source"].isna().all()


@pytest.mark.slow
def test_a_damaged_parquet_file_is_one_line(tmp_path, exported):
    pytest.importorskip("fastparquet", reason="fastparquet is not installed: no Parquet table is read")
    raw = next(content for name, content in exported("aiconfigurator", (72,)).files.items() if name.endswith("parquet"))
    for at, damaged in enumerate((raw[:2000], raw[:-300] + bytes(292) + raw[-8:], b"PAR1" + bytes(100) + b"PAR1")):
        path = tmp_path / f"damaged-{at}.parquet"
        path.write_bytes(damaged)
        with pytest.raises(LogError, match=r"damaged-\d.parquet: a damaged Parquet file"):
            load(path)


def test_vidur_looks_up_medians_in_milliseconds_by_bytes(tmp_path, exported):
    write(tmp_path, exported("vidur"))
    table = pd.read_csv(tmp_path / "all_reduce.csv").drop_duplicates()
    inside = table[(table["num_workers"] == 8) & (table["devices_per_node"] == 8)
                   & (table["collective"] == "all_reduce")]
    assert inside["size"].tolist() == SIZES
    assert inside["time_stats.all_reduce.median"].tolist() == pytest.approx(
        [time_us("all_reduce", 8, size) / 1e3 for size in SIZES])
    assert set(table.loc[table["num_workers"] == 32, "kind"]) == {"extrapolated"}
    pair = pd.read_csv(tmp_path / "send_recv.csv")
    assert pair[["num_workers", "devices_per_node", "size", "time_stats.send_recv.median"]].to_numpy().tolist() \
        == [[2, 2, 2**20, pytest.approx(0.02)]]
    again = load(tmp_path / "all_reduce.csv").points
    assert set(again["ranks"]) == {2, 4, 8, 16}
    part_of_a_node = points_of(tmp_path, [line.replace(",4,4,", ",4,8,") for line in rows(("all_reduce",), (4,))])
    write(tmp_path, export_costs(part_of_a_node, target_named("vidur")))
    assert set(pd.read_csv(tmp_path / "all_reduce.csv")["devices_per_node"]) == {4}, "that it uses, not that it has"


def test_extra_p_gets_a_value_in_seconds_at_each_coordinate(exported):
    files = exported("extra-p").files
    lines = [json.loads(line) for line in files["measured/all_gather-float16.jsonl"].splitlines()]
    assert len({(line["params"]["ranks"], line["params"]["bytes"]) for line in lines}) == len(lines) == 4 * len(SIZES)
    assert {(line["callpath"], line["metric"]) for line in lines} == {("all_gather float16", "time")}
    assert next(line["value"] for line in lines if line["params"] == {"ranks": 8, "bytes": 1024}) == pytest.approx(
        time_us("all_gather", 8, 1024) / 1e6)
    forecast = files["extrapolated/all_gather-float16.jsonl"].splitlines()
    assert {json.loads(line)["params"]["ranks"] for line in forecast} == {32}


def network_file(text):
    """The values of a network file of ASTRA-sim's analytical backend, checked as its parser does."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    found = dict(line.split(": ", 1) for line in lines if line)
    assert set(found) == {"topology", "npus_count", "bandwidth", "latency"}
    values = {name: re.fullmatch(r"\[ (.+) \]", value)[1].split(", ") for name, value in found.items()}
    dimensions = len(values["topology"])
    assert all(len(value) == dimensions for value in values.values())
    assert set(values["topology"]) <= {"Ring", "FullyConnected", "Switch"}
    npus, bandwidth, latency = ([kind(value) for value in values[name]] for name, kind in
                                (("npus_count", int), ("bandwidth", float), ("latency", float)))
    assert min(npus) > 1
    assert min(bandwidth) > 0
    assert min(latency) >= 0
    return npus, bandwidth, latency


def test_astra_sims_ring_takes_the_measured_times(exported):
    files = exported("astra-sim").files
    npus, bandwidth, latency = network_file(files["network_8.yml"])
    assert npus == [8]
    assert bandwidth == pytest.approx([1e11 / 2**30], rel=1e-4), "its GB are 2^30 bytes"
    assert latency == pytest.approx([1000.0], rel=1e-4), "half of 2 us: a message over a switch takes two hops"
    assert json.loads(files["system_8.json"])["all-reduce-implementation"] == ["ring"]
    npus, bandwidth, latency = network_file(files["network_16.yml"])
    assert npus == [8, 2]
    assert json.loads(files["system_16.json"])["all-reduce-implementation"] == ["ring", "ring"]
    large = np.array(SIZES[-2:], float)
    assert ring_time_s(large, npus, bandwidth, latency) * 1e6 == pytest.approx(
        [time_us("all_reduce", 16, size) for size in large], rel=0.1)
    assert "extrapolated" in files["network_32.yml"].splitlines()[0]
    assert "measured" in files["network_16.yml"].splitlines()[0]


# What calculon/network.py asserts.
KEYS = {"bandwidth", "efficiency", "size", "latency", "ops", "must_be_filled", "processor_usage"}
CALCULON = {"p2p", "reduce_scatter", "all_gather", "all_reduce"}


def test_calculons_networks_take_the_measured_times(exported):
    inner, outer = json.loads(exported("calculon").files["networks.json"])
    for network in (inner, outer):
        assert set(network) == KEYS
        assert set(network["ops"]) == CALCULON
        assert network["ops"]["p2p"][1] is None
        assert 0 < network["efficiency"] <= 1
    assert inner["size"] == 8
    assert inner["must_be_filled"] is True
    for op in ("all_reduce", "all_gather"):
        scalar, offset = inner["ops"][op]
        size = 2**30
        moved = size * scalar * (1 + offset / 8)
        seconds = inner["latency"] + moved / (inner["bandwidth"] * 1e9 * inner["efficiency"])
        assert seconds * 1e6 == pytest.approx(time_us(op, 8, size), rel=0.01), op
    assert any("processor_usage" in note and "assumed" in note for note in exported("calculon").notes)


def simai_ratio(text, size, nodes):
    """The ratio that getValue of SimAI's calbusbw.cc takes from a file: relative to that of the last row."""
    table = [[float(cell) if cell.strip() else 1.0 for cell in line.split(",")] for line in text.splitlines()[1:]]
    column = {1: 1, 2: 2, 4: 3, 8: 4, 16: 5, 32: 6, 64: 7, 128: 8}.get(nodes, 5)
    assert all(len(cells) == 13 and max(cells[1:]) <= 1 for cells in table)
    for before, after in pairwise(table):
        if before[0] <= size <= after[0]:
            share = (size - before[0]) / (after[0] - before[0])
            return (before[column] + (after[column] - before[column]) * share) / table[-1][column]
    raise AssertionError("Data size out of range")


def test_simai_reads_the_shape_of_the_measured_curves(exported):
    files = exported("simai").files
    for file, op in (("nic_ratio.csv", "all_gather"), ("ata_ratio.csv", "all_to_all")):
        for nodes, ranks in ((1, 8), (2, 16)):
            rate = [size / time_us(op, ranks, size) for size in (2**22, 2**30)]
            assert simai_ratio(files[file], 2**22, nodes) == pytest.approx(rate[0] / rate[1], rel=1e-3)
        assert simai_ratio(files[file], 2**35, 2) == 1, "a larger message keeps the last value"
        assert files[file].splitlines()[1].split(",")[3], "4 nodes are 32 ranks, which are forecast"
    lines = files["busbw.yaml"].splitlines()
    assert lines[:2] == ["test", "TP:"]
    size = SIZES[-1]
    busbw = size * 2 * 7 / 8 / (time_us("all_reduce", 8, size) / 1e6) / 2**30
    assert float(lines[2].removeprefix("allreduce,: ")) == pytest.approx(busbw, rel=1e-4)


def tuning(folder):
    def line(ranks, size, time, way):
        return f"c,NCCL 2.28.7,H100,all_reduce,float32,{ranks},8,{size},{time},streamed,,{way}"
    ways = ("Ring,LL,channels=4", "Tree,LL,channels=4", "NVLSTree,Simple,channels=16")
    times = {1024: (10, 8, 20), 4096: (9.0, 9.1, 20), 65536: (30, 20, 21), 2**20: (90, 80, 50)}
    lines = [line(ranks, size, time * ranks / 8, way) for ranks in (8, 16) for size, each in times.items()
             for way, time in zip(ways, each, strict=True)]
    return points_of(folder, [*lines, line(8, 2048, 9, ways[0])]), times


def test_tuner_rules_choose_the_fastest_way_at_every_size(tmp_path):
    points, times = tuning(tmp_path)
    made = export_costs(points, target_named("nccl-tuner"), [32])
    rules = parse(made.files["nccl_tuner.conf"])
    best = {1024: "tree", 4096: "ring", 65536: "tree", 2**20: "nvls_tree"}
    for ranks, nodes in ((8, 1), (16, 2)):
        assert {size: first_match(rules, "all_reduce", size, nodes, ranks).algorithm for size in times} == best
        assert first_match(rules, "all_reduce", 2**33, nodes, ranks).channels == 16
        assert first_match(rules, "all_reduce", 0, nodes, ranks).protocol == "ll"
    assert first_match(rules, "all_reduce", 1024, 4, 32), "forecast"
    assert first_match(rules, "all_gather", 1024, 1, 8) is None
    assert "# extrapolated" in made.files["nccl_tuner.conf"]
    assert any(re.match(r"\d rows left out, all_reduce", note) for note in made.notes), "one way alone decides nothing"


def test_libraries_are_tables_of_their_own(tmp_path):
    nccl = rows(("all_reduce",), (2,))
    lines = [*nccl, *(line.replace("NCCL 2.28.7", "gloo") for line in nccl)]
    assert [(fabric.name, len(fabric.points)) for fabric in by_fabric(points_of(tmp_path, lines))] \
        == [("nccl-2.28.7", len(SIZES)), ("gloo", len(SIZES))]


@pytest.mark.slow
def test_the_command_writes_a_folder_and_bad_requests_are_one_line(tmp_path):
    points_of(tmp_path, rows(("all_reduce",), (2, 4)))

    def run(*words):
        done = subprocess.run([sys.executable, "-m", "collbench", "export", "data.csv", *words], cwd=tmp_path,
                              capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr
    code, out, _ = run("--to", "vidur", "--ranks", "8", "-o", "out")
    assert (code, out) == (0, "out: all_reduce.csv, vidur-provenance.csv; 12 measured and 6 extrapolated times\n")
    for words, reason in ((("--to", "vidur"), "give a folder with -o"), ((), "give either --format"),
                          (("--to", "vidur", "--format", "csv"), "give either --format"),
                          (("--to", "nccl-tuner", "-o", "x"), "nothing to write: the data have all_reduce"),
                          (("--to", "vidur", "-o", "data.csv"), "cannot be written")):
        check(run(*words), reason)
    lines = rows(("broadcast",), (2,))
    points_of(tmp_path, [line.replace("NCCL", library) for library in ("a", "b") for line in lines])
    check(run("--to", "vidur", "-o", "x"), "nothing to write: the data have broadcast")
    assert not (tmp_path / "x").exists()


def check(done, reason):
    """A failed command says why in one line."""
    code, _, error = done
    assert code == 2, error
    assert reason in error.splitlines()[-1]
    assert "Traceback" not in error


def tool(variable, module):
    """The interpreter that can import `module`: this one, or that which an environment variable names."""
    python = os.environ.get(variable, sys.executable)
    if subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode:
        pytest.skip(f"{variable} names no interpreter that imports {module}: the tool itself does not read our files")
    return python


@pytest.mark.slow
def test_aiconfigurator_answers_with_our_times(tmp_path, exported):
    python = tool("COLLBENCH_AICONFIGURATOR", "aiconfigurator_core")
    made = exported("aiconfigurator", (72,))
    write(tmp_path / "data", made)
    asked = """
import json, sys, yaml
from pathlib import Path
import aiconfigurator_core
from aiconfigurator_core.sdk import common
from aiconfigurator_core.sdk.operations.communication import NCCL
from aiconfigurator_core.sdk.perf_database import get_database
spec = yaml.safe_load((Path(aiconfigurator_core.__file__).parent / "systems/h100_sxm.yaml").read_text())
spec["data_dir"], spec["misc"]["nccl_version"] = "data", "2.28.7"
Path("mine.yaml").write_text(yaml.safe_dump(spec))
Path("data/comm/trtllm/1").mkdir(parents=True)
database = get_database("mine", "trtllm", "1", systems_paths=".", allow_missing_data=True, allow_unlisted_version=True,
                        shared_layer=False)
print(json.dumps([float(NCCL("", 1.0, op, elements, ranks, common.CommQuantMode.half)._engine_query(database, x=1))
                  for op, ranks, elements in json.load(sys.stdin)]))
"""
    beside = provenance(made).drop_duplicates(["op", "ranks", "message_bytes"])
    names = {"all_reduce": "all_reduce", "all_gather": "all_gather", "all_to_all": "alltoall"}
    even = beside[beside["message_bytes"] % 2 == 0]
    queries = [(names[op], ranks, size // 2) for op, ranks, size in
               zip(even["op"], even["ranks"].tolist(), even["message_bytes"].tolist(), strict=True)]
    done = subprocess.run([python, "-c", asked], input=json.dumps(queries), cwd=tmp_path, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx((even["time_us"] / 1e3).tolist())
    assert set(even["kind"]) == {"measured", "extrapolated"}


@pytest.mark.slow
def test_aiconfigurator_answers_with_our_times_of_exchanges(tmp_path):
    python = tool("COLLBENCH_AICONFIGURATOR", "aiconfigurator_core")
    made = export_costs(exchanged(tmp_path), target_named("aiconfigurator"), [16])
    write(tmp_path / "data", made)
    asked = """
import json, sys, yaml
from pathlib import Path
import aiconfigurator_core
from aiconfigurator_core.sdk.operations.moe_comm import MoEAllToAll
from aiconfigurator_core.sdk.perf_database import get_database
spec = yaml.safe_load((Path(aiconfigurator_core.__file__).parent / "systems/h100_sxm.yaml").read_text())
spec["data_dir"] = "data"
Path("mine.yaml").write_text(yaml.safe_dump(spec))
database = get_database("mine", "vllm", "0.24.0", systems_paths=".", allow_missing_data=True,
                        allow_unlisted_version=True, shared_layer=False)
print(json.dumps([float(MoEAllToAll("", 1.0, phase=phase, comm_backend="deepep_ht", hidden_size=7168, topk=8,
                                    num_experts=256, moe_ep_size=ranks, node_num=ranks // 8, sms=20)
                        ._engine_query(database, x=tokens)) for phase, ranks, tokens in json.load(sys.stdin)]))
"""
    beside = provenance(made)
    queries = [(op.removeprefix("moe_"), ranks, tokens) for op, ranks, tokens in
               zip(beside["op"], beside["ranks"].tolist(), beside["tokens"].tolist(), strict=True)]
    done = subprocess.run([python, "-c", asked], input=json.dumps(queries), cwd=tmp_path, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx((beside["time_us"] / 1e3).tolist())
    assert len(queries) == 12


@pytest.mark.slow
def test_extra_p_fits_a_model_to_our_file(tmp_path, exported):
    python = tool("COLLBENCH_EXTRAP", "extrap.fileio.file_reader.jsonlines_file_reader")
    write(tmp_path, exported("extra-p"))
    asked = """
import sys
from extrap.fileio.file_reader.jsonlines_file_reader import read_jsonlines_file
for name in sys.argv[1:]:
    experiment = read_jsonlines_file(name)
    print([str(one) for one in experiment.parameters], len(experiment.coordinates), len(experiment.callpaths))
"""
    names = [f"{kind}/all_reduce-float16.jsonl" for kind in ("measured", "extrapolated")]
    done = subprocess.run([python, "-c", asked, *names], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [f"['ranks', 'bytes'] {count * len(SIZES)} 1" for count in (4, 1)], done.stderr


@pytest.mark.skipif("COLLBENCH_CALCULON" not in os.environ,
                    reason="COLLBENCH_CALCULON names no folder of Calculon's sources: it does not read our networks")
def test_calculon_itself_takes_our_networks(tmp_path, exported):
    write(tmp_path, exported("calculon"))
    asked = ("import importlib.util, json, sys; spec = importlib.util.spec_from_file_location('network', sys.argv[1]); "
             "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module); "
             "print([module.Network(one).time('all_reduce', 2**30, 8) for one in json.load(open('networks.json'))][0])")
    done = subprocess.run([sys.executable, "-c", asked, f"{os.environ['COLLBENCH_CALCULON']}/calculon/network.py"],
                          cwd=tmp_path, capture_output=True, text=True, check=False)
    assert float(done.stdout) * 1e6 == pytest.approx(time_us("all_reduce", 8, 2**30), rel=0.01), done.stderr


class Plugin(ctypes.Structure):
    """The beginning of ncclTuner_v5_t."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("init", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_void_p), ctypes.c_uint64, ctypes.c_size_t,
                                  ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)),
        ("info", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_int,
                                  ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                                  ctypes.POINTER(ctypes.c_int))))


@pytest.mark.skipif("COLLBENCH_NCCL_TUNER" not in os.environ,
                    reason="COLLBENCH_NCCL_TUNER names no shared object of NCCL's example plugin: it reads no rules")
def test_the_plugin_itself_applies_our_rules(tmp_path):
    made = export_costs(tuning(tmp_path)[0], target_named("nccl-tuner"), [])
    (tmp_path / "tuner.conf").write_text(made.files["nccl_tuner.conf"])
    plugin = Plugin.in_dll(ctypes.CDLL(os.environ["COLLBENCH_NCCL_TUNER"]), "ncclTunerPlugin_v5")
    ctypes.CDLL(None).setenv(b"NCCL_TUNER_CONFIG_FILE", str(tmp_path / "tuner.conf").encode(), 1)
    context = ctypes.c_void_p()
    assert plugin.init(ctypes.byref(context), 0, 16, 2, None, None, None) == 0

    def applied(function, size):
        table, channels = (ctypes.c_float * 21)(*[9.0] * 21), ctypes.c_int(0)
        plugin.info(context, function, size, 1, ctypes.addressof(table), 7, 3, 0, ctypes.byref(channels))
        return [divmod(at, 3) for at, cost in enumerate(table) if cost == 0], channels.value
    assert applied(4, 1024) == ([(0, 0)], 4), "tree, ll"
    assert applied(4, 4096) == ([(1, 0)], 4), "ring, ll"
    assert applied(4, 2**34) == ([(5, 2)], 16), "nvls_tree, simple"
    assert applied(2, 1024) == ([], 1), "no rule: one channel, of which the export warns"


def test_importers_of_what_the_tools_ship_are_found_by_their_folder():
    assert {"aiconfigurator tables", "vidur network profiles"} <= {module.TITLE for module in importers()}
