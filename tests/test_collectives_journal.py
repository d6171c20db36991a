"""The journal: records survive whatever happens to the end of the file."""

import os
import random
import resource
import shutil
import stat
import subprocess
import sys
import zlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.errors import CollbenchError
from collbench.collectives.records.append_file import ReplacedError
from collbench.collectives.records.digest import digest
from collbench.collectives.records.echo import echoed, rebuilt
from collbench.collectives.records.journal import Journal, JournalError, UnreadableError, read_journal, seal, unseal
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


LINE_ENDS = "\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
NOISE = st.text(st.characters(codec="utf-8", exclude_characters=LINE_ENDS), max_size=30)


@given(st.integers(0, 1000), st.lists(NOISE, max_size=8), NOISE)
@settings(max_examples=60)
def test_a_log_holds_the_journal_whatever_is_before_and_between_its_lines(seed, others, prefix):
    """Long lines come in parts. A record without samples has its digests, which is what readers use."""
    order = random.Random(seed)
    run = msgspec.structs.replace(RUN, provenance={"host": order.randbytes(4000).hex()})
    digested = msgspec.structs.replace(record(1), digests=(digest(CASE, TIMING, 0.05),))
    parts = [part for line in (run, digested, record(2)) for part in echoed(line)]
    assert len(parts) > 3
    lines = [f"{prefix} {part} {prefix}" for part in parts] + others
    order.shuffle(lines)
    journal, lost = rebuilt("\n".join(lines + lines[:2]))
    assert lost == []
    assert sorted(journal.splitlines(True)) == sorted(
        map(seal, (run, msgspec.structs.replace(digested, timings=()), record(2))))


@given(st.data())
@settings(max_examples=60)
def test_a_damaged_log_costs_no_line_but_the_damaged_one(data):
    parts = [(number, part) for number in range(4) for part in echoed(record(number))]
    hit, (number, part) = data.draw(st.sampled_from(list(enumerate(parts))))
    body = data.draw(st.integers(part.rindex(" ") + 1, len(part) - 5))      # bits of the last characters are unused
    change = data.draw(st.sampled_from(["", "A" if part[body] != "A" else "B"]))
    parts[hit] = number, part[:body] + change + part[body + 1:]
    journal, lost = rebuilt("\n".join(part for _, part in parts))
    assert [unseal(line) for line in journal.splitlines(True)] == [record(n) for n in range(4) if n != number]
    assert len(lost) == 1
    assert "is lost" in lost[0]


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


# what others do to the file while it is open

def unlink(path):
    path.unlink()


def rename(path):
    path.rename(path.with_name("old.jsonl"))


def remove_folder(path):
    shutil.rmtree(path.parent)


def move_folder(path):
    path.parent.rename(path.parent.with_name("moved"))


def replace_folder_by_link(path):
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.with_name("elsewhere").mkdir()
    path.parent.symlink_to("elsewhere")


@pytest.mark.parametrize("when", ["between lines", "before it is closed"])
@pytest.mark.parametrize("remove", [unlink, rename, remove_folder, move_folder, replace_folder_by_link])
def test_a_journal_that_is_taken_away_is_written_again(tmp_path, capfd, remove, when):
    path = tmp_path / "r" / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(RUN)
        journal.append(record(0))
        if when == "between lines":
            remove(path)
        journal.append(record(1))
        if when != "between lines":
            remove(path)
    assert capfd.readouterr().err == (f"collbench: warning: {path}: it was removed or renamed during the run; what was "
                                      "in it was written there again\n")
    runs, records, warnings = read_journal(path)
    assert (list(runs), [found.at_s for found in records], warnings) == (["r1"], [0.0, 1.0], [])


def test_another_file_in_its_place_is_kept_and_so_is_what_was_written(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append(RUN)
    journal.append(record(0))
    path.unlink()
    path.write_text("mine\n")
    with pytest.raises(ReplacedError, match="another file took its place") as raised:
        journal.append(record(1))
    with pytest.raises(ReplacedError):
        journal.close()
    assert path.read_text() == "mine\n"
    rescued, = tmp_path.glob("rescued-*")
    assert str(rescued) in str(raised.value)
    assert [found.at_s for found in read_journal(rescued)[1]] == [0.0, 1.0]


def test_a_rescue_copy_goes_elsewhere_if_its_folder_takes_nothing(tmp_path, monkeypatch):
    """A file stands where the folder was."""
    path, work = tmp_path / "r" / "journal.jsonl", tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    journal = Journal(path)
    journal.append(RUN)
    shutil.rmtree(path.parent)
    path.parent.write_text("")
    with pytest.raises(ReplacedError, match=f"everything measured so far is in {work}/rescued-"):
        journal.append(record(0))


@pytest.mark.parametrize("cut", [10, len(seal(record(1)))], ids=["within a line", "a whole line"])
def test_a_cut_journal_says_what_is_lost_and_goes_on(tmp_path, capfd, cut):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        for line in (RUN, record(0), record(1)):
            journal.append(line)
        size = path.stat().st_size
        os.truncate(path, size - cut)
        journal.append(record(2))
        assert journal.damaged
    assert f"{path}: another process cut it from {size} to {size - cut} bytes: what was there is lost; --resume " \
        in capfd.readouterr().err
    _, records, warnings = read_journal(path)
    assert [found.at_s for found in records] == [0.0, 2.0]
    assert len(warnings) == (cut == 10)


def test_what_another_process_appends_is_told_and_costs_no_record(tmp_path, capfd):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(RUN)
        with path.open("ab") as other:
            other.write(b"a note")
        journal.append(record(0))
        assert not journal.damaged
    assert capfd.readouterr().err == f"collbench: warning: {path}: another process appended 6 bytes to it\n"
    assert [found.at_s for found in read_journal(path)[1]] == [0.0]


def test_a_journal_that_is_overwritten_by_a_longer_file_is_damaged(tmp_path, capfd):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(RUN)
        path.write_bytes(b"x" * 99_999)
        journal.append(record(0))
        assert journal.damaged
    assert "another process wrote over it" in capfd.readouterr().err


def test_a_file_that_is_no_journal_is_not_appended_to(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text("my notes\n")
    with pytest.raises(UnreadableError, match="not a collbench journal, so nothing is appended to it; give another"):
        Journal(path)
    assert path.read_text() == "my notes\n"


def test_a_journal_whose_first_line_is_damaged_is_one_still(journal):
    whole = bytearray(journal.read_bytes())
    whole[:20] = bytes(20)
    journal.write_bytes(whole)
    Journal(journal).close()
