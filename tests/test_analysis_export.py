"""What is exported for other tools reads back to the same numbers."""

import json

import numpy as np
import pytest

from analysis.export import FORMATS, export
from analysis.importers import Asked, import_logs
from analysis.tidy import load
from collectives.records import read_lines

SOURCE = """system,library,op,dtype,ranks,ranks_per_node,message_bytes,time_us,variant,statistic,mode,redop,algorithm
fabric,NCCL 2.28.7,all_reduce,float32,8,4,1048576,123.456789,out-of-place,mean over ranks,streamed,sum,Ring
fabric,NCCL 2.28.7,all_reduce,float32,8,4,1048576,234.5,in-place,mean over ranks,streamed,sum,Ring
fabric,NCCL 2.28.7,all_reduce,float32,8,4,2097152,1e6,out-of-place,mean over ranks,streamed,sum,Ring
fabric,NCCL 2.28.7,all_reduce,float32,16,4,2097152,333.25,out-of-place,mean over ranks,streamed,sum,Ring
fabric,NCCL 2.28.7,all_gather,bfloat16,8,4,1048576,77.125,out-of-place,mean over ranks,streamed,,
fabric,NCCL 2.28.7,alltoall,float16,8,4,1048576,0.03125,out-of-place,mean over ranks,streamed,,
fabric,NCCL 2.28.7,broadcast,int8,8,4,1048577,55.5,,mean over ranks,streamed,,
fabric,NCCL 2.28.7,sendrecv,float64,8,4,1048576,55.5,,mean over ranks,streamed,,
fabric,MPI x,barrier,,8,4,0,3.5,,mean over ranks,isolated,,
fabric,MPI x,ping_pong,byte,2,1,1024,1.5,,mean over ranks,isolated,,
fabric,MPI x,bi_bandwidth,byte,2,1,1024,1.5,,mean over ranks,streamed,,
"""
KEYS = ["op", "ranks", "message_bytes", "time_s"]


@pytest.fixture
def loaded(tmp_path):
    path = tmp_path / "source.csv"
    path.write_text(SOURCE)
    return load(path)


def read_back(tmp_path, text, suffix="txt"):
    path = tmp_path / f"exported.{suffix}"
    path.write_text(text)
    return load(path).points.sort_values(KEYS).reset_index(drop=True)


def same(read, points):
    wanted = points.sort_values(KEYS).reset_index(drop=True)
    assert read[KEYS[:3]].to_dict() == wanted[KEYS[:3]].to_dict()
    assert np.allclose(read["time_s"], wanted["time_s"], rtol=1e-8, atol=0)
    assert np.allclose(read["busbw_Bps"], wanted["busbw_Bps"], rtol=1e-8, equal_nan=True)


@pytest.mark.parametrize("form", ["nccl-tests", "json"])
def test_nccl_tests_reads_back(loaded, tmp_path, form):
    text, lost = export(loaded, form)
    kept = loaded.points[~loaded.points["op"].isin(["barrier", "ping_pong", "bi_bandwidth"])]
    kept = kept[kept["dtype"] != "byte"]
    read = read_back(tmp_path, text)
    same(read, kept)
    assert "3 of 11 points left out" in lost[0]
    assert sorted(read["place"].dropna().unique()) == ["in-place", "out-of-place"]
    assert set(read["ranks_per_node"]) == {4}
    assert set(read["dtype"]) == set(kept["dtype"])


def test_json_has_what_dashboards_look_for(loaded):
    documents = [json.loads(line) for line in export(loaded, "json")[0].splitlines()]
    assert all({"version", "args", "config", "results", "out_of_bounds", "average_bus_bandwidth"} <= document.keys()
               for document in documents)
    assert {document["args"][0] for document in documents} == {"all_reduce_perf", "all_gather_perf", "alltoall_perf",
                                                              "broadcast_perf", "sendrecv_perf"}
    assert not any("env" in document for document in documents)


def test_osu_reads_back(loaded, tmp_path):
    text, lost = export(loaded, "osu")
    points = loaded.points
    kept = points[(points["op"] != "send_recv") & (points["place"] != "in-place")]
    same(read_back(tmp_path, text), kept)
    assert "2 of 11 points left out" in lost[0]
    assert "# OSU MPI Allgather Latency Test" in text
    assert "131072 " in text


def test_csv_reads_back_whole(loaded, tmp_path):
    text, lost = export(loaded, "csv")
    assert not lost
    read = read_back(tmp_path, text, "csv")
    same(read, loaded.points)
    wanted = loaded.points.sort_values(KEYS).reset_index(drop=True)
    for column in ("system", "library", "algorithm", "variant", "statistic", "mode", "place", "redop", "time_kind",
                   "transport", "dtype", "source"):
        assert read[column].fillna("").tolist() == wanted[column].fillna("").tolist(), column
    assert export(load(tmp_path / "exported.csv"), "csv")[0] == text


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_exported_as_nothing(loaded, form):
    empty = type(loaded)(loaded.points.iloc[:0], loaded.records, loaded.runs)
    assert len(export(empty, form)[0].splitlines()) <= 1


def test_through_a_journal(loaded, tmp_path):
    path = tmp_path / "exported.log"
    path.write_text(export(loaded, "nccl-tests")[0])
    import_logs([path], tmp_path / "j.jsonl", Asked(system="fabric"))
    assert len(list(read_lines(tmp_path / "j.jsonl", []))) > 8
    same(load(tmp_path / "j.jsonl").points.sort_values(KEYS).reset_index(drop=True), load(path).points)
