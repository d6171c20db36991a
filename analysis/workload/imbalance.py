"""How much more the busiest rank of an exchange between experts carries than it would with balanced routing."""

from collbench.collectives.cases import routing
from collbench.collectives.errors import UsageError

from .model import Model
from .parallel import Parallel

__all__ = ["imbalance_of"]

_MOST_TOKENS = 1024      # of a rank; more do not change the shares
_STEPS = 4


def imbalance_of(text: str, model: Model | None, parallel: Parallel, tokens: int) -> float:
    """A number as it stands; of a routing pattern such as `zipf:1.2`, the mean over its steps.

    Raises:
        UsageError: it is neither, or the workload has no experts.
    """
    try:
        return float(text)
    except ValueError:
        pass
    if model is None or model.experts is None or model.experts_per_token is None or parallel.ep == 1:
        raise UsageError(f"--imbalance {text}: a routing pattern needs a model with experts, and ep above 1")
    stated = f"{text}:topk={model.experts_per_token.value:g}:experts={model.experts.value:g}"
    rank_tokens = max(1, min(tokens // parallel.tp, _MOST_TOKENS))
    uneven = sum(_busiest(stated, parallel.ep, rank_tokens, step) for step in range(_STEPS)) / _STEPS
    even = _busiest(stated.replace(text, "balanced", 1), parallel.ep, rank_tokens, 0)
    return max(1.0, uneven / even)


def _busiest(traffic: str, ranks: int, tokens: int, step: int) -> float:
    rows = routing.loads(traffic, ranks, tokens, step)
    return float(max(rows.sum(axis=0).max(), rows.sum(axis=1).max()))
