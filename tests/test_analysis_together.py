"""What a report says of the axes of a mesh and of sequences: figures, findings with a floor, tables, JSON."""

import io
import math

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from collbench.analysis.findings.contention import find_contention
from collbench.analysis.findings.sequences import find_sequences, sequence_ratios
from collbench.analysis.frames.comparisons import joined, wide
from collbench.analysis.frames.load import load
from collbench.analysis.report import terminal
from collbench.analysis.report.brief import MOST_LINES, brief
from collbench.analysis.report.comparisons import comparison_tables, sequence_table
from collbench.analysis.report.json_document import document
from collbench.analysis.report.story import build_story
from collbench.analysis.report.together_words import together_lines
from collbench.collectives.cases import sequence_traffic
from collbench.collectives.cases.calls import Call, CallList
from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.options import RunConfig
from collbench.collectives.program.sweep import run_sweep
from collbench.collectives.records.figures import AXES, figures
from collbench.collectives.records.record import Policy, Timing
from collbench.collectives.transports.loopback import run_ranks
from collbench.collectives.watchdog.watchdog import NullWatchdog

MESH = "mesh:dp=2/tp=2"
AXIS = Case(op="all_reduce", ranks=2, bytes=1024, dtype="float32", redop="sum", in_place=True,
            traffic=f"{MESH}:axis=tp:with=dp")
LIST = CallList("mine", (Call("all_gather", 4096, "dp", 3), Call("all_reduce", 1024)))


def test_the_factor_of_an_axis_is_together_over_alone_of_the_slowest_rank():
    rng = np.random.default_rng(7)
    alone, together = rng.uniform(900, 1100, 40), rng.uniform(1900, 2100, 40)
    rows = [[int(scale * value) for pair in zip(alone, together, strict=True) for value in pair]
            for scale in (0.5, 1.0, 0.2, 0.7)]
    timing = Timing(mode="isolated", calls=1, warmup=0, begin_ns=None, elapsed_ns=rows, states=("alone", "together"),
                    precision=None, stopped_by="time")
    found = figures(AXIS, timing)
    assert set(found) == {"alone_s", "together_s", "axis_factor"}
    assert found["axis_factor"].value == pytest.approx(together.mean() / alone.mean(), rel=1e-3)
    assert found["axis_factor"].lo < 2 < found["axis_factor"].hi
    assert found["axis_factor"].n == 40


def compared(*factors, ranks=2):
    rows = [{"run": "r", "op": "all_reduce", "dtype": "float32", "redop": "sum", "place": "in-place",
             "traffic": AXIS.traffic, "ranks": ranks, "message_bytes": 1024 << number, "label": f"case {number}",
             "mode": "isolated", "figure": "axis_factor", "value": value, "lo": lo, "hi": hi, "n": 30}
            for number, (value, lo, hi) in enumerate(factors)]
    return joined([pd.DataFrame(rows)])


def points(crowded=False):
    return pd.DataFrame({"run": ["r"], "ranks": [4], "oversubscribed": pd.array([crowded], dtype="boolean")})


def test_an_axis_is_a_finding_only_where_its_whole_interval_is_clearly_above_1():
    (found,) = find_contention(compared((1.05, 1.0, 1.2), (3.0, 2.5, 3.6), (1.4, 1.08, 2.0)), points())
    assert found.words == ("mesh dp=2,tp=2: all_reduce of 2 KiB on axis tp takes 3.00 times as long (95 % interval "
                           "2.50 to 3.60) with traffic on dp; of 3 measurements of it on axes, 1 show 10 % or more")
    assert found.evidence == ("case 1",)
    assert "ranks outnumber cores" in next(find_contention(compared((3.0, 2.5, 3.6)), points(True))).words
    assert not [*find_contention(compared((1.4, 1.08, 2.0), (2.0, None, None)), points())]


def measured(whole_s, gather_s, reduce_s, half=0.01):
    """Points of a list of three gathers and a reduction, and of its parts; `half`: of each interval, relative."""
    sequence_traffic.remember([LIST])
    text = sequence_traffic.list_name(LIST) + ":mesh=dp=2/tp=2"
    size = -(-LIST.bytes // 4) * 4
    rows = [("sequence", None, text, 4, size, whole_s, "sum"),
            ("all_gather", "out-of-place", f"{MESH}:axis=dp", 2, 4096, gather_s, None),
            ("all_reduce", "in-place", None, 4, 1024, reduce_s, "sum")]
    return pd.DataFrame([{"run": "r", "op": op, "dtype": "float32", "redop": redop, "place": place, "traffic": traffic,
                          "ranks": ranks, "message_bytes": size, "mode": "streamed", "label": op, "time_s": time_s,
                          "time_lo_s": time_s * (1 - half), "time_hi_s": time_s * (1 + half)}
                         for op, place, traffic, ranks, size, time_s, redop in rows])


def test_a_sequence_is_compared_with_the_sum_of_its_calls():
    (found,) = sequence_ratios(measured(8e-3, 1e-3, 2e-3))
    assert found.parts_s == pytest.approx(3 * 1e-3 + 2e-3)
    assert found.ratio == pytest.approx(8 / 5)
    assert math.log(found.hi / found.ratio) == pytest.approx(math.hypot(0.01, 0.01))    # both intervals are +- 1 %
    assert (found.calls, found.slowest) == (4, "all_gather 4 KiB on dp")
    assert not sequence_ratios(measured(8e-3, 1e-3, 2e-3)[:2]), "a part that was not measured"


@pytest.mark.parametrize(("whole_s", "words"), [(8e-3, "1.60 times the sum of its 4 calls"), (5.5e-3, None),
                                                (2.5e-3, "0.500 times the sum of its 4 calls")])
def test_a_sequence_is_a_finding_beyond_15_percent(whole_s, words):
    found = [*find_sequences(measured(whole_s, 1e-3, 2e-3))]
    assert [words in one.words for one in found] == ([True] if words else [])
    assert not [*find_sequences(measured(6e-3, 1e-3, 2e-3, half=0.1))], "the interval reaches 15 %"


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    out = tmp_path_factory.mktemp("together")
    sequence_traffic.remember([LIST])
    request = RunConfig(transport="loopback", journal=out / "journal.jsonl", display="quiet", lists=(LIST,),
                        policy=Policy(modes=("isolated",), min_samples=12, max_samples=12, case_s=0.01, precision=0.9),
                        sweep=Sweep(ops=("noop", "all_reduce", "sequence"), sizes=(1024,), ranks=(2, 4), places=(True,),
                                    traffics=(MESH, sequence_traffic.list_name(LIST))))
    assert run_ranks(4, lambda transport, place: run_sweep(request, transport, place, NullWatchdog())) == 0
    sequence_traffic._known.clear()     # a reader has only the journal
    return out


def test_cases_on_axes_stay_apart_from_those_over_the_first_ranks(journal):
    loaded = load(journal)
    assert set(loaded.points["op"]) == {"noop", "all_reduce", "sequence"}
    assert not loaded.points["traffic"].astype(str).str.startswith("mesh:").any()
    assert set(loaded.on_axes["ranks"]) == {2}
    assert set(loaded.on_axes["members"]) == {4}
    assert loaded.on_axes["overhead_s"].notna().all(), "the empty call over all ranks of the mesh"
    assert loaded.all_points["members"].tolist()[:len(loaded.points)] == loaded.points["ranks"].tolist()
    assert len(loaded.all_points) == len(loaded.points) + len(loaded.on_axes)
    assert set(wide(loaded.comparisons, AXES)["traffic"]) == {f"{MESH}:axis=dp:with=tp", f"{MESH}:axis=tp:with=dp"}


def test_a_report_has_a_table_of_axes_and_of_sequences(journal):
    story = build_story(journal)
    (table,) = comparison_tables(story.loaded.comparisons)
    assert table.title.startswith("Mesh dp=2,tp=2: ")
    assert [row[2] for row in table.rows] == ["dp with tp", "tp with dp"]
    screen = io.StringIO()
    terminal.show(story, verbose=True, console=Console(file=screen, width=200))
    assert "Mesh dp=2,tp=2" in screen.getvalue()
    assert "Sequences: " in screen.getvalue()
    lines = [line.plain for line in brief(story, 100)]
    assert any(line.startswith("mesh dp=2,tp=2: all_reduce 1 KiB on ") for line in lines)
    assert any("the sum of its parts [" in line for line in lines)
    assert len(lines) <= MOST_LINES
    found = document(story)
    (one,) = found["sequences"]
    assert one["sequence"] == f"{sequence_traffic.list_name(LIST)}:mesh=dp=2/tp=2"
    assert one["calls"] == 4
    assert {row["figure"] for row in found["comparisons"]} == {"alone_s", "together_s", "axis_factor"}


def test_of_many_sequences_those_far_from_their_parts_are_shown_in_the_order_measured():
    (found,) = sequence_ratios(measured(8e-3, 1e-3, 2e-3))
    many = [found._replace(ratio=ratio, calls=number) for number, ratio in enumerate([1.01, *[2.0, 0.4] * 200, 0.99])]
    (table,) = sequence_table(many)
    shown = [int(row[3]) for row in table.rows]
    assert len(shown) == 300
    assert shown == sorted(shown)
    assert sum(many[number].ratio == 0.4 for number in shown) == 200, "a factor of 2.5, the other way"
    assert table.caption.startswith("The 300 of 402 ")
    (table,) = sequence_table(many[:300])
    assert len(table.rows) == 300
    assert table.caption.startswith("Medians.")


def test_an_unknown_interval_is_left_out_of_the_answer():
    (found,) = sequence_ratios(measured(8e-3, 1e-3, 2e-3, half=math.nan))
    (line,) = together_lines(joined(()), [found])
    assert line.endswith("1.60x the sum of its parts")
