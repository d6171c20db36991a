"""The lines of a journal: `Run` is the provenance of a run, `Record` the result of one case.

A record keeps all raw samples, including warm-up, and a digest of them. Most readers need the digest only; a new
statistic can still be computed from the samples of an old file.
"""

from typing import Annotated, Literal, get_args

import msgspec

from ..cases.case import Case, Sweep, format_size
from ..cases.catalog import pairs

__all__ = ["CACHE_STATES", "CALL_LISTS", "DIGEST", "FAULT_NOTE", "MODES", "SCHEMA", "STATUSES", "Cache", "Clock",
           "Digest", "Figure", "Imported", "LastArrivals", "Mismatch", "Mode", "Policy", "Record", "Run", "Timing",
           "Verification", "makespans_ns"]

Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 60)]
Ns = Annotated[float, msgspec.Meta(ge=0, le=1e19)]      # up to 300 years

# Schema history. A reader accepts its own number and every earlier one.
#   1  2026-11  first
#   2  2026-11  state of the caches: what was called warm is rotated; each timing names its own
SCHEMA = 2
DIGEST = 1      # version of the digest's statistics; a reader recomputes any other version from the samples

Status = Literal["ok", "wrong", "timeout", "unsupported", "skipped-memory", "failed"]
STATUSES: tuple[str, ...] = get_args(Status)
Mode = Literal["isolated", "streamed"]
Cache = Literal["warm", "rotated", "cold"]
CALL_LISTS = "call lists"         # key of the provenance: the calls of sequences from files, by their names
MODES: tuple[Mode, ...] = get_args(Mode)
CACHE_STATES: tuple[Cache, ...] = get_args(Cache)
FAULT_NOTE = "ended the job"      # note on a record: a rank hung, died or failed in this case


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How cases are measured; the same for every case of a run, and not part of a case's identity.

    Args:
        alignment: how ranks start a sample together: a name in `alignment.ALIGNMENTS`, or `auto` in a configuration.
        loop: `native` for the compiled timing loop, `python`, or `auto` in a configuration.
        persistent: MPI-4 persistent collectives: initialised once, then started and completed in each call.
        precision: target half-width of the 95 % confidence interval of the median, relative to the median.
        case_s: sampling time per case and mode if the precision is not reached earlier, in seconds.
        min_samples, max_samples: bounds on the counted samples per mode, regardless of time.
        warmup: samples before those that count; None for as many as it takes until they get no faster.
        block_s: target duration of a streamed sample in seconds; determines its number of calls.
        cache: the state of the caches before a sample, see `loop.caches`; a timing names its own.
        graph: capture the calls of a streamed sample and replay them as a graph, if the device supports graphs.
    """

    modes: tuple[Mode, ...] = ("isolated", "streamed")
    alignment: str = "auto"
    loop: Literal["auto", "native", "python"] = "auto"
    persistent: bool = False
    precision: float = 0.02
    case_s: float = 0.25
    min_samples: int = 5
    max_samples: int = 500
    warmup: int | None = None
    block_s: float = 2e-3
    cache: Cache = "warm"
    graph: bool = False


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """How the clocks of different ranks compare.

    `shared`: all ranks read one clock (one host); `synchronised`: each rank's clock is mapped to that of rank 0, with
    an error of at most each timing's `clock_error_s`; `local`: clocks do not compare, only durations do.
    """

    kind: Literal["shared", "synchronised", "local"]


class Run(msgspec.Struct, frozen=True, kw_only=True, tag="run", tag_field="line"):
    """Provenance of all records that refer to it: hosts, versions, settings and command line.

    A run on GPUs has a second line at its end, with what became of them; it replaces the first.
    """

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


class Mismatch(msgspec.Struct, frozen=True, kw_only=True):
    """The first wrong element. Values are text because JSON has no NaN."""

    rank: int
    index: int
    expected: str
    found: str
    when: str


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """How the results were checked.

    `checks` counts comparisons of one rank's whole output with the expected result, over all ranks, before timing
    and of the timed calls; `wrong` counts those that failed. `method` is how: `exact` is a comparison of every byte;
    of a barrier it says what was tested when.

    Of the `calls` that were timed, counted on each rank that receives something, `compared` were compared in full and
    `probed` in one word, at a place that changes; the next call overwrote the results of the others. All are None in
    older journals and for a barrier.
    """

    checks: int
    wrong: int
    fault: Mismatch | None = None
    method: str = "exact"
    calls: int | None = None
    compared: int | None = None
    probed: int | None = None


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Raw samples of one mode of one case, in whole nanoseconds.

    Args:
        calls: calls per sample, between its two clock readings.
        warmup: number of leading samples that are warm-up; kept but not counted.
        late: indices of samples that some rank began after the agreed start; kept but not counted.
        alignment: how ranks started each sample together.
        loop: whether Python or the compiled loop made the calls.
        stopwatch: the clock used: the host's, after synchronising with the device, or events on the device.
        graph: the calls were one captured graph.
        cache: the state of the caches before each sample; None if unknown.
        span: definition of a sample's time: last end minus first begin, or the slowest rank's own duration.
        clock_error_s: bound on the difference of two ranks' clocks in seconds; None if clocks do not compare.
        begin_ns: [rank][sample] start relative to the first rank's start; None if clocks do not compare.
        elapsed_ns: [rank][sample] duration on each rank, over all calls of the sample.
        host_bound: indices of samples in which the device had to wait for the host to queue a call, so that its clock
            may tell the speed of the host.
        as_called_ns: [rank][sample] the same calls on the host's clock, from the first one until all are complete: what
            a program that makes them one after another waits for. None where the stopwatch is the host's anyway.
        states: the states that samples take turns in: sample i is in state i % len(states), and the time of the case is
            that of the last. Empty if there is only one.
        marks_ns: by name, [rank][sample] from the begin of a call until the moment that the mark stands for, summed
            over the calls of the sample; see `Composition.marks`.
        precision: final half-width of the 95 % confidence interval of the median over the median, of the least precise
            state; None if unknown.
        stopped_by: what ended the sampling.

    Raises:
        ValueError: span `makespan` without begin_ns.
    """

    mode: Mode
    calls: int
    warmup: int
    late: list[int] = []
    alignment: str = "barrier"
    loop: Literal["python", "native"] = "python"
    stopwatch: Literal["host", "device"] = "host"
    graph: bool = False
    cache: Cache | None = None
    span: Literal["makespan", "slowest rank"] = "slowest rank"
    clock_error_s: float | None = None
    begin_ns: list[list[int]] | None
    elapsed_ns: list[list[int]]
    host_bound: list[int] = []
    as_called_ns: list[list[int]] | None = None
    states: tuple[str, ...] = ()
    marks_ns: dict[str, list[list[int]]] = {}
    precision: float | None
    stopped_by: Literal["precision", "time", "samples"]

    def __post_init__(self) -> None:
        if self.span == "makespan" and self.begin_ns is None:
            raise ValueError("a timing with span makespan has no begin_ns")

    def begun(self, state: str | None = None) -> range:
        """Indices of the samples in a state, the last one if None, after warm-up. ValueError if there is none such."""
        states = len(self.states) or 1
        turn = states - 1 if state is None else self.states.index(state)
        first = self.warmup + (turn - self.warmup) % states
        return range(first, len(self.elapsed_ns[0]), states)

    def counted(self, state: str | None = None) -> list[int]:
        """Indices of the samples in a state, the last one if None, that are neither warm-up nor late."""
        late = set(self.late)
        return [sample for sample in self.begun(state) if sample not in late]

    def message_s(self, case: Case, state: str | None = None) -> list[float]:
        """Seconds per message (per call, for a collective) of each counted sample in a state, as defined by `span`.

        Taken over the timed ranks only, which in some pairwise exchanges are the initiators.
        """
        timed, counted = case.operation.timed(case), self.counted(state)
        scale = 1e9 * self.calls * case.operation.messages
        elapsed = [self.elapsed_ns[rank] for rank in timed]
        if self.span == "slowest rank" or self.begin_ns is None:
            return [max(row[sample] for row in elapsed) / scale for sample in counted]
        begin = [self.begin_ns[rank] for rank in timed]
        return [ns / scale for ns in makespans_ns(begin, elapsed, counted)]

    def pair_s(self, case: Case) -> dict[tuple[int, int], list[float]]:
        """Seconds per message of each counted sample of a link case, by (initiator, responder).

        Measured by the initiator, which waits for the response.
        """
        scale, counted = 1e9 * self.calls * case.operation.messages, self.counted()
        return {pair: [self.elapsed_ns[pair[0]][sample] / scale for sample in counted] for pair in pairs(case)}


def makespans_ns(begin_ns: list[list[int]], elapsed_ns: list[list[int]], samples: list[int]) -> list[int]:
    """Last end minus first begin over the ranks, for each of these samples, in ns."""
    return [max(begin[sample] + elapsed[sample] for begin, elapsed in zip(begin_ns, elapsed_ns, strict=True))
            - min(begin[sample] for begin in begin_ns) for sample in samples]


class LastArrivals(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Which ranks were last to begin (or to end), over samples; both lists are [rank].

    Args:
        times: number of samples in which the rank was last.
        late_ns: delay after the second-to-last rank, summed over those samples.
    """

    times: list[int]
    late_ns: list[int]


class Figure(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A figure that compares the states of a case.

    Args:
        value, lo, hi: with its 95 % interval; the bounds are None with too few rounds.
        n: rounds of samples behind it.
    """

    value: float
    lo: float | None
    hi: float | None
    n: int


class Digest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Statistics of one `Timing`, in ns per sample, that is, over all calls and messages of a sample.

    Args:
        version: value of `DIGEST` when it was computed.
        samples: number of counted samples.
        kind: the span of the timing.
        lo_ns, hi_ns: 95 % confidence interval of the median; None with too few samples.
        p5_ns, p95_ns, p99_ns: quantiles over samples.
        rank_min_ns, rank_mean_ns, rank_max_ns: over ranks, of each rank's own median.
        last_rank, last_share: the rank that ended last most often, and its share of samples; None if one rank is timed.
        flags: warnings about the median.
        begun: samples after warm-up, including late ones.
        slowest_ns: median over those of the slowest rank's own duration.
        begin, end: which ranks began and ended last in those; None if not meaningful. `end` excludes the delay that a
            late begin of the same rank explains.
        as_called_ns: median of the slowest rank's duration on the host's clock, where the others are on the device's.
        cache: as in `Timing`; None also in digests of earlier versions.
        figures: what the states of the case compare to, by name; see `figures`.
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
    begin: LastArrivals | None = None
    end: LastArrivals | None = None
    as_called_ns: Ns | None = None
    cache: Cache | None = None
    figures: dict[str, Figure] = {}

    def fits(self, ranks: int) -> bool:
        """Whether this version of collbench computed it, for `ranks` ranks."""
        begin, end = self.begin, self.end
        return (self.version == DIGEST and (begin is None or len(begin.times) == len(begin.late_ns) == ranks)
                and (end is None or len(end.times) == len(end.late_ns) == ranks))


class Record(msgspec.Struct, frozen=True, kw_only=True, tag="record", tag_field="line"):
    """The result of one case, measured or not: status, verification and raw samples.

    `at_s` is when the case ended, in seconds after the start of its run; `reason` explains any status but `ok`.
    `digests` match `timings` in order, or are empty. `timings` make up most of a line and must stay the last field,
    so that readers can skip them.
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
    """One result printed by another tool: a summary without samples; None stands for what it did not print.

    It need not correspond to a `Case`: the tool may have operations, element types and sizes that collbench has not.

    Args:
        op: name in the catalog, or the tool's own name if the catalog has none (then the status is `unsupported`).
        message_bytes: message size S as in the catalog; 0 for a call that moves no data.
        native_size_bytes: the printed size in bytes, for example of one peer's block.
        time_s: seconds per message as the catalog counts messages; None if no time was printed.
        statistic: full description of `time_s`; `time_kind` is its reduction over ranks, which must not be pooled.
        repeats: number of calls behind the time.
        rank_min_s, rank_mean_s, rank_max_s: over ranks; p50_s, p95_s, p99_s: over calls.
        algbw_Bps, busbw_Bps: as printed; readers compute their own.
        checked: whether the tool verified the result.
        variant: anything else that must not be mixed: settings, placement, routing.
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
        """A short name for messages, like `Case.label`."""
        place = {None: "", True: "in-place", False: "out-of-place"}[self.in_place]
        words = [self.op, format_size(self.message_bytes), self.dtype, self.redop, place, self.algorithm]
        return " ".join(word for word in words if word) + f", {self.ranks} ranks"
