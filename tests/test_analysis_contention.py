"""What a report says of interference and overlap: findings with a floor, tables, and the figures of a journal."""

import io

import pandas as pd
import pytest
from rich.console import Console

from collbench.analysis.export import export
from collbench.analysis.findings.contention import find_contention
from collbench.analysis.forecast import extrapolate
from collbench.analysis.frames.comparisons import joined, wide
from collbench.analysis.frames.load import load
from collbench.analysis.report import terminal
from collbench.analysis.report.brief import MOST_LINES, brief
from collbench.analysis.report.comparisons import comparison_tables
from collbench.analysis.report.figures import build_charts
from collbench.analysis.report.json_document import document
from collbench.analysis.report.story import build_story
from collbench.collectives.cases.case import Sweep
from collbench.collectives.options import RunConfig
from collbench.collectives.program.sweep import run_sweep
from collbench.collectives.records.figures import FIGURES
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import Policy
from collbench.collectives.transports.loopback import run_ranks

POINTS = pd.DataFrame({"run": ["r"], "ranks": [8], "oversubscribed": pd.array([False], dtype="boolean")})


def compared(factors, op="interference", traffic="victim=all_reduce:aggressor=copy", **more):
    """One case for each congestion factor or exposed time (value, lo, hi), each of another size."""
    main = "congestion_factor" if op == "interference" else "exposed_s"
    rows = [dict(run="r", op=op, dtype="float32", redop=None, place=None, traffic=traffic, ranks=8,
                 message_bytes=1024 << number, label=f"case {number}", mode="isolated", figure=name, value=value, lo=lo,
                 hi=hi, n=30)
            for number, figure in enumerate(factors) for name, (value, lo, hi) in {**more, main: figure}.items()]
    return joined([pd.DataFrame(rows)])


def test_a_congestion_factor_is_a_finding_only_where_its_whole_interval_is_clearly_above_1():
    rows = [(1.05, 1.0, 1.2), (3.0, 2.5, 3.6), (1.4, 1.08, 2.0), (1.2, 1.15, 1.3)]
    (found,) = find_contention(compared(rows), POINTS)
    assert found.severity == "note"
    assert "all_reduce of 2 KiB among half of 8 ranks takes 3.00 times as long (95 % interval 2.50 to 3.60) " in (
        found.words)
    assert "while the others run copy; of 4 measurements with it as the victim, 2 show 10 % or more" in found.words
    assert found.evidence == ("case 1", "case 3")
    assert "cores" not in found.words
    (crowded,) = find_contention(compared([(3.0, 2.5, 3.6)]), POINTS.assign(oversubscribed=True))
    assert "ranks outnumber cores" in crowded.words
    assert not [*find_contention(compared([(1.05, 1.0, 1.2), (2.0, None, None)]), POINTS)], "few samples tell nothing"


def test_exposed_communication_is_a_finding_from_a_tenth_of_the_collective_on():
    alone = {"collective_s": (1e-3, 0.9e-3, 1.1e-3)}
    rows = [(0.5e-3, 0.4e-3, 0.6e-3), (0.12e-3, 0.05e-3, 0.2e-3), (-0.1e-3, -0.2e-3, 0.0)]
    (found,) = find_contention(compared(rows, "overlap", "collective=all_to_all", **alone), POINTS)
    assert ("all_to_all of 1 KiB over 8 ranks adds 50 % of its own time to that of the compute (95 % interval 40 % to "
            "60 %)") in found.words
    assert "of 3 measurements of it, 1 add" in found.words
    assert not [*find_contention(compared(rows[1:], "overlap", "collective=all_to_all", **alone), POINTS)]


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """A run of ranks that are threads."""
    out = tmp_path_factory.mktemp("run")
    request = RunConfig(transport="loopback", journal=out / "journal.jsonl", display="quiet",
                        policy=Policy(case_s=0.01, min_samples=12, max_samples=12, modes=("isolated",)), sweep=Sweep(
                            ops=("noop", "interference", "overlap"), sizes=(1000,), ranks=(4,),
                            traffics=("victim=all_reduce:aggressor=broadcast:bytes=4096", "collective=broadcast")))
    assert run_ranks(4, lambda transport, place: run_sweep(request, transport, place)) == 0
    return out


def test_the_figures_of_a_journal_reach_the_table_and_the_document(journal):
    _, records, _ = read_journal(journal / "journal.jsonl")
    by_op = {record.case.op: record.digests[0].figures for record in records}
    loaded = load(journal)
    (row,) = wide(loaded.comparisons, "interference").to_dict("records")
    factor = by_op["interference"]["congestion_factor"]
    assert (row["congestion_factor"], row["congestion_factor lo"], row["n"]) == (factor.value, factor.lo, 12)
    assert pd.isna(row["congestion_factor_p99"])
    first, second = comparison_tables(loaded.comparisons)
    assert len(first.rows) == len(second.rows) == 1
    assert first.rows[0][:3] == ("all_reduce, isolated", "1000 B", "broadcast 4 KiB")
    assert first.rows[0][7:] == ("–", "–", "12"), "no tail of 12 samples"
    assert all(len(table.heads) == len(table.rows[0]) for table in (first, second))
    story, shown = build_story(journal), io.StringIO()
    terminal.show(story, Console(file=shown, width=160), verbose=True)
    assert first.title in shown.getvalue()
    assert second.title in shown.getvalue()
    lines = [line.plain for line in brief(story, 100)]
    assert any(line.startswith("interference: all_reduce 1000 B ") and " beside broadcast [" in line for line in lines)
    assert any(line.startswith("overlap: broadcast 1000 B exposes ") for line in lines)
    assert len(lines) <= MOST_LINES
    assert not any("72 and 384" in line for line in lines), "nothing here is extrapolated"
    assert not any(outlook.measure for result in story.answer.results for outlook in result.outlook), "in vain"
    told = {(row["op"], row["figure"]): row["value"] for row in document(story)["comparisons"]}
    assert told == {(op, name): figure.value for op, figures in by_op.items() for name, figure in figures.items()}


def test_what_others_cost_is_not_extrapolated(journal):
    rows = extrapolate(load(journal).points, (4, 72))
    assert set(rows.loc[rows["ranks"] == 4, "kind"]) == {"measured"}
    later = rows[(rows["ranks"] == 72) & rows["op"].isin(FIGURES)]
    assert len(later) == 2
    assert set(later["kind"]) == {"refused"}
    assert later["reason"].str.contains("beside other traffic or compute").all()


def test_the_page_has_a_chart_of_each(journal):
    charts = {chart.name: chart for chart in build_charts(build_story(journal, page=True))}
    assert {"interference-1", "overlap-1"} <= set(charts)
    factors = charts["interference-1"].data
    assert list(factors["of"]) == ["broadcast"]
    assert set(charts["overlap-1"].data["of"]) == {"collective", "compute"}
    assert "(measured)" in charts["overlap-1"].caption


def test_times_survive_a_csv_and_names_of_other_tools_do_not_pass_for_them(journal, tmp_path):
    def read(text):
        (tmp_path / "points.csv").write_text(text)
        return load(tmp_path / "points.csv")
    table, _ = export(load(journal), "csv")
    points = read(table).points
    assert set(points["op"]) == {"noop", "interference", "overlap"}
    assert points.set_index("op")["time_s"].to_dict() == pytest.approx(
        load(journal).points.set_index("op")["time_s"].to_dict(), rel=1e-6)
    assert set(read(table.replace("victim=all_reduce", "anything")).points["op"]) == {"noop", "overlap"}


def test_a_run_without_such_cases_has_no_tables_and_no_findings():
    assert not [*comparison_tables(joined(()))]
    assert not [*find_contention(joined(()), POINTS)]
