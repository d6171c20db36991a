"""The device path on an out-of-tree torch device: memory, events, streams, graphs, free memory, and a whole run.

The device is compiled from third_party_device.cpp and registered with torch like any vendor's. It is not CUDA, and no
part of collbench refers to it. It has awkward properties of real devices: third_party_device.py lists them.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from collbench.collectives.cases import catalog
from collbench.collectives.cases.case import Sweep
from collbench.collectives.options import RunConfig
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import Policy

HERE = Path(__file__).parent
PROGRAM = HERE / "third_party_device.py"
RATE_BPS = 100e6        # of its asynchronous copies: 10 ms per MiB, far above timing noise
AWKWARD = {"DEMO_VISIBLE": "1", "DEMO_UUID": "zero", "DEMO_CACHING": "1", "DEMO_MEMORY": "module"}      # the defaults
GENTLE = {"DEMO_VISIBLE": "2", "DEMO_UUID": "own", "DEMO_CACHING": "0", "DEMO_MEMORY": "accelerator"}

pytestmark = pytest.mark.needs("torch")


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(HERE.parent), "DEMO_COPY_BPS": str(RATE_BPS), **more}


def started(device, *words, local_ranks="0,1", **more):
    """What the program prints, on all of its ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = subprocess.Popen([sys.executable, str(PROGRAM), str(device), *words], text=True, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, start_new_session=True, env=environment(
                               DEMO_LOCAL_RANKS=local_ranks, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
                               GLOO_SOCKET_IFNAME="lo", **more))
    try:
        output, errors = job.communicate(timeout=240)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
    assert job.returncode == 0, errors
    return output


def run(device, out, *options, **more):
    started(device, "--out", str(out), "--display", "quiet", "--min-samples", "2", "--case-seconds", "0.005",
            "--alignment", "barrier", *options, **more)
    return read_journal(out / "journal.jsonl")


@pytest.fixture(scope="module", params=["awkward", "gentle"])
def switches(device, request):
    """What the device does, on two ranks that use each other's device where they see both."""
    printed = started(device, "switches", **{"awkward": AWKWARD, "gentle": GENTLE}[request.param])
    return request.param, sorted(map(json.loads, printed.splitlines()), key=lambda answers: answers["rank"])


def test_the_device_makes_communicators_late_or_with_the_group(switches):
    for answers in switches[1]:
        lazy, eager = answers["groups"]["lazy"], answers["groups"]["eager"]
        assert [made for made, _ in lazy] == [0, 1, 1, 0]       # in new_group, a collective, a message, another
        assert [made for made, _ in eager] == [1, 0, 0, 0]
        assert all(took_s >= 0.4 * made for made, took_s in lazy + eager)
        assert answers["groups"]["sums"] == [2.0, 4.0]
    assert [answers["groups"]["received"] for answers in switches[1]] == [[0.0, 0.0], [2.0, 4.0]]


def test_the_device_refuses_what_hangs_elsewhere(switches):
    for rank, answers in enumerate(switches[1]):
        wrong = f"barrier on device {rank}, but this rank uses {1 - rank}" if switches[0] == "gentle" else None
        refused = answers["groups"]["refused"]
        assert wrong is None is refused["lazy barrier"] or wrong in refused["lazy barrier"]
        assert rank == 1 or "1 of 2 ranks took part" in refused["lazy lone message"]
        assert refused["eager barrier"] is refused["eager lone message"] is None


def test_the_device_works_while_the_host_queues(switches):
    for answers in switches[1]:
        assert answers["clock"]["slow device"][0] >= 4 * 0.05 * 0.999
        assert answers["clock"]["slow device"][1] is False      # not over when all was queued
        assert answers["clock"]["slow host"][0] >= 4 * 0.05 * 0.999


def test_the_device_keeps_freed_memory_and_hides_what_it_is(switches):
    kind, all_answers = switches
    for answers in all_answers:
        first, held, freed, emptied = answers["memory"]["free"]
        assert held == first - 64
        assert freed == (held if kind == "awkward" else first)
        assert emptied == first
        assert "out of memory" in answers["memory"]["too large"]
        works = {name for name in ("accelerator", "accelerator cache") if answers["memory"][name] is None}
        assert (works, answers["memory"]["module"]) == (
            (set(), True) if kind == "awkward" else ({"accelerator", "accelerator cache"}, False))
    zero = "00000000-0000-0000-0000-000000000000"
    uuids, devices = ({str(answers[name]) for answers in all_answers} for name in ("uuid", "devices"))
    assert (uuids == {zero}, len(uuids), devices) == ((True, 1, {"1"}) if kind == "awkward" else (False, 2, {"2"}))


def answered(device, **more):
    done = subprocess.run([sys.executable, PROGRAM, device, "device"], capture_output=True, text=True, timeout=240,
                          check=False, env=environment(**more))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def answers(device):
    return answered(device, DEMO_VISIBLE="2")


@pytest.mark.parametrize("op", catalog.GROUPS["copies"])
def test_queued_copies_are_timed_on_the_device_not_by_their_queueing(answers, op):
    measured_s, queueing_s = answers["times_s"][op]
    true_s = (1 << 20) / RATE_BPS
    assert true_s * 0.999 <= measured_s < 1.5 * true_s        # both directions at once too: two streams
    assert queueing_s < true_s / 2


def test_a_rank_uses_its_device_and_its_share_of_the_memory(answers):
    assert answers["device"] == "demo:1"        # local rank 3 of 2 devices
    assert answers["free"] <= answers["total"] == 1 << 30
    assert answers["room"] == answers["free"] // 3      # 5 ranks on 2 devices
    assert answers["evicted"] >= 256 << 20


def test_calls_are_captured_on_a_side_stream_after_warm_up(answers):
    assert answers["graph"] is None
    assert answers["log"] == [["begin", True], ["end", 3 + 4], ["replay", 3 + 4]]
    assert answers["stream"] == 0


@pytest.mark.slow
def test_free_memory_is_known_where_only_the_module_of_the_device_tells_it(device):
    answers = answered(device, DEMO_VISIBLE="2", DEMO_MEMORY="module")
    assert answers["room"] == answers["free"] // 3


MEASURED = ("all", "copies", "links", "communicators", "patterns")


@pytest.fixture(scope="module")
def whole(device, tmp_path_factory):
    return run(device, tmp_path_factory.mktemp("whole"), "--ops", ",".join(MEASURED),
               "--sizes", "16K", "--group-ranks", "2", DEMO_INIT_S="0.1")


@pytest.mark.ranks
def test_a_whole_run_over_the_library_of_the_device(whole):
    runs, records, warnings = whole
    assert warnings == []
    first = next(iter(runs.values()))
    assert first.device == "demo:Demo 1"
    assert first.library.startswith("democcl")
    assert all("in-place" in record.reason or "in place" in record.reason
               for record in records if record.status == "unsupported"), records
    ok = [record for record in records if record.status == "ok"]
    assert {record.case.op for record in ok} == {op for group in MEASURED for op in catalog.GROUPS[group]}
    for record in ok:
        isolated, *streamed = record.timings
        assert (isolated.mode, isolated.stopwatch, isolated.as_called_ns) == ("isolated", "host", None)
        assert [timing.stopwatch for timing in streamed] == ["device"] * (not record.case.operation.lifecycle)
        for timing in streamed:
            assert not timing.graph
            assert [len(row) for row in timing.as_called_ns] == [2] * record.case.ranks
        assert record.case.op == "noop" or record.verification.checks > 0
    copied = [record for record in ok if record.case.op == "copy_d2h"]
    assert min(min(record.timings[1].message_s(record.case)) for record in copied) >= 16384 / RATE_BPS * 0.999


@pytest.mark.ranks
def test_the_version_of_the_library_is_recorded(whole):
    assert next(iter(whole[0].values())).library == "democcl 2.3.1"


@pytest.mark.slow
@pytest.mark.ranks
def test_tokens_reach_their_experts_over_the_library_of_the_device(device, tmp_path):
    """Rows are collected and added on the device, and only their numbers are read by the host."""
    _, records, _ = run(device, tmp_path, "--ops", "moe", "--traffic", "zipf:1.2,zero", "--moe",
                        "hidden=130,topk=3,experts=12,group=2", "--via", "all", "--tokens", "5", "--dtypes",
                        "bfloat16,fp8_e4m3", "--group-ranks", "4", local_ranks="0,1,2,3", DEMO_INIT_S="0.05")
    refused = {record.case.op for record in records if record.status != "ok"}
    assert refused == {"moe_combine"}, [record for record in records if record.status != "ok"]      # of fp8
    assert len(records) == 3 * 2 * 2 * 3 + 1
    assert {timing.stopwatch for record in records for timing in record.timings[1:]} == {"device"}


@pytest.mark.slow
@pytest.mark.ranks
def test_a_graph_stands_for_one_routing_only(device, tmp_path):
    _, records, _ = run(device, tmp_path, "--ops", "moe_dispatch", "--traffic", "uniform,uniform:steps=1", "--moe",
                        "hidden=64", "--tokens", "4", "--group-ranks", "2", "--modes", "streamed", "--graph")
    reasons = {record.case.traffic: record.reason for record in records if record.case.traffic}
    assert "a captured graph would repeat one: steps=1" in reasons["uniform:hidden=64"]
    assert "library refused" in reasons["uniform:steps=1:hidden=64"]       # this device implements no graphs


@pytest.mark.slow
@pytest.mark.ranks
def test_a_case_that_does_not_fit_or_cannot_be_captured_is_a_record(device, tmp_path):
    """The device has 1 GiB of memory, and torch a class for graphs that this device does not implement."""
    _, records, _ = run(device, tmp_path, "--ops", "all_reduce", "--sizes", "8,400M", "--group-ranks", "2", "--modes",
                        "streamed", "--graph")
    by_size = {record.case.bytes: record for record in records if record.case.in_place}
    assert by_size[400 << 20].status == "skipped-memory"
    assert "memory that is free" in by_size[400 << 20].reason
    assert by_size[8].status == "unsupported"
    assert "library refused" in by_size[8].reason


@pytest.mark.slow
@pytest.mark.ranks
def test_the_plan_keeps_all_sizes_when_communicators_take_long_to_make(device, tmp_path):
    """With 1.5 s taken for a call, the 40 s would be spent on two sizes; all of them need about 1 s."""
    _, records, warnings = run(device, tmp_path, "--ops", "all_reduce", "--sizes", "4K,16K,64K,256K,1M", "--place",
                               "in", "--budget", "40", DEMO_INIT_S="1.5")
    assert {record.case.bytes for record in records if record.status == "ok"} >= {4096 << 2 * step for step in range(5)}
    assert warnings == []


@pytest.mark.slow
@pytest.mark.ranks
def test_a_case_that_nearly_fits_is_a_record_not_a_crash(device, tmp_path):
    """Of 256 MiB, two slots of 40 MiB leave enough for all the rest, two of 100 MiB do not."""
    _, records, _ = run(device, tmp_path, "--ops", "all_reduce", "--place", "in", "--sizes", "40M,100M",
                        DEMO_BYTES=str(256 << 20), DEMO_CACHING="0", DEMO_VISIBLE="2")
    assert {record.case.bytes >> 20: record.status for record in records if record.case.bytes} == {
        40: "ok", 100: "skipped-memory"}


@pytest.mark.slow
@pytest.mark.ranks
def test_the_whole_memory_of_the_device_is_free_for_each_case(device, tmp_path):
    """Neither what the case before has freed, nor the other ranks, each of which has a device of its own."""
    _, records, _ = run(device, tmp_path, "--ops", "all_reduce", "--place", "in", "--sizes", "20M", "--dtypes",
                        "float32,int32", DEMO_BYTES=str(256 << 20))
    assert [record.status for record in records if record.case.bytes] == ["ok", "ok"]


@pytest.mark.ranks
def test_streamed_calls_that_are_shorter_than_their_queueing_are_timed_on_the_device(device, tmp_path):
    """0.1 ms on the device, 0.5 ms to queue."""
    _, records, _ = run(device, tmp_path, "--ops", "all_reduce", "--sizes", "1K", "--place", "in", "--modes",
                        "streamed", DEMO_CALL_S="1e-4", DEMO_HOST_S="5e-4")
    record, = [record for record in records if record.case.op == "all_reduce"]
    timing, = record.timings
    assert 1e-4 * 0.999 <= min(timing.message_s(record.case)) <= 1.5e-4
    as_called_ns = [max(rank) for rank in zip(*timing.as_called_ns, strict=True)]
    assert min(as_called_ns) / timing.calls >= 5e5 * 0.999


@pytest.mark.slow
@pytest.mark.ranks
def test_ranks_may_rest_in_a_group_and_sit_on_any_device(device, tmp_path):
    """Links of 3 of 4 ranks, so that one of the three rests in each round; no rank is on the device of its number."""
    _, records, _ = run(device, tmp_path, "--ops", "links,barrier", "--sizes", "1K", "--group-ranks", "3",
                        local_ranks="3,2,1,0", DEMO_VISIBLE="4")
    assert {record.status for record in records} == {"ok"}
    assert {record.case.op for record in records} == {"noop", "barrier", *catalog.GROUPS["links"]}


@pytest.mark.ranks
def test_sizes_follow_from_where_the_buffers_turn_out_to_be(device, tmp_path):
    config = RunConfig(transport="torch", sweep=Sweep(ops=("all_reduce",), sizes=(8,), ranks=()), device_sizes=(4096,),
                       policy=Policy(alignment="barrier", case_s=0.005, min_samples=2), display="quiet",
                       journal=tmp_path / "journal.jsonl")
    config.write(tmp_path / "config.json")
    started(device, "--config", str(tmp_path / "config.json"), DEMO_INIT_S="0")
    _, records, _ = read_journal(config.journal)
    assert {record.case.bytes for record in records if record.case.op == "all_reduce"} == {4096}
    assert config.for_device("cpu") == config


@pytest.mark.slow
@pytest.mark.ranks
def test_collectives_run_beside_compute_and_beside_others_over_the_library_of_the_device(device, tmp_path):
    """Compute and collective are in queues of their own, whose events tell when each is complete."""
    _, records, _ = run(device, tmp_path, "--ops", "overlap,interference", "--sizes", "64K", "--group-ranks", "4",
                        "--traffic", "collective=all_reduce,victim=all_reduce:aggressor=all_to_all:bytes=64K,"
                        "victim=all_gather:aggressor=copy:bytes=64K",
                        local_ranks="0,1,2,3", DEMO_INIT_S="0.05")
    assert [record.status for record in records] == ["ok"] * 4, [record.reason for record in records]
    marks = next(record for record in records if record.case.op == "overlap").timings[0]
    for rank, taken in enumerate(marks.elapsed_ns):
        for sample in marks.counted():
            started, compute, collective = (marks.marks_ns[name][rank][sample]
                                            for name in ("started", "compute", "collective"))
            most = 1.5 * taken[sample]      # the device has a clock of its own
            assert 0 < started < compute <= most
            assert 0 < collective <= most
