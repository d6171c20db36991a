"""How popular each expert of a mixture-of-experts layer is, by step: one row of `PATTERNS` for each kind of skew.

After the workloads of Megatron's token-imbalance benchmark (NVIDIA/Megatron-LM pull request 7488): W0 `balanced`,
W1 `hot-expert`, W2 `hot-rank`, W3 `spread-hot`, W4 `ragged`, W5 `zero`, W6 `rotating`, W7 `burst`; and `uniform`,
`zipf` and `recorded`. The name, defaults and weights of an existing pattern must never change: its text is a key.

Integer and decimal arithmetic only: every rank computes the same weights on any machine and Python version.
"""

from collections.abc import Callable
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

from . import moe_recorded
from .traffic import Parameter, inverse_power, shuffled

__all__ = ["PATTERNS", "RoutingPattern", "Setting"]

_ONE = 10**9        # fixed-point scale of a factor: parameters have at most nine decimals


class Setting(NamedTuple):
    """What the popularity of experts may depend on.

    Args:
        owners: the rank that holds each expert.
        step: from 0 to steps - 1.
    """

    owners: tuple[int, ...]
    seed: int
    step: int
    steps: int

    @property
    def experts(self) -> int:
        """Number of experts."""
        return len(self.owners)

    def hosts(self) -> list[int]:
        """The ranks that hold an expert, in an order that depends on the seed."""
        present = sorted(set(self.owners))
        return [present[place] for place in shuffled(len(present), f"ranks/{self.seed}")]


class RoutingPattern(NamedTuple):
    """A row of the table.

    Args:
        popularity: whole numbers, one for each expert: weights with which tokens select it; None for `balanced`, which
            deals the experts out in turn.
        first: the parameter that is given by position, as in `zipf:1.2`.
        more: further parameters, given by name.
        ragged: the sources have different numbers of tokens, up to `first`-fold.
        recorded: `first` names a table of counts instead of a number.
    """

    name: str
    popularity: Callable[..., list[int]] | None
    first: Parameter | None = None
    more: tuple[Parameter, ...] = ()
    ragged: bool = False
    recorded: bool = False

    def spelling(self) -> str:
        """How to write it: `hot-expert[:FACTOR][:count=N]`."""
        first = f"[:{self.first.name.upper()}]" if self.first else ":NAME|FILE.csv" if self.recorded else ""
        return self.name + first + "".join(f"[:{parameter.name}=N]" for parameter in self.more)


def _uniform(at: Setting, *_: object) -> list[int]:
    return [1] * at.experts


def _zipf(at: Setting, exponent: Decimal) -> list[int]:
    """The k-th most popular expert has weight 1 / k**exponent; the seed decides which expert that is."""
    weights = [0] * at.experts
    for k, expert in enumerate(shuffled(at.experts, f"experts/{at.seed}"), 1):
        weights[expert] = max(1, inverse_power(k, exponent))
    return weights


def _hot_expert(at: Setting, factor: Decimal, count: Decimal) -> list[int]:
    """Neighbours in the order of the ranks, so that they share a rank where it holds as many."""
    order = sorted(range(at.experts), key=lambda expert: at.owners[expert])
    first = order.index(shuffled(at.experts, f"experts/{at.seed}")[0])
    return _raised(at, {order[(first + place) % at.experts] for place in range(int(count))}, factor)


def _spread_hot(at: Setting, factor: Decimal) -> list[int]:
    """One hot expert on each rank: the experts are unequal, the ranks are not."""
    chosen: dict[int, int] = {}
    for expert in shuffled(at.experts, f"experts/{at.seed}"):
        chosen.setdefault(at.owners[expert], expert)
    return _raised(at, set(chosen.values()), factor)


def _hot_rank(at: Setting, factor: Decimal) -> list[int]:
    return _raised_rank(at, at.hosts()[0], factor)


def _rotating(at: Setting, factor: Decimal) -> list[int]:
    hosts = at.hosts()
    return _raised_rank(at, hosts[at.step % len(hosts)], factor)


def _burst(at: Setting, factor: Decimal) -> list[int]:
    """The last step of a cycle has a hot rank, the others are uniform."""
    return _hot_rank(at, factor) if at.step == at.steps - 1 else _uniform(at)


def _zero(at: Setting, share: Decimal) -> list[int]:
    """Experts without tokens, rank by rank, so that some ranks receive nothing."""
    hosts = at.hosts()
    order = sorted(range(at.experts), key=lambda expert: hosts.index(at.owners[expert]))
    idle = set(order[:int(share * at.experts)])
    return [int(expert not in idle) for expert in range(at.experts)]


def _recorded(at: Setting, name: moe_recorded.Recording) -> list[int]:
    """The rows of the table, spread over the steps."""
    rows = moe_recorded.counts(name)
    return list(rows[at.step * len(rows) // at.steps])


def _raised_rank(at: Setting, rank: int, factor: Decimal) -> list[int]:
    return _raised(at, {expert for expert, owner in enumerate(at.owners) if owner == rank}, factor)


def _raised(at: Setting, hot: set[int], factor: Decimal) -> list[int]:
    return [int(factor * _ONE) if expert in hot else _ONE for expert in range(at.experts)]


def _factor(default: int) -> Parameter:
    return Parameter("factor", Decimal(default), Decimal(1), Decimal(10**6))


PATTERNS = MappingProxyType({row.name: row for row in (
    RoutingPattern("balanced", None),
    RoutingPattern("uniform", _uniform),
    RoutingPattern("zipf", _zipf, Parameter("exponent", Decimal(1), Decimal(0), Decimal(8))),
    RoutingPattern("hot-expert", _hot_expert, _factor(16),
                   (Parameter("count", Decimal(1), Decimal(1), Decimal(2**14), whole=True),)),
    RoutingPattern("spread-hot", _spread_hot, _factor(16)),
    RoutingPattern("hot-rank", _hot_rank, _factor(4)),
    RoutingPattern("rotating", _rotating, _factor(4)),
    RoutingPattern("burst", _burst, _factor(4)),
    RoutingPattern("zero", _zero, Parameter("share", Decimal("0.5"), Decimal(0), Decimal("0.999"))),
    RoutingPattern("ragged", _uniform, _factor(4), ragged=True),
    RoutingPattern("recorded", _recorded, recorded=True),
)})
