"""One step of fully sharded data-parallel training, layer by layer.

Parameters are gathered for the forward and again for the backward pass, then gradients are reduced and scattered, as by
torch's FullyShardedDataParallel with `FULL_SHARD`. Gradients of a layer are reduced while the next one is gathered.
"""

from ..calls import Call

__all__ = ["AXIS", "PARAMETERS", "TITLE", "calls"]

TITLE = "all-gather of each layer, forward and backward, and reduce-scatter; the size is that of all parameters"
AXIS = "dp"
PARAMETERS = {"layers": 4}


def calls(size: int, ranks: int, layers: int) -> list[Call]:
    """The forward pass, then gather and reduce for each layer backward."""
    layer = -(-size // layers)
    backward = [Call("all_gather", layer), Call("reduce_scatter", layer, overlap=True)]
    return [Call("all_gather", layer, count=layers), *(backward * layers)]
