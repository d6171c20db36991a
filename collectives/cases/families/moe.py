"""The exchange of a mixture-of-experts layer: tokens go to the ranks of their experts, and the results come back.

S, the message size of a case, is what one rank has: its tokens, or their results. So algbw is that of the tokens of a
rank; how many rows they become depends on the routing (see `routing`).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from .. import moe_workload, routing
from ..moe_workload import Workload, combine_dtype, parse_workload, reads_as_workload, token_bytes
from ..operation import DTYPES, CaseLike, Composition, Grammar, Operation, nothing

if TYPE_CHECKING:       # numpy would make every command slow to start
    import numpy as np

__all__ = ["OPERATIONS", "combine_at", "most_rows", "result_bytes", "tokens"]

_LINE = 64
_MOST_TOKENS = 1 << 20
_DEFAULT = "uniform"


def tokens(case: CaseLike) -> int:
    """Tokens of a rank; where ranks have different numbers, of the one with most."""
    return case.bytes // (_unit_of(case.op)(case.ranks, case.dtype or "", case.traffic) * _itemsize(case.dtype))


def result_bytes(case: CaseLike) -> int:
    """Bytes of the result for a token."""
    return _result_bytes(_work(case), case.dtype or "")


@lru_cache(maxsize=256)
def most_rows(traffic: str, ranks: int, tokens: int) -> tuple[int, ...]:
    """The most rows that each rank receives in a step."""
    import numpy as np
    received = [routing.loads(traffic, ranks, tokens, step).sum(0) for step in range(parse_workload(traffic).steps)]
    return tuple(int(rows) for rows in np.max(received, axis=0))


def combine_at(case: CaseLike, rank: int) -> tuple[int, int]:
    """Where the results of the experts begin in the send buffer, and where the sums do in the receive buffer."""
    if case.op != "moe_pair":
        return 0, 0
    sends, receives = _extent_of_dispatch(case, rank)
    return -(-sends // _LINE) * _LINE, -(-receives // _LINE) * _LINE


def _work(case: CaseLike) -> Workload:
    return parse_workload(case.traffic or "")


def _itemsize(dtype: str | None) -> int:
    return DTYPES[dtype or ""].itemsize


def _result_bytes(work: Workload, dtype: str) -> int:
    return work.hidden * _itemsize(combine_dtype(dtype))


def _extent_of_dispatch(case: CaseLike, rank: int) -> tuple[int, int]:
    """One row more is received than any step has, which must stay as it was."""
    held, row_bytes = tokens(case), token_bytes(_work(case), case.dtype or "")
    return held * row_bytes, (most_rows(case.traffic or "", case.ranks, held)[rank] + 1) * row_bytes


def _extent_of_combine(case: CaseLike, rank: int) -> tuple[int, int]:
    held, row_bytes = tokens(case), result_bytes(case)
    return max(1, most_rows(case.traffic or "", case.ranks, held)[rank]) * row_bytes, (held + 1) * row_bytes


def _extent(case: CaseLike, rank: int) -> tuple[int, int]:
    if case.op == "moe_dispatch":
        return _extent_of_dispatch(case, rank)
    if case.op == "moe_combine":
        return _extent_of_combine(case, rank)
    (send_at, receive_at), (sends, receives) = combine_at(case, rank), _extent_of_combine(case, rank)
    return send_at + sends, receive_at + receives


def _image(case: CaseLike, rank: int, salt: int, step: int, sent: bool) -> "np.ndarray":
    import numpy as np

    from .. import moe_images, values
    from ..moe_plan import Shape
    work, held, dtype = _work(case), tokens(case), case.dtype or ""
    shape = Shape(work.text, case.ranks, held, step % work.steps)
    whole = np.full(_extent(case, rank)[0 if sent else 1], values.POISON, np.uint8)

    def put(rows: "np.ndarray", at: int) -> None:
        raw = rows.reshape(-1).view(np.uint8)
        whole[at:at + raw.size] = raw
    if case.op != "moe_combine":
        row_bytes = token_bytes(work, dtype)
        put(moe_images.tokens(shape, row_bytes, rank, salt, np.arange(held)) if sent
            else moe_images.dispatched(shape, row_bytes, rank, salt), 0)
    if case.op != "moe_dispatch":
        if not sent and work.via == "gather":       # sums of nothing for the tokens that a rank has fewer
            at = combine_at(case, rank)[1]
            whole[at:at + held * result_bytes(case)] = 0
        results = moe_images.expert_results if sent else moe_images.combined
        put(results(shape, combine_dtype(dtype), rank, salt), combine_at(case, rank)[0 if sent else 1])
    return whole


def _volume(case: CaseLike) -> int:
    """The rows of random picks, or all tokens of all ranks; the rows of a pair come back, too."""
    work, ranks = _work(case), case.ranks
    met = ranks if work.via == "gather" else ranks * (1 - (1 - 1 / ranks) ** work.topk)
    back = tokens(case) * result_bytes(case) if case.op == "moe_pair" else 0
    return int(met * (case.bytes + back))


def _scratch(case: CaseLike) -> int:
    """The rows that are sent or received beside the buffers, and as many that are being added; the latter in float32.
    """
    work, held, ranks = _work(case), tokens(case), case.ranks
    most = max(most_rows(case.traffic or "", ranks, held))
    rows = held * ranks if work.via == "gather" else max(most, held * min(ranks, work.topk))
    row_bytes = max(token_bytes(work, case.dtype or ""), result_bytes(case))
    return rows * (2 * row_bytes + 4 * work.hidden)


def _steps(case: CaseLike) -> int:
    return max(2, _work(case).steps)


def _varies(case: CaseLike) -> bool:
    return _work(case).steps > 1


def _why_not(case: CaseLike) -> str | None:
    work, dtype = _work(case), case.dtype or ""
    if tokens(case) > _MOST_TOKENS:
        return f"{tokens(case)} tokens of a rank: their routing is computed for at most {_MOST_TOKENS}"
    if work.via == "two-stage" and (case.ranks % work.group or case.ranks == work.group):
        return (f"two stages need two or more whole nodes of {work.group} ranks, not {case.ranks} ranks; group=N in "
                "the traffic is the number of ranks of a node")
    if case.op == "moe_combine" and combine_dtype(dtype) != dtype:
        return f"results of tokens in {dtype} are summed in {combine_dtype(dtype)}: measure moe_combine in that"
    most = DTYPES[combine_dtype(dtype)].exact // 2
    if case.op != "moe_dispatch" and work.topk > most:
        return f"sums over topk={work.topk} experts are not exact in {combine_dtype(dtype)}: at most {most}"
    return None


def _token_unit(ranks: int, dtype: str, traffic: str | None) -> int:
    """Elements of a token, its scales included; 1 for results of other tools, whose workload is not known."""
    if not reads_as_workload(traffic) or dtype not in DTYPES:
        return 1
    return token_bytes(parse_workload(traffic or ""), dtype) // _itemsize(dtype)


def _result_unit(ranks: int, dtype: str, traffic: str | None) -> int:
    """Like `_token_unit`, of the result for a token."""
    if not reads_as_workload(traffic) or dtype not in DTYPES:
        return 1
    work = parse_workload(traffic or "")
    token_bytes(work, dtype)        # refuses an element type that tokens do not have
    return _result_bytes(work, dtype) // _itemsize(dtype)


def _unit_of(op: str) -> Callable[[int, str, str | None], int]:
    return _result_unit if op == "moe_combine" else _token_unit


def _expand(operation: Operation, ranks: int, given: tuple[str, ...]) -> tuple[str, ...]:
    return given or (_DEFAULT,)


_GRAMMAR = Grammar(lambda text: parse_workload(text).text, _expand, lambda case: None, moe_workload.spellings)


def _row(name: str, measures: str) -> Operation:
    return Operation(name, lambda n: (n - 1) / n, nothing, nothing, measures, grammar=_GRAMMAR, unit=_unit_of(name),
                     dtypes=moe_workload.DTYPES, group="moe", why_not=_why_not,
                     composition=Composition(_extent, _image, _volume, _steps, varies=_varies, scratch=_scratch))


OPERATIONS = (
    _row("moe_dispatch", "one step: every token to the ranks of its experts"),
    _row("moe_combine", "one step: the results of the experts back to their tokens, and their weighted sums"),
    _row("moe_pair", "one step: dispatch and combine back to back"),
)
