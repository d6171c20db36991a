"""Lists of calls as files, and meshes of named axes."""

import gzip
import itertools
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collbench.collectives.cases.call_files import csv_text, read_calls, toml_text
from collbench.collectives.cases.calls import Call, CallList
from collbench.collectives.cases.mesh import parse_mesh
from collbench.collectives.errors import UsageError

LIST = CallList("layer", (Call("all_gather", 25 << 20, "dp", 2), Call("reduce_scatter", 25 << 20, "dp", overlap=True),
                          Call("all_reduce", 4096)), "dp=4,tp=2", 'one "layer"')


@pytest.mark.parametrize(("ending", "text", "lost"), [("csv", csv_text, {"mesh": None, "title": None}),
                                                      ("toml", toml_text, {})])
def test_a_list_is_read_back_as_it_was_written(tmp_path: Path, ending, text, lost):
    path = tmp_path / f"layer.{ending}"
    path.write_text(text(LIST))
    back = read_calls(path)
    assert (back.calls, back.name, back.digest) == (LIST.calls, "layer", LIST.digest)
    assert (back.mesh, back.title) == (lost.get("mesh", LIST.mesh), lost.get("title", LIST.title))
    assert all(not call.per_rank for call in back.calls)
    assert back.bytes == 3 * (25 << 20) + 4096
    assert back.axes == ("dp",)


def test_spellings_and_sizes_are_those_of_the_command_line(tmp_path: Path):
    (tmp_path / "a.csv").write_text("# from a trace\noperation, bytes\n\nAllReduce, 25MiB\nalltoall,1K\n")
    assert read_calls(tmp_path / "a.csv").calls == (Call("all_reduce", 25 << 20), Call("all_to_all", 1024))


@pytest.mark.parametrize(("name", "text", "message"), [
    ("a.csv", "operation,size\nall_reduce,1K\n", "a.csv:1: unknown column 'size'"),
    ("a.csv", "bytes,axis\n1K,tp\n", "a.csv:1: column operation is missing"),
    ("a.csv", "operation,bytes\nall_reduce,1K\nallreduced,1K\n", "a.csv:3: operation 'allreduced'"),
    ("a.csv", "operation,bytes\nall_reduce,1,K\n", "a.csv:2: 3 cells for 2 columns"),
    ("a.csv", "operation,bytes,count\nall_reduce,1K,0\n", "a.csv:2: count '0'"),
    ("a.csv", "operation,bytes,overlap\nall_reduce,1K,maybe\n", "a.csv:2: overlap 'maybe'"),
    ("a.csv", "operation,bytes,axis\nall_reduce,1K,a b\n", "a.csv:2: axis 'a b'"),
    ("a.toml", "mesh='tp=2'\n[[call]]\noperation='barrier'\naxis='ep'\n", "a.toml: axis ep is not in the mesh"),
    ("a.csv", "operation,bytes\nall_reduce\n", "a.csv:2: size ''"),
    ("a.csv", "operation,bytes\n", "a.csv: 0 calls"),
    ("a.csv", "\n", "a.csv: empty"),
    ("a.toml", "[[call]]\noperation = 'all_reduce'\nbytes = -1\n", "a.toml: call 1: size '-1'"),
    ("a.toml", "[[call]\n", "a.toml: not TOML"),
    ("a.toml", "calls = 1\n", "a.toml: unknown key 'calls'"),
    ("a.toml", "mesh = 8\n[[call]]\noperation='barrier'\nbytes=1\n", "a.toml: mesh is text in quotes"),
    ("a.txt", "", "a.txt: a list of calls is a file that ends in"),
])
def test_a_bad_list_is_one_clear_line(tmp_path: Path, monkeypatch, name, text, message):
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text)
    with pytest.raises(UsageError) as error:
        read_calls(Path(name))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


# examples/workload/microbenchmarks/all_gather/16npus_1MB/all_gather.0.et of astra-sim/astra-sim@518bd51 (MIT).
ALL_GATHER = bytes.fromhex(
    "070a05302e302e344912" "15616c6c5f6761746865725f31366e7075735f314d421807520e0a0969735f6370755f6f70d80100"
    "520d0a09636f6d6d5f74797065480252" "0f0a09636f6d6d5f73697a6548808040")


def attribute(name, field, value):
    """An AttributeProto, as field 10 of a node: a small integer, or bytes."""
    tag = field << 3 | (0 if isinstance(value, int) else 2)
    head = [tag] if tag < 0x80 else [tag & 0x7F | 0x80, tag >> 7]
    rest = [value] if isinstance(value, int) else [len(value), *value]
    body = bytes([0x0A, len(name), *name.encode(), *head, *rest])
    return bytes([0x52, len(body), *body])


def node(kind, *attributes):
    body = bytes([0x18, kind, *b"".join(attributes)])
    return bytes([len(body), *body])


def test_an_execution_trace_of_astra_sim_is_read(tmp_path: Path):
    for name, raw in (("a.et", ALL_GATHER), ("zipped.et", gzip.compress(ALL_GATHER))):
        (tmp_path / name).write_bytes(raw)
        assert read_calls(tmp_path / name).calls == (Call("all_gather", 1 << 20, per_rank=True),)


def test_groups_and_dimensions_of_a_trace_are_axes_and_equal_calls_are_counted(tmp_path: Path):
    reduce, tp = [attribute("comm_type", 9, 0), attribute("comm_size", 9, 64)], attribute("pg_name", 29, b"tp")
    second = attribute("involved_dim", 28, bytes([0x0A, 2, 0, 1]))
    raw = ALL_GATHER + node(4) + 3 * node(7, *reduce, tp) + node(7, *reduce, second) + node(5, reduce[1]) + node(6)
    (tmp_path / "a.et").write_bytes(raw)
    assert read_calls(tmp_path / "a.et").calls[1:] == (
        Call("all_reduce", 64, "tp", 3), Call("all_reduce", 64, "dim1"), Call("send_recv", 64))


@pytest.mark.parametrize("text", [
    """{"version": "0.0.4"}
    {"id": "1", "type": "COMP_NODE", "name": "matmul"}{"id": "2", "type": "COMM_COLL_NODE", "name": "g",
     "attr": [{"name": "comm_type", "int64Val": "7"}, {"name": "comm_size", "int64Val": "4096"},
              {"name": "involved_dim", "boolList": {"values": [true, true]}}]}""",
    """{"workload_graph": [{"Id": 1, "Name": "m", "NodeType": 4},
        {"Id": 2, "Name": "g", "NodeType": 7, "comm_type": 7, "comm_size": 4096}]}"""])
def test_both_json_forms_of_a_trace_are_read(tmp_path: Path, text):
    (tmp_path / "a.json").write_text(text)
    assert read_calls(tmp_path / "a.json").calls == (Call("reduce_scatter", 4096),)


@pytest.mark.parametrize(("name", "raw", "message"), [
    ("a.et", ALL_GATHER[:-1], "it ends within a message"), ("a.et", b"\x00" + node(7), "has no comm_type"),
    ("a.json", b"{}", "0 calls"), ("a.json", b"[1]", "not an execution trace"), ("a.json", b"{", "not an execution"),
    ("a.json", b'{"type": "COMM_COLL_NODE", "name": "x", "attr": [{"name": "comm_type", "stringVal": "BROADEN"}]}',
     "collective 'BROADEN'")])
def test_a_bad_trace_is_one_clear_line(tmp_path: Path, name, raw, message):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(UsageError, match=message) as error:
        read_calls(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))


@given(st.integers(0, len(ALL_GATHER) - 1), st.integers(0, 255), st.integers(0, len(ALL_GATHER)))
def test_no_damaged_trace_raises_anything_but_a_usage_error(tmp_path_factory, at, byte, until):
    path = tmp_path_factory.getbasetemp() / "damaged.et"
    path.write_bytes((ALL_GATHER[:at] + bytes([byte]) + ALL_GATHER[at + 1:])[:until])
    with suppress(UsageError):
        read_calls(path)


def test_a_mesh_is_row_major_as_torchs_device_mesh():
    mesh = parse_mesh("pp=2, dp=-1,tp=4").over(24)
    assert mesh.text == "pp=2/dp=3/tp=4"
    assert parse_mesh(mesh.text) == mesh
    places = list(itertools.product(*map(range, mesh.sizes)))       # place of each rank, last axis fastest
    for number, axis in enumerate(mesh.names):
        for rank, place in enumerate(places):
            alike = [other for other, position in enumerate(places)
                     if position[:number] + position[number + 1:] == place[:number] + place[number + 1:]]
            assert list(mesh.group(axis, rank)) == alike
        assert sorted(itertools.chain(*mesh.groups(axis))) == list(range(24))


@pytest.mark.parametrize(("text", "ranks"), [("tp=4,ep=2", 4), ("tp=3,ep=-1", 8), ("tp=0", 1), ("tp", 1),
                                             ("tp=2,tp=2", 4), ("tp=-1,ep=*", 4), ("", 1), ("16=2", 2)])
def test_a_mesh_that_does_not_fit_is_refused(text, ranks):
    with pytest.raises(UsageError, match="mesh"):
        parse_mesh(text).over(ranks)
