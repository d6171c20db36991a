"""Ring attention: every rank passes blocks of keys and values around the ring until all have seen all of them.

Liu, Zaharia, Abbeel, "Ring Attention with Blockwise Transformers for Near-Infinite Context", 2023.
"""

from ..calls import Call

__all__ = ["AXIS", "PARAMETERS", "TITLE", "calls"]

TITLE = "n - 1 shifts around the ring; the size is that of one rank's block of keys and values"
AXIS = "cp"
PARAMETERS: dict[str, int] = {}


def calls(size: int, ranks: int) -> list[Call]:
    """One shift for each other rank."""
    return [Call("send_recv", size, count=ranks - 1)] if ranks > 1 else []
