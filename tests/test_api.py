"""`import collbench`: what somebody does with results in a script or a notebook."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import collbench as cb

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "docs" / "examples" / "hgx-h100-8.csv"
OSU_LOG = """\
# OSU MPI Allreduce Latency Test v7.2
# Size       Avg Latency(us)
4                      {:.2f}
1024                   {:.2f}
"""


@pytest.fixture(scope="module")
def example():
    return cb.load(EXAMPLE)


@pytest.fixture
def measured(collbench, tmp_path):
    """Two short real runs, `first` and `second`."""
    for name in ("first", "second"):
        done = collbench("run", "--ranks", 2, "--ops", "all_reduce,barrier", "--sizes", "1K,64K", "--case-seconds",
                         "0.05", "--out", name)
        assert done.returncode == 0, done.stdout + done.stderr
    return tmp_path / "first", tmp_path / "second"


def osu_log(folder, ranks):
    path = folder / f"n{ranks}.log"
    path.write_text(OSU_LOG.format(2.5 * ranks, 4.0 * ranks))
    return path


def printed_json(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def imported_by(statement):
    """Modules that a fresh interpreter has after a statement."""
    probe = f"import sys\n{statement}\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True).stdout.split())


def test_import_alone_is_light():
    before, after = imported_by("pass"), imported_by("import collbench, collbench.collectives")
    heavy = {"numpy", "pandas", "scipy", "msgspec", "click", "rich", "altair", "torch", "mpi4py", "vl_convert"}
    assert not heavy & (after - before)
    assert {name for name in after - before if name.startswith("collbench")} == {"collbench", "collbench.collectives"}


def test_results_need_no_communication_library_and_no_altair():
    after = imported_by(f"import collbench; collbench.load({str(EXAMPLE)!r})")
    assert "pandas" in after
    assert not {"torch", "mpi4py", "altair"} & after


def test_the_public_names_are_those_listed():
    assert set(cb.__all__) <= set(dir(cb))
    for name in cb.__all__:
        assert getattr(cb, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = cb.lod
    docs = (ROOT / "docs" / "api.md").read_text()
    methods = [name for name in vars(cb.Results) if not name.startswith("_")]
    for name in [*cb.__all__, *methods]:
        assert f"`{name}" in docs or f".{name}" in docs, f"docs/api.md does not describe {name}"


@pytest.mark.needs("torch")
@pytest.mark.ranks
def test_a_run_of_ones_own(measured, tmp_path):
    first, second = measured
    run = cb.load(first)
    assert set(run.points["op"]) == {"all_reduce", "barrier", "noop"}
    assert set(run.points["message_bytes"]) == {0, 1024, 65536}
    collectives = run.points[run.points["op"] != "noop"]        # noop: what the empty loop costs
    assert collectives["time_s"].between(1e-7, 10).all()
    assert set(run.records["status"]) == {"ok"}
    (provenance,) = run.runs.values()
    assert (provenance.transport, provenance.world) == ("torch", 2)
    assert run.warnings == []
    assert repr(run) == f"<collbench results of {first}: 1 run, {len(run.records)} cases, {len(run.points)} points, " \
                        "0 warnings>"
    page = run.report(tmp_path / "report")
    assert "all_reduce" in page.read_text()
    written = pd.read_csv(tmp_path / "report" / "points.csv")["time_s"]
    assert sorted(written) == pytest.approx(sorted(run.points["time_s"]))
    other = cb.load(second)
    both = cb.load([first, second])
    assert len(both.points) == len(run.points) + len(other.points)
    assert len(both.runs) == 2
    assert set(both.points["run"]) == set(run.points["run"]) | set(other.points["run"])
    assert both.extrapolate(4)["time_s"].notna().any() or both.extrapolate(4)["reason"].notna().all()
    assert both.report(tmp_path / "both").exists()
    compared = run.compare(other, ops=["all_reduce"])
    assert set(compared.rows["op"]) == {"all_reduce"}
    assert compared.rows["ratio"].gt(0).all()
    assert set(compared.rows["verdict"]) <= {"slower", "faster", "same", "cannot tell"}


def test_predictions_are_those_of_the_command_line(example, collbench):
    frame = example.extrapolate([384, 72])
    assert set(frame["ranks"]) == {72, 384}
    known = frame[frame["kind"] == "extrapolated"]
    assert (known["time_lo_s"] <= known["time_s"]).all()
    assert (known["time_s"] <= known["time_hi_s"]).all()
    printed = printed_json(collbench("extrapolate", EXAMPLE, "--to", "72,384", "--json", "-"))["predictions"]
    assert [row["time_s"] for row in printed] == pytest.approx(frame["time_s"].tolist(), nan_ok=True)
    assert len(example.extrapolate(72)) == len(frame) / 2

    projected = example.project(["nvl72", "cm384"])
    printed = printed_json(collbench("project", EXAMPLE, "--domain", "nvl72,cm384", "--json", "-"))["projections"]
    assert [row["time_s"] for row in printed] == pytest.approx(projected["time_s"].tolist())
    assert set(example.project("NVL72")["domain"]) == {"nvl72"}
    assert set(example.project("nvl72", ranks=8)["ranks"]) == {8}


def test_findings_are_those_of_the_report(example, collbench):
    document = printed_json(collbench("report", EXAMPLE, "--json", "-"))
    assert [finding.words for finding in example.findings()] == [found["words"] for found in document["findings"]]
    assert {finding.severity for finding in example.findings()} <= {"error", "warning", "note"}


def test_logs_are_pooled_into_one_curve(tmp_path):
    logs = [osu_log(tmp_path, ranks) for ranks in (2, 4, 8)]
    parts = [cb.load(log, ranks=ranks, system="here") for log, ranks in zip(logs, (2, 4, 8), strict=True)]
    assert [set(part.points["ranks"]) for part in parts] == [{2}, {4}, {8}]
    csv = [part.points.assign(library="OSU", n_ranks=part.points["ranks"], time_us=part.points["time_s"] * 1e6)
           [["system", "library", "op", "n_ranks", "message_bytes", "time_us"]].rename(columns={"op": "collective"})
           for part in parts]
    for frame, log in zip(csv, logs, strict=True):
        frame.to_csv(log.with_suffix(".csv"), index=False)
    pooled = cb.load([log.with_suffix(".csv") for log in logs])
    assert pooled.points.groupby("ranks")["time_s"].max().tolist() == pytest.approx([8e-6, 16e-6, 32e-6])
    assert len(pooled.runs) == 3
    predicted = pooled.extrapolate(16)
    assert predicted["kind"].eq("extrapolated").all()
    assert len(predicted) == 2
    assert pooled.report(tmp_path / "report").exists()


def test_a_file_given_twice_counts_once(tmp_path):
    log = osu_log(tmp_path, 4)
    twice = cb.load([log, log], ranks=4)
    assert len(twice.points) == len(cb.load(log, ranks=4).points) == 2
    assert len(twice.records) == 2


def test_warnings_name_the_lines_that_were_left_out(tmp_path):
    log = tmp_path / "mine.csv"
    log.write_text("collective,n_ranks,message_bytes,time_us\nall_reduce,4,1024,9\nall_reduce,4,2048,soon\n")
    run = cb.load([log])
    assert len(run.points) == 1
    assert any("mine.csv:3" in warning for warning in run.warnings), run.warnings


def test_charts_are_vega_lite_and_altair(example):
    spec = example.chart_spec("all_reduce", "time", over="ranks")
    assert spec["$schema"].startswith("https://vega.github.io/schema/vega-lite/")
    assert json.loads(json.dumps(spec)) == spec
    assert spec["layer"]
    chart = example.plot("all_reduce")
    assert type(chart).__module__.startswith("altair")
    assert chart.to_dict()["layer"]
    assert chart.to_dict() != example.plot("all_gather").to_dict()


def test_without_altair_one_line_says_what_to_install(example, monkeypatch):
    monkeypatch.setitem(sys.modules, "altair", None)     # as Python marks what cannot be imported
    with pytest.raises(cb.MissingLibraryError, match="pip install altair") as raised:
        example.plot("all_reduce")
    assert isinstance(raised.value, ImportError)
    assert isinstance(raised.value, cb.CollbenchError)
    assert example.chart_spec("all_reduce")["layer"]


def test_a_notebook_shows_the_headline(example):
    html = example._repr_html_()
    for words in ("8x H100", "hgx_h100_8", "all_reduce", "512 MiB", "384 ranks", "Verdict"):
        assert words in html


def test_html_of_hostile_names_is_text(tmp_path):
    log = osu_log(tmp_path, 4)
    html = cb.load(log, ranks=4, system="<script>alert(1)</script>")._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_domains_are_facts_with_sources(example, tmp_path):
    known = cb.domains()
    assert known["nvl72"].accelerators.value == 72
    assert known["nvl72"].accelerators.source
    mine = tmp_path / "mine.toml"
    mine.write_text('[lab4]\nname = "Four in the lab"\nfabric = "PCIe 5"\n'
                    'accelerators = { value = 4, source = "counted", grade = "primary" }\n'
                    '[[lab4.tiers]]\nname = "PCIe"\naccelerators = 4\n'
                    'rate_Bps = { value = 50e9, source = "measured", grade = "primary" }\n')
    own = cb.domains(mine)
    assert set(own) - set(known) == {"lab4"}
    projected = cb.load(EXAMPLE, domains=own).project("lab4")
    assert projected["kind"].eq("projected").all()
    assert set(projected["ranks"]) == {4}


def test_results_say_where_they_were_measured(tmp_path):
    log = osu_log(tmp_path, 4)
    unknown, known = cb.load(log, ranks=4), cb.load(log, ranks=4, measured_on="hgx_h100_8")
    assert "measured on hgx_h100_8" in known.project("nvl72")["reason"].iloc[0]
    assert "measured on hgx_h100_8" not in unknown.project("nvl72")["reason"].iloc[0]
    assert "hgx_h100_8" in known._repr_html_()


@pytest.mark.parametrize(("wrong", "words"), [
    (lambda run: cb.load("nowhere"), "nowhere: cannot be read"),
    (lambda run: cb.load([]), "no data: give a path"),
    (lambda run: cb.load(ROOT / "Makefile"), "not a collbench journal"),
    (lambda run: cb.load([EXAMPLE, "nowhere"]), "nowhere: cannot be read"),
    (lambda run: cb.load(EXAMPLE, measured_on="nvl73"), "there is no domain 'nvl73': did you mean nvl72"),
    (lambda run: cb.domains("nowhere.toml"), "nowhere.toml: cannot be read"),
    (lambda run: run.extrapolate(1), "rank counts from 2"),
    (lambda run: run.extrapolate([]), "rank counts from 2"),
    (lambda run: run.project("nvl73"), "there is no domain 'nvl73'"),
    (lambda run: run.plot("all_redcue"), "operations with charts: all_gather, all_reduce"),
    (lambda run: run.chart_spec("all_reduce", "volume"), "no chart of all_reduce, volume over size; there is time"),
    (lambda run: run.compare(run, ops=["barrier"]), "no measured point of the requested operations"),
    (lambda run: run.report(EXAMPLE / "below"), "the report cannot be written"),
], ids=lambda value: "" if callable(value) else value[:24])
def test_a_mistake_is_one_line(example, wrong, words):
    with pytest.raises(cb.CollbenchError) as raised:
        wrong(example)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_the_example_notebook_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    known = runpy.run_path(str(ROOT / "docs" / "examples" / "notebook.py"))
    assert (tmp_path / "report" / "report.html").exists()
    assert len(known["predicted"])
    assert "nvl72" in capsys.readouterr().out
