"""`collbench project`: each operation and message size of DATA in other domains, with intervals."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from collbench.collectives.cases.catalog import DTYPES, OPERATIONS, round_up
from collbench.collectives.cases.traffic import is_traffic

from ..cost.algorithms import ALGORITHMS
from ..cost.fabric import fabric_of
from ..domains.facts import Domain, load_domains
from ..frames.bandwidth import busbw_Bps
from ..frames.columns import PROJECTED
from ..frames.load import with_text
from ..text.json_text import json_rows
from ..text.units import seconds
from .head_to_head import DrawKey, Versus
from .monte_carlo import Draws, Target, sample_times
from .references import Reference, learn, shipped

__all__ = ["COLUMNS", "LEVEL", "as_json", "home_of", "project"]

LEVEL = 0.9
COLUMNS = ("system", "op", "algorithm", "dtype", "traffic", "message_bytes", "asked_bytes", "ranks", "kind", "time_s",
           "time_lo_s", "time_hi_s", "level", "busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps", "bound_s", "distance",
           "domain", "rank_is", "instead", "basis", "variance_shares", "reason")
_TEXT = ("system", "op", "algorithm", "dtype", "traffic", "domain", "rank_is", "instead", "basis", "reason")
_ENDS = ((1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2)
_SET_UP = "making and freeing communicators is work of the software, of which a domain's facts say nothing"
_UNLINKED = re.compile(r"NVLink (?:is )?(?:disabled|off)|(?:no|not|without) NVLink", re.IGNORECASE)


def project(points: pd.DataFrame, keys: Sequence[str], domains: Mapping[str, Domain] | None = None,
            ranks: int | None = None, dies: bool = False, measured_on: str | None = None,
            kept: dict[DrawKey, Draws] | None = None) -> pd.DataFrame:
    """Times of the operations and message sizes of `points` in other domains.

    Args:
        points: the frame of `frames.load`.
        keys: keys of `domains` (None: the shipped ones).
        ranks: rank count in each domain; None: the whole domain.
        dies: a rank is a die if an accelerator has several.
        measured_on: the domain of the measurement; None: found by the accelerator's name.
        kept: filled with the draws by domain, operation, traffic and requested size, for comparisons.

    Returns:
        A frame of COLUMNS: `kind` is `projected`, or `refused` with `reason`. `distance` is the rank count over the
        largest one of a reference. All domains get the same message sizes, as the catalog counts them.
    """
    domains = load_domains() if domains is None else domains
    home = measured_on or home_of(points, domains)
    own = _own(points, home, domains)
    note = _note(points, home)
    rows: list[dict[str, object]] = []
    for key in keys:
        domain = domains[key]
        why_not = _why_not(key, domain, ranks)
        for (system, op, dtype, traffic), sizes in _wanted(points):
            common: dict[str, object] = {"system": system, "op": op, "dtype": dtype, "traffic": traffic, "domain": key}
            if why_not or _is_set_up(op):
                rows.append({**common, "kind": "refused", "reason": why_not or _SET_UP})
                continue
            target = _target(key, domain, ranks, dies)
            common |= {"ranks": target.ranks, "rank_is": _rank_is(target)}
            payloads = [_payload(op, asked, target.ranks, dtype, traffic) for asked in sizes]
            drawn = _series(target, op, payloads, own, traffic)
            if drawn is None:
                rows.append({**common, "kind": "refused", "reason": f"no algorithm of {op} is known there"})
                continue
            for asked, (payload, one) in zip(sizes, drawn, strict=True):
                rows.append({**common, **_row(one, payload), "asked_bytes": asked, "reason": note,
                             "distance": target.ranks / max(reference.ranks for reference in (*shipped(), *own))})
                if kept is not None:
                    kept[key, op, traffic, asked] = one
    frame = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    frame = with_text(frame, _TEXT)
    known = (frame["op"], frame["ranks"].fillna(2), frame["message_bytes"].astype(float))
    for rate, time in (("busbw_Bps", "time_s"), ("busbw_lo_Bps", "time_hi_s"), ("busbw_hi_Bps", "time_lo_s")):
        frame[rate] = busbw_Bps(*known, frame[time].astype(float))
    return frame


def _is_set_up(op: str) -> bool:
    return op in OPERATIONS and OPERATIONS[op].lifecycle


def as_json(frame: pd.DataFrame, lines: Sequence[Versus] = ()) -> list[dict[str, Any]]:
    """Rows as JSON objects, None if unknown; `beats`: probability that its domain is faster."""
    found = json_rows(frame, whole=("message_bytes", "asked_bytes", "ranks"))
    for row in found:
        row["beats"] = {}
        for line in lines:
            same = (line.op, line.traffic, line.asked_bytes) == (row["op"], row["traffic"], row["asked_bytes"])
            if same and row["domain"] in line.domains:
                first = row["domain"] == line.domains[0]
                row["beats"][line.domains[1 if first else 0]] = round(line.faster if first else 1 - line.faster, 4)
    return found


def home_of(points: pd.DataFrame, domains: Mapping[str, Domain]) -> str | None:
    """The domain whose accelerator is named in system, device or variant of the data; None if there is none.

    Names are compared as whole words. If the data name several accelerators (a GB200 system with B200 devices), the
    longest name wins; of domains with the same accelerator, the smallest. None too if a name says that the links were
    not used.
    """
    columns = [name for name in ("system", "device", "variant") if name in points.columns]
    text = " ".join(str(value) for name in columns for value in points[name].dropna().unique())
    if _UNLINKED.search(text):
        return None
    words = set(re.findall(r"[A-Za-z0-9]+", text.upper()))
    found = []
    for key, domain in domains.items():
        size = domain.accelerators.value if domain.accelerators else float("inf")
        for alternative in (domain.accelerator or "").split("/"):       # "MI350X/MI355X" are two names
            name = re.match(r"[A-Za-z0-9]+", alternative.removeprefix("Ascend ").removeprefix("NVIDIA "))
            if name and len(name.group()) >= 3 and name.group().upper() in words:
                found.append((-len(name.group()), size, key))
    return min(found)[2] if found else None


def _own(points: pd.DataFrame, home: str | None, domains: Mapping[str, Domain]) -> tuple[Reference, ...]:
    """References from the user's measurement; none if the rate of its links is unknown."""
    if home is None or home not in domains or fabric_of(domains[home]) is None or points.empty:
        return ()
    domain = domains[home]
    most = domain.accelerators.value if domain.accelerators else float("inf")
    usable = points[(points["ranks"] >= 2) & (points["ranks"] <= most) & (points["time_s"] > 0)]
    usable = usable[usable["op"].isin(list(OPERATIONS))]
    frame = pd.DataFrame({"op": usable["op"], "size": usable["asked_bytes"], "ranks": usable["ranks"],
                          "payload_bytes": usable["message_bytes"], "time_s": usable["time_s"]})
    return tuple(learn(frame, home, domain, domain.library or "other", "this measurement"))


def _note(points: pd.DataFrame, home: str | None) -> str:
    if home is not None:
        return f"measured on {home}: its overhead, step time and share of link rate have half of the total weight"
    if set(points["device"].dropna().unique()) <= {"cpu"} and points["transport"].notna().any():
        return ("measured on CPUs: only operations and message sizes are used; rates and latencies are from published "
                "measurements")
    return ("the domain of the measurement is unknown (see --measured-on): rates and latencies are from published "
            "measurements only")


def _why_not(key: str, domain: Domain, ranks: int | None) -> str | None:
    if domain.accelerators is None and ranks is None:
        return f"{key}: no source gives its number of accelerators; specify --to"
    if fabric_of(domain) is None:
        return f"{key}: no source gives the rate of its links"
    if ranks is not None and domain.accelerators is not None and \
            ranks > domain.accelerators.value * domain.dies:
        return f"{key}: has {domain.accelerators.value:g} accelerators, not {ranks}"
    return None


def _target(key: str, domain: Domain, ranks: int | None, dies: bool) -> Target:
    """Ranks are dies with `dies`, or if there are more ranks than accelerators."""
    most = int(domain.accelerators.value) if domain.accelerators else None
    split = domain.dies > 1 and (dies or bool(ranks and most and ranks > most))
    return Target(key, domain, ranks or (most or 0) * (domain.dies if split else 1), split)


def _rank_is(target: Target) -> str:
    if target.domain.dies == 1:
        return "accelerator"
    return "die" if target.dies else f"accelerator of {target.domain.dies} dies"


def _wanted(points: pd.DataFrame) -> list[tuple[tuple[Any, str, str, str | None], list[int]]]:
    """(system, op, dtype, traffic) with the requested sizes; collectives only."""
    mask = points["op"].map(lambda op: op in ALGORITHMS and op in OPERATIONS)
    table = points[mask & (points["ranks"] >= 2)]
    groups: Iterable[tuple[Any, pd.DataFrame]] = table.groupby([*PROJECTED], dropna=False, sort=False)
    return [((system, op, dtype, traffic if isinstance(traffic, str) else None),
             sorted({int(size) for size in rows["asked_bytes"]})) for (system, op, dtype, traffic), rows in groups]


def _payload(op: str, asked: int, ranks: int, dtype: str, traffic: str | None) -> int:
    """The message size nearest above `asked` that the operation can divide among `ranks`."""
    if not OPERATIONS[op].has_payload:
        return 0
    if dtype not in DTYPES or (OPERATIONS[op].uneven and not is_traffic(traffic or "")):     # of another tool
        return -(-asked // ranks) * ranks
    return round_up(op, max(asked, 1), ranks, dtype, traffic)


def _series(target: Target, op: str, payloads: Sequence[int], own: Sequence[Reference],
            traffic: str | None) -> list[tuple[int, Draws]] | None:
    """Draws over message sizes; within a draw, no size is slower than a larger one, to which it could be padded."""
    sampled = [sample_times(target, op, payload, shipped(), own, traffic=traffic) for payload in payloads]
    drawn = [one for one in sampled if one is not None]
    if len(drawn) < len(sampled):
        return None
    times = np.minimum.accumulate(np.stack([one.time_s for one in drawn])[::-1])[::-1]
    return [(payload, replace(one, time_s=time_s))
            for payload, one, time_s in zip(payloads, drawn, times, strict=True)]


def _row(drawn: Draws, payload: int) -> dict[str, object]:
    low, middle, high = np.quantile(drawn.time_s, _ENDS)
    instead = "; ".join(f"if instead {name}: {seconds(time_s)}" for name, _, time_s in drawn.instead)
    algorithm = drawn.algorithm if drawn.weight > 0.98 else f"{drawn.algorithm} ({drawn.weight:.0%})"
    return {"kind": "projected", "message_bytes": payload, "time_s": max(middle, drawn.bound_s), "time_lo_s": low,
            "time_hi_s": high, "level": LEVEL, "algorithm": algorithm, "bound_s": drawn.bound_s,
            "instead": instead or None, "basis": drawn.basis, "variance_shares": drawn.shares}
