"""A history: append-only, planted changes found where they are, noise left alone, a baseline from after the last."""

import json
import sqlite3

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collbench.analysis.history.changes import chance_of_change, changes_of, discoveries
from collbench.analysis.history.store import added, write_journal
from collbench.analysis.history.trend import read_history
from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.errors import UsageError
from collbench.collectives.records.digest import digest
from collbench.collectives.records.journal import Journal, read_journal
from collbench.collectives.records.record import SCHEMA, Clock, Policy, Record, Run, Timing, Verification

SIZES = (1024, 65536, 1 << 20)
CASES = [Case(op=op, ranks=4, bytes=size, dtype="float32", redop="sum" if op == "all_reduce" else None)
         for op in ("all_reduce", "all_gather") for size in SIZES]


def a_run(number, library="NCCL 2.27"):
    return Run(schema=SCHEMA, id=f"r{number:03}", started=f"2026-03-{1 + number:02}T08:00:00+00:00", transport="torch",
               library=library, device="cuda:B200", world=4, clock=Clock(kind="shared"), policy=Policy(),
               command=("x",), sweep=Sweep(ops=("all_reduce",), sizes=SIZES, ranks=(4,)),
               provenance={"host": f"n{number % 7}", "hosts": [f"n{number % 7}"] * 4})


def a_record(run, case, time_s):
    timing = Timing(mode="isolated", calls=1, warmup=1, begin_ns=[[0] * 9] * 4,
                    elapsed_ns=[[round(time_s * 1e9 * (1 + 0.001 * n)) for n in range(9)]] * 4, precision=0.01,
                    stopped_by="precision")
    return Record(run=run.id, case=case, status="ok", timings=(timing,), digests=(digest(case, timing, 0.02),),
                  verification=Verification(checks=9, wrong=0))


def lines_of(number, factor=lambda case: 1.0, library="NCCL 2.27", noise=0.03):
    run, rng = a_run(number, library), np.random.default_rng(number)
    return [run, *(a_record(run, case, (5e-6 + case.bytes / 1e11) * factor(case) * np.exp(rng.normal(0, noise)))
                   for case in CASES)]


def slower_all_reduce(case):
    return 1.3 if case.op == "all_reduce" else 1.0


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """20 runs; from the 13th on, with another library, all_reduce takes 1.3 times as long."""
    path = tmp_path_factory.mktemp("history") / "cluster.db"
    for number in range(20):
        late = number >= 12
        added(path, lines_of(number, slower_all_reduce if late else lambda case: 1.0,
                             "NCCL 2.28" if late else "NCCL 2.27"))
    return path


def test_a_planted_change_is_found_where_it_is_and_nothing_else(changed):
    history = read_history(changed)
    assert len(history.runs) == 20
    assert {trend.label.split()[0] for trend in history.changed} == {"all_reduce"}
    assert len(history.changed) == len(SIZES)
    for trend in history.changed:
        change, = trend.changes
        assert trend.runs[change.at] == "r012"
        assert change.low <= 1.3 <= change.high
        assert change.high / change.low < 1.2
        assert history.also_changed(trend, change)[0] == "NCCL 2.27 -> NCCL 2.28"


def test_the_baseline_is_what_ran_since_the_change_but_for_the_newest(changed, tmp_path):
    runs = read_history(changed).baseline()
    assert runs == tuple(f"r{number:03}" for number in range(12, 19))
    write_journal(changed, tmp_path / "good.jsonl", runs)
    found, records, warnings = read_journal(tmp_path / "good.jsonl")
    assert (tuple(found), len(records), warnings) == (runs, len(runs) * len(CASES), [])


@given(st.integers(0, 10**6), st.integers(5, 40), st.sampled_from(["normal", "heavy", "ties"]))
@settings(max_examples=50)
def test_the_chance_is_a_probability_and_order_is_all_that_matters(seed, count, kind):
    rng = np.random.default_rng(seed)
    values = {"normal": rng.normal(size=count), "heavy": rng.standard_cauchy(count),
              "ties": rng.integers(0, 3, count).astype(float)}[kind]
    chance = chance_of_change(values)
    assert 0 < chance <= 1
    assert chance == pytest.approx(chance_of_change(-values), abs=0.02)
    assert chance == chance_of_change(np.exp(values / 10)) or kind == "heavy"


@pytest.mark.parametrize("count", [12, 20, 60])
def test_noise_alone_is_named_as_often_as_promised(count):
    rng = np.random.default_rng(count)
    chances = np.array([chance_of_change(rng.standard_t(3, count)) for _ in range(400)])
    assert 0.015 <= (chances <= 0.05).mean() <= 0.085
    assert discoveries(chances, 0.05).mean() <= 0.02


def test_a_change_of_the_last_runs_is_found_and_a_small_one_is_none():
    rng = np.random.default_rng(1)
    values = rng.normal(0, 0.02, 20)
    values[16:] += np.log(1.2)
    assert chance_of_change(values) < 0.03
    change, = changes_of(values, 0.05)
    assert change.at == 16
    assert changes_of(values, 0.5) == []


def test_two_changes_are_told_apart():
    values = np.random.default_rng(2).normal(0, 0.02, 30)
    values[12:22] += np.log(1.25)
    assert chance_of_change(values) < 0.01
    assert [change.at for change in changes_of(values, 0.05)] == [12, 22]


def test_it_only_grows(changed, tmp_path):
    before = write_journal(changed, tmp_path / "a.jsonl")
    assert added(changed, lines_of(3)) == (0, 0)
    assert write_journal(changed, tmp_path / "b.jsonl") == before
    assert len(read_history(changed).runs) == 20
    with sqlite3.connect(changed) as file:
        for statement in ("delete from lines", "update lines set run = 'x'"):
            with pytest.raises(sqlite3.IntegrityError, match="only appended to"):
                file.execute(statement)


def test_samples_are_left_out_and_digests_kept(tmp_path):
    added(tmp_path / "h.db", lines_of(0))
    write_journal(tmp_path / "h.db", tmp_path / "j.jsonl")
    _, records, _ = read_journal(tmp_path / "j.jsonl")
    assert all(record.timings == () and record.digests for record in records)


@pytest.mark.parametrize("content", [b"", b"not SQLite at all, but long enough to be read as a head" * 9])
def test_another_file_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "other.db"
    path.write_bytes(content)
    if content:
        with pytest.raises(UsageError, match=r"other\.db"):
            added(path, lines_of(0))
    with pytest.raises(UsageError, match=r"other\.db|no history"):
        read_history(path)
    with sqlite3.connect(tmp_path / "theirs.db") as file:
        file.execute("create table t (x)")
    with pytest.raises(UsageError, match="not a history of collbench"):
        added(tmp_path / "theirs.db", lines_of(0))


@pytest.mark.slow
def test_the_command_adds_shows_and_writes_all_it_promises(collbench, tmp_path):
    for number in range(16):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        with Journal(folder / "journal.jsonl") as journal:
            journal.extend(lines_of(number, slower_all_reduce if number >= 9 else lambda case: 1.0, noise=0.01))
    runs = [f"run{number}" for number in range(16)]
    done = collbench("history", *runs, "--db", "c.db", "--page", "h.html", "--baseline", "good.jsonl")
    assert done.returncode == 0, done.stderr
    assert "16 runs from 2026-03-01 to 2026-03-16: 6 cases, 3 changed" in done.stdout
    assert "since 2026-03-10 08:00 (7 runs): slower by" in done.stdout
    assert "baseline: good.jsonl, 6 runs" in done.stdout
    assert len(done.stdout.splitlines()) < 30
    assert (tmp_path / "h.html").read_text().count("<figure>") == 6
    again = collbench("history", runs[0], "--db", "c.db", "--json", "-")
    document = json.loads(again.stdout)
    assert (document["document"], len(document["cases"]), len(document["runs"])) == ("collbench history", 6, 16)
    assert "run0: 0 new runs, 0 new results" in again.stderr
    assert msgspec.json.decode(again.stdout)["cases"][0]["changes"][0]["factor"] == pytest.approx(1.3, rel=0.05)
    few = collbench("history", runs[0], "--db", "few.db", "--page", "few.html", "--json", "few.json",
                    "--baseline", "no")
    assert few.stdout.startswith("run0: 1 new run, ")
    assert (few.returncode, few.stderr.count("\n"), (tmp_path / "no").exists()) == (1, 1, False)
    assert {"few.html", "few.json"} <= {path.name for path in tmp_path.iterdir()}, "only the baseline needs more runs"
    empty = collbench("history", "--db", "none.db")
    assert (empty.returncode, "no history yet" in empty.stderr) == (2, True)
