"""Scale-up domains, such as NVL72 or CloudMatrix 384, as data: every figure with its source.

The shipped data is domains.toml beside this file; a user file of the same form adds or replaces domains.
"""

import difflib
import math
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Literal

import msgspec

from collbench.collectives.errors import UsageError, printable
from collbench.collectives.records.journal import is_device

from ..text.safe_text import safe_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Alternative", "Domain", "Fact", "Figure", "Measured", "Tier", "domain_named", "figures_of",
           "load_domains"]

_MOST_BYTES = 16 << 20

Grade = Literal["primary", "secondary", "derived"]


class Alternative(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A different value from another source."""

    value: float
    source: str


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number in SI units (the field name gives the unit), with its source and how direct that source is."""

    value: float
    source: str
    grade: Grade
    note: str | None = None
    alternatives: tuple[Alternative, ...] = ()

    def __post_init__(self) -> None:
        for value in (self.value, *(other.value for other in self.alternatives)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"a figure must be above 0, not {value:g}; omit unknown figures")

    def all_values(self) -> tuple[float, ...]:
        """The value, then those of other sources."""
        return (self.value, *(other.value for other in self.alternatives))


class Measured(Figure, frozen=True, forbid_unknown_fields=True):
    """A measured figure with its rank count and message size; None if the source does not state them."""

    ranks: int | None = None
    message_bytes: int | None = None


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A yes or no with its source and how direct that source is."""

    value: bool
    source: str
    grade: Grade


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One level of switches or links. None means that no source states it.

    Args:
        accelerators: how many it connects; 1 for a level that connects the dies of one accelerator.
        rate_Bps: one way, per accelerator; per die for a level that connects dies.
        latency_s: of one small access.
        pair_Bps: highest one-way rate between one pair; the whole rate if omitted.
        topology: how the accelerators are connected.
        oversubscription: rate into the level over rate through it; 1 if omitted.
    """

    name: str
    accelerators: int | None = None
    rate_Bps: Figure | None = None
    latency_s: Figure | None = None
    pair_Bps: Figure | None = None
    topology: Literal["switched", "mesh", "torus 2d", "torus 3d", "tree"] = "switched"
    oversubscription: Figure | None = None


class Domain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A scale-up domain; `tiers` from the innermost out. None means that no source states it.

    Args:
        name: short name for tables; `product` is the product name.
        status: availability: shipping, announced, a specification.
        aliases: other names that select it.
        library: its native collective library, as `cost.selection` names it.
        generation: accelerator generation, as the rules of that library name it.
        links_per_accelerator, link_Bps: links that make up an accelerator's rate; one way per link.
        two_way_Bps: both directions of one accelerator, as vendors print it.
        aggregate_two_way_Bps: both directions of all accelerators, as vendors print it.
        scaleout_Bps: out of the domain, one way per accelerator.
        dense_bf16_flops, dense_fp8_flops, dense_fp4_flops: per accelerator, without sparsity.
        hbm_bytes, hbm_Bps: memory capacity and bandwidth of an accelerator.
        power_W: of the whole domain.
        point_to_point_Bps: measured between two accelerators, one way.
        all_reduce_ring_busbw_Bps, all_reduce_in_network_busbw_Bps, all_to_all_busbw_Bps: measured bus bandwidth;
            ring and in-network reduction are two mechanisms.
    """

    name: str
    fabric: str
    accelerator: str | None = None
    product: str | None = None
    status: str | None = None
    aliases: tuple[str, ...] = ()
    library: str | None = None
    generation: str | None = None
    accelerators: Figure | None = None
    dies_per_accelerator: Figure | None = None
    hosts: Figure | None = None
    accelerators_per_host: Figure | None = None
    tiers: tuple[Tier, ...] = ()
    links_per_accelerator: Figure | None = None
    link_Bps: Figure | None = None
    two_way_Bps: Figure | None = None
    aggregate_two_way_Bps: Figure | None = None
    scaleout_Bps: Figure | None = None
    in_network_reduction: Fact | None = None
    dense_bf16_flops: Figure | None = None
    dense_fp8_flops: Figure | None = None
    dense_fp4_flops: Figure | None = None
    hbm_bytes: Figure | None = None
    hbm_Bps: Figure | None = None
    power_W: Figure | None = None
    point_to_point_Bps: Measured | None = None
    point_to_point_latency_s: Measured | None = None
    all_reduce_ring_busbw_Bps: Measured | None = None
    all_reduce_in_network_busbw_Bps: Measured | None = None
    all_to_all_busbw_Bps: Measured | None = None

    def __post_init__(self) -> None:
        connected = [tier.accelerators for tier in self.tiers]
        if not connected:
            return
        if self.accelerators is None:
            if connected != [None]:
                raise ValueError("tiers: a domain of unknown size can have only one tier, also of unknown size")
            return
        sizes = [size for size in connected if size is not None]
        if len(sizes) < len(connected) or sizes != sorted(sizes) or sizes[-1] != self.accelerators.value:
            raise ValueError(f"tiers must go from the innermost out and end with all {self.accelerators.value:g} "
                             f"accelerators, not {connected}")

    @property
    def dies(self) -> int:
        """Dies per accelerator; 1 if no source gives more."""
        return int(self.dies_per_accelerator.value) if self.dies_per_accelerator else 1


def load_domains(extra: Path | None = None) -> dict[str, Domain]:
    """Domains by key: the shipped ones, then those of `extra`. UsageError if a file is invalid."""
    shipped = resources.files(__package__).joinpath("domains.toml").read_text(encoding="utf-8")
    domains = _parse(shipped, "domains.toml")
    if extra is not None:
        try:
            text = _read(extra)
        except OSError as error:
            raise UsageError(f"{extra}: cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise UsageError(f"{extra}: not a text file: {error}") from None
        domains |= _parse(text, str(extra))
    return domains


def domain_named(name: str, domains: Mapping[str, Domain] | None = None) -> str:
    """The key of the domain whose key or alias is `name`, ignoring case and punctuation.

    Raises:
        UsageError: there is none; suggests similar names.
    """
    domains = load_domains() if domains is None else domains
    if name in domains:
        return name
    known: dict[str, str] = {}
    for key, domain in reversed(list(domains.items())):      # the first of two domains wins a shared name
        known |= dict.fromkeys(map(_plain, domain.aliases), key)
    known |= {_plain(key): key for key in domains}
    found = known.get(_plain(name))
    if found is None:
        close = dict.fromkeys(known[other] for other in difflib.get_close_matches(_plain(name), known, 6, 0.5))
        meant = f": did you mean {', '.join(list(close)[:3])}?" if close else ""
        raise UsageError(f"there is no domain {name!r}{meant} (`collbench domains` lists them; --domain-file adds "
                         "your own)")
    return found


def figures_of(domain: Domain) -> Iterator[tuple[str, Figure | Fact]]:
    """Every cited figure of `domain` with its field path: `power_W`, `tiers[0].rate_Bps`."""
    for name in Domain.__struct_fields__:
        value = getattr(domain, name)
        if isinstance(value, Figure | Fact):
            yield name, value
    for at, tier in enumerate(domain.tiers):
        for name in Tier.__struct_fields__:
            value = getattr(tier, name)
            if isinstance(value, Figure):
                yield f"tiers[{at}].{name}", value


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _read(path: Path) -> str:
    with path.open("rb") as file:
        if is_device(file.fileno()):
            raise ValueError("it is a device")
        raw: bytes = file.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        raise ValueError(f"larger than {_MOST_BYTES >> 20} MiB")
    return raw.decode("utf-8-sig")


def _parse(text: str, name: str) -> dict[str, Domain]:
    try:
        tables = tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    except RecursionError:
        raise UsageError(f"{name}: nested too deeply") from None
    domains = {}
    for key, table in tables.items():
        try:
            domains[printable(key)] = msgspec.convert(safe_text(table, keep="\n"), Domain)
        except msgspec.ValidationError as error:
            raise UsageError(f"{name}: domain {key}: {error}") from None
    return domains
