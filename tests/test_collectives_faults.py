"""One wrong result in a thousand calls, on one rank: it is caught and located, and no time is reported anywhere.

That holds where each call has buffers of its own; for the others see test_collectives_verify.py.
"""

import itertools
import json
import threading
import time

import pytest

from collbench.analysis.frames.load import load
from collbench.collectives.cases.case import Sweep
from collbench.collectives.options import RunConfig
from collbench.collectives.program.sweep import run_sweep
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import Policy
from collbench.collectives.transports.loopback import LoopbackCommunicator, run_ranks

VICTIM = 1
AT_CALL = 1000


def flipped_bit(recv, kept):
    recv[recv.size // 3] ^= 0x04


def dropped_chunk(recv, kept):
    recv[-16:] = 0xA5


def swapped_chunks(recv, kept):
    recv[:64], recv[64:128] = recv[64:128].copy(), recv[:64].copy()


def stale_data(recv, kept):
    recv[:] = kept


@pytest.mark.parametrize("spoil", [flipped_bit, dropped_chunk, swapped_chunks, stale_data])
def test_one_wrong_call_in_a_thousand_is_located_and_gives_no_time(collbench, tmp_path, spoil):
    calls, last = itertools.count(1), {}

    def fault(case, rank, recv):
        if rank != VICTIM or case.op != "all_gather":
            return
        fresh = recv.copy()
        if next(calls) == AT_CALL:
            spoil(recv, last[rank])
        last[rank] = fresh
    sweep = Sweep(ops=("all_gather", "all_reduce"), sizes=(1024,), ranks=(2,), places=(False,))
    policy = Policy(alignment="barrier", case_s=60.0, min_samples=1100, max_samples=1100, precision=0.0,
                    modes=("isolated",), cache="rotated")
    request = RunConfig(transport="loopback", sweep=sweep, policy=policy, journal=tmp_path / "journal.jsonl",
                      display="quiet")
    status = run_ranks(2, lambda transport, place: run_sweep(request, transport, place), fault)
    assert next(calls) > AT_CALL, "the fault was never injected"
    assert status == 1
    _, records, _ = read_journal(tmp_path / "journal.jsonl")
    (wrong,) = [record for record in records if record.status == "wrong"]
    assert wrong.case.op == "all_gather"
    assert wrong.verification.wrong == 1
    assert wrong.verification.fault.rank == VICTIM
    assert f"rank {VICTIM}, element {wrong.verification.fault.index}" in wrong.reason
    assert wrong.timings == ()

    loaded = load(tmp_path)
    assert set(loaded.points["op"]) == {"all_reduce"}
    assert set(loaded.records.loc[loaded.records["status"] == "wrong", "op"]) == {"all_gather"}
    for form in ("csv", "json"):
        done = collbench("export", tmp_path, "--format", form)
        assert done.returncode == 0, done.stderr
        assert "all_reduce" in done.stdout
        assert "all_gather" not in done.stdout
    predicted = collbench("extrapolate", tmp_path, "--to", "72", "--json", "-")
    rows = json.loads(predicted.stdout)["predictions"] if predicted.stdout else []
    assert not [row for row in rows if row["op"] == "all_gather" and row["time_s"] is not None]


@pytest.mark.parametrize("mode", ["isolated", "streamed"])
def test_a_barrier_that_is_skipped_in_one_timed_sample_is_wrong_and_has_no_time(tmp_path, monkeypatch, mode):
    """Every rank leaves at once, rank 0 a millisecond before rank 1 enters."""
    prepare, blocks = LoopbackCommunicator.prepare, [itertools.count(), itertools.count()]
    left = threading.Event()

    def prepared(communicator, case, *counts):
        made = prepare(communicator, case, *counts)

        def block(start_ns):
            if next(blocks[communicator.rank]) != 20:
                return made.block(start_ns)
            if communicator.rank:
                assert left.wait(240)
                time.sleep(1e-3)
            times = communicator.now_ns(), communicator.now_ns()
            left.set()
            return times
        return made._replace(block=block) if case.op == "barrier" else made
    monkeypatch.setattr(LoopbackCommunicator, "prepare", prepared)
    policy = Policy(alignment="barrier", min_samples=60, max_samples=60, precision=0.0, case_s=60.0, modes=(mode,))
    request = RunConfig(transport="loopback", sweep=Sweep(ops=("barrier",), sizes=(0,), ranks=(2,)), policy=policy,
                        journal=tmp_path / "journal.jsonl", display="quiet")
    assert run_ranks(2, lambda transport, place: run_sweep(request, transport, place)) == 1
    assert next(blocks[0]) > 20, "the fault was never injected"
    _, records, _ = read_journal(tmp_path / "journal.jsonl")
    (wrong,) = [record for record in records if record.case.op == "barrier"]
    assert (wrong.status, wrong.timings, wrong.verification.wrong) == ("wrong", (), 1)
    assert f"of the {mode} calls: rank 0, element 1: expected to wait for rank 1, " in wrong.reason
