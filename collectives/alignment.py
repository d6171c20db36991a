"""How ranks start a sample together. One row a way; each is given a communicator and returns what to call."""

from collections.abc import Callable
from types import MappingProxyType

from .transports.base import Communicator

__all__ = ["ALIGNMENTS"]


def _none(communicator: Communicator) -> Callable[[], object]:
    """Every rank starts when it comes: what an application with imbalance sees."""
    return lambda: None


def _barrier(communicator: Communicator) -> Callable[[], object]:
    """A barrier on the control path. Ranks leave it with some skew, which the record shows where clocks are shared."""
    return communicator.barrier


ALIGNMENTS = MappingProxyType({"none": _none, "barrier": _barrier})
