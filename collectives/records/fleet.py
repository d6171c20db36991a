"""What a sweep over the nodes of a fleet leaves behind: its settings, and the pairs of nodes of each round.

    OUT/fleet.json                  a Fleet: the nodes and the thresholds
    OUT/pairs.jsonl                 a PairLaunch per line, once it has ended
    OUT/round-1/NODE+NODE/...       journal and output of the launch over two nodes
"""

from pathlib import Path

import msgspec

from ..errors import UsageError

__all__ = ["FLEET_FILE", "PAIRS_FILE", "Fleet", "PairLaunch", "read_fleet", "read_pair_launches"]

FLEET_FILE, PAIRS_FILE = "fleet.json", "pairs.jsonl"


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """A sweep.

    Args:
        id: unique.
        started: ISO 8601, with the offset from UTC.
        nodes: their names, as the launcher takes them.
        max_slowdown, must_notice: shares of the time; see `Rule` in `analysis.fleet.judge`.
    """

    id: str
    started: str
    nodes: tuple[str, ...]
    transport: str
    ranks_per_node: int
    max_slowdown: float
    must_notice: float
    command: tuple[str, ...] = ()


class PairLaunch(msgspec.Struct, frozen=True, kw_only=True):
    """One launch over two nodes, after its end.

    Args:
        status: exit status of the launcher; None if it could not be started.
        said: the last lines of its output, if it failed.
        wall_s: from start to end.
    """

    round: int
    nodes: tuple[str, str]
    status: int | None
    wall_s: float
    said: tuple[str, ...] = ()

    def directory(self, out: Path) -> Path:
        """Of its journal and its output."""
        return out / f"round-{self.round}" / "+".join(self.nodes)


def read_fleet(out: Path) -> Fleet:
    """The settings of the sweep in `out`. UsageError if there is none."""
    path = out / FLEET_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Fleet)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}: {out} is not the directory of a collbench fleet") from None
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: not from this version of collbench fleet: {error}") from None


def read_pair_launches(out: Path) -> list[PairLaunch]:
    """The launches that have ended, in their order; a line cut short is left out."""
    try:
        lines = (out / PAIRS_FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{out / PAIRS_FILE}: {error.strerror}") from None
    launches = []
    for line in lines:
        try:
            launches.append(msgspec.json.decode(line, type=PairLaunch))
        except msgspec.DecodeError:
            continue
    return launches
