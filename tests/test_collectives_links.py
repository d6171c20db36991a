"""Links one by one: the rounds cover all pairs, and faults planted in a network or a library are found."""

import json
import os
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import pytest

from collbench.analysis.links import read_links
from collbench.collectives.cases import catalog, link_rounds
from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.options import RunConfig
from collbench.collectives.program.links import run_links
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import Policy
from collbench.collectives.transports.loopback import run_ranks

SEVERAL = Path(__file__).with_name("namespaces.py")


@pytest.mark.parametrize("ranks", range(2, 34))
def test_rounds_cover_every_pair_once_and_use_no_rank_twice(ranks):
    table = link_rounds.rounds(ranks)
    assert len(table) == ranks - 1 + ranks % 2
    assert sorted(tuple(sorted(pair)) for met in table for pair in met) == list(combinations(range(ranks), 2))
    for number, met in enumerate(table, 1):
        assert len({rank for pair in met for rank in pair}) == 2 * (ranks // 2)
        assert link_rounds.pairs_of(f"round-{number}-back", ranks) == tuple((b, a) for a, b in met)
    begun = [sum(pair[0] == rank for met in table for pair in met) for rank in range(ranks)]
    assert max(begun) < ranks - 1 or ranks < 4


@pytest.mark.parametrize("name", ["round-0", "round-8", "round-1-forth", "pair-1-1", "pair-1-8", "linear", ""])
def test_a_pairing_that_does_not_exist_is_none(name):
    assert link_rounds.pairs_of(name, 8) is None


def test_links_are_measured_once_in_the_largest_group_at_both_ends_of_the_sizes():
    cases = list(Sweep(ops=("link_latency", "link_bandwidth", "link_bi_bandwidth"), sizes=(8, 64, 4096),
                       ranks=(2, 5)).cases())
    assert {(case.op, case.ranks, case.bytes) for case in cases} == {
        ("link_latency", 5, 8), ("link_bandwidth", 5, 4096), ("link_bi_bandwidth", 5, 4096)}
    assert [sum(case.op == op for case in cases) for op in ("link_latency", "link_bandwidth")] == [5, 10]


def measured(path, ranks, slow_s, ops=("link_latency", "link_bandwidth")):
    """Run the rank program on the loopback transport; `slow_s(source, target)` is the time of a pair's calls."""
    def delay(case, rank, recv):
        partner = catalog.partner(case, rank)
        if case.operation.linked and partner is not None:
            pair = (rank, partner) if catalog.begins(case, rank) else (partner, rank)
            until = time.perf_counter() + slow_s(*pair)
            while (left := until - time.perf_counter()) > 0:
                time.sleep(left)
    request = RunConfig(transport="loopback", journal=path / "journal.jsonl", display="quiet",
                      policy=Policy(modes=("isolated",), min_samples=6, case_s=0.002, precision=0.5),
                      sweep=Sweep(ops=ops, sizes=(8, 4096), ranks=(ranks,)))
    assert run_ranks(ranks, lambda transport, place: run_links(request, transport, place), delay) == 0
    (matrix,) = read_links(path)
    return matrix, read_journal(request.journal)[1]


def test_a_slow_link_is_measured_again_alone_and_named(tmp_path):
    def slow_s(source, target):
        return 0.032 if (source, target) == (4, 1) else 0.004
    matrix, records = measured(tmp_path, 6, slow_s)
    assert "pair-4-1" in {record.case.traffic for record in records}
    cells = matrix.cells.set_index(["src", "dst"])
    assert len(cells) == 30
    assert cells.loc[(4, 1), "alone"]
    assert cells["bandwidth_n"].min() >= 6
    assert cells["bandwidth_Bps"].idxmin() == (4, 1)
    warnings = [finding.words for finding in matrix.findings if finding.severity == "warning"]
    assert any("link from rank 4 to rank 1 is slow in this direction, even while all other ranks were idle" in words
               for words in warnings), warnings
    assert not any("slow with every partner" in words for words in warnings)


@pytest.mark.slow
def test_a_slow_rank_is_distinguished_from_slow_links(tmp_path):
    matrix, _ = measured(tmp_path, 5, lambda source, target: 0.032 if 3 in (source, target) else 0.004)
    warnings = [finding.words for finding in matrix.findings if finding.severity == "warning"]
    assert any("rank 3 is slow with every partner" in words for words in warnings), warnings
    assert not any("link from" in words for words in warnings)


def test_a_link_that_is_slow_only_under_contention_is_reported_as_sound(tmp_path):
    """Two pairs of one round share a wire: each is slow while the other one transfers."""
    wire, busy = set(link_rounds.rounds(6)[0][:2]), set()

    def slow_s(source, target):
        if (source, target) not in wire:
            return 0.03
        busy.add((source, target))
        time.sleep(0.015)       # long enough for both pairs to meet on a busy machine
        crowded = len(busy) > 1
        time.sleep(0.015)
        busy.discard((source, target))
        return 0.1 if crowded else 0.0
    matrix, _ = measured(tmp_path, 6, slow_s, ops=("link_bandwidth",))
    notes = [finding.words for finding in matrix.findings if finding.severity == "note"]
    assert any("while all other ranks are idle" in words and "contends with others" in words
               for words in notes), matrix.findings
    assert not any("the link from" in finding.words for finding in matrix.findings if finding.severity == "warning")


@pytest.mark.slow
@pytest.mark.needs("torch")
@pytest.mark.ranks
def test_planted_faults_in_a_real_network_are_found(tmp_path):
    """Eight hosts on two switches: fast within a switch, slower between; one slow link and one slow host."""
    hosts, fast, between, slow = 8, 400, 130, 40
    rates = [[fast if a // 4 == b // 4 else between for b in range(hosts)] for a in range(hosts)]
    rates[1][2] = rates[2][1] = slow
    for other in range(hosts):
        rates[6][other] = rates[other][6] = slow
    out = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, str(SEVERAL), json.dumps({"hosts": [1] * hosts, "rates": rates}), "--", "--device", "cpu",
         "--ops", "link_bandwidth", "--sizes", "64K", "--modes", "isolated", "--min-samples", "8",
         "--precision", "0.1", "--case-seconds", "0.05", "--group-ranks", str(hosts), "--display", "quiet",
         "--out", str(out)],
        text=True, capture_output=True, timeout=240, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)})
    if done.returncode == 77:
        pytest.skip(f"SKIPPED: no network namespaces with shaping here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    (matrix,) = read_links(out)
    assert matrix.hosts == tuple(f"h{host}" for host in range(hosts))
    tiers = matrix.tiers
    assert len(tiers) == 2, tiers
    for row, rate in zip(tiers.itertuples(), (fast, between), strict=True):
        assert 0.5 * rate < row.typical * 8 / 1e6 < 1.3 * rate
        assert "ranks 0-3 | 4-5, 7" in row.places
    warnings = [finding.words for finding in matrix.findings if finding.severity == "warning"]
    assert len(warnings) == 2, warnings
    assert "host h6 (rank 6) is slow with every partner" in warnings[0]
    assert "the link from rank 1 (host h1) to rank 2 (host h2) is slow in both directions" in warnings[1]


@pytest.mark.slow
@pytest.mark.needs("mpi")
@pytest.mark.ranks
def test_the_command_shows_a_matrix_over_mpi(collbench, tmp_path):
    done = collbench("links", "--transport", "mpi", "--ranks", 3, "--case-seconds", 0.01, "--large", "4K",
                     "--out", "links", "--csv", "links.csv", "--json", "-")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["document"], len(found["links"])) == ("collbench links", 6)
    shown = collbench("links", "links")
    assert "two-way bandwidth in GB/s of 4 KiB" in shown.stdout
    assert shown.stdout.splitlines()[0].startswith("links: mpi (")
    assert (tmp_path / "links.csv").read_text().count("\n") == 7
    _, records, _ = read_journal(tmp_path / "links" / "journal.jsonl")
    assert {record.status for record in records} == {"ok"}
    assert all(record.verification.checks for record in records if record.case.operation.linked)
    assert {record.timings[0].loop for record in records} <= {"native", "python"}
    assert collbench("report", "links", "--figures").returncode == 0
    page = (tmp_path / "links" / "report.html").read_text()
    assert page.count('id="chart-links-') == 3
    assert (tmp_path / "links" / "figures" / "links-latency.png").stat().st_size > 1000


def test_a_pair_is_timed_by_its_initiator():
    case = Case(op="link_latency", ranks=3, bytes=8, dtype="float32", traffic="pair-2-0")
    assert [catalog.partner(case, rank) for rank in range(3)] == [2, None, 0]
    assert catalog.sent(case, 1) == catalog.received(case, 1) == []
