"""What a run leaves behind: runs and records, the lines of a journal (`journal.py`).

`Run` is provenance, once a run, `Record` one case. A record keeps what the clock said, warm-up included, and a digest
of it that spares readers the samples; who knows a better statistic than that of the digest computes it from them, so
that a better statistic tomorrow applies to yesterday's file.
"""

from typing import Annotated, Literal

import msgspec

from ..cases.case import Case, Sweep, format_size
from ..cases.catalog import pairs

__all__ = ["DIGEST", "FAULT_NOTE", "MODES", "SCHEMA", "STATUSES", "Clock", "Digest", "Fault", "Imported", "Last",
           "Policy", "Record", "Run", "Timing", "Verification", "makespans_ns"]

Count = Annotated[int, msgspec.Meta(ge=1)]
Ns = Annotated[float, msgspec.Meta(ge=0, le=1e19)]      # up to 300 years

# Schema history. A reader accepts its own number and every earlier one.
#   1  2026-11  first
SCHEMA = 1
DIGEST = 1      # which statistics a digest holds, and how they are computed; a reader takes no other than its own

Status = Literal["ok", "wrong", "timeout", "unsupported", "skipped-memory", "failed"]
STATUSES: tuple[str, ...] = Status.__args__
Mode = Literal["isolated", "streamed"]
MODES: tuple[str, ...] = Mode.__args__
FAULT_NOTE = "ended the job"      # among the notes of a record: a rank hung, died or failed in this case


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


class Last(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who was last of all ranks at one of their moments, over samples; both are [rank].

    Args:
        times: in how many samples.
        late_ns: how long after the next one, added up over those samples.
    """

    times: list[int]
    late_ns: list[int]


class Digest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the samples of one `Timing` say, in ns of a whole sample: of all its calls and their messages.

    Args:
        version: `DIGEST` when it was made.
        samples: those that count.
        kind: the span of the timing.
        lo_ns, hi_ns: 95 % interval of the median; None with too few samples.
        p5_ns, p95_ns, p99_ns: quantiles over samples.
        rank_min_ns, rank_mean_ns, rank_max_ns: over ranks, of each rank's own median.
        last_rank, last_share: who ended last most often, and in what share of samples; None for a single stopwatch.
        flags: what a reader must know before trusting the median.
        begun: samples after the warm-up, late ones too.
        slowest_ns: median over these of the slowest rank's own time.
        begin, end: who began and ended last in them; None where that says nothing. Of a late start `end` keeps what
            was lost beyond it.
    """

    version: int
    mode: Mode
    calls: Count
    samples: Count
    kind: Literal["makespan", "slowest rank"]
    median_ns: Ns
    lo_ns: Ns | None
    hi_ns: Ns | None
    p5_ns: Ns
    p95_ns: Ns
    p99_ns: Ns
    rank_min_ns: Ns
    rank_mean_ns: Ns
    rank_max_ns: Ns
    last_rank: int | None = None
    last_share: float | None = None
    flags: tuple[str, ...] = ()
    begun: int = 0
    slowest_ns: Ns | None = None
    begin: Last | None = None
    end: Last | None = None

    def fits(self, ranks: int) -> bool:
        """Whether this version of collbench made it, of so many ranks."""
        begin, end = self.begin, self.end
        return (self.version == DIGEST and (begin is None or len(begin.times) == len(begin.late_ns) == ranks)
                and (end is None or len(end.times) == len(end.late_ns) == ranks))


class Record(msgspec.Struct, frozen=True, kw_only=True, tag="record", tag_field="line"):
    """One case, measured or not: what was run, whether the answer was right, and the raw samples.

    `at_s` is when the case ended, in seconds after the start of its run; `reason` says why a status is not `ok`.
    `digests` are those of `timings`, in order, or none. The timings, which are nearly all of a line, come last in it.
    """

    run: str
    case: Case
    status: Status
    reason: str | None = None
    notes: tuple[str, ...] = ()
    asked_bytes: int = 0
    verification: Verification | None = None
    at_s: float = 0.0
    reproduce: str = ""
    digests: tuple[Digest, ...] = ()
    timings: tuple[Timing, ...] = ()


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
