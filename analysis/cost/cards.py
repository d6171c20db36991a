"""Network cards of a node: how many, and what one carries. Rates are one way, in bytes/s, before protocol overhead."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from collbench.collectives.errors import UsageError

from ..domains.facts import Domain, Figure
from .published_tables import table

__all__ = ["Cards", "Network", "cards_in_words", "network_named", "parse_nic", "with_cards"]

_FORM = re.compile(r"(?:(?P<count>\d+)\s*[x*\u00d7]\s*)?(?P<what>\S.*)", re.IGNORECASE)
_RATE = re.compile(r"(?P<value>\d+(?:\.\d+)?)\s*(?P<scale>[GT])(?P<unit>b|B|bit|bps|bE|be)?(?P<per>/s|ps)?", re.ASCII)
_STATED = "--nic "
_MOST_CARDS = 1024
_MOST_BPS = 12.5e12 / 8
_EXAMPLE = "write cards and the rate of one, as in 8x400G (Gb/s), 4x50GB/s or 8xndr"


@dataclass(frozen=True)
class Cards:
    """Cards of one node.

    Args:
        count: how many.
        rate_Bps: wire rate of one, one way.
    """

    count: int
    rate_Bps: float


class Network(NamedTuple):
    """A kind of network card.

    Args:
        name: as in the table; `rate_Bps`: wire rate of a card, one way; None if its cards come at several rates.
        added_s: what the network adds to a step, as its plug-in reports it.
        protocols: of NCCL, that it carries.
        efficiency: share of the wire rate that collectives reach.
        source: of the rate and the added time; `efficiency_source`: of the efficiency.
    """

    name: str
    rate_Bps: float | None
    added_s: float
    protocols: tuple[str, ...]
    efficiency: float
    source: str
    efficiency_source: str


def network_named(name: str) -> Network:
    """Facts of a kind of network card.

    Raises:
        UsageError: the name is not in the table.
    """
    shipped = table("cards")
    known = shipped["card"].get(name.strip().lower())
    if known is None:
        raise UsageError(f"network {name!r} is not known; known are {', '.join(shipped['card'])}")
    rate = known.get("rate_Gbps")
    return Network(name.strip().lower(), None if rate is None else rate * 1e9 / 8, known.get("added_us", 0.0) / 1e6,
                   tuple(known.get("protocols", ("LL", "LL128", "Simple"))), shipped["efficiency"], known["source"],
                   shipped["efficiency_source"])


def with_cards(domains: Mapping[str, Domain], text: str | None) -> dict[str, Domain]:
    """The domains with the cards of a host that the user states, as `parse_nic` reads them; unchanged for None.

    A domain whose hosts have an unknown number of accelerators counts as one host.
    """
    if text is None:
        return dict(domains)
    cards = parse_nic(text)
    stated = {}
    for key, domain in domains.items():
        each = domain.accelerators_per_host or domain.accelerators
        stated[key] = domain if each is None else msgspec.structs.replace(domain, scaleout_Bps=Figure(
            cards.count * cards.rate_Bps / each.value, f"{_STATED}{text}", "primary"))
    return stated


def cards_in_words(key: str, domain: Domain) -> str | None:
    """The cards of a host and where they come from: "8x400G cards per host, from the facts of hgx_h100_8".

    None if unknown. "8x400G" stands for a rate of 400 Gb/s out of the host for each of 8 accelerators, in whatever
    cards it comes.
    """
    card = domain.scaleout_Bps
    if card is None:
        return None
    if card.source.startswith(_STATED):
        return f"{card.source.removeprefix(_STATED)} cards per host, as stated"
    each = domain.accelerators_per_host or domain.accelerators
    count = f"{each.value:g}x" if each else ""
    return f"{count}{card.value * 8 / 1e9:.4g}G cards per host, from the facts of {key}"


def parse_nic(text: str) -> Cards:
    """Cards of a node, from text such as "8x400G", "8 x 400 Gb/s", "4x50GB/s", "400G" or "8xndr".

    G and Gb mean gigabits, as cards are sold; GB means gigabytes. Without a count there is one card.

    Raises:
        UsageError: the text says no count or no rate, or an impossible one.
    """
    form = _FORM.fullmatch(text.strip())
    if form is None:
        raise UsageError(f"--nic {text!r}: {_EXAMPLE}")
    count = int(form["count"] or 1)
    if not 1 <= count <= _MOST_CARDS:
        raise UsageError(f"--nic {text!r}: {count} cards in a node; expected 1 to {_MOST_CARDS}")
    what = form["what"].strip()
    if what.lower() in table("cards")["card"]:
        rate_Bps = network_named(what).rate_Bps
        if rate_Bps is None:
            raise UsageError(f"--nic {text!r}: cards of {what} come at several rates; {_EXAMPLE}")
        return Cards(count, rate_Bps)
    rate = _RATE.fullmatch(what)
    if rate is None:
        raise UsageError(f"--nic {text!r}: {what!r} is neither a rate nor a known card; {_EXAMPLE}; cards with a rate: "
                         f"{', '.join(name for name, card in table('cards')['card'].items() if 'rate_Gbps' in card)}")
    in_bytes = rate["unit"] == "B"
    rate_Bps = float(rate["value"]) * (1e12 if rate["scale"] == "T" else 1e9) / (1 if in_bytes else 8)
    if not (math.isfinite(rate_Bps) and 0 < rate_Bps <= _MOST_BPS):
        raise UsageError(f"--nic {text!r}: one card of {rate_Bps * 8 / 1e9:g} Gb/s; expected more than 0 and at most "
                         f"{_MOST_BPS * 8 / 1e9:g}")
    if count >= 100 and rate_Bps * 8 / 1e9 < 25:
        raise UsageError(f"--nic {text!r}: {count} cards of {rate_Bps * 8 / 1e9:g} Gb/s in one node; the count comes "
                         "first, as in 8x400G")
    return Cards(count, rate_Bps)
