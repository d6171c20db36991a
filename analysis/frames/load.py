"""Load DATA into frames: one row per measured point, and one status per record.

A record's digest is used in place of its samples; a missing or outdated digest is computed. Journals are read line by
line, because the samples of a long run do not fit in memory as Python objects.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collbench.collectives.cases.axis_traffic import axis_of, is_mesh
from collbench.collectives.cases.case import Case
from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.sequence_traffic import lists_in, remember
from collbench.collectives.errors import printable
from collbench.collectives.records.digest import digest
from collbench.collectives.records.journal import JournalChunk, no_journal, read_lines
from collbench.collectives.records.record import CALL_LISTS, Digest, Imported, Mismatch, Record, Run

from ..importers import LogHints, read_log
from ..importers.collbench import is_journal
from . import imported
from .bandwidth import algbw_Bps, bus_factor
from .chunks import read_chunks
from .collector import collector_off
from .columns import CASE, RUN, STATUS, TEXT
from .comparisons import comparisons_of, joined
from .imported import EXTRA
from .lateness import Lateness
from .points import Point, points_of, shared
from .possible import only_possible
from .safe import safe_frame, safe_run

__all__ = ["Loaded", "load", "with_text"]

_EXTRA_TEXT = ("algorithm", "protocol", "variant", "statistic", "source")
_EXTRA_NUMBERS = ("ranks_per_node", "native_size_bytes", "repeats")
_SENTENCES = ("reason", "notes", "fault", "reproduce")      # an error of a library may have several lines
_CHUNK = 20_000


@dataclass(frozen=True)
class Loaded:
    """The contents of one DATA argument.

    Args:
        points: one row per ok record and mode; times in seconds per message, bandwidths in bytes per second.
        records: one row per case and run, with its status; the later one where a run measured a case twice.
        runs: runs by id, with their provenance.
        warnings: one sentence per line or timing that could not be used.
        lateness: how often each rank was last and by how much; columns `lateness.LATENESS`.
        on_axes: like `points`, of collectives in the groups of a mesh: no models, references or tables over rank counts
            are made of these. `members` is how many ranks took part, `ranks` the size of a group.
        comparisons: figures that compare the states of one case; columns `comparisons.COMPARISONS`.
    """

    points: pd.DataFrame
    records: pd.DataFrame
    runs: dict[str, Run]
    warnings: list[str] = field(default_factory=list)
    lateness: pd.DataFrame = field(default_factory=lambda: Lateness().frame())
    comparisons: pd.DataFrame = field(default_factory=lambda: joined(()))
    on_axes: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def all_points(self) -> pd.DataFrame:
        """`points` and `on_axes` in one frame."""
        if self.on_axes.empty:
            return self.points
        return pd.concat([self.points.assign(members=self.points["ranks"]), self.on_axes], ignore_index=True)


def load(path: Path, hints: LogHints | None = None) -> Loaded:
    """Read DATA: a run directory, a journal, a log of another tool or a tidy CSV.

    Nothing in it can harm what shows or computes it: texts are escaped (`text.safe_text`), and numbers that cannot be
    are left out (`possible`).

    Args:
        hints: the user's answers for what a log does not say itself.

    Raises:
        JournalError: it is none of these.
        UsageError: it was written by a newer version, or a hint is missing.
    """
    path = Path(path)
    journal = path / "journal.jsonl" if path.is_dir() else path
    with collector_off():
        parts = read_chunks(journal, _chunk) if is_journal(journal) else [_log(journal, hints)]
    runs = {identity: run for part in parts for identity, run in part.runs.items()}
    warnings = [words for part in parts for words in part.warnings]
    if not runs:
        raise no_journal(journal, warnings)
    records, points, impossible = only_possible(*_joined(parts), str(journal))
    repeated = records.duplicated(["run", *CASE, "figure"], keep="last")
    points = points[~repeated.loc[points["record"]].to_numpy()]
    lateness = safe_frame(Lateness.of_all(part.lateness for part in parts).frame())
    records = safe_frame(records.drop(columns=["figure", "origin"])[~repeated], _SENTENCES)
    runs = {run.id: run for run in map(safe_run, runs.values())}
    records = _about_runs(records, runs)
    derived = _derive(safe_frame(points), records, runs)
    meshed = derived["traffic"].map(is_mesh).astype(bool)
    return Loaded(derived[~meshed].drop(columns="members").reset_index(drop=True), records, runs,
                  [printable(words) for words in (*warnings, *impossible)], lateness,
                  safe_frame(joined(frame for part in parts for frame in part.comparisons)),
                  on_axes=derived[meshed].reset_index(drop=True))


class _Part(NamedTuple):
    """The contents of one chunk, as in `Loaded`; a point names its record by position in `statuses`."""

    statuses: pd.DataFrame
    points: pd.DataFrame
    runs: dict[str, Run]
    warnings: list[str]
    lateness: Lateness
    comparisons: list[pd.DataFrame]


def _chunk(chunk: JournalChunk) -> _Part:
    warnings: list[str] = []
    lines = read_lines(chunk, warnings, samples=False)
    return _part(lines, {run.id: run for run in chunk.runs}, warnings)


def _log(path: Path, hints: LogHints | None) -> _Part:
    log = read_log(path, hints)
    return _part(iter([*log.runs, *log.results]), {}, log.warnings)


def _part(lines: Iterator[Run | Record | Imported], runs: dict[str, Run], warnings: list[str]) -> _Part:
    """The frames of all lines, built in batches: as Python objects, rows take ten times the memory."""
    lateness, comparisons, read = Lateness(), list[pd.DataFrame](), 0
    statuses, points = [_imported([])[0]], [_imported([])[1]]
    for _, group in groupby(_records(lines, runs, warnings), type):
        while some := [*islice(group, _CHUNK)]:
            made = _frames(some, lateness, comparisons)
            statuses.append(made[0])
            points.append(made[1].assign(record=made[1]["record"] + read))
            read += len(some)
    return _Part(_one_below(statuses), _one_below(points), runs, warnings, lateness, comparisons)


def _frames(lines: Sequence[Record | Imported], lateness: Lateness,
            comparisons: list[pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Statuses and points of lines of one kind."""
    results = [line for line in lines if isinstance(line, Imported)]
    return _imported(results) if results else _measured([line for line in lines if isinstance(line, Record)], lateness,
                                                        comparisons)


def _one_below(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate; empty frames, whose columns have no types, only if there is nothing else."""
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


def _records(lines: Iterator[Run | Record | Imported], runs: dict[str, Run],
             warnings: list[str]) -> Iterator[Record | Imported]:
    """Yield records (digests instead of samples) and imported results in order; fills `runs` on the way."""
    for line in lines:
        if isinstance(line, Run):
            runs[line.id] = line
            remember(lists_in(line.provenance.get(CALL_LISTS)))
        elif isinstance(line, Record) and line.timings:
            made = tuple(_digests(line, runs[line.run].policy.precision, warnings))
            yield msgspec.structs.replace(line, timings=(), digests=made)
        else:
            yield line


def _digests(record: Record, precision: float, warnings: list[str]) -> Iterator[Digest]:
    for timing in record.timings:
        try:
            yield digest(record.case, timing, precision)
        except (ValueError, OverflowError) as error:
            warnings.append(str(error))


def _joined(parts: list[_Part]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Statuses and points of all chunks."""
    if len(parts) == 1:
        return parts[0].statuses, parts[0].points
    before = np.cumsum([0, *(len(part.statuses) for part in parts)])
    points = [part.points.assign(record=part.points["record"] + int(count))
              for part, count in zip(parts, before[:-1], strict=True)]
    return _one_below([part.statuses for part in parts]), _one_below(points)


def _imported(results: Sequence[Imported]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Statuses and points of imported results, each a row of its own; a point names its result by position."""
    statuses = [{"run": result.run, "figure": number, "origin": result.source, "label": result.label(),
                 **imported.identity(result), **imported.status(result)} for number, result in enumerate(results)]
    points = [{"record": number, **imported.point(result)._asdict(), **imported.extra(result)}
              for number, result in enumerate(results)
              if result.status == "ok" and not _is_linked(result.op)]        # `analysis.links` handles single links
    return (pd.DataFrame(statuses, columns=["run", *CASE, *STATUS, "figure", "origin"]),
            pd.DataFrame(points, columns=["record", *Point._fields, *EXTRA]))


def _is_linked(op: str) -> bool:
    return op in OPERATIONS and OPERATIONS[op].linked


def _measured(records: Sequence[Record], lateness: Lateness,
              comparisons: list[pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same for records, built column by column because there may be many."""
    places: list[int] = []
    digests: list[Digest] = []
    for place, record in enumerate(records):
        if record.status == "ok" and not record.case.operation.linked:      # `analysis.links` handles single links
            places += [place] * len(record.digests)
            digests += record.digests
    digested = [(records[place].run, records[place].case, made) for place, made in zip(places, digests, strict=True)]
    lateness.add(digested)
    comparisons.append(comparisons_of(digested))
    messages = np.array([records[place].case.operation.messages for place in places], dtype=float)
    points = points_of(digests, messages).assign(**dict.fromkeys(EXTRA))
    points.insert(0, "record", np.array(places, dtype=np.int64))
    return _statuses(records), points


def _statuses(records: Sequence[Record]) -> pd.DataFrame:
    cases = [record.case for record in records]
    checked = [record.verification for record in records]
    return pd.DataFrame({
        "run": shared([record.run for record in records]), "op": shared([case.op for case in cases]),
        "dtype": shared([case.dtype for case in cases]), "redop": shared([case.redop for case in cases]),
        "place": [_place(case) for case in cases], "traffic": shared([case.traffic for case in cases]),
        "ranks": [case.ranks for case in cases], "message_bytes": [case.bytes for case in cases],
        "label": [case.label() for case in cases], "status": [record.status for record in records],
        "reason": [record.reason for record in records],
        "checks": [made.checks if made else None for made in checked],
        "timed_calls": [made.calls if made else None for made in checked],
        "compared_calls": [made.compared if made else None for made in checked],
        "probed_calls": [made.probed if made else None for made in checked],
        "wrong": [made.wrong if made else None for made in checked],
        "fault": [_fault(made.fault) if made and made.fault else None for made in checked],
        "notes": ["; ".join(record.notes) for record in records],
        "asked_bytes": [record.asked_bytes for record in records], "at_s": [record.at_s for record in records],
        "reproduce": [record.reproduce for record in records], "figure": None, "origin": None})


def _place(case: Case) -> str | None:
    if not case.operation.has_in_place:
        return None
    return "in-place" if case.in_place else "out-of-place"


def _fault(fault: Mismatch) -> str:
    return f"rank {fault.rank}, element {fault.index}, {fault.when}: expected {fault.expected}, found {fault.found}"


def _derive(points: pd.DataFrame, records: pd.DataFrame, runs: dict[str, Run]) -> pd.DataFrame:
    """Points with the columns of their records, and those derived from the run and the catalog."""
    records = records.assign(members=_members(records))
    key = ["run", "op", "ranks", "members"]
    groups = records.groupby(key, sort=False).ngroup().to_numpy()
    first = records[key].take(np.unique(groups, return_index=True)[1])
    keys = [*first.itertuples(index=False, name=None)]
    place = records.index.searchsorted(points["record"])
    own = records[["run", *RUN, *CASE, "members", "asked_bytes", "label", "reproduce"]].take(place)
    points = pd.concat([own.reset_index(drop=True), points.drop(columns="record").reset_index(drop=True)], axis=1)
    points = with_text(points, _EXTRA_TEXT).astype(dict.fromkeys(_EXTRA_NUMBERS, float))
    group = groups[place]

    def per_group(values: list[float | None]) -> NDArray[np.float64]:
        return np.array(values, dtype=float)[group]

    policies = [runs[run].policy for run, *_ in keys]
    points["precision_target"] = per_group([policy.precision or None for policy in policies])
    of_run = np.array([policy.cache if policy.modes else None for policy in policies], dtype=object)[group]
    points["cache"] = points["cache"].astype(object).where(points["cache"].notna(), of_run)
    points["last_rank"] = points["last_rank"].astype("Int64")
    points["algbw_Bps"] = algbw_Bps(points["message_bytes"], points["time_s"])
    factor = per_group([bus_factor(op, ranks) for _, op, ranks, _ in keys])
    for rate, time in (("busbw_Bps", "time_s"), ("busbw_lo_Bps", "time_hi_s"), ("busbw_hi_Bps", "time_lo_s")):
        points[rate] = algbw_Bps(points["message_bytes"], points[time]) * factor
    crowded = [_oversubscribed(runs[run], members) for run, _, _, members in keys]
    points["oversubscribed"] = pd.array(crowded, dtype="boolean")[group]
    on_node = per_group([_most_on_a_host(runs[run], ranks) if ranks == members else None
                         for run, _, ranks, members in keys])
    points["ranks_per_node"] = points["ranks_per_node"].fillna(pd.Series(on_node))
    return _with_overhead(points)


def _members(records: pd.DataFrame) -> pd.Series:
    """How many ranks took part in each: those of the mesh, or all of `ranks`."""
    known = {text: axis.mesh.ranks for text in records["traffic"].dropna().unique() if (axis := axis_of(text))}
    members = records["traffic"].map(known) if known else records["ranks"]
    return members.fillna(records["ranks"]).astype(records["ranks"].dtype)


def with_text(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The frame with `columns` as text or None; pandas would turn a column without values into numbers."""
    return frame.assign(**{name: frame[name].astype(object).where(frame[name].notna(), None) for name in columns})


def _about_runs(frame: pd.DataFrame, runs: dict[str, Run]) -> pd.DataFrame:
    codes, identities = pd.factorize(frame["run"])
    of_each = [runs[identity] for identity in identities]
    facts = [(_system(run), run.transport, run.library, run.device) for run in of_each]
    for place, name in enumerate(RUN):
        values = np.array([fact[place] for fact in facts], dtype=object)[codes]
        frame.insert(list(frame.columns).index("run") + 1 + place, name, pd.Series(values, frame.index, dtype=object))
    return with_text(frame, TEXT)


def _system(run: Run) -> str | None:
    """Name of the fabric: the cluster if the run names one, else the host of rank 0."""
    name = run.provenance.get("cluster") or run.provenance.get("host")
    return str(name) if name else None


def _oversubscribed(run: Run, ranks: int) -> bool | None:
    """Whether a host has more of the first `ranks` ranks than usable cores; None if the run does not say."""
    hosts, cores = run.provenance.get("hosts"), run.provenance.get("cores")
    if not (isinstance(hosts, list) and isinstance(cores, list)) or min(len(hosts), len(cores)) < ranks:
        return None
    usable = dict(zip(hosts[:ranks], cores[:ranks], strict=True))
    if any(not isinstance(count, int) for count in usable.values()):
        return None
    return any(hosts[:ranks].count(host) > count for host, count in usable.items())


def _most_on_a_host(run: Run, ranks: int) -> float:
    """The largest number of the first `ranks` ranks on one host; NaN if the run does not say."""
    hosts = run.provenance.get("hosts")
    if not isinstance(hosts, list) or not ranks <= len(hosts):
        return float("nan")
    return float(max(map(hosts[:ranks].count, set(hosts[:ranks]))))


def _with_overhead(points: pd.DataFrame) -> pd.DataFrame:
    """Add `overhead_s`: the time of an empty call in the same loop; NaN if it was not measured."""
    same = ["run", "members", "mode"]
    empty = points.loc[points["op"] == "noop", [*same, "time_s"]].rename(columns={"time_s": "overhead_s"})
    return points.merge(empty.drop_duplicates(same), on=same, how="left")
