"""An all-reduce in one step: every rank reads the data of all others from shared memory and reduces them by itself.

It moves (n - 1) S to each rank instead of 2 (n - 1)/n S, but needs a single synchronisation: the fastest way for small
messages among few ranks. vLLM's and SGLang's custom all-reduce and TensorRT-LLM's one-shot kernel work so. Its
bandwidth factor is that of all_reduce, so that the two compare directly.
"""

from ..operation import CaseLike, Operation, Piece

__all__ = ["ONE_SHOT", "OPERATIONS"]

ONE_SHOT = "all_reduce_one_shot"


def _whole(case: CaseLike, rank: int) -> list[Piece]:
    return [Piece(rank, 0, 0, case.count)]


def _reduced(case: CaseLike, rank: int) -> list[Piece]:
    return [Piece(None, 0, 0, case.count)]


OPERATIONS = (
    Operation(ONE_SHOT, lambda n: 2 * (n - 1) / n, _whole, _reduced,
              "one call: the copy to shared memory, the synchronisation, and the reduction by each rank",
              reduces=True, group="shared_memory"),
)
