"""The rank program on the loopback transport: what it journals, in what order, and how it keeps to its budget."""

import re
from itertools import groupby
from types import SimpleNamespace

import msgspec
import pytest

from collbench.analysis.report.story import build_story
from collbench.collectives.cases import catalog
from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.errors import UsageError
from collbench.collectives.interfaces import CallSettings
from collbench.collectives.options import RunConfig
from collbench.collectives.program import live_table, time_budget
from collbench.collectives.program.plan import ForecastProbe, make_plan
from collbench.collectives.program.sweep import run_sweep
from collbench.collectives.program.table import Table
from collbench.collectives.program.time_budget import SKIP, Decision, TimeKeeper
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import Policy
from collbench.collectives.transports.loopback import run_ranks
from collbench.collectives.watchdog.watchdog import NullWatchdog

QUICK = Policy(alignment="barrier", case_s=0.002, min_samples=2, precision=0.5)    # threads often miss agreed starts


def request(path, **changes):
    recipe = dict(ops=("all_reduce", "ping_pong", "barrier"), sizes=(8, 1000), ranks=(), seed=5)
    recipe.update(changes.pop("sweep", {}))
    return RunConfig(transport="loopback", sweep=Sweep(**recipe), journal=path / "journal.jsonl",
                     **{"policy": QUICK, "display": "quiet", **changes})


def sweep(path, size=5, fault=None, **changes):
    wanted = request(path, **changes)
    status = run_ranks(size, lambda transport, place: run_sweep(wanted, transport, place), fault)
    return status, *read_journal(wanted.journal)


def test_one_launch_journals_a_curve_over_rank_counts_in_both_modes(tmp_path):
    status, runs, records, warnings = sweep(tmp_path)
    assert (status, warnings) == (0, [])
    assert {r.case.ranks for r in records} == {2, 4, 5}
    by_case = {r.case: r for r in records}
    assert len(by_case) == len(records) == 3 * (2 * 2 + 2 + 1) - 2      # ping_pong has no 5 ranks
    for record in records:
        assert record.status == "ok", record
        assert [timing.mode for timing in record.timings] == ["isolated", "streamed"]
        assert record.verification.checks > 0
        for timing in record.timings:
            assert len(timing.elapsed_ns) == len(timing.begin_ns) == record.case.ranks
            assert min(min(row) for row in timing.begin_ns) == 0
    (run,) = runs.values()
    assert run.world == 5
    assert run.clock.kind == "shared"
    assert run.sweep.seed == 5


def test_a_rounded_size_is_noted(tmp_path):
    *_, records, _ = sweep(tmp_path, sweep={"ops": ("all_gather",), "sizes": (1000,), "ranks": (3,)})
    assert {r.case.bytes for r in records} == {1008}
    assert all(r.asked_bytes == 1000 and "1000 B requested" in r.notes[0] for r in records)


def test_a_wrong_result_is_located_has_no_time_and_fails_the_run(tmp_path):
    def fault(case, rank, recv):
        if case.op == "all_reduce" and case.ranks == 4 and rank == 2:
            recv[6] ^= 1
    status, _, records, _ = sweep(tmp_path, fault=fault)
    wrong = [r for r in records if r.status == "wrong"]
    assert status == 1
    assert {(r.case.op, r.case.ranks) for r in wrong} == {("all_reduce", 4)}
    assert all(not r.timings and "rank 2, element 1" in r.reason for r in wrong)
    assert sum(r.status == "ok" for r in records) > 5


def test_an_exception_on_one_rank_ends_the_run_and_keeps_what_was_measured(tmp_path):
    def fault(case, rank, recv):
        if case.op == "ping_pong" and rank == 1:
            raise OSError("the cable is out")
    with pytest.raises((OSError, RuntimeError)):
        sweep(tmp_path, fault=fault, sweep={"seed": None})
    _, records, warnings = read_journal(tmp_path / "journal.jsonl")
    assert warnings == []
    assert sum(r.status == "ok" for r in records) == 12


def test_a_group_larger_than_the_job_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UsageError, match="groups of 8"):
        sweep(tmp_path, sweep={"ranks": (2, 8)})
    assert list(tmp_path.iterdir()) == []


def test_cases_measured_within_a_budget_are_verified_too(tmp_path):
    status, _, records, _ = sweep(tmp_path, size=4, budget_s=2.0, policy=Policy(precision=0.0, case_s=1.0),
                                  sweep={"ops": tuple(catalog.OPERATIONS), "sizes": (8, 64, 512, 4096)})
    assert status == 0
    assert all(r.verification.checks for r in records if r.status == "ok" and r.case.op != "noop")


@pytest.mark.parametrize("overhead", [0.0, 0.02, 0.4])
def test_the_remaining_budget_is_divided_among_the_remaining_cases(monkeypatch, overhead):
    """On a simulated clock: cases take their sampling time and an overhead that the plan does not know."""
    now_s = [1000.0]
    monkeypatch.setattr(time_budget, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    recipe = Sweep(ops=("all_reduce",), sizes=tuple(1 << k for k in range(3, 13)), ranks=(2,), places=(True,))
    plan = make_plan(recipe, Policy(), probe(1e-5, 1e-4), lambda case: None, 10.0)
    cases = len(plan.cases)
    keeper = TimeKeeper(plan, modes=2, case_s=5.0, budget_s=10.0, cases=cases)
    keeper.begin(cases)
    measured, longest_s = 0, 0.0
    for _ in range(cases):
        mode_s = keeper.decide(stopping=False).mode_s
        if mode_s is not None:
            measured, longest_s = measured + 1, max(longest_s, 2 * mode_s + overhead)
            now_s[0] += 2 * mode_s + overhead
    assert measured == cases
    assert 9.0 <= keeper.elapsed_s() <= 10.0 + longest_s
    now_s[0] += 10
    assert keeper.decide(stopping=False) == SKIP
    assert TimeKeeper(plan, 2, 5.0, None, cases).decide(stopping=True) == SKIP


@pytest.mark.parametrize(("mode_s", "word"), [(None, 0), (0.25, 250_000), (1e-9, 1), (0.0, 1)])
def test_a_decision_survives_its_encoding_and_a_short_time_is_not_a_skip(mode_s, word):
    decision = Decision(mode_s)
    assert decision.encode() == word
    assert Decision.decode(word) == (SKIP if word == 0 else Decision(word / 1e6))


class Phases(NullWatchdog):
    """Records the phases that the rank program reports to its watchdog."""

    def __init__(self):
        self.seen = []

    def enter_case(self, case, number=0):
        self.seen.append((number, case and case.op))

    def enter_phase(self, phase):
        self.seen.append(phase)


def test_every_rank_reports_every_phase_to_its_watchdog(tmp_path):
    wanted = request(tmp_path, sweep={"ops": ("barrier",), "sizes": (8,), "ranks": (2,), "seed": None})
    watches = [Phases(), Phases()]
    run_ranks(2, lambda transport, place: run_sweep(wanted, transport, place, watches[transport.rank]))
    mode = ["set-up", "warm-up", "timed"]
    case = [(1, "barrier"), "clocks", "set-up", "verify", *mode, *mode, "verify", "gather"]
    opening = ["start-up", "communicators", "start-up"]
    assert watches[0].seen == [*opening, "between cases", *case, "writing the journal", (0, None), "between cases",
                               "device health"]
    waiting = "waiting for its next case"
    assert watches[1].seen == [*opening, waiting, *case, (0, None), "device health"]


@pytest.mark.parametrize(("settings", "option"), [(CallSettings("native"), "--loop native"),
                                                  (CallSettings(persistent=True), "--persistent"),
                                                  (CallSettings(graph=True), "--graph")])
def test_a_transport_names_the_option_that_it_cannot_honour(settings, option):
    def program(transport, place):
        transport.configure(settings)
    with pytest.raises(UsageError, match=option):
        run_ranks(1, program)


def test_the_live_table_tells_traffic_patterns_apart(tmp_path, capsys):
    def rows(*ops):
        sweep(tmp_path / ops[0], size=2, display="plain",
              sweep={"ops": ops, "sizes": (4096,), "ranks": (2,), "traffics": ("linear", "zipf:1.2:seed=3"),
                     "seed": None, "places": (False,)})
        lines = capsys.readouterr().out.splitlines()
        (head,) = [line for line in lines if line.startswith("#") and "algbw" in line and "busbw" in line]
        return head, [line.split() for line in lines if not line.startswith("#")]
    (tmp_path / "all_to_all_v").mkdir()
    (tmp_path / "all_reduce").mkdir()
    head, cases = rows("all_to_all_v", "all_reduce")
    at = head.lstrip("#").split().index("traffic")
    assert {(row[0], row[at]) for row in cases} == {
        ("all_to_all_v", "linear"), ("all_to_all_v", "zipf:1.2:seed=3"), ("all_reduce", "-")}
    head, cases = rows("all_reduce")
    assert "traffic" not in head


@pytest.mark.parametrize("budget_s", [0.2, 1e-6])
def test_what_was_left_out_is_in_the_journal_and_in_the_verdict(tmp_path, budget_s):
    """With some time the plan leaves cases out, with none the end of the time does."""
    _, runs, records, _ = sweep(tmp_path, budget_s=budget_s)
    (run,) = runs.values()
    missing = len(run.sweep.cases()) - 2 - len(records)      # 2: ping_pong over 5 ranks
    assert missing > 0
    assert sum(run.provenance["left out"].values()) == missing
    assert f"; {missing} left out to fit the time" in build_story(tmp_path).answer.verdict.sentence


@pytest.mark.parametrize(("width", "columns"), [
    (80, "op ranks size place isolated +- streamed busbw #wrong"),
    (120, "op ranks size count type root place isolated +- streamed algbw busbw #wrong n"),
    (None, "op ranks size count type redop root place isolated +- empty streamed algbw busbw #wrong n")])
def test_cases_measured_in_random_order_are_printed_by_operation_and_fit_the_terminal(tmp_path, capsys, monkeypatch,
                                                                                      width, columns):
    monkeypatch.setenv("COLUMNS", str(width or 0))
    monkeypatch.setattr(live_table, "_PROGRESS_S", 0.0)
    _, _, records, _ = sweep(tmp_path, size=4, display="lines")
    lines = capsys.readouterr().out.splitlines()
    assert width is None or max(map(len, lines)) <= width
    head = next(line for line in lines if "busbw" in line and "#wrong" in line)
    assert head.lstrip("#").split() == columns.split()
    assert any(re.fullmatch(r"# \d+ of \d+ cases, about \d+ s left", line) for line in lines)
    shown = [line.split() for line in lines if not line.startswith("#")]
    assert [row[0] for row in shown] == [op for op, _ in groupby(row[0] for row in shown) for _ in
                                         range(sum(record.case.op == op for record in records))]
    one = [record.case for record in records if record.case.op == "all_reduce"]
    assert one != sorted(one)
    ranks = [int(row[1]) for row in shown if row[0] == "all_reduce"]
    assert ranks == sorted(ranks)


def test_a_table_that_cannot_be_written_does_not_end_the_run(tmp_path, monkeypatch, capfd):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        status, _, records, _ = sweep(tmp_path, size=2, display="plain", sweep={"ops": ("barrier",), "ranks": (2,)})
    assert (status, {record.status for record in records}) == (0, {"ok"})
    assert capfd.readouterr().err == ("collbench: warning: results can no longer be shown (No space left on device); "
                                      "the run goes on, and the journal has them all\n")


def probe(small_s, large_s):
    return ForecastProbe(8, small_s, 1 << 20, large_s, 1e-4, 8)


def test_unsupported_cases_take_no_time_in_the_plan():
    recipe = Sweep(ops=("all_reduce", "ping_pong"), sizes=(64,), ranks=(3,))
    plan = make_plan(recipe, Policy(), probe(1e-4, 1e-4), lambda case: "no in-place" if case.in_place else None, None)
    assert sorted(plan.refused.values()) == ["ping_pong needs an even number of ranks, not 3"]
    assert plan.expected_s < 0.7


def test_the_command_to_reproduce_a_case_is_complete(tmp_path):
    *_, records, _ = sweep(tmp_path)
    record = next(r for r in records if r.case == Case(op="all_reduce", ranks=4, bytes=1000, dtype="float32",
                                                       redop="sum", in_place=True))
    assert record.reproduce == ("collbench run --transport loopback --ranks 5 --ops all_reduce --group-ranks 4 "
                                "-b 1000 -e 1000 --dtypes float32 --redops sum --place in")


def test_the_life_of_communicators_is_measured_with_ranks_outside_too(tmp_path):
    status, runs, records, _ = sweep(tmp_path, size=5, sweep={"ops": catalog.GROUPS["communicators"], "ranks": (2, 5)})
    assert status == 0
    assert [(r.case.op, r.case.ranks, r.status) for r in records] == [
        (op, ranks, "ok") for ranks in (2, 5) for op in ("comm_destroy", "comm_first_call", "comm_init")]
    for record in records:
        timing, = record.timings
        assert len(timing.elapsed_ns) == record.case.ranks
        assert {len(row) for row in timing.elapsed_ns} == {record.verification.checks // record.case.ranks}
        assert len(timing.elapsed_ns[0]) >= 3
    assert set(next(iter(runs.values())).provenance["communicator set-up s"]) == {"2", "5"}


def test_columns_are_as_wide_as_the_texts_of_a_pipe_and_texts_as_short_as_a_terminal(tmp_path):
    """Rows line up under the head; on 80 columns only what tells the rows apart is left of a traffic text."""
    sent = [f"{pattern}:hidden=1024:topk=2:experts=8" for pattern in ("balanced", "zipf:1.2")]
    beside = [f"victim=all_reduce:aggressor={name}" for name in ("all_reduce", "all_to_all", "copy")]
    cases = [*(Case(op="moe_dispatch", ranks=2, bytes=16384, dtype="bfloat16", traffic=text) for text in sent),
             *(Case(op="interference", ranks=4, bytes=65536, dtype="float32", traffic=text) for text in beside),
             Case(op="all_reduce_hierarchical", ranks=4, bytes=65536, dtype="float32", redop="sum",
                  traffic="levels:outer=2/inner=2")]
    _, runs, (record,), _ = sweep(tmp_path, size=2, sweep={"ops": ("all_reduce",), "sizes": (8,), "places": (True,)})
    (run,) = runs.values()
    run = msgspec.structs.replace(run, sweep=msgspec.structs.replace(
        run.sweep, ops=tuple({case.op: None for case in cases}), traffics=(*sent, *beside)))
    short = ["balanced", "zipf:1.2", "all_reduce", "all_to_all", "copy", "levels:outer=2.."]
    for width, texts in ((None, [*sent, *beside, cases[-1].traffic]), (100, short)):
        table = Table(run, cases, width)
        head = table.head().splitlines()[0]
        rows = [table.row(msgspec.structs.replace(record, case=case, timings=())) for case in cases]
        ends = head.index("traffic") + len("traffic")
        assert [row[:ends].split()[-1] for row in rows] == texts
        assert {len(line) for line in rows} == {len(head)}, "no cell is wider than its column"
        assert width is None or len(head) <= width
