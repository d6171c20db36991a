"""Sequences of calls: what they consist of, exact results, lists from files, and the hierarchical all-reduce."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from collbench.collectives.cases import sequence_traffic
from collbench.collectives.cases.call_files import read_calls
from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.cases.catalog import OPERATIONS, why_not
from collbench.collectives.cases.families.sequence import check_parts, parts
from collbench.collectives.cases.sequence_traffic import list_name, parse_sequence, remember
from collbench.collectives.cases.sequences import shipped
from collbench.collectives.errors import UsageError
from collbench.collectives.interfaces import layout
from collbench.collectives.loop.verify import Inspector, expected_pattern, sent_pattern
from collbench.collectives.options import RunConfig
from collbench.collectives.program.sweep import run_sweep
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import CALL_LISTS, Policy
from collbench.collectives.transports.loopback import run_ranks
from collbench.collectives.watchdog.watchdog import NullWatchdog

MIB = 1 << 20
LIST = """operation,bytes,axis,count,overlap
all_gather,600,dp,2,no
all_reduce,64,tp,3,yes
all_to_all,96,,1,no
barrier,
all_to_all_v,40,dp
broadcast,33,tp
"""


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """A list of calls that this process knows, and its name."""
    monkeypatch.setattr(sequence_traffic, "_known", {})
    path = tmp_path / "layer.csv"
    path.write_text(LIST)
    calls = read_calls(path)
    remember([calls])
    return calls


def sequence(traffic, size, ranks, dtype="float32", op="sequence"):
    return Case(op=op, ranks=ranks, bytes=size, dtype=dtype, redop="sum", traffic=traffic)


def made(case):
    return [(part.case.op, part.case.bytes, part.case.ranks, part.times) for part in parts(case)]


def checked(cases, ranks):
    """What every rank finds in two samples of each case: wrong results, and whether any were compared."""
    def program(transport, _):
        communicator, found = transport.communicator(ranks), {}
        for case in cases:
            inspector = Inspector(case, transport.rank, communicator.prepare(case, 2))
            for sample in range(2):
                inspector.reset(sample)
                inspector.prepared.block(0)
                inspector.prepared.settle()
                inspector.check(sample, "timed")
            found[case.traffic] = (inspector.wrong, inspector.checks > 0)
        return found
    return run_ranks(ranks, program)


def test_shipped_sequences_make_the_calls_of_their_frameworks():
    ddp = sequence("ddp", 60 * MIB, 4)
    assert made(ddp) == [("all_reduce", MIB, 4, 1), ("all_reduce", 25 * MIB, 4, 2), ("all_reduce", 9 * MIB, 4, 1)]
    assert sum(part.case.bytes * part.times for part in parts(ddp)) == ddp.bytes
    fsdp = sequence("fsdp:layers=8:mesh=dp=4/tp=2", 64 * MIB, 8)
    assert sum(part.times for part in parts(fsdp)) == 3 * 8
    assert {(part.case.ranks, part.case.members, part.case.bytes) for part in parts(fsdp)} == {(4, 8, 8 * MIB)}
    assert made(sequence("ring_attention", 4096, 8)) == [("send_recv", 4096, 8, 7)]
    assert made(sequence("ring_attention:mesh=cp=2/tp=4", 4096, 8)) == [("send_recv", 4096, 2, 1)]
    assert made(sequence("pipeline:microbatches=3", 4096, 4)) == [("send_recv", 4096, 4, 6)]


def test_a_hierarchical_all_reduce_goes_inwards_and_back():
    case = sequence("levels:rack=2/host=3/local=2", 12 * 96, 12, op="all_reduce_hierarchical")
    assert made(case) == [("reduce_scatter", 1152, 2, 1), ("reduce_scatter", 576, 3, 1), ("all_reduce", 192, 2, 1),
                          ("all_gather", 576, 3, 1), ("all_gather", 1152, 2, 1)]


@pytest.mark.parametrize("dtype", ["int8", "float32", "float64"])
def test_a_hierarchical_all_reduce_has_the_bytes_of_a_plain_one(dtype):
    """Compared with numpy's sum of what all ranks send, not with the values that collbench expects."""
    case = sequence("levels:outer=2/inner=3", 6 * 96, 6, dtype, "all_reduce_hierarchical")
    place = layout(case, 0)

    def program(transport, _):
        communicator = transport.communicator(6)
        prepared = communicator.prepare(case, 1)
        Inspector(case, transport.rank, prepared, salt=2).reset(0)
        prepared.block(0)
        return list(communicator.gather(bytes(prepared.memory.read(0, place.recv_at, place.recv_bytes))) or ())
    results = run_ranks(6, program)
    total = sum(sent_pattern(case, rank, 3).image().view(dtype).astype(np.float64) for rank in range(6))
    assert {np.frombuffer(raw, dtype).astype(np.float64).tobytes() for raw in results} == {total.tobytes()}


def test_every_sequence_is_right_and_checked(listed):
    mesh = "mesh:dp=3/tp=2"
    texts = (mesh, *shipped(), list_name(listed), "ddp:first_mib=1")
    sweep = Sweep(ops=("sequence", "all_reduce_hierarchical"), sizes=(4800,), ranks=(2, 6), traffics=(mesh, *texts))
    cases = [case for case in sweep.cases() if OPERATIONS[case.op].group == "sequences"]
    assert {case.ranks for case in cases} == {6}
    assert len(cases) == len(shipped()) + 2
    assert set(checked(cases, 6).values()) == {(0, True)}


def test_a_wrong_byte_of_any_call_is_seen(listed):
    case = sequence(f"{list_name(listed)}:mesh=dp=2/tp=2", -(-listed.bytes // 4) * 4, 4)
    place, used = layout(case, 1), expected_pattern(case, 1, 1).image() != expected_pattern(case, 1, 2).image()

    def program(transport, _):
        inspector = Inspector(case, transport.rank, transport.communicator(4).prepare(case, 2))
        wrong = 0
        for byte in np.flatnonzero(used)[::97]:
            inspector.reset(0)
            inspector.prepared.block(0)
            inspector.prepared.memory.rows[0, place.recv_at + byte] ^= 1
            inspector.check(0, "timed")
            wrong += 1
        return inspector.wrong, wrong
    found, planted = run_ranks(4, program)
    assert found == planted > 5


def test_calls_that_may_overlap_are_waited_for_before_the_next_call_of_their_group():
    from collbench.collectives.cases.calls import Call, CallList
    from collbench.collectives.transports.composed.sequence import BINDERS
    calls = CallList("mine", (Call("all_reduce", 64, "tp", 2, True), Call("all_gather", 64, "dp"),
                              Call("all_gather", 64, "tp"), Call("all_reduce", 32, "dp", overlap=True)))
    remember([calls])
    case = sequence(f"{list_name(calls)}:mesh=dp=2/tp=2", calls.bytes, 4)
    log = []

    class Noting:
        rank, size = 0, 4

        def slot(self, at, length):
            return (at, length)

        def call(self, made, send, recv, ranks):
            return lambda: log.append(("call", made.op, tuple(ranks)))

        def start(self, made, send, recv, ranks):
            def begin():
                log.append(("start", made.op, tuple(ranks)))
                return lambda: log.append(("wait", made.op, tuple(ranks)))
            return begin
    BINDERS["sequence"](Noting(), case, layout(case, 0)).call()
    tp, dp = (0, 1), (0, 2)
    assert log == [*2 * [("start", "all_reduce", tp)], ("call", "all_gather", dp), *2 * [("wait", "all_reduce", tp)],
                   ("call", "all_gather", tp), ("start", "all_reduce", dp), ("wait", "all_reduce", dp)]


def test_the_parts_are_measured_in_the_same_run_and_the_list_is_kept(listed, tmp_path):
    request = RunConfig(transport="loopback", journal=tmp_path / "journal.jsonl", display="quiet", lists=(listed,),
                        policy=Policy(modes=("isolated",), min_samples=3, case_s=0.001, precision=0.9),
                        sweep=Sweep(ops=("sequence",), sizes=(64, 128), ranks=(4,),
                                    traffics=(list_name(listed), "mesh:dp=2/tp=2")))
    status = run_ranks(4, lambda transport, place: run_sweep(request, transport, place, NullWatchdog()))
    assert status == 0
    runs, records, _ = read_journal(request.journal)
    (run,) = runs.values()
    of_case = {record.case: record for record in records}
    (whole,) = (record for record in records if record.case.op == "sequence")
    assert whole.case.bytes == whole.asked_bytes == -(-listed.bytes // 4) * 4
    assert {part.case for part in parts(whole.case)} < set(of_case)
    assert f"--sequence {tmp_path / 'layer.csv'} --mesh dp=2,tp=2" in whole.reproduce
    kept = run.provenance[CALL_LISTS][list_name(listed)]
    assert [call["op"] for call in kept["calls"]] == [call.op for call in listed.calls]


def test_a_list_reaches_ranks_with_the_configuration_and_is_refused_where_it_is_not_known(listed, tmp_path):
    request = RunConfig(transport="mpi", journal=tmp_path / "journal.jsonl", policy=Policy(), lists=(listed,),
                        sweep=Sweep(ops=("sequence",), sizes=(64,), ranks=(4,), traffics=(list_name(listed),)))
    case = sequence(f"{list_name(listed)}:mesh=dp=2/tp=2", -(-listed.bytes // 4) * 4, 4)
    request.write(tmp_path / "run.json")
    sequence_traffic._known.clear()
    assert "not known: give their file (--sequence FILE)" in str(why_not(case))
    assert RunConfig.read(tmp_path / "run.json") == request
    assert why_not(case) is None
    assert "path" not in json.loads((tmp_path / "run.json").read_text())


@pytest.mark.parametrize(("text", "message"), [
    ("fsdp:layers=0", "'layers=0' is none of its parameters: layers=N"), ("fsdp:depth=2", "'depth=2' is none"),
    ("ring_attention:n=2", "of which it has none"), ("zero", "known are ddp"), ("mine@12", "known are ddp"),
    ("fsdp:mesh=dp", "mesh 'dp'")])
def test_a_wrong_sequence_is_one_clear_line(text, message):
    with pytest.raises(UsageError) as error:
        parse_sequence(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_calls_that_cannot_be_parts_are_named_with_their_file(tmp_path):
    for row, message in (("ping_pong,8", "call 1: ping_pong cannot be part"),
                         ("barrier,,tp", "call 1: barrier on an axis"),
                         ("all_reduce,8,,5000", "5000 calls, counting repetitions")):
        path = Path(tmp_path / "bad.csv")
        path.write_text(f"operation,bytes,axis,count\n{row}\n")
        with pytest.raises(UsageError, match=f"bad.csv: {message}"):
            check_parts(read_calls(path))


def test_a_list_with_a_mesh_of_its_own_is_measured_over_its_ranks_only(tmp_path, monkeypatch):
    monkeypatch.setattr(sequence_traffic, "_known", {})
    path = tmp_path / "a.toml"
    path.write_text("mesh = 'dp=2,tp=2'\n[[call]]\noperation = 'all_reduce'\nbytes = 64\naxis = 'tp'\n")
    calls = read_calls(path)
    remember([calls])

    def found(ranks, *more):
        sweep = Sweep(ops=("sequence",), sizes=(64,), ranks=ranks, traffics=(list_name(calls), *more))
        return {(case.ranks, case.traffic) for case in sweep.cases() if case.op == "sequence"}
    assert found((2, 4, 8)) == {(4, f"{list_name(calls)}:mesh=dp=2/tp=2")}
    assert found((2, 4, 8), "mesh:dp=4/tp=2") == {(8, f"{list_name(calls)}:mesh=dp=4/tp=2")}
    with pytest.raises(UsageError, match=r"no mesh of .* has 2 or 8 ranks"):
        found((2, 8))


def test_a_list_with_axes_and_no_mesh_is_refused_with_its_file(collbench, tmp_path):
    (tmp_path / "a.csv").write_text("operation,bytes,axis\nall_reduce,64,tp\n")
    done = collbench("run", "--ranks", 2, "--sequence", "a.csv")
    assert done.returncode == 2
    assert done.stderr == "collbench: a.csv: its calls on axis tp need a mesh: --mesh tp=N\n"


def test_a_list_needs_a_mesh_with_its_axes(listed):
    name = list_name(listed)
    with pytest.raises(UsageError, match="its axis dp is not in a mesh: --mesh"):
        sequence(name, -(-listed.bytes // 4) * 4, 4)
    with pytest.raises(UsageError, match="its axis dp is not in mesh ep=2/tp=2"):
        sequence(f"{name}:mesh=ep=2/tp=2", -(-listed.bytes // 4) * 4, 4)
    with pytest.raises(UsageError, match="its mesh has not 4 ranks"):
        sequence("fsdp:mesh=dp=2", 64, 4)
    assert msgspec.json.decode(msgspec.json.encode(listed), type=type(listed)) == listed


def cases_of(out):
    """The statuses of a run's cases, and its records."""
    lines = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    records = [line for line in lines if line["line"] == "record" and line["case"]["op"] != "noop"]
    return {(line["case"]["op"], line["case"].get("traffic")): line["status"] for line in records}, records


def test_axes_of_a_mesh_and_a_list_of_calls_over_gloo(collbench, tmp_path):
    """Four ranks in a job that also has a group of two: their numbers of process groups differ."""
    mine = tmp_path / "mine.csv"
    mine.write_text("operation,bytes,axis,count,overlap\nall_reduce,256,tp,2,yes\nall_gather,512,dp\n")
    done = collbench("run", "--ranks", 4, "--mesh", "dp=2,tp=-1", "--ops", "all_gather", "--sequence", mine, "--sizes",
                     64, "--case-seconds", 0.01, "--samples", 2, "--out", tmp_path / "r")
    assert done.returncode == 0, done.stderr
    status, records = cases_of(tmp_path / "r")
    assert set(status.values()) == {"ok"}
    assert len(status) == 2 + 1 + 2
    assert all(len(record["timings"][0]["elapsed_ns"]) == 4 and record["verification"]["checks"] for record in records)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["torch", pytest.param("mpi", marks=pytest.mark.needs("mpi"))])
def test_all_axes_and_sequences_are_right_over_eight_ranks_and_are_resumed(collbench, tmp_path, transport):
    (tmp_path / "mine.csv").write_text(LIST)
    words = ("run", "--transport", transport, "--ranks", 8, "--mesh", "dp=4,tp=2", "--sizes", "8K", "--case-seconds",
             0.01, "--samples", 2, "--out", tmp_path / "r", "--place", "both", "--seed", 1, "--ops",
             f"{','.join(name for name, row in OPERATIONS.items() if row.on_axes)},sequences", "--sequence",
             f"{','.join(shipped())},{tmp_path / 'mine.csv'}")
    done = collbench(*words, timeout_s=600)
    assert done.returncode == 0, done.stderr
    status, records = cases_of(tmp_path / "r")
    axes = {op for op, traffic in status if (traffic or "").startswith("mesh:")}
    assert axes == {name for name, row in OPERATIONS.items() if row.on_axes}
    assert len([op for op, _ in status if op == "sequence"]) == len(shipped()) + 1
    assert set(status.values()) == {"ok"}
    again = collbench(*words, "--resume", timeout_s=600)
    assert again.returncode == 0, again.stderr
    assert len(cases_of(tmp_path / "r")[1]) == len(records)
