"""Expand Slurm's compressed lists of nodes and task counts; look up the address of a node."""

import re
import subprocess
from collections.abc import Iterator

from ..errors import UsageError

__all__ = ["expand_counts", "expand_nodes", "slurm_node_address"]

_MOST_NODES = 100_000
_COUNT = re.compile(r"([0-9]{1,9})(?:\(x([0-9]{1,9})\))?")
_NUMBER = re.compile(r"[0-9]{1,18}")


def expand_nodes(text: str) -> tuple[str, ...]:
    """Expand `rack1n[01-03,7],login`, in order. UsageError if `text` is not a node list."""
    names: list[str] = []
    for part in _split(text):
        for name in _expand(part):
            names.append(name)
            if len(names) > _MOST_NODES:
                raise UsageError(f"node list {text[:60]!r}: more than {_MOST_NODES} nodes")
    return tuple(names)


def _split(text: str) -> list[str]:
    """Split at commas outside brackets."""
    parts, depth, begin = [], 0, 0
    for index, character in enumerate(text):
        depth += (character == "[") - (character == "]")
        if depth not in (0, 1):
            raise UsageError(f"node list {text!r:.200}: brackets do not match")
        if character == "," and depth == 0:
            parts.append(text[begin:index])
            begin = index + 1
    if depth:
        raise UsageError(f"node list {text!r:.200}: brackets do not match")
    return [part for part in (*parts, text[begin:]) if part]


def _expand(part: str) -> Iterator[str]:
    """Every name of one part, which may contain several brackets."""
    head, bracket, rest = part.partition("[")
    if not bracket:
        yield part
        return
    inside, _, tail = rest.partition("]")
    for span in inside.split(","):
        first, dash, last = span.partition("-")
        if not _NUMBER.fullmatch(first) or (dash and not _NUMBER.fullmatch(last)):
            raise UsageError(f"node list part {part!r:.200}: {span!r:.60} is not a number or a range of numbers")
        for number in range(int(first), int(last or first) + 1):
            for end in _expand(tail):
                yield f"{head}{number:0{len(first)}d}{end}"


def expand_counts(text: str) -> tuple[int, ...]:
    """Expand `4(x2),3` to 4, 4, 3. Empty if `text` is not such a list."""
    counts: list[int] = []
    for part in filter(None, text.split(",")):
        match = _COUNT.fullmatch(part)
        if match is None or len(counts) + int(match[2] or 1) > _MOST_NODES:
            return ()
        counts += [int(match[1])] * int(match[2] or 1)
    return tuple(counts)


def slurm_node_address(node: str) -> str | None:
    """The address that Slurm uses for a node; None if unknown."""
    try:
        done = subprocess.run(["scontrol", "--oneliner", "show", "node", node], capture_output=True, text=True,
                              timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\bNodeAddr=(\S+)", done.stdout)
    return match[1] if match else None
