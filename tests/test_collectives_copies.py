"""Copies within a rank, the ceiling of staged transfers: by one rank and by all at once; with warm or cold caches."""

import pytest

from collbench.collectives.cases import catalog
from collbench.collectives.cases.case import Sweep
from collbench.collectives.options import RunConfig
from collbench.collectives.program.sweep import run_sweep
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import Policy
from collbench.collectives.transports.loopback import LoopbackCommunicator, run_ranks

QUICK = {"alignment": "barrier", "case_s": 0.002, "min_samples": 2, "precision": 0.5}


def test_a_curve_over_rank_counts_includes_a_copy_by_one_rank():
    def ranks(*counts):
        return {case.ranks for case in Sweep(ops=("copy",), sizes=(64,), ranks=counts).cases()}
    assert ranks(2, 4, 8) == {1, 2, 4, 8}
    assert ranks(8) == {8}
    assert Sweep(ops=("copy", "all_reduce"), sizes=(64,), ranks=(2, 4)).group_sizes() == {1, 2, 4}


def test_groups_of_operations_have_the_right_members():
    assert set().union(*catalog.GROUPS.values()) == set(catalog.OPERATIONS)
    assert not set(catalog.GROUPS["all"]) & set(catalog.GROUPS["links"])
    assert [name for name in catalog.GROUPS["copies"] if name in catalog.GROUPS["all"]] == ["copy"]


def test_cold_caches_are_evicted_before_every_sample(tmp_path, monkeypatch):
    emptied = []
    monkeypatch.setattr(LoopbackCommunicator, "evict", lambda self: emptied.append(self.rank))
    for cache in ("warm", "cold"):
        request = RunConfig(transport="loopback", journal=tmp_path / "journal.jsonl", display="quiet",
                          policy=Policy(cache=cache, **QUICK), sweep=Sweep(ops=("copy",), sizes=(64,), ranks=(2,)))
        assert run_ranks(2, lambda transport, place, request=request: run_sweep(request, transport, place)) == 0
        runs, records, _ = read_journal(request.journal)
        if cache == "warm":
            assert emptied == []
    samples = sum(len(timing.elapsed_ns[0]) for record in records if record.run == list(runs)[-1]
                  for timing in record.timings)
    assert emptied.count(0) == emptied.count(1) == samples
    assert [run.policy.cache for run in runs.values()] == ["warm", "cold"]


@pytest.mark.ranks
@pytest.mark.parametrize("transport", [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("torch", "mpi")])
def test_host_copies_are_measured_and_device_copies_refused_with_a_reason(collbench, tmp_path, transport):
    done = collbench("run", "--transport", transport, "--ranks", 2, "--ops", "copies", "--sizes", "8,1M",
                     "--group-ranks", "1,2", "--device", "cpu", "--cache", "cold", "--case-seconds", 0.01,
                     "--min-samples", 3, "--alignment", "barrier", "--out", "r")
    assert done.returncode == 0, done.stderr
    runs, records, _ = read_journal(tmp_path / "r" / "journal.jsonl")
    assert next(iter(runs.values())).policy.cache == "cold"
    ok = [record for record in records if record.status == "ok" and record.case.op != "noop"]
    assert {(record.case.op, record.case.ranks, record.case.bytes) for record in ok} == {
        ("copy", ranks, size) for ranks in (1, 2) for size in (8, 1 << 20)}
    assert all(record.verification.checks for record in ok)
    refused = {record.case.op: record.reason for record in records if record.status == "unsupported"}
    assert set(refused) == set(catalog.GROUPS["copies"]) - {"copy"}
    assert all("no device memory" in reason for reason in refused.values())
    assert "by each rank for itself" in ok[0].notes[0]


@pytest.mark.needs("torch")
def test_a_graph_is_refused_on_the_cpu(collbench):
    done = collbench("run", "--ops", "copy", "--graph", "--device", "cpu", "--out", "r")
    assert done.returncode == 2
    assert "--graph: the CPU has no queue to capture" in done.stderr
