"""A domain as levels of ranks with rates and latencies, and the SimGrid platform file made from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from collbench.collectives.errors import UsageError

from ..domains.facts import Domain, Figure, Tier
from ..text.units import rate, seconds

__all__ = ["ASSUMED_LATENCY_S", "Machine", "MachineLevel", "machine_of", "platform"]

ASSUMED_LATENCY_S = 0.5e-6      # path through the innermost switches, if no source gives it
_HEAD = """<?xml version='1.0'?>
<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">
<platform version="4.1">"""
_FREE_BPS = 1e18                # of a link that models no wire


@dataclass(frozen=True)
class MachineLevel:
    """Ranks connected by switches, by a full mesh, or by a torus.

    Args:
        ranks: number of ranks connected.
        rate_Bps: one way, per rank, into the level from below; per link for a mesh or torus.
        latency_s: of a path up through the level and back down; per link for a mesh or torus.
        kind: switched, mesh or torus; a mesh must be the innermost level, a torus the only one.
        dimensions: number of dimensions of a torus.
    """

    name: str
    ranks: int
    rate_Bps: float
    latency_s: float
    kind: str = "switched"
    dimensions: int = 0


@dataclass(frozen=True)
class Machine:
    """Levels from the innermost out; `assumed` lists values that no source gives, as text."""

    key: str
    levels: tuple[MachineLevel, ...]
    assumed: tuple[str, ...] = ()

    def words(self) -> str:
        """The levels with rates and latencies, and the assumptions, as one line."""
        levels = "; ".join(f"{level.name}: {level.ranks} ranks, {rate(level.rate_Bps)}, {seconds(level.latency_s)}"
                           for level in self.levels)
        return "; ".join([levels, *self.assumed])


def machine_of(key: str, domain: Domain, dies: bool = False, latency_s: float | None = None,
               oversubscription: float | None = None) -> Machine:
    """Build the machine that `domain` describes.

    Args:
        dies: one rank per die instead of one per accelerator.
        latency_s: latency of levels for which no source gives one; ASSUMED_LATENCY_S if None.
        oversubscription: replaces the domain's value for the outermost of several levels.

    Raises:
        UsageError: a value that the simulator needs is unknown.
    """
    per = domain.dies if dies else 1
    if not domain.tiers:
        raise UsageError(f"{key}: no source gives a link rate: cannot simulate")
    if dies and per == 1:
        raise UsageError(f"{key}: no source gives several dies per accelerator: omit --dies")
    levels: list[MachineLevel] = []
    assumed: list[str] = []
    for at, tier in enumerate(domain.tiers):
        ranks = (tier.accelerators or 0) * per
        if tier.accelerators == 1 and per == 1:
            continue
        if tier.rate_Bps is None:
            raise UsageError(f"{key}: no source gives the rate of {tier.name}: cannot simulate")
        own = 1 if tier.accelerators == 1 else per
        found = tier.latency_s.value if tier.latency_s else latency_s or ASSUMED_LATENCY_S
        if tier.latency_s is None:
            assumed.append(f"latency of {tier.name} assumed: {seconds(found)}")
        level_rate = _rate(tier, tier.rate_Bps, own)
        outermost = at == len(domain.tiers) - 1 and len(levels) > 0
        narrow = oversubscription if outermost and oversubscription else _value(tier.oversubscription, 1.0)
        kind, dimensions = _kind(tier)
        levels.append(MachineLevel(tier.name, ranks, level_rate / narrow, found, kind, dimensions))
    if oversubscription and len(levels) < 2:
        raise UsageError(f"{key}: has only one level, so nothing is oversubscribed: omit --oversubscription")
    _check(key, levels)
    return Machine(key, tuple(levels), tuple(assumed))


def _rate(tier: Tier, rate_Bps: Figure, dies: int) -> float:
    """One-way rate per rank; per link for a mesh or torus."""
    if tier.topology in ("mesh", "torus 2d", "torus 3d"):
        others = max(1, (tier.accelerators or 2) - 1)
        return _value(tier.pair_Bps, rate_Bps.value / others)
    return rate_Bps.value / dies


def _value(figure: Figure | None, default: float) -> float:
    return figure.value if figure else default


def _kind(tier: Tier) -> tuple[str, int]:
    if tier.topology.startswith("torus"):
        return "torus", int(tier.topology[-2])
    return ("mesh" if tier.topology == "mesh" else "switched"), 0


def _check(key: str, levels: list[MachineLevel]) -> None:
    for at, level in enumerate(levels):
        if (level.kind == "mesh" and at > 0) or (level.kind == "torus" and len(levels) > 1):
            raise UsageError(f"{key}: {level.name} is a {level.kind} around other levels, which cannot be simulated")


def platform(machine: Machine, ranks: int) -> str:
    """The platform file for `ranks` hosts h0, h1, ...; one simulated second stands for a microsecond.

    SimGrid prints six decimals and computes nine, so times scaled by 10^6 are exact to a femtosecond.
    """
    inner = machine.levels[0]
    if inner.kind == "torus":
        body = _torus(inner, ranks)
    elif inner.kind == "mesh":
        body = _mesh_zone(machine.levels, ranks) if len(machine.levels) > 1 and ranks > inner.ranks else \
            _mesh(inner, "z0", range(ranks))
    else:
        body = _switched(machine.levels, ranks)
    return "\n".join([_HEAD, *body, "</platform>\n"])


def _link(name: str, rate_Bps: float, latency_s: float) -> str:
    return (f'<link id="{name}" bandwidth="{rate_Bps * 1e-6!r}Bps" latency="{latency_s * 1e6!r}s" '
            'sharing_policy="SPLITDUPLEX"/>')


def _through(*links: tuple[str, str]) -> str:
    return "".join(f'<link_ctn id="{name}" direction="{way}"/>' for name, way in links)


def _host(rank: int) -> str:
    return f'<host id="h{rank}" speed="1Gf"/>'


def _torus(level: MachineLevel, ranks: int) -> Iterator[str]:
    sides = ",".join(map(str, _sides(ranks, level.dimensions)))
    yield (f'<cluster id="torus" prefix="h" radical="0-{ranks - 1}" suffix="" speed="1Gf" topology="TORUS" '
           f'topo_parameters={quoteattr(sides)} bw="{level.rate_Bps * 1e-6!r}Bps" lat="{level.latency_s * 1e6!r}s" '
           'sharing_policy="SPLITDUPLEX"/>')


def _sides(ranks: int, dimensions: int) -> list[int]:
    """Side lengths of the most cubic torus of `ranks` nodes."""
    if dimensions == 1:
        return [ranks]
    fit = [side for side in range(1, ranks + 1) if ranks % side == 0 and side**dimensions <= ranks]
    return [max(fit), *_sides(ranks // max(fit), dimensions - 1)]


def _mesh(level: MachineLevel, zone: str, members: range, out: MachineLevel | None = None) -> Iterator[str]:
    """Fully connected hosts; with `out`, each also has a port to the router R of the zone."""
    yield f'<zone id="{zone}" routing="Full">'
    yield from map(_host, members)
    if out:
        yield f'<router id="{zone}R"/>'
        yield from (_link(f"p{rank}", out.rate_Bps, out.latency_s / 2) for rank in members)
    pairs = [(low, high) for low in members for high in members if low < high]
    yield from (_link(f"d{low}_{high}", level.rate_Bps, level.latency_s) for low, high in pairs)
    for low, high in pairs:
        for here, there, way in ((low, high, "UP"), (high, low, "DOWN")):
            yield _route("route", f"h{here}", f"h{there}", _through((f"d{low}_{high}", way)))
    if out:
        for rank in members:
            yield _route("route", f"h{rank}", f"{zone}R", _through((f"p{rank}", "UP")))
            yield _route("route", f"{zone}R", f"h{rank}", _through((f"p{rank}", "DOWN")))
    yield "</zone>"


def _route(kind: str, here: str, there: str, links: str, gates: str = "") -> str:
    return f'<{kind} src="{here}" dst="{there}"{gates} symmetrical="NO">{links}</{kind}>'


def _mesh_zone(levels: tuple[MachineLevel, ...], ranks: int) -> Iterator[str]:
    """Meshes as the innermost groups of switched levels."""
    inner, out = levels[0], levels[1]
    groups = _groups(range(ranks), inner.ranks)
    bodies = [list(_mesh(inner, f"z0_{at}", members, out)) for at, members in enumerate(groups)]
    return _joined(levels[1:], 1, [(f"z0_{at}", f"z0_{at}R", len(members)) for at, members in enumerate(groups)],
                   bodies, inner.ranks, ports=True)


def _switched(levels: tuple[MachineLevel, ...], ranks: int) -> Iterator[str]:
    """Stars of hosts as the innermost groups of switched levels."""
    inner = levels[0]
    groups = _groups(range(ranks), inner.ranks or ranks)
    bodies = [[f'<cluster id="z0_{at}" prefix="h" radical="{members[0]}-{members[-1]}" suffix="" speed="1Gf" '
               f'bw="{inner.rate_Bps * 1e-6!r}Bps" lat="{inner.latency_s / 2 * 1e6!r}s" '
               f'sharing_policy="SPLITDUPLEX" router_id="z0_{at}R"/>'] for at, members in enumerate(groups)]
    if len(groups) == 1:
        return iter(bodies[0])
    zones = [(f"z0_{at}", f"z0_{at}R", len(members)) for at, members in enumerate(groups)]
    return _joined(levels, 1, zones, bodies, inner.ranks, ports=False)


def _joined(levels: tuple[MachineLevel, ...], depth: int, zones: list[tuple[str, str, int]], bodies: list[list[str]],
            size: int, ports: bool) -> Iterator[str]:
    """Join zones (name, gateway, hosts) by the switches of the next level until one zone holds all.

    The uplink of a zone carries the rate of all its ranks. The first level above a mesh has none: each rank has a port.
    """
    while len(zones) > 1:
        level, below = (levels[0], None) if ports else (levels[1], levels[0])
        per = len(zones) if not level.ranks else max(1, level.ranks // size)
        merged, joined = [], []
        for at, span in enumerate(_groups(range(len(zones)), per)):
            name = f"z{depth}_{at}"
            merged.append(list(_join(name, [zones[i] for i in span], [bodies[i] for i in span],
                                     _uplink(level, below, size))))
            joined.append((name, f"{name}R", sum(zones[i][2] for i in span)))
        zones, bodies, size, depth = joined, merged, level.ranks or size * per, depth + 1
        levels, ports = (levels if ports else levels[1:]), False
    yield from bodies[0]


def _uplink(level: MachineLevel, below: MachineLevel | None, size: int) -> tuple[float, float]:
    """Rate and latency of the uplink of a group of `size` ranks; above a mesh the link is free."""
    if below is None:
        return _FREE_BPS, 0.0
    return level.rate_Bps * size, max(0.0, level.latency_s - below.latency_s) / 2


def _join(name: str, zones: list[tuple[str, str, int]], bodies: list[list[str]],
          uplink: tuple[float, float]) -> Iterator[str]:
    yield f'<zone id="{name}" routing="Full">'
    for body in bodies:
        yield from body
    yield f'<zone id="{name}T" routing="None"><router id="{name}R"/></zone>'
    yield from (_link(f"u{zone}", *uplink) for zone, _, _ in zones)
    for here, gate, _ in zones:
        for there, other, _ in zones:
            if here != there:
                yield _route("zoneRoute", here, there, _through((f"u{here}", "UP"), (f"u{there}", "DOWN")),
                             f' gw_src="{gate}" gw_dst="{other}"')
        yield _route("zoneRoute", here, f"{name}T", _through((f"u{here}", "UP")),
                     f' gw_src="{gate}" gw_dst="{name}R"')
        yield _route("zoneRoute", f"{name}T", here, _through((f"u{here}", "DOWN")),
                     f' gw_src="{name}R" gw_dst="{gate}"')
    yield "</zone>"


def _groups(members: range, size: int) -> list[range]:
    return [members[at:at + size] for at in range(0, len(members), size)]
