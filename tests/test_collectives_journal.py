"""The journal: records survive whatever happens to the end of the file."""

import os
import resource
import stat
import subprocess
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.errors import CollbenchError
from collbench.collectives.records.journal import Journal, JournalError, read_journal, seal, unseal
from collbench.collectives.records.record import SCHEMA, Clock, Policy, Record, Run, Timing, Verification
from collbench.collectives.records.resume import completed_cases

CASE = Case(op="all_reduce", ranks=2, bytes=64, dtype="float32", redop="sum")
RUN = Run(schema=SCHEMA, id="r1", started="2026-01-01T00:00:00+00:00", transport="mpi", library="L", device="cpu",
          world=2, clock=Clock(kind="shared"), policy=Policy(), command=("x",), provenance={"host": "ünïcode \" \n"},
          sweep=Sweep(ops=("all_reduce",), sizes=(64,), ranks=(2,)))
TIMING = Timing(mode="isolated", calls=1, warmup=1, begin_ns=[[0, 5, 0], [3, 0, 4]],
                elapsed_ns=[[900, 100, 300], [100, 200, 100]], precision=None, stopped_by="time")


def record(number):
    return Record(run="r1", case=CASE, status="ok", timings=(TIMING,), at_s=float(number),
                  verification=Verification(checks=4, wrong=0))


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(RUN)
        for number in range(4):
            journal.append(record(number))
    return path


def test_what_is_written_is_read(journal):
    runs, records, warnings = read_journal(journal)
    assert runs == {"r1": RUN}
    assert records == [record(number) for number in range(4)]
    assert warnings == []


def test_a_journal_cut_anywhere_still_reads_up_to_the_cut(journal, tmp_path):
    whole = journal.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in range(ends[0], len(whole)):
        path = tmp_path / "cut.jsonl"
        path.write_bytes(whole[:cut])
        _, records, warnings = read_journal(path)
        complete = sum(end <= cut for end in ends) - 1
        assert [r.at_s for r in records] == list(range(complete))
        assert len(warnings) == (cut not in ends)


def test_writing_goes_on_after_a_cut_and_loses_only_the_cut_line(journal):
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-30])
    with Journal(journal) as again:
        again.append(record(9))
    _, records, warnings = read_journal(journal)
    assert [r.at_s for r in records] == [0, 1, 2, 9]
    assert len(warnings) == 1
    assert ":5:" in warnings[0]


@settings(max_examples=200)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_changed_bit_is_noticed(at, bit):
    line = bytearray(seal(record(1)))
    line[at % (len(line) - 1)] ^= 1 << bit
    with pytest.raises(ValueError, match="checksum"):
        unseal(bytes(line))


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_no_file_raises_anything_but_our_own_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("j") / "x"
    path.write_bytes(content)
    with pytest.raises(CollbenchError, match=str(path)):
        read_journal(path)


def test_a_second_writer_is_refused(journal):
    code = (f"from pathlib import Path\nfrom collbench.collectives.records.journal import Journal, JournalError\n"
            f"try:\n    Journal(Path({str(journal)!r}))\nexcept JournalError as e:\n    print('refused:', e)\n")
    with Journal(journal):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"refused: {journal}: another run")


def test_a_full_disk_is_one_clear_line_and_what_was_written_stays(tmp_path):
    """A limit on the size of files stands for the disk: /dev/full has one lock for the whole machine."""
    path = tmp_path / "journal.jsonl"
    line = seal(RUN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(path) as journal:
        journal.append(RUN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(line) + 10, before[1]))
        try:
            with pytest.raises(JournalError, match="no space left on device; all earlier cases"):
                journal.append(RUN)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes().startswith(line)


def test_a_journal_of_a_later_schema_is_refused(tmp_path):
    import msgspec
    path = tmp_path / "journal.jsonl"
    path.write_bytes(seal(msgspec.structs.replace(RUN, schema=SCHEMA + 1)))
    with pytest.raises(CollbenchError, match="newer"):
        read_journal(path)


def test_the_users_umask_holds(tmp_path):
    before = os.umask(0o077)
    try:
        Journal(tmp_path / "private.jsonl").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "private.jsonl").stat().st_mode) == 0o600


def test_the_time_of_a_call_is_the_slowest_ranks_without_warmup():
    assert TIMING.message_s(CASE) == [200e-9, 300e-9]


def test_pairwise_times_are_the_initiators_and_per_message():
    case = Case(op="ping_pong", ranks=2, bytes=8, dtype="float32")
    assert TIMING.message_s(case) == [50e-9, 150e-9]


def test_a_makespan_without_begins_is_a_damaged_line(journal):
    """The span says that times are computed from begins; such a line must not reach a reader."""
    spoilt = seal(record(4)).replace(b'"span":"slowest rank"', b'"span":"makespan"')
    spoilt = spoilt.replace(b'"begin_ns":[[0,5,0],[3,0,4]]', b'"begin_ns":null')
    body = spoilt[:-len(b',"crc32":"00000000"}\n')]
    with journal.open("ab") as file:
        file.write(body + b',"crc32":"%08x"}\n' % zlib.crc32(body))
    _, records, warnings = read_journal(journal)
    assert len(records) == 4
    assert len(warnings) == 1
    assert "makespan has no begin_ns" in warnings[0]


@pytest.mark.parametrize(("status", "repeated"), [
    ("ok", False), ("wrong", False), ("unsupported", False), ("skipped-memory", False), ("timeout", True),
    ("failed", True)])
def test_resuming_repeats_what_timed_out_or_failed_and_nothing_else(tmp_path, status, repeated):
    whole = record(0)
    line = whole if status == "ok" else Record(run="r1", case=CASE, status=status, reason="why", at_s=0.0)
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append(RUN)
        journal.append(line)
    found = completed_cases(journal.path, RUN, [CASE], anyway=False)
    assert found.cases == (frozenset() if repeated else {CASE})
    assert completed_cases(journal.path, RUN, [CASE], anyway=False, settled={"r1"}).cases == {CASE}
    with Journal(journal.path) as again:        # the latest record of a case counts
        again.append(whole)
    assert completed_cases(journal.path, RUN, [CASE], anyway=False).cases == {CASE}


def test_every_line_is_synced_after_it_was_written_and_before_append_returns(tmp_path, monkeypatch):
    """A spy on the system calls; the real ones run."""
    calls = []

    def spy(name):
        real = getattr(os, name)

        def called(*args):
            calls.append((name, args[0], os.fstat(args[0]).st_size))
            return real(*args)
        monkeypatch.setattr(os, name, called)
    with Journal(tmp_path / "journal.jsonl") as journal:
        spy("write")
        spy("fsync")
        for append in (journal.append, journal.append, lambda line: journal.extend([line, line]), journal.append_last):
            del calls[:]
            before = journal.path.stat().st_size
            append(record(1))
            after = journal.path.stat().st_size
            file = calls[0][1]
            assert calls == [("write", file, before), ("fsync", file, after)]
            assert os.path.samestat(os.fstat(file), journal.path.stat())
            assert after > before


def test_a_record_that_was_appended_before_a_crash_is_in_the_file(tmp_path):
    """The process kills itself at once after append, with no chance to flush or close anything."""
    path = tmp_path / "journal.jsonl"
    code = ("import os, signal, sys; from pathlib import Path\n"
            "from collbench.collectives.records.journal import Journal, unseal\n"
            "journal = Journal(Path(sys.argv[1]))\n"
            "for line in sys.stdin.buffer: journal.append(unseal(line))\n"
            "os.kill(os.getpid(), signal.SIGKILL)")
    done = subprocess.run([sys.executable, "-c", code, path], input=seal(RUN) + seal(record(1)) + seal(record(2)),
                          capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    runs, records, warnings = read_journal(path)
    assert (list(runs), [found.at_s for found in records], warnings) == (["r1"], [1.0, 2.0], [])
