"""Where the main thread of a rank is, and which ranks are not where the others wait."""

import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

from ..text import name_ranks

__all__ = ["not_there", "show_stacks", "where"]

_SHOWN = 8
# Function -> what a rank that is in it does, outermost first.
_PHASES = {"settle": "start", "_follow": "waiting for its next case", "measure": "set-up", "refresh": "clocks",
           "_trial": "verify", "_warm_up": "warm-up", "take_samples": "timed",
           "gather": "gather", "close": "finalize", "append": "writing the journal"}


def where() -> tuple[str, str, str]:
    """What the main thread does: phase, innermost calls of ours as text, and the function that it is in."""
    frame: FrameType | None = sys._current_frames().get(threading.main_thread().ident)
    names, phase = [], None
    while frame is not None:
        code = frame.f_code
        names.append(f"{code.co_name} ({Path(code.co_filename).name}:{frame.f_lineno})")
        phase = phase or _PHASES.get(code.co_name)
        frame = frame.f_back
    return phase or "between phases", " < ".join(names[:6]), names[0].split(" ")[0] if names else ""


def not_there(said: dict[int, dict], members: Iterable[int]) -> set[int]:
    """Ranks of the case that are elsewhere than most: at an earlier case, in another phase, or in a call of another."""
    places = {rank: (said[rank]["number"], said[rank]["where"], said[rank]["calls"])
              for rank in members if rank in said}
    counts = [list(places.values()).count(place) for place in places.values()]
    most = max(counts, default=0)
    if len(set(places.values())) < 2:
        return set()
    if most == 1 or counts.count(most) == len(places):      # no majority: the waiting ones are in a communication call
        return {rank for rank in places if not _communicates(said[rank]["stack"])}
    return {rank for rank, place in places.items() if list(places.values()).count(place) < most}


def _communicates(stack: str) -> bool:
    """Whether the innermost calls are a library's, or those of ours that go straight to it."""
    return any(word in stack.lower() for word in ("distributed_c10d", "torch_dist", "(mpi", "loopback"))


def show_stacks(said: dict[int, dict]) -> list[str]:
    """Who is where, ranks of one place together."""
    groups: dict[tuple[str, str], list[int]] = {}
    for rank, one in sorted(said.items()):
        groups.setdefault((one["where"], one["stack"]), []).append(rank)
    return [f"{name_ranks(ranks)}: {phase}: {stack}" for (phase, stack), ranks in groups.items()][:_SHOWN]
