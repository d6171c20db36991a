"""The first lines of every report as values: what was measured, on what system, and whether it can be trusted."""

from dataclasses import dataclass

import msgspec
import pandas as pd

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.records.record import Run

from ..domains.facts import Domain
from ..findings.collect import Finding
from ..findings.library import unused_between_hosts
from ..frames.load import Loaded
from ..text.units import counted, payload, rate

__all__ = ["Overview", "build_overview"]

_WITHOUT_PAYLOAD = [name for name, row in OPERATIONS.items() if not row.has_payload]


@dataclass(frozen=True)
class Overview:
    """The head of a report.

    Args:
        title: the systems measured.
        measured: what was measured, in a sentence.
        on: (name, value) pairs: the domain, devices, transports and versions, in brief.
        facts: (name, value) pairs describing the system in full.
        sound: every case that ran gave the right result, as far as that was checked.
        checked: all results were checked.
        trust: how many cases gave the right result, and whether that was checked.
        judgement: how the measurements compare with expectations; empty where there are none.
    """

    title: str
    measured: str
    on: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    sound: bool
    checked: bool
    trust: str
    judgement: str = ""

    @property
    def verdict(self) -> str:
        """The outcome in a sentence."""
        return f"{self.trust}; {self.judgement}." if self.judgement else f"{self.trust}."


def build_overview(loaded: Loaded, findings: list[Finding], home: tuple[str, Domain] | None = None,
                   by_user: bool = False, judgement: str | None = None) -> Overview:
    """Summarise `loaded`.

    Args:
        home: key and facts of the domain that was measured; `by_user` where the user named it, not the data.
        judgement: how the measurements compare with expectations, as a clause.
    """
    systems = [str(name) for name in loaded.records["system"].dropna().unique()] if len(loaded.records) else []
    if not systems:             # a log does not name its system: use its accelerators
        systems = [name for name in _devices(loaded) if name.lower() != "cpu"] or ["unknown system"]
    facts = dict(pair for run in loaded.runs.values() for pair in _facts(run))
    if compared := _compared(loaded.records):
        facts["Verification"] = compared
    sound = not any(finding.severity == "error" for finding in findings) and len(loaded.all_points) > 0
    known = judgement if judgement and len(loaded.points) else ""
    return Overview(", ".join(systems), _measured(loaded), _on(loaded, home, by_user), tuple(facts.items()), sound,
                    _unchecked(loaded.records) == 0,
                    _trust(loaded.records, len(loaded.all_points)) + _left_out(loaded), known)


def _on(loaded: Loaded, home: tuple[str, Domain] | None, by_user: bool) -> tuple[tuple[str, str], ...]:
    """What a reader asks first about where numbers come from; without what no run states."""
    runs = loaded.runs.values()
    devices = _devices(loaded)
    cpus = sorted({str(run.provenance["cpu"]) for run in runs if run.provenance.get("cpu")})
    most = int(loaded.records["ranks"].max()) if len(loaded.records) else 0
    named = [run.provenance.get("hosts") for run in runs]
    hosts = sorted({len(set(names)) for names in named if isinstance(names, list)})
    where = f" on {' or '.join(map(str, hosts))} host{'' if hosts == [1] else 's'}" if hosts else ""
    ranks = f"{most} ranks{where}" if most else ""
    versions: dict[str, str] = {}
    for run in runs:
        known = run.provenance.get("versions")
        if isinstance(known, dict):
            versions |= {str(name): str(version).partition(",")[0] for name, version in known.items() if version}
    pairs = (("Domain", _domain(loaded, home, by_user)),
             ("Devices", ", ".join(word for word in (ranks, ", ".join(devices), *cpus) if word)),
             ("Transports", ", ".join(dict.fromkeys(f"{run.transport} ({run.library.partition(',')[0]})"
                                                    for run in runs))),
             ("Data path", "; ".join(dict.fromkeys(_told(run) for run in runs if _told(run)))),
             ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return tuple((name, value) for name, value in pairs if value)


def _devices(loaded: Loaded) -> list[str]:
    return sorted({run.device for run in loaded.runs.values() if run.device not in ("", "not stated")})


def _domain(loaded: Loaded, home: tuple[str, Domain] | None, by_user: bool) -> str:
    if home is None and any(map(unused_between_hosts, loaded.runs.values())):
        return "none: the fabric between the hosts was not used (see the findings)"
    if home is None:
        on_cpu = all(run.device.lower().startswith("cpu") for run in loaded.runs.values() if run.device)
        return "none: ranks on CPUs, no scale-up link" if on_cpu else "not named in the data (--measured-on NAME)"
    key, domain = home
    outer = domain.tiers[-1].rate_Bps if domain.tiers else None
    words = [domain.name, f"{rate(outer.value)} one way per accelerator" if outer else "",
             f"{'--measured-on' if by_user else 'as named in the data'}: {key}"]
    return ", ".join(word for word in words if word)


def _measured(loaded: Loaded) -> str:
    records, points = loaded.records, loaded.all_points
    sizes = records.loc[records["message_bytes"] > 0, "message_bytes"]
    ops = records["op"].nunique()
    words = [counted(ops, "operation"), f"{_list(records['ranks'])} ranks"]
    if len(sizes):
        words.append(f"message sizes {payload(sizes.min())} to {payload(sizes.max())}")
    words.append(f"{counted(len(records), 'case')}, {counted(len(points), 'measured point')}")
    return ", ".join(words)


def _list(counts: pd.Series) -> str:
    return ", ".join(str(count) for count in sorted(counts.unique()))


def _facts(run: Run) -> list[tuple[str, str]]:
    """Without missing keys of the provenance: unknown values are not shown."""
    known = run.provenance
    pairs = [("Started", run.started)] if run.started else []
    pairs += [(f"Transport, {run.transport}", f"{run.library}, device {run.device}")]
    if known.get("cpu"):
        pairs.append(("Processor", str(known["cpu"])))
    hosts, cores = known.get("hosts"), known.get("cores")
    if isinstance(hosts, list) and hosts:
        pairs.append(("Ranks", f"{run.world} on {counted(len(set(hosts)), 'host')}"
                      + (f", {cores[0]} usable cores on the first" if isinstance(cores, list) and cores else "")))
    topology = known.get("topology")
    if isinstance(topology, dict) and topology.get("words"):
        pairs.append(("Scale-up domain", str(topology["words"])))
    if _told(run):
        pairs.append(("Data path", _told(run)))
    versions = known.get("versions")
    if isinstance(versions, dict):
        pairs.append(("Versions", _versions(versions)))
    policy = run.policy
    if policy.modes:        # another tool's log does not record how it was timed
        pairs.append(("Timing", f"start {policy.alignment}, loop {policy.loop}, caches {policy.cache}, target "
                      f"precision ±{100 * policy.precision:g} %, {run.clock.kind} clock"))
    if run.command:
        pairs.append((f"Command, {run.transport}", " ".join(run.command)))
    return pairs


def _told(run: Run) -> str:
    """What the log of the communication library tells, in words; empty without a log."""
    log = run.provenance.get("library_log")
    return str(log.get("words") or "") if isinstance(log, dict) else ""


def _versions(versions: dict[str, object]) -> str:
    """Of a long version, such as a build line, the part before the first comma."""
    return ", ".join(f"{name} {str(version).partition(',')[0]}" for name, version in versions.items() if version)


def _trust(records: pd.DataFrame, points: int) -> str:
    counts = records["status"].value_counts().to_dict()
    right, total = counts.pop("ok", 0), len(records)
    others = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    if not total:
        return "Nothing was measured: the journal has no records"
    if not points:
        return f"Nothing was measured: {others or 'no samples'}"
    unchecked = _unchecked(records)
    all_right = f"All {total} cases" if total > 1 else "The only case"
    measured = all_right if right == total else f"{right} of {total} cases"
    known = counted(right, "case")
    words = f"{measured} checked and right" if not unchecked else \
        f"{known}, of which {right - unchecked} were checked and right" if unchecked < right else \
        f"{known} ok according to {'its' if right == 1 else 'their'} log: no result was checked"
    return words + (f"; {others}" if others else "")


def _compared(records: pd.DataFrame) -> str:
    """What share of the timed calls was compared; empty for logs of other tools, and where calls moved no data."""
    calls, compared, probed = (pd.to_numeric(records[name]).sum() for name in
                               ("timed_calls", "compared_calls", "probed_calls"))
    if not calls:
        return ""
    words = f"every byte of {_percent(compared / calls)} of {calls:.0f} timed calls"
    return words + (f", one word of {_percent(probed / calls)}" if probed else "")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share == 1 or share < 0.995 else ">99 %"


def _left_out(loaded: Loaded) -> str:
    """How many cases were not measured and why, as clauses; of a resumed sweep, after its last run."""
    last: dict[tuple[str, ...], tuple[int, int]] = {}
    for run in loaded.runs.values():
        left_out, stopped = run.provenance.get("left out"), run.provenance.get("stopped before")
        key = (run.transport, run.library, run.device, repr(msgspec.structs.replace(run.sweep, seed=None)))
        last[key] = (sum(left_out.values()) if isinstance(left_out, dict) else 0,
                     stopped if isinstance(stopped, int) else 0)
    short, stopped = (sum(counts) for counts in zip(*last.values(), strict=True)) if last else (0, 0)
    return (f"; {short} left out to fit the time" if short else "") + \
        (f"; stopped before {stopped} others" if stopped else "")


def _unchecked(records: pd.DataFrame) -> int:
    """Cases that moved data and were not verified; an operation with a payload moved some even if no size is known."""
    good = records[records["status"] == "ok"]
    moved = (good["message_bytes"] > 0) | ~good["op"].isin(_WITHOUT_PAYLOAD)
    return int((moved & ~(good["checks"] > 0)).sum())
