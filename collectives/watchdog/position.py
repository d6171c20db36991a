"""Where the main thread of each rank is, and which ranks are not where the others wait."""

import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from ..interfaces import Phase
from ..loop import timing
from ..text import name_ranks

__all__ = ["Position", "find_position", "missing_ranks", "show_stacks"]

_SHOWN = 8
_INNERMOST = 6      # calls of a stack that are shown
# Packages whose functions wait for other ranks.
_COMMUNICATING = ("collbench.collectives.transports.", "torch.distributed.", "mpi4py.")


class Position(NamedTuple):
    """Where the main thread of one rank is.

    Args:
        number: the case, counted from 1 in the order of the plan.
        phase: the phase that it entered last.
        function: the innermost function.
        stack: the innermost calls, as text.
        communicates: whether it is in a call of the communication library.
    """

    number: int
    phase: str
    function: str
    stack: str
    communicates: bool


def find_position(number: int, phase: Phase) -> Position:
    """The position of this process's main thread; any thread may ask."""
    frame: FrameType | None = sys._current_frames().get(threading.main_thread().ident or 0)
    calls: list[str] = []
    modules: list[str] = []
    while frame is not None and len(calls) < _INNERMOST:
        code = frame.f_code
        calls.append(f"{code.co_name} ({Path(code.co_filename).name}:{frame.f_lineno})")
        modules.append(str(frame.f_globals.get("__name__")))
        frame = frame.f_back
    # A bound C function of the library has no frame: the timed block that calls it is innermost then.
    communicates = modules[:1] == [timing.__name__] or any(module.startswith(_COMMUNICATING) for module in modules)
    return Position(number, phase, calls[0].split(" ")[0] if calls else "", " < ".join(calls), communicates)


def missing_ranks(positions: dict[int, Position], members: Iterable[int]) -> set[int]:
    """Ranks of the case that are elsewhere than most: in another case, another phase, or another function.

    Without a majority, those that are not in a communication call.
    """
    places = {rank: positions[rank][:3] for rank in members if rank in positions}
    counts = [list(places.values()).count(place) for place in places.values()]
    most = max(counts, default=0)
    if len(set(places.values())) < 2:
        return set()
    if most == 1 or counts.count(most) == len(places):
        return {rank for rank in places if not positions[rank].communicates}
    return {rank for rank, place in places.items() if list(places.values()).count(place) < most}


def show_stacks(positions: dict[int, Position]) -> list[str]:
    """Phase and stack of each rank, one line for ranks that share both."""
    groups: dict[tuple[str, str], list[int]] = {}
    for rank, position in sorted(positions.items()):
        groups.setdefault((position.phase, position.stack), []).append(rank)
    return [f"{name_ranks(ranks)}: {phase}: {stack}" for (phase, stack), ranks in groups.items()][:_SHOWN]
