"""What a link matrix is made of: planted tiers, slow ranks and slow links are found, and noise is not taken for any."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collbench.analysis.frames.load import load
from collbench.analysis.frames.record_id import record_ids
from collbench.analysis.links import CELLS, as_text, read_links
from collbench.analysis.links.ckmeans import levels
from collbench.analysis.links.structure import find_structure
from collbench.collectives.cases import link_rounds
from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.errors import CollbenchError
from collbench.collectives.records.journal import Journal
from collbench.collectives.records.record import SCHEMA, Clock, Policy, Record, Run, Timing

WIDTH, APART = 0.05, float(np.log(1.3))


def costs(rng, ranks, noise, blocks=1, between=3.0):
    cost = rng.normal(0.0, noise, (ranks, ranks))
    block = np.arange(ranks) * blocks // ranks
    cost += np.log(between) * (block[:, None] != block[None, :])
    np.fill_diagonal(cost, np.nan)
    return cost


def found_in(cost, noise=0.02, kinds=None):
    return find_structure(cost, np.full(cost.shape, noise), np.zeros(cost.shape, int) if kinds is None else kinds)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), ranks=st.integers(2, 24), noise=st.floats(0.0, 0.05))
def test_noise_alone_is_one_tier_without_faults(seed, ranks, noise):
    """Up to a noise of 5 %, a link that seems 1.3 times as slow is one in ten million; of 6 %, one in 160,000."""
    structure = found_in(costs(np.random.default_rng(seed), ranks, noise))
    assert len(structure.groups) == 1
    assert not structure.slow
    assert not structure.odd.any()


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), ranks=st.integers(9, 24), blocks=st.integers(1, 3), factor=st.floats(2.0, 50.0))
def test_a_slow_link_is_found_within_any_tiers(seed, ranks, blocks, factor):
    rng = np.random.default_rng(seed)
    cost = costs(rng, ranks, 0.03, blocks)
    source, target = rng.choice(ranks, 2, replace=False)
    cost[source, target] += np.log(factor)
    structure = found_in(cost)
    assert np.argwhere(structure.odd).tolist() == [[source, target]]
    assert not structure.slow


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), ranks=st.integers(6, 24), factor=st.floats(2.0, 50.0),
       out=st.booleans(), into=st.booleans())
def test_a_slow_rank_is_found_with_its_direction_and_its_links_are_not_blamed(seed, ranks, factor, out, into):
    rng = np.random.default_rng(seed)
    cost = costs(rng, ranks, 0.03)
    rank = int(rng.integers(ranks))
    cost[rank, :] += out * np.log(factor)
    cost[:, rank] += into * np.log(factor) * (1 - out * (np.arange(ranks) == rank))
    structure = found_in(cost)
    assert [(one.rank, one.out, one.into) for one in structure.slow] == ([(rank, out, into)] if out or into else [])
    assert not structure.odd.any()


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(3, 8), blocks=st.integers(2, 4), between=st.floats(1.6, 40.0))
def test_switches_that_nobody_told_of_are_found(seed, size, blocks, between):
    ranks = size * blocks
    structure = found_in(costs(np.random.default_rng(seed), ranks, 0.03, blocks, between))
    assert [group.between for group in structure.groups] == [False, True]
    assert structure.groups[0].blocks == tuple(tuple(range(k * size, (k + 1) * size)) for k in range(blocks))
    assert not structure.odd.any()


def test_a_link_that_was_not_measured_well_is_never_blamed():
    cost = costs(np.random.default_rng(1), 8, 0.02)
    cost[2, 5] += 3.0
    halves = np.full(cost.shape, 0.02)
    halves[2, 5] = np.nan
    assert not find_structure(cost, halves, np.zeros(cost.shape, int)).odd.any()


@pytest.mark.parametrize(("half", "excess", "odd"), [(0.02, 0.2, False), (0.02, 0.35, True), (0.2, 0.5, False),
                                                     (0.2, 0.7, True)])
def test_a_link_is_odd_only_beyond_30_percent_and_three_half_widths(half, excess, odd):
    """Twelve equal ranks and one slower link; log(1.3) is 0.26, and the intervals are 3 * `half` wide where that is
    more."""
    cost = np.zeros((12, 12))
    np.fill_diagonal(cost, np.nan)
    cost[2, 5] = excess
    structure = found_in(cost, half)
    assert np.argwhere(structure.odd).tolist() == ([[2, 5]] if odd else [])


def test_a_matrix_with_holes_is_taken_as_it_is():
    cost = np.full((5, 5), np.nan)
    structure = found_in(cost)
    assert structure.groups == ()
    cost[0, 1] = 0.0
    assert len(found_in(cost).groups) == 1


@settings(deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=60), st.floats(0.1, 3.0))
def test_groups_are_ordered_and_far_enough_apart(values, apart):
    number = levels(values, WIDTH, apart)
    order = np.argsort(values, kind="stable")
    assert (np.diff(number[order]) >= 0).all()
    assert set(number) == set(range(number.max() + 1))
    means = [np.mean(np.array(values)[number == group]) for group in range(number.max() + 1)]
    assert all(np.diff(means) >= apart * (1 - 1e-6) - 1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), sizes=st.lists(st.integers(3, 400), min_size=1, max_size=4))
def test_groups_far_apart_are_found_whatever_their_sizes(seed, sizes):
    rng = np.random.default_rng(seed)
    planted = np.repeat(np.arange(len(sizes)), sizes)
    values = 2.0 * planted + rng.normal(0.0, 0.05, len(planted))
    assert (levels(values, WIDTH, APART) == planted).all()


def journal(path, ranks, hosts, time_s):
    """Records of all rounds, with `time_s(op, source, target, alone)` a message."""
    run = Run(schema=SCHEMA, id="r1", started="2026-11-24T00:00:00+00:00", transport="torch", library="gloo",
              device="cpu", world=ranks, clock=Clock(kind="shared"), policy=Policy(), command=(),
              sweep=Sweep(ops=("link_latency", "link_bandwidth"), sizes=(8, 1 << 20), ranks=(ranks,)),
              provenance={"hosts": hosts})

    def record(op, size, name):
        case = Case(op=op, ranks=ranks, bytes=size, dtype="float32", traffic=name)
        elapsed = [[0] * 9 for _ in range(ranks)]
        for source, target in link_rounds.pairs_of(name, ranks):
            own = time_s(op, source, target, name.startswith("pair-"))
            elapsed[source] = [round(1e9 * own * case.operation.messages * (1 + 0.001 * k)) for k in range(9)]
        return Record(run="r1", case=case, status="ok", timings=(
            Timing(mode="isolated", calls=1, warmup=1, begin_ns=None, elapsed_ns=elapsed, precision=0.01,
                   stopped_by="samples"),))
    with Journal(path / "journal.jsonl") as file:
        file.append(run)
        file.extend(record("link_latency", 8, name) for name in link_rounds.round_names(ranks, False))
        file.extend(record("link_bandwidth", 1 << 20, name) for name in link_rounds.round_names(ranks, True))
        return file, record


def test_a_journal_becomes_cells_tiers_and_words(tmp_path):
    hosts = [f"n{rank // 2}" for rank in range(8)]

    def time_s(op, source, target, alone):
        base = 1e-6 if op == "link_latency" else 1e-4
        other = hosts[source] != hosts[target]
        cut = {hosts[source], hosts[target]} == {"n0", "n3"}        # the wire between two hosts
        return base * (1 + 4 * other) * (1 + 5 * cut)
    journal(tmp_path, 8, hosts, time_s)
    (matrix,) = read_links(tmp_path)
    assert tuple(matrix.cells) == CELLS
    assert len(matrix.cells) == 56
    assert set(matrix.cells["place"]) == {"same host", "other host"}
    assert matrix.square("bandwidth_Bps").loc[0, 1] == pytest.approx((1 << 20) / 1e-4, rel=0.01)
    assert matrix.square("latency_s").loc[3, 2] == pytest.approx(1e-6, rel=0.01)
    tiers = matrix.tiers[matrix.tiers["quantity"] == "bandwidth"]
    assert list(tiers["places"]) == ["same host", "other host"]
    assert list(tiers["cells"]) == [8, 40]
    words = [finding.words for finding in matrix.findings]
    assert sum("all links between host n0 and host n3 are slow" in one for one in words) == 1
    assert not any("the link from" in one or "with every partner" in one for one in words)
    assert "2 tiers of latency" in " ".join(words)
    assert "all links between host n0" in as_text(matrix)
    cut = next(finding for finding in matrix.findings if "all links between" in finding.words)
    records = load(tmp_path).records
    labels = dict(zip(record_ids(records), records["label"], strict=True))
    assert 0 < len(cut.records) == len(cut.evidence)
    assert cut.evidence == tuple(labels[record] for record in cut.records)


def test_all_ranks_of_a_slow_host_are_one_finding(tmp_path):
    hosts = [f"n{rank // 2}" for rank in range(8)]

    def time_s(op, source, target, alone):
        other = hosts[source] != hosts[target]
        return 1e-5 * (1 + other) * (6 if other and "n2" in (hosts[source], hosts[target]) else 1)
    journal(tmp_path, 8, hosts, time_s)
    (matrix,) = read_links(tmp_path)
    warnings = [finding.words for finding in matrix.findings if finding.severity == "warning"]
    assert len(warnings) == 1, warnings
    assert "host n2 (ranks 4-5) is slow with every partner" in warnings[0]


def test_a_journal_without_links_has_no_matrix_and_a_log_is_refused(tmp_path):
    run = msgspec.convert({"schema": SCHEMA, "id": "r", "started": "", "transport": "t", "library": "l", "device": "d",
                           "world": 2, "clock": {"kind": "shared"}, "policy": {}, "command": [], "provenance": {},
                           "sweep": {"ops": ["noop"], "sizes": [8], "ranks": [2]}}, Run)
    with Journal(tmp_path / "journal.jsonl") as file:
        file.append(run)
    assert read_links(tmp_path) == []
    with pytest.raises(CollbenchError):
        read_links(tmp_path / "nothing.jsonl")
