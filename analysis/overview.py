"""What was measured, on what, and whether it can be trusted: the first lines of every report, as values."""

from dataclasses import dataclass

import pandas as pd

from collectives.records import Run

from .findings import Finding
from .tidy import Loaded
from .units import payload

__all__ = ["Overview", "overview"]


@dataclass(frozen=True)
class Overview:
    """The head of a report.

    Args:
        title: the systems measured.
        measured: what was measured, in a sentence.
        facts: (name, value) pairs on what it was measured.
        sound: whether every case that ran gave the right result.
        verdict: the outcome in a sentence.
    """

    title: str
    measured: str
    facts: tuple[tuple[str, str], ...]
    sound: bool
    verdict: str


def overview(loaded: Loaded, findings: list[Finding]) -> Overview:
    """Sum up `loaded`."""
    systems = loaded.records["system"].fillna("unknown system").unique() if len(loaded.records) else ["unknown system"]
    facts = dict(pair for run in loaded.runs.values() for pair in _facts(run))
    sound = not any(finding.severity == "error" for finding in findings) and len(loaded.points) > 0
    return Overview(", ".join(systems), _measured(loaded), tuple(facts.items()), sound,
                    _verdict(loaded.records, len(loaded.points)))


def _measured(loaded: Loaded) -> str:
    records, points = loaded.records, loaded.points
    sizes = records.loc[records["message_bytes"] > 0, "message_bytes"]
    words = [f"{records['op'].nunique()} operations", f"{_list(records['ranks'])} ranks"]
    if len(sizes):
        words.append(f"payloads of {payload(sizes.min())} to {payload(sizes.max())}")
    words.append(f"{len(records)} cases, {len(points)} measured points")
    return ", ".join(words)


def _list(counts: pd.Series) -> str:
    return ", ".join(str(count) for count in sorted(counts.unique()))


def _facts(run: Run) -> list[tuple[str, str]]:
    """Missing keys of the provenance are left out: unknown is not shown as something."""
    known = run.provenance
    pairs = [("Started", run.started), (f"Transport, {run.transport}", f"{run.library}, device {run.device}")]
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


def _verdict(records: pd.DataFrame, points: int) -> str:
    counts = records["status"].value_counts().to_dict()
    right, total = counts.pop("ok", 0), len(records)
    others = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    if not total:
        return "Nothing was measured: the journal has no records."
    if not points:
        return f"Nothing was measured: {others or 'no samples'}."
    good = records[records["status"] == "ok"]
    unchecked = int(((good["message_bytes"] > 0) & ~(good["checks"] > 0)).sum())
    trust = f"right, but {unchecked} of them were not checked" if unchecked else "checked and right"
    measured = f"All {total}" if right == total else f"{right} of {total}"
    return f"{measured} cases {trust}" + (f"; {others}." if others else ".")
