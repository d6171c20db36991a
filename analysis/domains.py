"""Scale-up domains as data: what an NVL72 or a CloudMatrix 384 is, every figure with its source.

The shipped facts are in domains.toml beside this file; a file of the same form adds domains or replaces them.
"""

import sys
from importlib import resources
from pathlib import Path
from typing import Literal

import msgspec

from collectives.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Alternative", "Domain", "Fact", "Figure", "Tier", "load_domains"]


class Alternative(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What another source says instead."""

    value: float
    source: str


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number, where it comes from, and how directly; SI units, which the field's name gives."""

    value: float
    source: str
    grade: Literal["primary", "secondary", "derived"]
    note: str | None = None
    alternatives: tuple[Alternative, ...] = ()


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A yes or no, where it comes from, and how directly."""

    value: bool
    source: str
    grade: Literal["primary", "secondary", "derived"]


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One level of switches or links.

    Args:
        accelerators: how many it joins.
        rate_Bps: one way, per accelerator.
        latency_s: of one small access; None where no source says.
    """

    name: str
    accelerators: int
    rate_Bps: Figure
    latency_s: Figure | None = None


class Domain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A scale-up domain; `tiers` from the innermost out. None stands for what no source says.

    Args:
        point_to_point_Bps: measured between two accelerators, one way.
    """

    name: str
    accelerator: str
    fabric: str
    accelerators: Figure
    tiers: tuple[Tier, ...]
    in_network_reduction: Fact | None = None
    dense_bf16_flops: Figure | None = None
    point_to_point_Bps: Figure | None = None

    def __post_init__(self) -> None:
        joined = [tier.accelerators for tier in self.tiers]
        if not joined or joined != sorted(joined) or joined[-1] != self.accelerators.value:
            raise ValueError(f"tiers must go from the innermost out and end with all {self.accelerators.value:g} "
                             f"accelerators, not {joined}")


def load_domains(extra: Path | None = None) -> dict[str, Domain]:
    """Domains by short name: the shipped ones, then those of `extra`. UsageError says what is wrong with a file."""
    shipped = resources.files(__package__).joinpath("domains.toml").read_text(encoding="utf-8")
    domains = _parse(shipped, "domains.toml")
    if extra is not None:
        try:
            text = extra.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{extra}: cannot be read: {error}") from None
        domains |= _parse(text, str(extra))
    return domains


def _parse(text: str, name: str) -> dict[str, Domain]:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: {error}") from None
    domains = {}
    for key, table in tables.items():
        try:
            domains[key] = msgspec.convert(table, Domain)
        except msgspec.ValidationError as error:
            raise UsageError(f"{name}: domain {key}: {error}") from None
    return domains
