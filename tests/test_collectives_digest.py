"""Digests match their samples, by independent definitions; readers of digests and of samples agree."""

import statistics

import msgspec
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collbench.analysis.frames.load import load
from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.options import RunConfig
from collbench.collectives.program.sweep import run_sweep
from collbench.collectives.records.digest import digest
from collbench.collectives.records.journal import Journal, read_journal, seal, unseal
from collbench.collectives.records.record import DIGEST, LastArrivals, Policy, Timing
from collbench.collectives.transports.loopback import run_ranks

CASES = [Case(op="all_reduce", ranks=3, bytes=96, dtype="float32", redop="sum"),
         Case(op="broadcast", ranks=3, bytes=96, dtype="float32"), Case(op="noop", ranks=1, bytes=0),
         Case(op="ping_pong", ranks=4, bytes=64, dtype="float32")]


@st.composite
def timings(draw):
    case = draw(st.sampled_from(CASES))
    count, warmup = draw(st.integers(1, 40)), draw(st.integers(0, 3))
    rows = st.lists(st.integers(1, 10**7), min_size=count + warmup, max_size=count + warmup)
    elapsed, begin = (draw(st.lists(rows, min_size=case.ranks, max_size=case.ranks)) for _ in range(2))
    late = draw(st.sets(st.integers(warmup, warmup + count - 1), max_size=count - 1))
    few = st.lists(st.integers(1, 10**7), min_size=3, max_size=3)
    as_called = draw(st.none() | st.lists(few, min_size=case.ranks, max_size=case.ranks))
    return case, Timing(mode=draw(st.sampled_from(["isolated", "streamed"])), calls=draw(st.integers(1, 9)),
                        as_called_ns=as_called,
                        warmup=warmup, late=sorted(late), span=draw(st.sampled_from(["makespan", "slowest rank"])),
                        begin_ns=begin, elapsed_ns=elapsed, precision=None, stopped_by="time")


@settings(max_examples=150)
@given(timings())
def test_the_digest_matches_the_samples(drawn):
    case, timing = drawn
    found, counted = digest(case, timing, 0.02), timing.counted()
    rows = [timing.elapsed_ns[rank] for rank in case.operation.timed(case)]
    per_call = 1e9 * timing.calls * case.operation.messages
    assert found.samples == len(counted)
    assert found.median_ns / per_call == pytest.approx(statistics.median(timing.message_s(case)), rel=1e-12)
    own = [statistics.median(row[sample] for sample in counted) for row in rows]
    assert (found.rank_min_ns, found.rank_max_ns) == (min(own), max(own))
    assert found.rank_mean_ns == pytest.approx(statistics.mean(own))
    if timing.as_called_ns is None:
        assert found.as_called_ns is None
    else:
        slowest = [max(row[sample] for row in timing.as_called_ns[:len(rows)]) for sample in range(3)]
        assert found.as_called_ns == statistics.median(slowest)
    assert found.p5_ns <= found.median_ns <= found.p95_ns <= found.p99_ns
    assert (found.lo_ns is None) == (found.hi_ns is None) == (len(counted) < 6)
    if timing.mode == "streamed" or case.op == "noop" or len(rows) < case.ranks:
        assert (found.begin, found.end, found.begun) == (None, None, 0)
        return
    begun = range(timing.warmup, len(rows[0]))
    times, late_ns = [0] * case.ranks, [0] * case.ranks
    for sample in begun:
        moments = [row[sample] for row in timing.begin_ns]
        *_, next_one, last = sorted(moments)
        times[moments.index(last)] += 1
        late_ns[moments.index(last)] += last - next_one
    assert found.begin == LastArrivals(times=times, late_ns=late_ns)
    assert found.begun == len(begun)
    assert (found.end is None) == (case.op == "broadcast")


@pytest.fixture
def journals(tmp_path):
    """A journal of ranks that are threads, the same without digests, and its records."""
    request = RunConfig(transport="loopback", journal=tmp_path / "with.jsonl", display="quiet",
                      policy=Policy(case_s=0.01, min_samples=8), sweep=Sweep(
                          ops=("all_reduce", "broadcast", "ping_pong", "noop"), sizes=(8, 1000), ranks=()))
    assert run_ranks(4, lambda transport, place: run_sweep(request, transport, place)) == 0
    runs, records, _ = read_journal(request.journal)
    with Journal(tmp_path / "without.jsonl") as journal:
        journal.extend([*runs.values(), *(msgspec.structs.replace(record, digests=()) for record in records)])
    return request.journal, tmp_path / "without.jsonl", records


def test_a_reader_of_digests_and_one_of_samples_agree(journals):
    quick, slow, records = journals
    assert all(len(record.digests) == len(record.timings) == 2 for record in records)
    ones, others = load(quick), load(slow)
    for name in ("points", "records", "lateness"):
        pd.testing.assert_frame_equal(getattr(ones, name), getattr(others, name))


def test_a_digest_of_another_version_or_shape_is_not_taken(journals):
    record = journals[2][0]
    assert unseal(seal(record), samples=False) == msgspec.structs.replace(record, timings=())
    wrong = {"version": DIGEST + 1}, {"begin": LastArrivals(times=[1], late_ns=[2])}
    for fields in wrong:
        spoilt = msgspec.structs.replace(record, digests=(msgspec.structs.replace(record.digests[0], **fields),))
        assert unseal(seal(spoilt), samples=False).timings == record.timings
