"""Numbers that no measurement can have reach no frame with status ok, and each is told with its row; others stay."""

import math

import numpy as np
import pytest
from msgspec.structs import replace

from collbench.analysis.export import FORMATS, export
from collbench.analysis.forecast import extrapolate
from collbench.analysis.frames import load as loading
from collbench.analysis.frames.load import load
from collbench.analysis.frames.possible import only_possible
from collbench.analysis.importers.shared.limits import LEAST_CALL_S, LEAST_S, MOST_BYTES, MOST_RANKS, MOST_S
from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.records.digest import digest
from collbench.collectives.records.journal import Journal
from collbench.collectives.records.record import SCHEMA, Clock, Imported, Policy, Record, Run, Timing

RUN = Run(schema=SCHEMA, id="r", started="", transport="t", library="l", device="d", world=8,
          clock=Clock(kind="local"), policy=Policy(), sweep=Sweep(ops=(), sizes=(), ranks=()), command=(),
          provenance={})
GOOD = Imported(run="r", op="all_reduce", ranks=8, message_bytes=4096, dtype="float32", redop="sum", in_place=False,
                mode="streamed", time_s=10e-6, statistic="mean", time_kind="mean over ranks", source="a.log:7")


def loaded(tmp_path, *lines):
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.extend([RUN, *lines])
    return load(tmp_path)


@pytest.mark.parametrize(("change", "words"), [
    ({"time_s": 0.0}, "a time of 0 s is impossible: it is left out"),
    ({"time_s": None}, "a time of 0 s is impossible: it is left out"),
    ({"time_s": -3e-6}, "a time of -3e-06 s is impossible: it is left out"),
    ({"time_s": 1e-12, "message_bytes": 4}, "a time of 1e-12 s is impossible: light is not that fast: it is left out"),
    ({"time_s": 1e7}, "a time of 1e+07 s is impossible: it is left out"),
    ({"message_bytes": 1 << 40}, "1.924e+08 GB/s in each rank is impossible: no memory is that fast: it is left out"),
    ({"message_bytes": -1}, "a message of -1 bytes is impossible: the row is left out"),
    ({"message_bytes": 1 << 61}, "a message of 2.305843e+18 bytes is impossible: the row is left out"),
    ({"ranks": 0}, "0 ranks are impossible: the row is left out"),
    ({"ranks": MOST_RANKS + 1}, "2097153 ranks are impossible: the row is left out")])
def test_what_cannot_be_is_left_out_and_told_with_its_source(tmp_path, change, words):
    found = loaded(tmp_path, replace(GOOD, source="a.log:3"), replace(GOOD, **change), replace(GOOD, source="a.log:9"))
    assert found.points["source"].tolist() == ["a.log:3", "a.log:9"]
    assert (found.records["status"] == "ok").sum() == 2
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith("a.log:7: all_reduce ")
    assert found.warnings[0].endswith(words)
    left = found.records[found.records["status"] != "ok"]
    assert [*zip(left["status"], left["reason"], strict=True)] == (
        [("unsupported", words.removesuffix(": it is left out"))] if "it is left out" in words else [])


@pytest.mark.parametrize("change", [
    {"time_s": LEAST_CALL_S, "message_bytes": 4},
    {"op": "bandwidth", "redop": None, "time_s": LEAST_S, "message_bytes": 4},
    {"time_s": MOST_S, "message_bytes": MOST_BYTES}, {"ranks": MOST_RANKS},
    {"message_bytes": 10**8}, {"op": "noop", "dtype": None, "redop": None, "message_bytes": 0, "time_s": 0.0}])
def test_what_can_just_be_is_kept(tmp_path, change):
    found = loaded(tmp_path, replace(GOOD, **change))
    assert (len(found.points), found.warnings) == (1, [])


@pytest.mark.parametrize("change", [
    {"time_s": math.nan}, {"time_s": math.inf}, {"time_s": -math.inf}, {"message_bytes": 10**400}, {"ranks": -10**400}])
def test_numbers_that_no_journal_can_hold_but_an_importer_may_find(change):
    part = loading._part(iter([RUN, GOOD, replace(GOOD, **change)]), {}, [])
    records, points, warnings = only_possible(part.statuses, part.points, "x")
    assert len(points) == len(warnings) == (records["status"] == "ok").sum() == 1
    assert records["message_bytes"].dtype == records["ranks"].dtype == np.int64


@pytest.mark.parametrize(("change", "column"), [
    ({"ranks_per_node": 0}, "ranks_per_node"), ({"ranks_per_node": 1 << 62}, "ranks_per_node"),
    ({"native_size_bytes": -8}, "native_size_bytes"), ({"repeats": 0}, "repeats"), ({"p99_s": -1.0}, "p99_s"),
    ({"rank_max_s": 1e300}, "rank_max_s")])
def test_a_detail_that_cannot_be_is_unknown(tmp_path, change, column):
    found = loaded(tmp_path, replace(GOOD, **change))
    assert found.points["time_s"].tolist() == [10e-6]
    assert found.points[column].isna().all()
    assert found.warnings[0].startswith("a.log:7: all_reduce 4 KiB float32 sum out-of-place, 8 ranks: ")
    assert f"{column} of " in found.warnings[0]


def test_what_only_another_tool_knows_is_predicted_and_exported_all_the_same(tmp_path):
    """A traffic pattern and an element type of its own; a message of no bytes, whose bandwidth is unknown."""
    strange = replace(GOOD, op="all_to_all_v", redop=None, dtype="fp3", traffic="our own skew")
    found = loaded(tmp_path, *(replace(strange, ranks=ranks) for ranks in (2, 4, 8)), replace(GOOD, message_bytes=0))
    assert not found.warnings
    ahead = extrapolate(found.points, [72, 1_000_000], None)
    assert "extrapolated" in set(ahead.loc[ahead["op"] == "all_to_all_v", "kind"])
    for form in FORMATS:
        assert "nan" not in export(found, form)[0].lower()


def test_records_of_a_clock_that_stands_still(tmp_path):
    """One of two modes took no time: the other stays. Where both did, the case was not measured."""
    def record(size, *elapsed_ns):
        case = Case(op="all_reduce", ranks=2, bytes=size, dtype="float32", redop="sum")
        timings = [Timing(mode=mode, calls=1, warmup=0, begin_ns=None, elapsed_ns=[[ns] * 8] * 2, precision=None,
                          stopped_by="time") for mode, ns in zip(("isolated", "streamed"), elapsed_ns, strict=True)]
        return Record(run="r", case=case, status="ok", asked_bytes=size,
                      digests=tuple(digest(case, timing, 0.02) for timing in timings))
    found = loaded(tmp_path, record(8, 5000, 0), record(16, 0, 0), record(32, 5000, 5000))
    assert found.points[["message_bytes", "mode"]].to_numpy().tolist() == [
        [8, "isolated"], [32, "isolated"], [32, "streamed"]]
    assert found.records["status"].tolist() == ["ok", "unsupported", "ok"]
    assert len(found.warnings) == 3
    assert all("journal.jsonl: all_reduce " in words and "run r: a time of 0 s" in words for words in found.warnings)


def test_an_interval_that_ends_before_it_begins_is_unknown(tmp_path):
    case = Case(op="all_reduce", ranks=2, bytes=8, dtype="float32", redop="sum")
    timing = Timing(mode="isolated", calls=1, warmup=0, begin_ns=None, elapsed_ns=[[*range(5000, 5040)]] * 2,
                    precision=None, stopped_by="time")
    made = digest(case, timing, 0.02)
    backwards = replace(made, lo_ns=made.hi_ns, hi_ns=made.lo_ns)
    found = loaded(tmp_path, Record(run="r", case=case, status="ok", asked_bytes=8, digests=(backwards,)))
    assert len(found.points) == 1
    assert found.points[["time_lo_s", "time_hi_s", "precision", "busbw_lo_Bps"]].isna().all(axis=None)
    assert "an interval from " in found.warnings[0]


def test_thousands_of_warnings_are_two_hundred_and_one(tmp_path):
    found = loaded(tmp_path, *[replace(GOOD, time_s=-1.0)] * 5000, GOOD)
    assert len(found.warnings) == 201
    assert found.warnings[-1].endswith("more like these")
    assert len(found.points) == 1
