"""The calls of a mixture-of-experts exchange; `docs/moe.md` describes the three implementations.

What the router decides, which rows go where, is there before the call, as in a real layer. Everything else is part of
it: collecting rows, exchanging their numbers, the rows themselves, and the sums.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from ...cases.case import Case
from ...cases.families import moe
from ...cases.moe_plan import Plan, Shape, plan
from ...cases.moe_workload import combine_dtype, parse_workload, token_bytes
from ...cases.routing import source_tokens
from ...interfaces import Layout, RawBytes
from ...parts import Bound, Parts

__all__ = ["BINDERS", "calls"]

_COUNT_BYTES = 8


def calls(case: Case) -> Iterator[Case]:
    """The calls that the library must support; rows are exchanged as bytes."""
    work = parse_workload(case.traffic or "")
    if work.via != "gather":
        yield _counts(work.group if work.via == "two-stage" else case.ranks)
        return
    held = moe.tokens(case)
    if case.op != "moe_combine":
        yield _all_gather(case.ranks, held * token_bytes(work, case.dtype or ""))
    if case.op != "moe_dispatch":
        yield _reduce_scatter(case.ranks, held * moe.result_bytes(case), combine_dtype(case.dtype or ""))


def _counts(ranks: int) -> Case:
    return Case(op="all_to_all", ranks=ranks, bytes=_COUNT_BYTES * ranks, dtype="int64")


def _all_gather(ranks: int, each: int) -> Case:
    return Case(op="all_gather", ranks=ranks, bytes=ranks * each, dtype="uint8")


def _reduce_scatter(ranks: int, each: int, dtype: str) -> Case:
    return Case(op="reduce_scatter", ranks=ranks, bytes=ranks * each, dtype=dtype, redop="sum")


class _Way(Protocol):
    """An implementation, as all slots share it. The calls of a slot come one after another."""

    def dispatcher(self, parts: Parts, tokens: RawBytes, received: RawBytes) -> Callable[[int], object]:
        """The call for a step that brings tokens to the ranks of their experts; for `combiner`, it returns the numbers
        of rows that it was told.
        """

    def combiner(self, parts: Parts, results: RawBytes, sums: RawBytes) -> Callable[[int, Any], object]:
        """The call for a step that brings results back and adds them, with what the dispatch returned, or None."""


class _Problem:
    """A case on one rank: sizes, and the plan of each step."""

    def __init__(self, case: Case, rank: int) -> None:
        self.work, self.dtype = parse_workload(case.traffic or ""), combine_dtype(case.dtype or "")
        self.ranks, self.rank, self.held = case.ranks, rank, moe.tokens(case)
        self.token_bytes, self.result_bytes = token_bytes(self.work, case.dtype or ""), moe.result_bytes(case)
        self.own = int(source_tokens(self.work.text, case.ranks, self.held)[rank])
        shapes = [Shape(self.work.text, case.ranks, self.held, step) for step in range(self.work.steps)]
        self.plans: list[Plan] = [plan(shape, rank) for shape in shapes]


class _Link:
    """Exchanges of rows among some ranks; how many come is known only from those who send them."""

    def __init__(self, parts: Parts, ranks: Sequence[int] | None, sends: list[np.ndarray],
                 receives: list[np.ndarray]) -> None:
        self._parts, self._ranks = parts, ranks
        self._sends, self._receives = ([counts.tolist() for counts in steps] for steps in (sends, receives))
        size = len(sends[0])
        self._heard = parts.scratch(_COUNT_BYTES * size)
        self._tell = [parts.call(_counts(size), parts.rows.stored(counts), self._heard, ranks) for counts in sends]

    def tell(self, step: int) -> list[int]:
        """Exchange the numbers of rows; returns those that come."""
        self._tell[step]()
        return self._parts.rows.numbers(self._heard)

    def forth(self, step: int, source: RawBytes, target: RawBytes, row_bytes: int, come: list[int]) -> None:
        """Rows in the order of their destinations."""
        self._move(source, self._sends[step], target, come, row_bytes)

    def back(self, step: int, source: RawBytes, target: RawBytes, row_bytes: int, came: list[int] | None) -> None:
        """A row for each that came, in their order."""
        self._move(source, came or self._receives[step], target, self._sends[step], row_bytes)

    def _move(self, source: RawBytes, sends: list[int], target: RawBytes, receives: list[int], row_bytes: int) -> None:
        out, into = ([count * row_bytes for count in counts] for counts in (sends, receives))
        self._parts.exchange(source[:sum(out)], out, target[:sum(into)], into, self._ranks)


class _Direct:
    """Numbers of rows, then rows, straight to their ranks; results the same way back."""

    def __init__(self, parts: Parts, case: Case, problem: _Problem) -> None:
        self._rows, self._problem = parts.rows, problem
        first = [plan.first for plan in problem.plans]
        most = max(len(stage.tokens) for stage in first)
        self._packed = parts.scratch(most * max(problem.token_bytes, problem.result_bytes))
        self._link = _Link(parts, None, [stage.sends for stage in first], [stage.receives for stage in first])
        self._selections = [parts.rows.selection(stage.tokens) for stage in first]
        self._additions = [parts.rows.addition(stage.tokens, stage.weights, stage.sends, problem.own,
                                               problem.work.hidden, problem.dtype) for stage in first]

    def dispatcher(self, parts: Parts, tokens: RawBytes, received: RawBytes) -> Callable[[int], list[int]]:
        row_bytes, packed = self._problem.token_bytes, self._packed

        def dispatch(step: int) -> list[int]:
            self._rows.take(tokens, packed, row_bytes, self._selections[step])
            come = self._link.tell(step)
            self._link.forth(step, packed, received, row_bytes, come)
            return come
        return dispatch

    def combiner(self, parts: Parts, results: RawBytes, sums: RawBytes) -> Callable[[int, Any], None]:
        row_bytes, packed = self._problem.result_bytes, self._packed
        own = sums[:self._problem.own * row_bytes]

        def combine(step: int, came: list[int] | None) -> None:
            self._link.back(step, results, packed, row_bytes, came)
            self._rows.add(packed, own, self._additions[step])
        return combine


class _Gathered:
    """All tokens to all ranks, which select theirs; results as sums over all ranks, of which each rank gets its own."""

    def __init__(self, parts: Parts, case: Case, problem: _Problem) -> None:
        self._rows, self._problem = parts.rows, problem
        everything = problem.ranks * problem.held
        self._tokens = parts.scratch(everything * problem.token_bytes) if case.op != "moe_combine" else None
        self._results = parts.scratch(everything * problem.result_bytes) if case.op != "moe_dispatch" else None
        self._selections = [parts.rows.selection(plan.selected) for plan in problem.plans]
        self._additions = [parts.rows.addition(plan.selected, plan.weights, plan.first.receives, everything,
                                               problem.work.hidden, problem.dtype) for plan in problem.plans]

    def dispatcher(self, parts: Parts, tokens: RawBytes, received: RawBytes) -> Callable[[int], None]:
        row_bytes = self._problem.token_bytes
        gather = parts.call(_all_gather(self._problem.ranks, len(tokens)), tokens, self._tokens)

        def dispatch(step: int) -> None:
            gather()
            self._rows.take(self._tokens, received, row_bytes, self._selections[step])
        return dispatch

    def combiner(self, parts: Parts, results: RawBytes, sums: RawBytes) -> Callable[[int, Any], None]:
        own = sums[:self._problem.held * self._problem.result_bytes]
        scatter = parts.call(_reduce_scatter(self._problem.ranks, len(own), self._problem.dtype), self._results, own)

        def combine(step: int, came: None) -> None:
            self._rows.add(results, self._results, self._additions[step])
            scatter()
        return combine


class _TwoStage:
    """First to the rank at the same place in each node, once for each node; from there to the ranks of the node.

    Results are added in the node before they go back.
    """

    def __init__(self, parts: Parts, case: Case, problem: _Problem) -> None:
        self._rows, self._problem = parts.rows, problem
        group, (node, place) = problem.work.group, divmod(problem.rank, problem.work.group)
        first = [plan.first for plan in problem.plans]
        second = [plan.second for plan in problem.plans if plan.second]
        # Every rank asks for its groups in the same order, nodes first.
        self._node = _Link(parts, range(node * group, (node + 1) * group), [stage.sends for stage in second],
                           [stage.receives for stage in second])
        self._rail = _Link(parts, range(place, problem.ranks, group), [stage.sends for stage in first],
                           [stage.receives for stage in first])
        self._sent = [parts.rows.selection(stage.tokens) for stage in first]
        self._passed = [parts.rows.selection(stage.rows) for stage in second]
        self._arrived = [int(stage.receives.sum()) for stage in first]
        most = max(*map(len, self._sent), *map(len, self._passed))
        row_bytes = max(problem.token_bytes, problem.result_bytes)
        self._packed, self._middle = parts.scratch(most * row_bytes), parts.scratch(max(self._arrived) * row_bytes)
        width, dtype = problem.work.hidden, problem.dtype
        self._in_node = [parts.rows.addition(stage.rows, stage.weights, stage.sends, rows, width, dtype)
                         for stage, rows in zip(second, self._arrived, strict=True)]
        self._at_home = [parts.rows.addition(stage.tokens, stage.weights, stage.sends, problem.own, width, dtype)
                         for stage in first]

    def dispatcher(self, parts: Parts, tokens: RawBytes,
                   received: RawBytes) -> Callable[[int], tuple[list[int], list[int]]]:
        row_bytes, packed, middle = self._problem.token_bytes, self._packed, self._middle

        def dispatch(step: int) -> tuple[list[int], list[int]]:
            self._rows.take(tokens, packed, row_bytes, self._sent[step])
            along = self._rail.tell(step)
            self._rail.forth(step, packed, middle, row_bytes, along)
            self._rows.take(middle[:sum(along) * row_bytes], packed, row_bytes, self._passed[step])
            inside = self._node.tell(step)
            self._node.forth(step, packed, received, row_bytes, inside)
            return along, inside
        return dispatch

    def combiner(self, parts: Parts, results: RawBytes, sums: RawBytes) -> Callable[[int, Any], None]:
        row_bytes, packed, middle = self._problem.result_bytes, self._packed, self._middle
        own = sums[:self._problem.own * row_bytes]

        def combine(step: int, came: tuple[list[int], list[int]] | None) -> None:
            along, inside = came or (None, None)
            self._node.back(step, results, packed, row_bytes, inside)
            self._rows.add(packed, middle[:self._arrived[step] * row_bytes], self._in_node[step])
            self._rail.back(step, middle, packed, row_bytes, along)
            self._rows.add(packed, own, self._at_home[step])
        return combine


_WAYS: dict[str, Callable[[Parts, Case, _Problem], _Way]] = {"counts": _Direct, "gather": _Gathered,
                                                             "two-stage": _TwoStage}


def _way(parts: Parts, case: Case) -> _Way:
    """That of the first slot, for all."""
    if "way" not in parts.shared:
        problem = _Problem(case, parts.rank)
        parts.shared["way"] = _WAYS[problem.work.via](parts, case, problem)
    way: _Way = parts.shared["way"]
    return way


def _bind(parts: Parts, case: Case, place: Layout) -> Bound:
    way, (result_at, sum_at) = _way(parts, case), moe.combine_at(case, parts.rank)
    send, recv = parts.slot(place.send_at, place.send_bytes), parts.slot(place.recv_at, place.recv_bytes)
    held = moe.tokens(case) * token_bytes(parse_workload(case.traffic or ""), case.dtype or "")
    dispatch = way.dispatcher(parts, send[:held], recv) if case.op != "moe_combine" else lambda step: None
    combine = (way.combiner(parts, send[result_at:], recv[sum_at:]) if case.op != "moe_dispatch"
               else lambda step, told: None)
    return _stepper(lambda step: combine(step, dispatch(step)), parse_workload(case.traffic or "").steps)


def _stepper(call: Callable[[int], object], steps: int) -> Bound:
    chosen = 0

    def select(step: int) -> None:
        nonlocal chosen
        chosen = step % steps
    return Bound(lambda: call(chosen), select)


BINDERS = dict.fromkeys(("moe_dispatch", "moe_combine", "moe_pair"), _bind)
