"""What skewed routing costs, in a report: the busiest rank, time against its bytes, and both at the targets."""

import json

import numpy as np
import pytest

from collbench.analysis.assess.ceilings import add_ceilings
from collbench.analysis.assess.expert_skew import short_traffic, skews
from collbench.analysis.cost.token_loads import least_bytes, loads_of, moved_bytes, tokens_of
from collbench.analysis.domains.facts import load_domains
from collbench.analysis.export import export
from collbench.analysis.frames.load import load
from collbench.analysis.report.brief import brief
from collbench.analysis.report.json_document import document
from collbench.analysis.report.skew_words import skew_table
from collbench.analysis.report.story import build_story
from collbench.analysis.report.write import write_report
from collbench.collectives.cases import routing
from collbench.collectives.cases.case import Sweep
from collbench.collectives.records.journal import Journal
from collbench.collectives.records.record import SCHEMA, Clock, Policy, Record, Run, Timing, Verification

SMALL = "steps=1:hidden=512:topk=4:experts=64"
EVEN, SKEWED = f"uniform:{SMALL}", f"zipf:1.2:{SMALL}"


def a_journal(folder, ns_per_byte=1.0, latency_ns=20_000, ops=("moe_pair",), seed=1):
    """A run whose time is a latency and a time for each byte of the busiest rank, with 1 % noise."""
    rng = np.random.default_rng(seed)
    sweep = Sweep(ops=ops, sizes=(1 << 16, 1 << 20), ranks=(2, 4, 8), dtypes=("bfloat16",),
                  traffics=(EVEN, SKEWED))

    def timing(case, mode):
        calls = 1 if mode == "isolated" else 8
        tokens = tokens_of(case.traffic, case.dtype, case.bytes)
        moved = moved_bytes(case.op, case.traffic, case.dtype, case.ranks, tokens)
        noise = np.exp(rng.normal(0, 0.01, (case.ranks, 40)))
        elapsed = (calls * (latency_ns + ns_per_byte * moved) * noise).astype(int)
        return Timing(mode=mode, calls=calls, warmup=3, span="makespan", precision=None, stopped_by="samples",
                      begin_ns=np.zeros(elapsed.shape, int).tolist(), elapsed_ns=elapsed.tolist())
    run = Run(schema=SCHEMA, id=f"run{seed}", started="2026-01-02T03:04:05Z", transport="torch",
              library="gloo, torch 2", world=8, device="cpu", clock=Clock(kind="shared"), policy=Policy(),
              sweep=sweep, command=("collbench",),
              provenance={"host": "n", "hosts": ["n"] * 8, "cores": [64] * 8})
    with Journal(folder / "journal.jsonl") as journal:
        journal.append(run)
        journal.extend([Record(run=run.id, case=case, status="ok", asked_bytes=asked,
                               verification=Verification(checks=8, wrong=0),
                               timings=tuple(timing(case, mode) for mode in ("isolated", "streamed")))
                        for case, asked in sweep.cases().items()])
    return folder


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    return build_story(a_journal(tmp_path_factory.mktemp("skew")))


def test_the_busiest_rank_and_its_cost_are_told(story):
    loads = loads_of(SKEWED, 8, 1024)
    rank = int(loads.received.argmax())
    one = next(one for one in story.skew if (one.op, one.traffic, one.kind) == ("moe_pair", SKEWED, "measured"))
    assert (one.ranks, one.rank, one.mode) == (8, rank, "isolated")
    assert one.received == pytest.approx(loads.received.max() / loads.received.mean())
    assert one.more_bytes == pytest.approx(loads.busiest / loads_of(EVEN, 8, 1024).busiest)
    assert one.follows
    assert one.slower[0] == pytest.approx(one.more_bytes, rel=0.1)
    words, = [found.words for found in story.findings if found.kind == "skewed routing" and "moe_pair" in found.words]
    assert f"rank {rank} is the busiest: it receives {one.imbalance:.3g} times the mean" in words
    assert words.endswith("time follows its bytes")


def test_what_it_costs_at_the_targets_is_extrapolated_with_an_interval(story):
    for ranks in (72, 384):
        one = next(one for one in story.skew if (one.op, one.traffic, one.ranks) == ("moe_pair", SKEWED, ranks))
        true_s = 20e-6 + 1e-9 * moved_bytes("moe_pair", SKEWED, "bfloat16", ranks, 1024)
        assert one.kind == "extrapolated"
        assert one.time_s[1] <= true_s <= one.time_s[2]
        assert one.time_s[0] == pytest.approx(true_s, rel=0.5)
        assert one.imbalance == pytest.approx(ranks / 4, rel=0.05)      # all meet at a rank; each sends 4 rows


def test_time_that_does_not_follow_the_bytes_is_said_to(tmp_path):
    found = build_story(a_journal(tmp_path, ns_per_byte=0.0, ops=("moe_dispatch",)))
    one = next(one for one in found.skew if one.traffic == SKEWED)
    assert one.follows is False
    finding, = [finding for finding in found.findings if finding.kind == "skewed routing"]
    assert "time does not follow its bytes" in finding.words
    assert "a core for each rank" in finding.advice


@pytest.mark.parametrize("width", [80, 120])
def test_the_answer_has_two_lines_of_it_and_no_more_than_ten(story, width):
    lines = [line.plain for line in brief(story, width)]
    assert len(lines) <= 10
    assert max(map(len, lines)) <= width
    measured, ahead = [line for line in lines if "x the mean" in line]
    assert measured.startswith("zipf:1.2: rank ")
    assert "moe_pair" in measured
    assert ahead.startswith("72 ranks: 18x the mean")


@pytest.mark.slow
def test_page_and_document_have_the_table(tmp_path):
    story = build_story(a_journal(tmp_path), page=True)
    page = write_report(story, tmp_path / "out").read_text()
    assert 'id="skew"' in page
    assert "skew-moe_pair" in page
    table, = skew_table(story.skew)
    assert [row[1] for row in table.rows] == ["8"] * 2 + ["72*"] * 2 + ["384*"] * 2
    found = json.loads(json.dumps(document(story), allow_nan=False))["skew"]
    assert len(found) == len(story.skew) == 2 * 3
    assert found[0]["imbalance"] >= 1


def test_a_combine_sends_what_a_dispatch_received(tmp_path):
    points = load(a_journal(tmp_path, ops=("moe_dispatch", "moe_combine"))).points.assign(fabric="f")
    there, back = (next(one for one in skews(points) if (one.op, one.traffic) == (op, SKEWED))
                   for op in ("moe_dispatch", "moe_combine"))
    assert (back.sent, back.received) == (there.received, there.sent)
    assert there.received > 2 > there.sent


def test_even_routing_alone_has_no_comparison(tmp_path):
    points = load(a_journal(tmp_path, ops=("moe_dispatch",))).points.assign(fabric="f")
    assert [one.even for one in skews(points[points["traffic"].eq(EVEN)])] == [None]
    assert skews(points[:0]) == []


def test_names_of_routings():
    assert short_traffic("zipf:1.2:hidden=512") == "zipf:1.2"
    assert short_traffic("hot-expert:8:count=2:seed=3:via=gather") == "hot-expert:8:count=2:via=gather"


def test_no_exchange_is_faster_than_the_links_of_its_busiest_receiver(story):
    """The ceiling is the link rate, over what a rank must receive: a time at that rate reaches it exactly."""
    domain = load_domains()["hgx_h100_8"]
    points = story.loaded.points
    rows = points[points["op"].eq("moe_pair") & points["ranks"].eq(8)].assign(device="NVIDIA H100")
    least = [least_bytes("moe_pair", traffic, "bfloat16", 8, tokens_of(traffic, "bfloat16", size))
             for traffic, size in zip(rows["traffic"], rows["message_bytes"], strict=True)]
    at_rate_Bps = rows["message_bytes"] * 7 / 8 / (np.array(least) / domain.tiers[-1].rate_Bps.value)
    assert add_ceilings(rows, ("hgx_h100_8", domain))["ceiling_Bps"].to_numpy() == pytest.approx(at_rate_Bps.to_numpy())


def test_columns_of_collectivex_are_read_back_to_the_same_figures(tmp_path):
    loaded = load(a_journal(tmp_path, ops=("moe_dispatch", "moe_combine", "moe_pair")))
    text, lost = export(loaded, "collectivex")
    (tmp_path / "x.json").write_text(text)
    read = load(tmp_path / "x.json").points
    own = loaded.points[loaded.points["op"].eq("moe_pair") | loaded.points["mode"].eq("isolated")]
    keys = ["op", "mode", "traffic", "ranks", "message_bytes", "dtype"]
    columns = ["time_s", "p95_s", "p99_s"]
    both = own.merge(read, on=keys, suffixes=("", "_read"))
    assert len(both) == len(own) == len(read)
    for name in columns:
        assert both[f"{name}_read"].to_numpy() == pytest.approx(both[name].to_numpy(), rel=1e-6)
    assert lost == [f"{len(loaded.points) - len(own)} of {len(loaded.points)} points left out: CollectiveX has "
                    "dispatch and combine one at a time only, and no other operation"]
    found = next(one for line in text.splitlines() if (one := json.loads(line))["collbench"]["traffic"] == SKEWED
                 and one["topology"]["world_size"] == 8)
    row = found["measurement"]["rows"][-1]
    rows = routing.loads(SKEWED, 8, 1024)
    assert (row["tokens_per_rank"], row["global_tokens"]) == (1024, 8192)
    assert row["routing"]["busiest_rank"] == rows.sum(axis=0).argmax()
    assert row["byte_provenance"]["dispatch"]["total_logical_bytes"] == rows.sum() * 1024
