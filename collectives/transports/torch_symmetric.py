"""The one-shot all-reduce over torch's symmetric memory: one kernel that copies, synchronises, reads and reduces."""

from collections.abc import Callable
from functools import partial

import torch

from ..cases.case import Case
from .torch_calls import Tensors, TimedGroup

__all__ = ["bind", "why_not"]


def why_not(case: Case, device: torch.device) -> str | None:
    """Why torch has no one-shot all-reduce for this case on this device; None if it may have."""
    if device.type != "cuda":
        return f"symmetric memory of torch is for CUDA and ROCm devices, not for {device.type}"
    if not hasattr(torch.ops.symm_mem, "one_shot_all_reduce_copy_out"):
        return f"torch {torch.__version__} has no one-shot all-reduce"
    if case.redop != "sum":
        return f"torch's one-shot all-reduce has no reduce operation {case.redop}"
    if case.dtype not in ("float32", "bfloat16"):
        return f"torch's one-shot all-reduce is for float32 and bfloat16, not for {case.dtype}"
    return None


def bind(comm: TimedGroup, at: Tensors) -> Callable[[], object]:
    """The call on these tensors. Collective: the memory of all ranks is mapped now."""
    import torch.distributed._symmetric_memory as symmetric
    shared = symmetric.empty(at.case.count, dtype=at.send.dtype, device=at.send.device)
    name = comm.timed.group_name
    symmetric.rendezvous(shared, name)
    return partial(torch.ops.symm_mem.one_shot_all_reduce_copy_out, shared, at.send, "sum", name, at.recv)
