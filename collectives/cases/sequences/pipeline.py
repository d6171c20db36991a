"""Activations and gradients that pass from stage to stage of a pipeline, for several microbatches.

Every stage sends to the next and receives from the one before, as in an interleaved schedule (Narayanan et al.,
"Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM", SC 2021), in which the last stage
sends to the first one, too.
"""

from ..calls import Call

__all__ = ["AXIS", "PARAMETERS", "TITLE", "calls"]

TITLE = "sends from stage to stage, forward and backward; the size is that of one microbatch's activations"
AXIS = "pp"
PARAMETERS = {"microbatches": 4}


def calls(size: int, ranks: int, microbatches: int) -> list[Call]:
    """One shift for the activations, and one for the gradients, of each microbatch."""
    return [Call("send_recv", size, count=2 * microbatches)] if ranks > 1 else []
