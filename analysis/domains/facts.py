"""Scale-up domains as data: what an NVL72 or a CloudMatrix 384 is, every figure with its source.

The shipped facts are in domains.toml beside this file; a file of the same form adds domains or replaces them.
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

from collbench.collectives.errors import UsageError
from collbench.collectives.records.journal import is_device

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Alternative", "Domain", "Fact", "Figure", "Measured", "Tier", "domain_named", "figures_of",
           "load_domains"]

_MOST_BYTES = 16 << 20

Grade = Literal["primary", "secondary", "derived"]


class Alternative(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What another source says instead."""

    value: float
    source: str


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number, where it comes from, and how directly; SI units, which the field's name gives."""

    value: float
    source: str
    grade: Grade
    note: str | None = None
    alternatives: tuple[Alternative, ...] = ()

    def __post_init__(self) -> None:
        for value in (self.value, *(other.value for other in self.alternatives)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"a figure must be above 0, not {value:g}; leave out what is unknown")

    def all_values(self) -> tuple[float, ...]:
        """The value, then what other sources say."""
        return (self.value, *(other.value for other in self.alternatives))


class Measured(Figure, frozen=True, forbid_unknown_fields=True):
    """A figure that somebody measured, with the `ranks` and the payload of it; None where the source does not say."""

    ranks: int | None = None
    message_bytes: int | None = None


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A yes or no, where it comes from, and how directly."""

    value: bool
    source: str
    grade: Grade


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One level of switches or links. None stands for what no source says.

    Args:
        accelerators: how many it joins; 1 for what joins the dies of one accelerator.
        rate_Bps: one way, per accelerator; of a tier that joins dies, per die.
        latency_s: of one small access.
        pair_Bps: the most that one pair can use, one way; the whole rate where it is left out.
        topology: how the accelerators are joined.
        oversubscription: rate into the tier over rate through it; 1 where nothing is said.
    """

    name: str
    accelerators: int | None = None
    rate_Bps: Figure | None = None
    latency_s: Figure | None = None
    pair_Bps: Figure | None = None
    topology: Literal["switched", "mesh", "torus 2d", "torus 3d", "tree"] = "switched"
    oversubscription: Figure | None = None


class Domain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A scale-up domain; `tiers` from the innermost out. None stands for what no source says.

    Args:
        name: short, for tables; `product` is what it is sold as.
        status: whether it can be bought: shipping, announced, a specification.
        aliases: other names that it is found by.
        library: the collective library that is native there, as `cost.selection` names it.
        generation: of the accelerator, as the rules of that library name it.
        links_per_accelerator, link_Bps: how the rate of an accelerator comes about; one way per link.
        two_way_Bps: both directions of one accelerator, as vendors print it.
        aggregate_two_way_Bps: both directions of all accelerators, as vendors print it.
        scaleout_Bps: out of the domain, one way per accelerator.
        dense_bf16_flops, dense_fp8_flops, dense_fp4_flops: per accelerator, without sparsity.
        hbm_bytes, hbm_Bps: memory of an accelerator, and its rate.
        power_W: of the whole domain.
        point_to_point_Bps: measured between two accelerators, one way.
        all_reduce_ring_busbw_Bps, all_reduce_in_network_busbw_Bps, all_to_all_busbw_Bps: measured, as bus bandwidth;
            by ring and by switches that reduce, which are two mechanisms.
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
        joined = [tier.accelerators for tier in self.tiers]
        if not joined:
            return
        if self.accelerators is None:
            if joined != [None]:
                raise ValueError("tiers: without accelerators there can be only one tier, without accelerators")
        elif None in joined or joined != sorted(joined) or joined[-1] != self.accelerators.value:
            raise ValueError(f"tiers must go from the innermost out and end with all {self.accelerators.value:g} "
                             f"accelerators, not {joined}")

    @property
    def dies(self) -> int:
        """Dies in an accelerator; 1 where no source says that there are more."""
        return int(self.dies_per_accelerator.value) if self.dies_per_accelerator else 1


def load_domains(extra: Path | None = None) -> dict[str, Domain]:
    """Domains by short name: the shipped ones, then those of `extra`. UsageError says what is wrong with a file."""
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
    """The key of the domain that is called `name`: by key, by alias, or by either without regard to case and signs.

    Raises:
        UsageError: there is none; it says what sounds alike.
    """
    domains = load_domains() if domains is None else domains
    if name in domains:
        return name
    known = {}
    for key, domain in reversed(list(domains.items())):      # where two share a name, the first has it
        known |= dict.fromkeys(map(_plain, domain.aliases), key)
    known |= {_plain(key): key for key in domains}
    found = known.get(_plain(name))
    if found is None:
        close = dict.fromkeys(known[other] for other in difflib.get_close_matches(_plain(name), known, 6, 0.5))
        meant = f": did you mean {', '.join(list(close)[:3])}?" if close else ""
        raise UsageError(f"there is no domain {name!r}{meant} (`collbench domains` lists them, --domains adds yours)")
    return found


def figures_of(domain: Domain) -> Iterator[tuple[str, Figure | Fact]]:
    """Every cited figure of `domain` with the path of its field: `power_W`, `tiers[0].rate_Bps`."""
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
        raw = file.read(_MOST_BYTES + 1)
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
            domains[key] = msgspec.convert(table, Domain)
        except msgspec.ValidationError as error:
            raise UsageError(f"{name}: domain {key}: {error}") from None
    return domains
