"""Traffic patterns of the uneven all-to-all: how much each rank sends to every other rank.

A pattern is one row of `PATTERNS`. Its text form is NAME[:VALUE][:PARAMETER=VALUE]..., for example `linear`,
`zipf:1.2` or `zipf:1.2:seed=3`: the first parameter may be given by position, and canonical text leaves out
parameters at their default. Canonical text is what `Case.traffic`, the journal and every key hold, so the name,
the defaults and the weights of an existing pattern must never change.

Pure integer and decimal arithmetic: every rank computes the same weights on any machine and Python version.
"""

import hashlib
import re
from collections.abc import Callable
from decimal import Context, Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from ..errors import UsageError
from .parameters import read_parameters

__all__ = ["PATTERNS", "Parameter", "Traffic", "TrafficPattern", "Weights", "busiest", "inverse_power", "is_traffic",
           "parse_traffic", "shuffled", "spellings", "weights"]

Weights = tuple[tuple[int, ...], ...]       # [source][destination]
_NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?")
_DECIMALS = Context(prec=40)                # ln and exp are correctly rounded, on every platform
_ONE = 10**12                               # fixed-point scale of a probability
_PEAK = 64                                  # mean weight of the most popular destination


class Parameter(NamedTuple):
    """A parameter of a pattern: a decimal number from `least` to `most`, or a whole number if `whole`."""

    name: str
    default: Decimal
    least: Decimal
    most: Decimal
    whole: bool = False

    def parse(self, text: str) -> Decimal:
        """The value of `text`; ValueError says what was expected."""
        value = Decimal(text) if _NUMBER.fullmatch(text) else None
        if value is None or not self.least <= value <= self.most or (self.whole and value != int(value)):
            kind = "a whole number" if self.whole else "a number"
            raise ValueError(f"{self.name} must be {kind} from {self.least} to {self.most}, not {text!r:.40}")
        return value


class TrafficPattern(NamedTuple):
    """A row of the table: `shares(ranks, *values)` returns the weights [source][destination], whole numbers >= 0.

    The largest row or column sum must be at least 1; in a message, it stands for the size S of the case.
    """

    name: str
    shares: Callable[..., Weights]
    parameters: tuple[Parameter, ...] = ()

    def spelling(self) -> str:
        """How to write it: `zipf[:EXPONENT][:seed=N]`."""
        return self.name + "".join(
            f"[:{parameter.name.upper()}]" if number == 0 else f"[:{parameter.name}={'N' if parameter.whole else 'X'}]"
            for number, parameter in enumerate(self.parameters))


class Traffic(NamedTuple):
    """A pattern with a value for each of its parameters."""

    pattern: TrafficPattern
    values: tuple[Decimal, ...]

    @property
    def text(self) -> str:
        """The canonical text form, which `parse_traffic` reads back."""
        words = [self.pattern.name]
        for number, (parameter, value) in enumerate(zip(self.pattern.parameters, self.values, strict=True)):
            if value != parameter.default:
                words.append(("" if number == 0 else f"{parameter.name}=") + f"{value.normalize(_DECIMALS):f}")
        return ":".join(words)


def _even(ranks: int) -> Weights:
    return ((1,) * ranks,) * ranks


def _linear(ranks: int) -> Weights:
    """Pairs differ up to n-fold; every rank sends and receives the same total."""
    return tuple(tuple(1 + (source + to) % ranks for to in range(ranks)) for source in range(ranks))


def _hot(ranks: int) -> Weights:
    """Rank 0 receives four times as much as any other, like a popular expert."""
    return ((4,) + (1,) * (ranks - 1),) * ranks


def _zipf(ranks: int, exponent: Decimal, seed: Decimal) -> Weights:
    """Destination popularity falls as 1 / k**exponent, as for the experts of a mixture-of-experts model.

    The seed decides which rank is the k-th most popular. All sources send the same total. Systematic rounding with
    an offset that differs between sources keeps each destination's total within 1 of its exact share, although most
    weights of a long tail are 0.
    """
    popularity = [0] * ranks
    for k, rank in enumerate(shuffled(ranks, f"popularity/{int(seed)}"), 1):
        popularity[rank] = inverse_power(k, exponent)
    whole = sum(popularity)
    total = max(1, _PEAK * whole // _ONE)       # of one source
    rows: list[tuple[int, ...]] = [()] * ranks
    for offset, source in enumerate(shuffled(ranks, f"rounding/{int(seed)}")):
        row, below, before = [], 0, 0
        for share in popularity:
            below += share
            upto = (total * below * ranks + offset * whole) // (whole * ranks)
            row.append(upto - before)
            before = upto
        rows[source] = tuple(row)
    return tuple(rows)


def inverse_power(k: int, exponent: Decimal) -> int:
    """1 / k**exponent in units of 1e-12, rounded down: the popularity of the k-th of a Zipf distribution."""
    power = _DECIMALS.multiply(exponent, _DECIMALS.ln(Decimal(k)))
    return int(_DECIMALS.multiply(_DECIMALS.exp(_DECIMALS.minus(power)), Decimal(_ONE)))


def shuffled(count: int, salt: str) -> list[int]:
    """0 .. count - 1 in an order that depends on `salt` only; the standard generators may change between versions."""
    return sorted(range(count), key=lambda item: hashlib.sha256(f"{salt}/{item}".encode()).digest())


PATTERNS = MappingProxyType({row.name: row for row in (
    TrafficPattern("even", _even),
    TrafficPattern("linear", _linear),
    TrafficPattern("hot", _hot),
    TrafficPattern("zipf", _zipf, (Parameter("exponent", Decimal(1), Decimal(0), Decimal(8)),
                                   Parameter("seed", Decimal(0), Decimal(0), Decimal(2**31 - 1), whole=True))),
)})


def spellings() -> str:
    """All patterns with their parameters, for help texts and messages."""
    return ", ".join(pattern.spelling() for pattern in PATTERNS.values())


@lru_cache(maxsize=1024)
def parse_traffic(text: str) -> Traffic:
    """The pattern and parameters that `text` names. UsageError with the valid choices if it names none."""
    name, *words = text.split(":")
    pattern = PATTERNS.get(name)
    try:
        if pattern is None:
            raise ValueError(f"there is no pattern {name!r:.40}")
        return Traffic(pattern, _values(pattern, words))
    except ValueError as error:
        raise UsageError(f"traffic pattern {text!r:.80}: {error}; known are {spellings()}") from None


def _values(pattern: TrafficPattern, words: list[str]) -> tuple[Decimal, ...]:
    names = [parameter.name for parameter in pattern.parameters]
    given = read_parameters(pattern.name, words, names, names[0] if names else None)
    return tuple(parameter.parse(given[parameter.name]) if parameter.name in given else parameter.default
                 for parameter in pattern.parameters)


def is_traffic(text: object) -> bool:
    """Whether `text` names a traffic pattern."""
    try:
        return isinstance(text, str) and bool(parse_traffic(text))
    except UsageError:
        return False


@lru_cache(maxsize=32)
def weights(text: str, ranks: int) -> Weights:
    """The weights [source][destination] of the pattern `text` over `ranks` ranks. UsageError as `parse_traffic`."""
    traffic = parse_traffic(text)
    return traffic.pattern.shares(ranks, *traffic.values)


@lru_cache(maxsize=1024)
def busiest(text: str, ranks: int) -> int:
    """The largest total that one rank sends or receives, which nccl-tests takes as the size of an all-to-all-v."""
    rows = weights(text, ranks)
    return max(*map(sum, rows), *map(sum, zip(*rows, strict=True)))
