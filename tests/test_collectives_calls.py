"""Lists of calls as files, and meshes of named axes."""

import itertools
from pathlib import Path

import pytest

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
