"""Rules for NCCL's CSV tuner plugin and for RCCL, which reads them by itself: the fastest algorithm and protocol.

The grammar is in `export.nccl_tuner`. A size counts if it was measured in two ways or more; the previous size's winner
stays unless another is faster beyond its own interval, so that a tie makes no rule of its own.
"""

import math
import re
from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import pandas as pd

from ..nccl_tuner import ALGORITHMS, ANY_SIZE, COLLECTIVES, PROTOCOLS, Rule, render
from .written import Tables, provenance_file

__all__ = ["BY_ALGORITHM", "LACKS", "TITLE", "write"]

TITLE = "NCCL tuner plugin and RCCL: nccl_tuner.conf"
LACKS = ("a rule needs all_reduce, all_gather, reduce_scatter, broadcast or reduce, measured with two or more "
         "algorithms, protocols or channel counts of NCCL at one size")
BY_ALGORITHM = True

_WORDS = {"nvlstree": "nvls_tree", "collnetdirect": "collnet_direct", "collnetchain": "collnet_chain"}
_WAY = ["_algorithm", "_protocol", "_channels"]
_CHANNELS = re.compile(r"n?channels\s*[=:]\s*(\d+)", re.IGNORECASE)
_ONE_CHANNEL = ("the data do not state channels: NCCL's example plugin then uses one (RCCL the library's own number); "
                "write them into the sixth field")
_OUTSIDE = "calls that no rule matches use one channel under NCCL's example plugin"


def write(costs: pd.DataFrame) -> Tables:
    """`nccl_tuner.conf`: measured rules, then forecast ones."""
    known = costs[costs["op"].isin(COLLECTIVES)].copy()
    known["_algorithm"] = known["algorithm"].map(_algorithm)
    known["_protocol"] = known["protocol"].map(lambda name: f"{name}".lower())
    known["_channels"] = known["variant"].map(_channels)
    known = known[known["_algorithm"].isin(ALGORITHMS) & known["_protocol"].isin(PROTOCOLS)]
    parts: list[str] = []
    used: list[int] = []
    rules: list[Rule] = []
    for kind, words in (("measured", "Fastest as measured."), ("extrapolated", "Fastest as forecast, by the median.")):
        made = [rule for _, rows in known[known["kind"] == kind].groupby(["op", "ranks"]) for rule in _rules(rows)]
        if made:
            rules += [rule for rule, _ in made]
            used += [number for _, index in made for number in index]
            parts.append(render([rule for rule, _ in made], [
                f"{kind}: {words} Times and intervals: {provenance_file(__name__)}."]))
    if not parts:
        return Tables({}, {})
    notes = [_OUTSIDE] + ([_ONE_CHANNEL] if any(rule.channels is None for rule in rules) else [])
    return Tables({"nccl_tuner.conf": "\n".join(parts)}, {"nccl_tuner.conf": pd.Index(used)}, tuple(notes))


def _algorithm(name: object) -> str:
    word = f"{name}".lower().replace("-", "_")
    return _WORDS.get(word.replace("_", ""), word)


class _Winner(NamedTuple):
    """The fastest way at a size, and the rows that were compared."""

    size: int
    row: dict[str, Any]
    compared: list[int]

    @property
    def way(self) -> tuple[object, ...]:
        return tuple(self.row[name] for name in _WAY)


def _rules(rows: pd.DataFrame) -> Iterator[tuple[Rule, list[int]]]:
    """Rules of one operation at one rank count, each with the rows that it rests on."""
    winners: list[_Winner] = []
    for size, same in rows.groupby("message_bytes"):
        ways = same.sort_values("time_s", kind="stable").drop_duplicates(_WAY)
        if len(ways) > 1:
            winners.append(_winner(int(str(size)), ways, winners[-1] if winners else None))
    groups = [list(group) for _, group in groupby(winners, lambda winner: winner.way)]
    ends = [round((before[-1].size * after[0].size) ** 0.5) for before, after in pairwise(groups)]
    for group, least, most in zip(groups, [0, *(end + 1 for end in ends)], [*ends, ANY_SIZE], strict=False):
        row = group[0].row
        yield (Rule(row["op"], least, most, row["_algorithm"], row["_protocol"], row["_channels"] or None, _nodes(row),
                    int(row["ranks"])), [index for winner in group for index in winner.compared])


def _winner(size: int, ways: pd.DataFrame, before: _Winner | None) -> _Winner:
    """The fastest of `ways`, or the winner before it, if that is as fast as far as one can tell."""
    rows = ways.to_dict("records")
    best = rows[0]
    sure = best["time_hi_s"] if best["time_hi_s"] == best["time_hi_s"] and best["time_hi_s"] else best["time_s"]
    stays = [row for row in rows if before and tuple(row[name] for name in _WAY) == before.way]
    chosen = stays[0] if stays and stays[0]["time_s"] <= sure else best
    return _Winner(size, {str(name): value for name, value in chosen.items()}, ways.index.tolist())


def _channels(variant: object) -> int:
    """The channels that a variant names; 0 if it does not."""
    found = _CHANNELS.search(f"{variant}")
    return int(found[1]) if found else 0


def _nodes(row: dict[str, Any]) -> int | None:
    node = row["ranks_per_node"]
    return math.ceil(row["ranks"] / node) if node == node and node else None
