"""Measured against expected: ceilings, published figures, a baseline, and reasons."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collbench.analysis.assess import HIGH, LOW, NO_REFERENCE, NORMAL, VERDICTS, assess_points
from collbench.analysis.assess.ceilings import BETWEEN, LINK, MEMORY, copies_share
from collbench.analysis.assess.published import range_of
from collbench.analysis.assess.reference_runs import Place, accelerator_named, comparable, published_runs
from collbench.analysis.assess.table_spread import apart
from collbench.analysis.compare import compare, match, sides
from collbench.analysis.cost.cards import with_cards
from collbench.analysis.domains.facts import load_domains
from collbench.analysis.frames.bandwidth import algbw_Bps, bus_factor, busbw_Bps
from collbench.analysis.frames.columns import CASE, RECORD
from collbench.analysis.frames.record_id import record_ids
from collbench.analysis.report.story import build_story
from collbench.collectives.cases.case import Case
from collbench.collectives.cases.catalog import OPERATIONS, received, round_up, sent, traffics, window_depth
from collbench.collectives.cases.traffic import PATTERNS

DOMAINS = load_domains()
H100 = ("hgx_h100_8", DOMAINS["hgx_h100_8"])
GB = 1e9


def a_point(**changes):
    """A streamed all_reduce of 1 GiB over 8 ranks of one H100 host, as nccl-tests would print it."""
    return {"run": "r", "system": "s", "transport": "nccl-tests", "library": "NCCL 2.29", "device": "NVIDIA H100",
            "op": "all_reduce", "dtype": "float32", "redop": "sum", "place": "out-of-place", "traffic": None,
            "ranks": 8, "message_bytes": 1 << 30, "label": "a case", "mode": "streamed", "time_kind": "mean over ranks",
            "algorithm": None, "protocol": None, "variant": None, "ranks_per_node": 8.0, "flags": "", "precision": None,
            "oversubscribed": None, "overhead_s": math.nan, "relative": 0.0, "fabric": "nccl", **changes}


def points_of(*rows):
    """A frame as `tidy.load` makes it, of rows with `busbw` in GB/s or `time_s`; `relative` is the interval's half."""
    frame = pd.DataFrame([a_point(**row) for row in rows])
    factor = np.array([bus_factor(op, n) for op, n in zip(frame["op"], frame["ranks"], strict=True)])
    if "busbw" in frame:
        by_rate = frame["message_bytes"] * factor / (frame["busbw"] * GB)
        frame["time_s"] = by_rate if "time_s" not in frame else frame["time_s"].astype(float).fillna(by_rate)
    for name, sign in (("time_lo_s", -1), ("time_hi_s", 1)):
        frame[name] = (frame["time_s"] * (1 + sign * frame["relative"])).where(frame["relative"] > 0)
    frame["algbw_Bps"] = algbw_Bps(frame["message_bytes"], frame["time_s"])
    for rate, time in (("busbw_Bps", "time_s"), ("busbw_lo_Bps", "time_hi_s"), ("busbw_hi_Bps", "time_lo_s")):
        frame[rate] = busbw_Bps(frame["op"], frame["ranks"], frame["message_bytes"], frame[time])
    frame["oversubscribed"] = frame["oversubscribed"].astype("boolean")
    return frame


def judged(*rows, home=H100, **more):
    return assess_points(points_of(*rows), home, **more).to_dict("records")


def test_busbw_above_the_link_rate_is_in_network_reduction_and_the_wire_figure_is_below_it():
    (row,) = judged({"busbw": 478, "message_bytes": 8 << 30})
    assert row["wire_Bps"] == pytest.approx(478 * GB / 1.75)
    assert row["ceiling_Bps"] == pytest.approx(450 * GB * 1.75)
    assert row["share"] == pytest.approx(478 / 1.75 / 450)
    assert row["verdict"] == NORMAL
    # A named in-switch algorithm is one at any rate; a ring at its usual rate is none.
    named, ring = judged({"busbw": 300, "ranks": 6, "ranks_per_node": 6.0, "algorithm": "NVLS"},
                         {"busbw": 365, "ranks": 4, "ranks_per_node": 4.0})
    assert named["wire_Bps"] == pytest.approx(300 * GB / (2 * 5 / 6))
    assert math.isnan(ring["wire_Bps"])


def test_what_no_link_can_carry_is_above_and_not_called_in_network_where_nothing_reduces():
    no_switch = ("dgx_a100_8", DOMAINS["dgx_a100_8"])
    (row,) = judged({"busbw": 400, "message_bytes": 8 << 30}, home=no_switch)
    assert (row["verdict"], math.isnan(row["wire_Bps"])) == (HIGH, True)
    (gather,) = judged({"op": "all_gather", "busbw": 460})
    assert (gather["verdict"], gather["ceiling_kind"]) == (HIGH, LINK)


def test_published_runs_decide_at_their_message_sizes_and_only_for_calls_back_to_back():
    table = range_of(comparable(Place("H100", "NCCL", "all_gather", 8, 1)), np.array([3 << 20], dtype=float))
    usual = {"op": "all_gather", "redop": None, "message_bytes": 3 << 20}
    low, middle = table.low[0] / GB, table.median[0] / GB
    normal, slow, isolated, elsewhere = judged(
        {**usual, "busbw": middle}, {**usual, "busbw": 0.8 * low}, {**usual, "busbw": 0.8 * low, "mode": "isolated"},
        {**usual, "busbw": 0.8 * low, "ranks": 5, "ranks_per_node": 5.0})
    assert (normal["verdict"], normal["basis"]) == (NORMAL, "published")
    assert (slow["percentile"], 25 < normal["percentile"] < 75, normal["reference_runs"]) == (0, True, table.runs[0])
    assert (slow["verdict"], slow["of_expected"] < 0.8) == (LOW, True)
    assert {isolated["basis"], elsewhere["basis"]} == {None}
    assert isolated["verdict"] == NO_REFERENCE       # below its link, which tells nothing
    small, large = apart()
    assert 1 < large < small < 2


def test_ranks_on_several_hosts_are_held_against_network_cards():
    pair, eight = judged({"op": "send_recv", "redop": None, "ranks": 2, "ranks_per_node": 1.0, "busbw": 13.6},
                         {"op": "all_to_all", "redop": None, "ranks": 16, "busbw": 40})
    assert (pair["ceiling_kind"], pair["ceiling_Bps"]) == (BETWEEN, 50 * GB)
    # 8 of 15 peers of each rank are on the other host: 8/16 of the payload goes through its card.
    assert eight["ceiling_Bps"] == pytest.approx(50 * GB * (15 / 16) / (8 / 16))
    assert pair["share"] == pytest.approx(13.6 / 50)
    # What leaves a host, not NVLink's 450 GB/s, however fast that is; no facts on cards, no ceiling.
    (two,) = judged({"ranks": 16, "busbw": 339})
    assert (two["ceiling_kind"], two["ceiling_Bps"]) == (BETWEEN, pytest.approx(2 * 15 / 16 * 8 * 50 * GB))
    assert two["ceiling_assumes"] == "8x400G cards per host, from the facts of hgx_h100_8"
    faster = ("hgx_h100_8", with_cards(DOMAINS, "8x800G")["hgx_h100_8"])
    (doubled,) = judged({"ranks": 16, "busbw": 339}, home=faster)
    assert doubled["ceiling_Bps"] == pytest.approx(2 * two["ceiling_Bps"])
    assert doubled["ceiling_assumes"] == "8x800G cards per host, as stated"
    inside = judged({"op": "send_recv", "redop": None, "ranks": 72, "ranks_per_node": 4.0, "busbw": 700},
                    home=("nvl72", DOMAINS["nvl72"]))[0]
    assert (inside["ceiling_kind"], inside["ceiling_Bps"]) == (LINK, 900 * GB)      # 18 hosts, one domain


def pieces_of(op, ranks, traffic):
    """Bytes that all ranks have to load, and to store, over what the payload is; by the catalog."""
    count = round_up(op, 1 << 12, ranks, "int8", traffic)
    case = Case(op=op, bytes=count, dtype="int8", ranks=ranks, redop="sum" if OPERATIONS[op].reduces else None,
                traffic=traffic)
    stored = [piece for rank in range(ranks) for piece in received(case, rank) if piece.source != rank]
    loaded = [piece for rank in range(ranks) for piece in sent(case, rank)] if OPERATIONS[op].reduces else stored
    return (sum(piece.count for piece in pieces) / count / window_depth(case) for pieces in (loaded, stored))


@settings(max_examples=60)
@given(st.sampled_from([op for op, row in OPERATIONS.items()
                        if row.has_payload and not (row.memories or row.pairs or row.composition)]),
       st.integers(2, 12),
       st.sampled_from(sorted(PATTERNS)))
def test_copies_are_as_many_as_the_catalog_makes_them(op, ranks, traffic):
    own = traffics(OPERATIONS[op], ranks, (traffic,))[0]
    loaded, stored = pieces_of(op, ranks, own)
    made = (loaded + stored) / 2 / ranks
    assert copies_share(op, ranks, own) == pytest.approx(1 / 2 if own == "line" and ranks == 2 else made)
    assert copies_share("barrier", ranks) is None


def test_on_a_cpu_the_copies_of_the_same_data_are_the_ceiling():
    cpu = {"device": "cpu", "ranks": 4, "ranks_per_node": 4.0, "message_bytes": 1 << 20}
    copies = [{**cpu, "op": "copy", "redop": None, "message_bytes": size, "busbw": rate}
              for size, rate in ((1 << 10, 2), (1 << 20, 12), (1 << 24, 6))]
    small, middle, large, huge = judged(
        *copies, *({**cpu, "message_bytes": size, "busbw": 3} for size in (1 << 10, 1 << 20, 1 << 24, 1 << 30)),
        home=None)[3:]
    assert middle["ceiling_kind"] == MEMORY
    assert middle["ceiling_Bps"] == pytest.approx(12 * GB * 1.5)        # one copy of the payload; busbw counts 1.5
    assert small["ceiling_Bps"] == middle["ceiling_Bps"]                # overhead of a small copy is no ceiling
    assert large["ceiling_Bps"] == huge["ceiling_Bps"] == pytest.approx(6 * GB * 1.5)
    assert middle["verdict"] == NO_REFERENCE
    # A root's memory is written by whoever holds a block: four at once, a block of 1 MiB each.
    (gather,) = judged(*copies, {**cpu, "op": "gather", "redop": None, "message_bytes": 1 << 22, "busbw": 3},
                       home=None)[3:]
    assert gather["ceiling_Bps"] == pytest.approx(4 * 12 * GB)
    # One way between two of them: one copies. Only 4 at once were measured, and reach 4 times as much together.
    (pair,) = judged(*copies, {**cpu, "op": "bandwidth", "ranks": 2, "ranks_per_node": 2.0, "busbw": 3}, home=None)[3:]
    assert pair["ceiling_Bps"] == pytest.approx(4 * 12 * GB)
    # An H100 elsewhere in the data is no ceiling of a CPU, and without a copy there is none.
    assert judged({**cpu, "busbw": 3})[0]["verdict"] == NO_REFERENCE


def test_reasons_have_evidence():
    curve = [{"message_bytes": size, "time_s": 20e-6 + size / 100e9, "ranks": 6, "ranks_per_node": 6.0}
             for size in (1 << 10, 1 << 14, 1 << 18, 1 << 22, 1 << 26)]
    rows = judged(*curve)
    assert [row["why"] for row in rows[:3]] == ["latency"] * 3
    assert rows[0]["latency_share"] == pytest.approx(1, abs=1e-3)
    assert rows[2]["latency_share"] == pytest.approx(20e-6 / (20e-6 + (1 << 18) / 100e9), rel=1e-3)
    assert {row["verdict"] for row in rows} == {NO_REFERENCE}
    dip = [{**curve[4], "message_bytes": size, "time_s": None, "busbw": rate}
           for size, rate in ((1 << 20, 100), (1 << 22, 40), (1 << 24, 300))]
    assert judged(*dip)[1]["why"] == "switch"
    assert judged(*dip)[1]["peak_bytes"] == 1 << 20
    one = {"busbw": 100, "ranks": 6, "ranks_per_node": 6.0}
    for change, reason in (({"oversubscribed": True}, "oversubscription"), ({"flags": "bimodal"}, "unstable"),
                           ({"overhead_s": 1.0}, "harness"), ({"ranks_per_node": 3.0}, "several hosts")):
        assert judged({**one, **change})[0]["why"] == reason
    assert judged(one, late={("r", 6)})[0]["why"] == "late rank"
    assert judged(one)[0]["why"] == ""


def test_a_baseline_goes_first_and_its_verdict_is_that_of_the_comparison():
    """Whatever the ratio of times is: launches decide, and not the scatter of one."""
    usual = {"busbw": 100, "relative": 0.02}
    for rate, told, verdict in ((80, "slower", LOW), (80, "cannot tell", NORMAL), (94, "same", NORMAL),
                                (125, "faster", HIGH)):
        (row,) = assess_points(points := points_of({**usual, "busbw": rate}), H100, pd.DataFrame(
            {"baseline_s": points["time_s"] * rate / 100, "within": 1.3, "verdict": told}, index=points.index)
        ).to_dict("records")
        assert (row["verdict"], row["basis"]) == (verdict, "baseline")
        assert row["of_expected"] == pytest.approx(rate / 100)
        assert (row["expected_lo_Bps"], row["expected_hi_Bps"]) == pytest.approx((100e9 / 1.3, 130e9))
    nothing = pd.DataFrame({"baseline_s": [], "within": [], "verdict": []}, dtype=float)
    assert judged(usual, baseline=nothing)[0]["basis"] != "baseline"


LAUNCHES_HEAD = "system,library,collective,algorithm,dtype,n_ranks,ranks_per_node,message_bytes,time_us"


@pytest.mark.parametrize("launches", [1, 6])
def test_a_report_with_a_baseline_never_contradicts_the_comparison(tmp_path, launches):
    rng = np.random.default_rng(launches)
    for name, factor in (("then.csv", 1.0), ("now.csv", 6.0)):
        rows = [f"x,y,{op},,float32,4,4,{size},{size / 100 * (factor if op == 'all_gather' else 1) * jitter}"
                for op in ("all_reduce", "all_gather", "all_to_all") for size in (1 << 10, 1 << 16, 1 << 20)
                for jitter in np.exp(rng.normal(0, 0.02, launches))]
        (tmp_path / name).write_text("\n".join([LAUNCHES_HEAD, *rows, ""]))
    result = compare(match(*(sides(str(tmp_path / name)) for name in ("then.csv", "now.csv"))))
    story = build_story(tmp_path / "now.csv", baseline=tmp_path / "then.csv")
    words = {"slower": LOW, "faster": HIGH}
    told = {(row.op, row.message_bytes): words.get(row.verdict, NORMAL) for row in result.rows.itertuples()}
    assert (set(told.values()) == {LOW, NORMAL}) == (launches > 1)
    for row in story.points.itertuples():
        if row.basis == "baseline":
            assert row.verdict == told[row.op, row.message_bytes]
    assert (story.points["basis"] == "baseline").all() == (launches > 1)
    assert ("one launch a side: differences below about" in story.overview.verdict) == (launches == 1)
    assert ("3 slower of 9 cases" in story.overview.verdict) == (launches > 1)
    largest = [finding.words for finding in story.findings if "The largest are" in finding.words]
    assert len(largest) == (launches == 1)
    again = build_story(tmp_path / "now.csv", baseline=tmp_path / "now.csv")
    assert "the baseline is the same run, which shows nothing" in again.overview.verdict


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(
           st.sampled_from(["all_reduce", "all_gather", "all_to_all", "broadcast", "barrier", "its own"]),
           st.integers(1, 100), st.integers(0, 40), st.floats(1e-7, 10)), min_size=1, max_size=12),
       st.sampled_from([None, "hgx_h100_8", "nvl72", "mi300x_8", "pcie_gen5_x16", "rubin_ultra_nvl576", "tpu_v5e"]))
def test_any_point_gets_a_verdict_and_no_share_is_invented(cases, key):
    rows = [{"op": op, "ranks": ranks, "message_bytes": 0 if op == "barrier" else 1 << power, "time_s": time,
             "ranks_per_node": math.nan} for op, ranks, power, time in cases]
    for row in judged(*rows, home=(key, DOMAINS[key]) if key else None):
        assert row["verdict"] in set(VERDICTS)
        assert math.isnan(row["share"]) == math.isnan(row["ceiling_Bps"] * row["busbw_Bps"])
        # Sources may differ on a rate: only beyond the most generous one is a point above its ceiling.
        if row["busbw_Bps"] > 1.01 * row["ceiling_most_Bps"] and row["basis"] is None:
            assert row["verdict"] == HIGH
        # A bound can be exceeded; it never makes a figure normal, whatever its share.
        if row["basis"] is None and not row["busbw_Bps"] > row["ceiling_most_Bps"]:
            assert row["verdict"] == NO_REFERENCE


def test_ids_name_records():
    assert set(CASE) < set(RECORD)
    ids = record_ids(points_of(*({"busbw": 1, **change} for change in (
        {}, {"mode": "isolated"}, {"ranks": 4}, {"run": "other"}, {"place": None}))))
    assert (len(set(ids)), ids[0]) == (4, ids[1])
    assert all(len(one) == 10 and int(one, 16) >= 0 for one in ids)


def test_a_jump_over_rank_counts_is_a_reason_with_its_rank_counts_factor_and_records(tmp_path):
    def told(name, factor, **more):
        """A run with all times `factor(ranks)` times those of a ring, and where there are more ranks on a node."""
        lines = ["system,library,collective,algorithm,dtype,n_ranks,ranks_per_node,message_bytes,time_us,statistic"]
        lines += [f"s,L,all_reduce,,float,{ranks},{more.get('node', ranks) if ranks > 8 else ranks},{size},"
                  f"{factor(ranks) * (2 * (ranks - 1) * 5 + 2 * (ranks - 1) / ranks * size / 1e3)},makespan"
                  for ranks in (2, 4, 6, 8, 12, 16) for size in (1 << power for power in range(14, 25, 2))
                  for _ in range(8)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return build_story(tmp_path / name, baseline=tmp_path / "then") if name != "then" else None
    told("then", lambda ranks: 1)
    story = told("now", lambda ranks: 5 if ranks > 8 else 1)
    row = next(row for row in story.expected
               if (row.case.ranks, row.case.message_bytes, row.case.text("verdict")) == (16, 1 << 14, LOW))
    values = row.case.as_json(row.why)
    assert values["reasons"][0] == "rank switch"
    found = values["rank_switch"]
    assert (found["before"], found["at"], found["factor"]) == (8, 12, pytest.approx(5, rel=0.2))
    points = story.points
    two = points["ranks"].isin([8, 12]) & points["message_bytes"].eq(row.case.message_bytes)
    assert set(found["records"]) == set(record_ids(points[two]))
    assert "time jumps from 8 to 12 ranks, to at least" in row.why
    assert all(one in row.why for one in found["records"])
    assert any("from 8 to 12 ranks" in finding.words for finding in story.findings)
    slow, on_two = told("slow", lambda ranks: 5), told("hosts", lambda ranks: 5 if ranks > 8 else 1, node=8)
    for other in (slow, on_two):
        assert LOW in {row.case.text("verdict") for row in other.expected}
        assert "rank switch" not in {name for row in other.expected for name in row.case.reasons}


@pytest.mark.parametrize(("op", "ranks", "node", "leaves"), [
    # Of a message over 2 hosts, half is reduced on each and sent out, and each sends its reduced half back: all of it.
    ("all_reduce", 4, 2, 1.0), ("all_reduce", 8, 4, 1.0), ("all_reduce", 6, 2, 4 / 3), ("all_reduce", 4, 1, 3 / 2),
    ("all_gather", 4, 2, 1 / 2), ("reduce_scatter", 8, 2, 3 / 4)])
def test_what_must_leave_a_host_over_its_cards_is_the_ceiling_between_hosts(op, ranks, node, leaves):
    """`leaves` is in messages, counted by hand; a card has 50 GB/s one way."""
    (row,) = judged({"op": op, "redop": None if op == "all_gather" else "sum", "ranks": ranks, "busbw": 10,
                     "ranks_per_node": float(node)})
    factor = (2 if op == "all_reduce" else 1) * (ranks - 1) / ranks
    assert row["ceiling_kind"] == BETWEEN
    assert row["ceiling_Bps"] == pytest.approx(factor * node * 50 * GB / leaves)


@pytest.mark.parametrize(("data", "home", "source"), [
    ("docs/examples/hgx-h100-8.csv", None, "ai-dynamo/aiconfigurator"),
    ("tests/log_excerpts/nccl_h100_scaling.txt", "hgx_h100_8", "waynehacking8/nccl-collectives-bench"),
    ("tests/log_excerpts/nccl_aws_mpirun_tag_prefix.txt", "hgx_h100_8", "aws-samples/awsome-distributed-training")])
def test_published_figures_are_never_held_against_themselves(data, home, source):
    """Each of these is in the reference set: the example names its source, the logs have its very figures."""
    story = build_story(Path(__file__).parent.parent / data, measured_on=home)
    judged = story.points[story.points["basis"].eq("published")]
    assert len(judged)
    for row in judged.head(40).itertuples():
        place = Place("H100", "NCCL", row.op, row.ranks, -(-row.ranks // 8))
        size = np.array([float(row.message_bytes)])
        others = range_of(comparable(place, frozenset({source})), size)
        assert (row.reference_runs, row.expected_Bps) == (others.runs[0], pytest.approx(others.median[0]))
        assert source in {run.source for run in published_runs() if run.place == place}
    assert not story.points["expected_Bps"].eq(story.points["busbw_Bps"]).any()


def test_the_percentile_counts_slower_published_runs_of_the_same_accelerator_hosts_and_library():
    (row,) = judged({"busbw": 385, "message_bytes": 8 << 30, "ranks": 16})
    slower = [run for run in published_runs() if run.place == Place("H100", "NCCL", "all_reduce", 16, 2)]
    rates = [run.busbw_Bps(np.array([8.0 * (1 << 30)]))[0] for run in slower]
    assert row["reference_runs"] == len(rates) >= 5
    assert row["percentile"] == pytest.approx(100 * sum(rate < 385 * GB for rate in rates) / len(rates))
    assert row["reference_sources"] >= 5
    assert row["reference"] == "H100, 16 ranks on 2 hosts, NCCL"
    assert row["expected_Bps"] == pytest.approx(np.median(rates))
    # Other hosts, another library, a rank count or an accelerator that nobody published: nothing to compare with.
    strange = ({"ranks_per_node": 1.0}, {"library": "gloo, torch 2.9", "transport": "torch"},
               {"ranks": 24, "library": "HCCL"}, {"device": "NVIDIA L40S"}, {"oversubscribed": True})
    for change in strange:
        (row,) = judged({"busbw": 385, "message_bytes": 8 << 30, "ranks": 16, **change}, home=None)
        assert (row["verdict"], math.isnan(row["reference_runs"])) == (NO_REFERENCE, True)


def test_published_runs_are_possible_cited_and_never_interpolated_far():
    permissive = ("Apache-2.0", "MIT", "MIT-0", "UPL-1.0", "BSD-3-Clause")
    assert len(published_runs()) > 400
    for run in published_runs():
        assert (np.diff(run.sizes) > 0).all()
        assert (run.times_s > 0).all()
        assert run.source
        assert run.licence in (*permissive, "cited figure")      # no other may ship
        assert run.place.accelerator == "CPU" or accelerator_named(run.place.accelerator) == run.place.accelerator
        assert len(run.sizes) <= 8 or run.licence in permissive
        beyond = run.busbw_Bps(np.array([run.sizes[0] / 8, run.sizes[-1] * 8]))
        assert np.isnan(beyond[0]) == (run.sizes[0] > 64)
        assert np.isnan(beyond[1]) == (run.sizes[-1] < 256 << 20)
