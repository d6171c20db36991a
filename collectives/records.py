"""What a run leaves behind: runs and records, one checked JSON line each, appended and synced as they come.

A journal holds `Run` lines (provenance, once a run) and `Record` lines (one a case). A record keeps what the
clock said, warm-up included; medians, intervals and bandwidths are computed by whoever reads it, so that a better
statistic tomorrow applies to yesterday's file.
"""

import fcntl
import os
import stat
import threading
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from .cases import Case, Sweep, format_size
from .catalog import pairs
from .errors import CollbenchError, UsageError

__all__ = ["FAULT_NOTE", "MODES", "SCHEMA", "STATUSES", "Clock", "Fault", "Imported", "Journal", "JournalError",
           "Policy", "Portion", "Record", "Run", "Timing", "UnreadableError", "Verification", "is_device",
           "makespans_ns", "no_journal", "read_journal", "read_lines"]

# Schema history. A reader accepts its own number and every earlier one.
#   1  2026-11  first
SCHEMA = 1

Status = Literal["ok", "wrong", "timeout", "unsupported", "skipped-memory", "failed"]
STATUSES: tuple[str, ...] = Status.__args__
Mode = Literal["isolated", "streamed"]
MODES: tuple[str, ...] = Mode.__args__
FAULT_NOTE = "ended the job"      # among the notes of a record: a rank hung, died or failed in this case


class JournalError(CollbenchError):
    """A journal cannot be opened, read or appended to."""


class UnreadableError(JournalError):
    """A file cannot be read, or is no journal."""

    exit_status = UsageError.exit_status


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How cases are measured; the same for every case of a run, and no part of a case's identity.

    Args:
        alignment: how ranks start a sample together: a name in `alignment.ALIGNMENTS`, or `auto` in a request.
        loop: `native` for a compiled timing loop where it can be built (`auto` in a request), `python` for none.
        persistent: MPI-4 persistent collectives: set up once, then started and waited for in each call.
        precision: stop when the 95 % interval of the median is within this share of it, either way.
        case_s: time for the samples of one mode of one case, when precision is not reached before.
        min_samples, max_samples: counted samples a mode, whatever the time.
        block_s: how long a streamed sample should take; its number of calls follows from it.
        cache: `warm`, and caches hold of the buffers what filling them has left there, or `cold`, and before each
            sample they are filled with something else. Every call of a sample has buffers of its own either way.
        graph: calls of a streamed sample are captured once and replayed as one graph, where the device has graphs.
    """

    modes: tuple[Mode, ...] = ("isolated", "streamed")
    alignment: str = "auto"
    loop: Literal["auto", "native", "python"] = "auto"
    persistent: bool = False
    precision: float = 0.02
    case_s: float = 0.25
    min_samples: int = 5
    max_samples: int = 500
    block_s: float = 2e-3
    cache: Literal["warm", "cold"] = "warm"
    graph: bool = False


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """What may be said about times of different ranks.

    `shared`: all ranks read one clock (one host); `synchronised`: each reads its own, brought to that of rank 0 within
    each timing's `clock_error_s`; `local`: each its own, so only durations compare.
    """

    kind: Literal["shared", "synchronised", "local"]


class Run(msgspec.Struct, frozen=True, kw_only=True, tag="run", tag_field="line"):
    """Provenance of the records that name it: where, with what, how, and by which command."""

    schema: int
    id: str
    started: str
    transport: str
    library: str
    device: str
    world: int
    clock: Clock
    policy: Policy
    sweep: Sweep
    command: tuple[str, ...]
    provenance: dict[str, object]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """The first element that was not what it had to be. Values as text: JSON has no NaN."""

    rank: int
    index: int
    expected: str
    found: str
    when: str


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared, byte for byte unless `tolerance` says otherwise.

    `checks` counts comparisons of one rank's whole output with what it had to be, over all ranks: before timing,
    and of the timed calls. `wrong` counts those that failed.
    """

    checks: int
    wrong: int
    fault: Fault | None = None
    method: str = "exact"


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """One mode of one case, as the clocks of its ranks had it, in whole nanoseconds.

    Args:
        calls: calls between the two clock readings of a sample.
        warmup: so many samples at the front are warm-up, kept but not counted.
        late: samples (by index) that some rank began after the agreed start; kept but not counted.
        alignment: how ranks started each sample together.
        loop: what ran between the two readings: the interpreter, or a compiled loop.
        stopwatch: whose clock took the time: the host's, after waiting for the device, or the device's own, by marks
            around what was queued on it.
        graph: the calls were one captured graph.
        span: what the time of a sample is: last end minus first begin, or the slowest rank's own duration.
        clock_error_s: how far two ranks' readings of one moment may be apart; None where clocks do not compare.
        begin_ns: [rank][sample] start after the first rank's start; None where clocks do not compare.
        elapsed_ns: [rank][sample] from the rank's start to its end, over all calls of the sample.
        precision: half width of the 95 % interval of the median over the median, at the end; None when unknown.
        stopped_by: what ended the sampling.
    """

    mode: Mode
    calls: int
    warmup: int
    late: list[int] = []
    alignment: str = "barrier"
    loop: Literal["python", "native"] = "python"
    stopwatch: Literal["host", "device"] = "host"
    graph: bool = False
    span: Literal["makespan", "slowest rank"] = "slowest rank"
    clock_error_s: float | None = None
    begin_ns: list[list[int]] | None
    elapsed_ns: list[list[int]]
    precision: float | None
    stopped_by: Literal["precision", "time", "samples"]

    def counted(self) -> list[int]:
        """Indices of the samples that count: neither warm-up nor late."""
        late = set(self.late)
        return [sample for sample in range(self.warmup, len(self.elapsed_ns[0])) if sample not in late]

    def message_s(self, case: Case) -> list[float]:
        """Seconds of one message (one call, for a collective) in each counted sample, as `span` says.

        Where only the initiators of a pairwise exchange hold a stopwatch, it is over them.
        """
        timed = case.operation.timed_ranks(case.ranks)
        scale = 1e9 * self.calls * case.operation.messages
        elapsed = self.elapsed_ns[:timed]
        if self.span == "slowest rank":
            return [max(row[sample] for row in elapsed) / scale for sample in self.counted()]
        return [ns / scale for ns in makespans_ns(self.begin_ns[:timed], elapsed, self.counted())]

    def pair_s(self, case: Case) -> dict[tuple[int, int], list[float]]:
        """Of a case that measures links: seconds of one message in each counted sample, by (who begins, who answers).

        On the clock of who begins, who waits for the answer.
        """
        scale, counted = 1e9 * self.calls * case.operation.messages, self.counted()
        return {pair: [self.elapsed_ns[pair[0]][sample] / scale for sample in counted] for pair in pairs(case)}


def makespans_ns(begin_ns: list[list[int]], elapsed_ns: list[list[int]], samples: list[int]) -> list[int]:
    """Last end minus first begin over the ranks, of each of these samples."""
    return [max(begin[sample] + elapsed[sample] for begin, elapsed in zip(begin_ns, elapsed_ns, strict=True))
            - min(begin[sample] for begin in begin_ns) for sample in samples]


class Record(msgspec.Struct, frozen=True, kw_only=True, tag="record", tag_field="line"):
    """One case, measured or not: what was run, whether the answer was right, and the raw samples.

    `at_s` is when the case ended, in seconds after the start of its run; `reason` says why a status is not `ok`.
    """

    run: str
    case: Case
    status: Status
    reason: str | None = None
    notes: tuple[str, ...] = ()
    asked_bytes: int = 0
    verification: Verification | None = None
    timings: tuple[Timing, ...] = ()
    at_s: float = 0.0
    reproduce: str = ""


class Imported(msgspec.Struct, frozen=True, kw_only=True, tag="imported", tag_field="line"):
    """One figure that another tool printed: a summary where a `Record` has samples; None is what it did not print.

    Nothing here need fit a `Case`: the tool may know operations, element types and sizes that collbench does not.

    Args:
        op: name in the catalog, or the tool's own where the catalog has none (then the status is `unsupported`).
        message_bytes: payload S as in the catalog; 0 is a call that moves nothing.
        native_size_bytes: the size as it was printed, in bytes: of one peer's block where the tool prints that.
        time_s: seconds per message as the catalog counts messages; None where no time was printed.
        statistic: what `time_s` is, in full; `time_kind` only what it is over ranks, which must not be pooled.
        repeats: calls that the time is over.
        rank_min_s, rank_mean_s, rank_max_s: over ranks; p50_s, p95_s, p99_s: over calls.
        algbw_Bps, busbw_Bps: as printed; readers compute their own.
        checked: whether the tool checked the result.
        variant: what else must not be mixed: settings, placement, routing.
        source: file name and line.
    """

    run: str
    op: str
    ranks: int
    message_bytes: int
    native_size_bytes: int | None = None
    dtype: str | None = None
    redop: str | None = None
    in_place: bool | None = None
    traffic: str | None = None
    mode: Mode
    time_s: float | None = None
    statistic: str
    time_kind: str
    repeats: int | None = None
    rank_min_s: float | None = None
    rank_mean_s: float | None = None
    rank_max_s: float | None = None
    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    algbw_Bps: float | None = None
    busbw_Bps: float | None = None
    checked: bool | None = None
    status: Status = "ok"
    reason: str | None = None
    notes: tuple[str, ...] = ()
    algorithm: str | None = None
    protocol: str | None = None
    ranks_per_node: int | None = None
    variant: str | None = None
    source: str

    def label(self) -> str:
        """A few words for messages, as `Case.label`."""
        place = {None: "", True: "in-place", False: "out-of-place"}[self.in_place]
        words = [self.op, format_size(self.message_bytes), self.dtype, self.redop, place, self.algorithm]
        return " ".join(word for word in words if word) + f", {self.ranks} ranks"


Line = Run | Record | Imported
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Line)
_SEAL = b',"crc32":"%08x"}\n'
_SEAL_LENGTH = len(_SEAL % 0)


def seal(line: Line) -> bytes:
    """One line of a journal: JSON with a checksum over everything before the checksum."""
    body = _ENCODER.encode(line)[:-1]
    return body + _SEAL % zlib.crc32(body)


def unseal(raw: bytes) -> Line:
    """The run or record in one line of a journal; ValueError says what is wrong with it."""
    body = raw[:-_SEAL_LENGTH]
    if raw[-_SEAL_LENGTH:] != _SEAL % zlib.crc32(body):
        raise ValueError("cut short, or its checksum does not match")
    try:
        return _DECODER.decode(body + b"}")
    except (msgspec.DecodeError, CollbenchError) as error:
        raise ValueError(str(error)) from None


class Journal:
    """The file that results are appended to, by one writer at a time; every line is on disk before the next case."""

    def __init__(self, path: Path) -> None:
        """Open `path` for appending; JournalError when it cannot be written or another process writes it."""
        self.path = path
        self._turn = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._end_cut_line()
        except BlockingIOError:
            raise JournalError(f"{path}: another run is writing this journal; give another --out") from None
        except OSError as error:
            raise JournalError(f"{path}: cannot be written: {error.strerror}") from None

    def _end_cut_line(self) -> None:
        """A line cut by a crash stays as it is; the next one starts on a line of its own."""
        size = os.lseek(self._fd, 0, os.SEEK_END)
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            self._write(b"\n")

    def append(self, line: Line) -> None:
        """Write one line in one piece and wait until it is on disk."""
        with self._turn:
            self._write(seal(line))

    def append_last(self, line: Line, patience_s: float = 2.0) -> None:
        """The same from a thread that is about to end the process; nothing is written after it."""
        if not self._turn.acquire(timeout=patience_s):
            raise JournalError(f"{self.path}: is being written to and does not answer")
        self._write(seal(line))

    def extend(self, lines: Iterable[Line]) -> None:
        """Write many lines at once, for what can be had again if it is lost on the way."""
        self._write(b"".join(seal(line) for line in lines))

    def _write(self, data: bytes) -> None:
        try:
            if os.write(self._fd, data) != len(data):
                raise OSError(28, "no space left on device")
            os.fsync(self._fd)
        except OSError as error:
            raise JournalError(f"{self.path}: {error.strerror}; everything before this case is safe in it") from None

    def close(self) -> None:
        """Give up the file and its lock."""
        os.close(self._fd)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Portion(NamedTuple):
    """Whole lines of a journal.

    Args:
        path: the journal.
        begin: bytes before the first line.
        line: its number, from 1.
        runs: those before it.
        end: bytes before the first line that is no longer part of it; None: it ends with the file.
    """

    path: Path
    begin: int = 0
    line: int = 1
    runs: tuple[Run, ...] = ()
    end: int | None = None


def read_lines(path: Path | Portion, warnings: list[str]) -> Iterator[Line]:
    """Each usable line of a journal, or of a portion of one, in order; one that was cut or damaged adds a warning.

    A record comes only after its run. UnreadableError: not a file. UsageError: written by a later collbench.
    """
    portion = path if isinstance(path, Portion) else Portion(path)
    path, known = portion.path, {run.id for run in portion.runs}
    for number, raw in _raw_lines(portion):
        try:
            line = unseal(raw)
        except ValueError as error:
            warnings.append(f"{path}:{number}: line skipped: {error}")
            continue
        if isinstance(line, Run):
            if line.schema > SCHEMA:
                raise UsageError(f"{path}:{number}: schema {line.schema} is newer than this collbench reads ({SCHEMA})")
            known.add(line.id)
        elif line.run not in known:
            warnings.append(f"{path}:{number}: record skipped: its run {line.run!r} is not in the journal")
            continue
        yield line


def read_journal(path: Path) -> tuple[dict[str, Run], list[Record], list[str]]:
    """Runs by id, records in order, and warnings, all in memory. UnreadableError also when there is no run in it."""
    warnings: list[str] = []
    lines = list(read_lines(path, warnings))
    runs = {line.id: line for line in lines if isinstance(line, Run)}
    if not runs:
        raise no_journal(path, warnings)
    return runs, [line for line in lines if isinstance(line, Record)], warnings


def no_journal(path: Path, warnings: list[str]) -> UnreadableError:
    """What to say of a file without any run in it."""
    detail = f" ({warnings[0].partition(': ')[2]})" if warnings else ": it is empty"
    return UnreadableError(f"{path}: not a collbench journal{detail}")


def _raw_lines(portion: Portion) -> Iterator[tuple[int, bytes]]:
    path, at = portion.path, portion.begin
    try:
        with path.open("rb") as file:
            if is_device(file.fileno()):
                raise UnreadableError(f"{path}: is a device, not a file")
            if portion.begin:
                file.seek(portion.begin)
            for number, raw in enumerate(file, portion.line):
                if portion.end is not None and at >= portion.end:
                    return
                at += len(raw)
                if raw.strip():
                    yield number, raw
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise UnreadableError(f"{str(path)!r:.80}: not a file name") from None


def is_device(file: int) -> bool:
    """Whether an open file has no end of its own, so that it must not be read whole."""
    mode = os.fstat(file).st_mode
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
