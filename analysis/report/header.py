"""What was measured, on what, and whether it can be trusted: the first lines of every report, as values."""

from dataclasses import dataclass

import pandas as pd

from collbench.collectives.records.record import Run

from ..domains.facts import Domain
from ..findings.collect import Finding
from ..frames.load import Loaded
from ..text.units import payload, rate

__all__ = ["Overview", "overview"]


@dataclass(frozen=True)
class Overview:
    """The head of a report.

    Args:
        title: the systems measured.
        measured: what was measured, in a sentence.
        on: (name, value) pairs: the domain, devices, transports and versions, each in a few words.
        facts: (name, value) pairs on what it was measured, in full.
        sound: whether every case that ran gave the right result, as far as that was checked.
        checked: whether all of it was.
        trust: how many cases are right, and whether that was checked.
        judgement: how the figures compare with what is expected; empty where there are none.
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


def overview(loaded: Loaded, findings: list[Finding], home: tuple[str, Domain] | None = None, said: bool = False,
             judgement: str | None = None) -> Overview:
    """Sum up `loaded`.

    Args:
        home: key and facts of the domain it was measured in; `said` where a person named it, and not the data.
        judgement: how the figures compare with what is expected, in a clause.
    """
    systems = loaded.records["system"].dropna().unique() if len(loaded.records) else []
    if not len(systems):        # a log does not name its system: its accelerators do
        systems = [name for name in _devices(loaded) if name.lower() != "cpu"] or ["unknown system"]
    facts = dict(pair for run in loaded.runs.values() for pair in _facts(run))
    sound = not any(finding.severity == "error" for finding in findings) and len(loaded.points) > 0
    known = judgement if judgement and len(loaded.points) else ""
    return Overview(", ".join(systems), _measured(loaded), _on(loaded, home, said), tuple(facts.items()), sound,
                    _unchecked(loaded.records) == 0, _trust(loaded.records, len(loaded.points)), known)


def _on(loaded: Loaded, home: tuple[str, Domain] | None, said: bool) -> tuple[tuple[str, str], ...]:
    """What a reader asks first about where numbers come from; what no run says is left out."""
    runs = loaded.runs.values()
    devices = _devices(loaded)
    cpus = sorted({str(run.provenance["cpu"]) for run in runs if run.provenance.get("cpu")})
    most = int(loaded.records["ranks"].max()) if len(loaded.records) else 0
    hosts = sorted({len(set(run.provenance["hosts"])) for run in runs if isinstance(run.provenance.get("hosts"), list)})
    where = f" on {' or '.join(map(str, hosts))} host{'' if hosts == [1] else 's'}" if hosts else ""
    ranks = f"{most} ranks{where}" if most else ""
    versions: dict[str, str] = {}
    for run in runs:
        known = run.provenance.get("versions")
        if isinstance(known, dict):
            versions |= {str(name): str(version).partition(",")[0] for name, version in known.items() if version}
    pairs = (("Domain", _domain(loaded, home, said)),
             ("Devices", ", ".join(word for word in (ranks, ", ".join(devices), *cpus) if word)),
             ("Transports", ", ".join(dict.fromkeys(f"{run.transport} ({run.library.partition(',')[0]})"
                                                    for run in runs))),
             ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return tuple((name, value) for name, value in pairs if value)


def _devices(loaded: Loaded) -> list[str]:
    return sorted({run.device for run in loaded.runs.values() if run.device not in ("", "not stated")})


def _domain(loaded: Loaded, home: tuple[str, Domain] | None, said: bool) -> str:
    if home is None:
        on_cpu = all(run.device.lower().startswith("cpu") for run in loaded.runs.values() if run.device)
        return "none: ranks on CPUs, no scale-up link" if on_cpu else "not named in the data (--measured-on NAME)"
    key, domain = home
    outer = domain.tiers[-1].rate_Bps if domain.tiers else None
    words = [domain.name, f"{rate(outer.value)} one way per accelerator" if outer else "",
             f"as {'you say' if said else 'the data name'}: {key}"]
    return ", ".join(word for word in words if word)


def _measured(loaded: Loaded) -> str:
    records, points = loaded.records, loaded.points
    sizes = records.loc[records["message_bytes"] > 0, "message_bytes"]
    ops = records["op"].nunique()
    words = [f"{ops} operation{'' if ops == 1 else 's'}", f"{_list(records['ranks'])} ranks"]
    if len(sizes):
        words.append(f"payloads of {payload(sizes.min())} to {payload(sizes.max())}")
    words.append(f"{len(records)} cases, {len(points)} measured points")
    return ", ".join(words)


def _list(counts: pd.Series) -> str:
    return ", ".join(str(count) for count in sorted(counts.unique()))


def _facts(run: Run) -> list[tuple[str, str]]:
    """Missing keys of the provenance are left out: unknown is not shown as something."""
    known = run.provenance
    pairs = [("Started", run.started)] if run.started else []
    pairs += [(f"Transport, {run.transport}", f"{run.library}, device {run.device}")]
    if known.get("cpu"):
        pairs.append(("Processor", str(known["cpu"])))
    hosts, cores = known.get("hosts"), known.get("cores")
    if isinstance(hosts, list) and hosts:
        pairs.append(("Ranks", f"{run.world} on {len(set(hosts))} host{'s' if len(set(hosts)) > 1 else ''}"
                      + (f", {cores[0]} usable cores on the first" if isinstance(cores, list) and cores else "")))
    topology = known.get("topology")
    if isinstance(topology, dict) and topology.get("words"):
        pairs.append(("Scale-up domain", str(topology["words"])))
    versions = known.get("versions")
    if isinstance(versions, dict):
        pairs.append(("Versions", _versions(versions)))
    policy = run.policy
    if policy.modes:        # another tool's log does not say how it was timed
        pairs.append(("Timing", f"start {policy.alignment}, loop {policy.loop}, precision asked "
                      f"±{100 * policy.precision:g} %, {run.clock.kind} clock"))
    if run.command:
        pairs.append((f"Command, {run.transport}", " ".join(run.command)))
    return pairs


def _versions(versions: dict[str, object]) -> str:
    """Of a long version, such as a build line, what stands before the first comma."""
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
    measured = f"All {total}" if right == total else f"{right} of {total}"
    words = f"{measured} cases checked and right" if not unchecked else \
        f"{right} cases, of which {right - unchecked} were checked and right" if unchecked < right else \
        f"{right} cases, as their log says: no result was checked"
    return words + (f"; {others}" if others else "")


def _unchecked(records: pd.DataFrame) -> int:
    """Cases with a payload that came out without a check of what they moved."""
    good = records[records["status"] == "ok"]
    return int(((good["message_bytes"] > 0) & ~(good["checks"] > 0)).sum())
