"""What a run leaves out if the time is short: groups of cases in the order in which they are given up.

First those that take too long; then in-place twins of out-of-place cases, operations other than the headline ones,
middle rank counts, middle sizes, the smallest rank count, and the smallest size. What is left is the largest size of
the headline operations over all ranks, and whatever has no size.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import msgspec

from ..cases.case import Case, format_size

__all__ = ["HEADLINE", "is_twin", "leave_out"]

# Operations that are given up last when time is short: those that decide how models are spread over ranks, messages
# between two ranks, and the copies that bound them all. A sweep without any of these treats all its operations alike.
HEADLINE = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "ping_pong", "bandwidth", "copy", "copy_h2d",
            "copy_d2h")

_ALIKE = 1.01            # ratios of neighbours that count as equal
# A case that takes more than this share of the time is not worth the others: one of a headline operation over all
# ranks, out of place; and any other.
_MOST_OF_BUDGET, _MOST_OF_OTHERS = 0.25, 0.02


def is_twin(case: Case, cases: Collection[Case]) -> bool:
    """Whether it is the in-place form of another of `cases`."""
    return case.in_place and msgspec.structs.replace(case, in_place=False) in cases


def leave_out(cost_s: Mapping[Case, float], asked: Mapping[Case, int], budget_s: float) -> dict[Case, str]:
    """The cases to leave out so that the others take at most `budget_s`, or as little as possible; what each is."""
    left_s, dropped = sum(cost_s.values()), dict[Case, str]()
    for words, cases in _given_up(cost_s, asked, budget_s):
        if left_s <= budget_s:
            break
        for case in cases:
            if case not in dropped:
                dropped[case] = words
                left_s -= cost_s[case]
    return dropped


def _given_up(cost_s: Mapping[Case, float], asked: Mapping[Case, int],
              budget_s: float) -> Iterator[tuple[str, list[Case]]]:
    """The groups, and what each is in words."""
    cases = [case for case in cost_s if case.operation.has_payload]
    some = any(case.op in HEADLINE for case in cases)
    twins = {case for case in cases if is_twin(case, cost_s)}
    long = _too_long(cost_s, {case for case in cases if case.op in HEADLINE or not some} - twins, asked, budget_s)
    yield from (("too long for the time", [case]) for case in long)
    cases = [case for case in cases if case not in long]
    minor = [case for case in cases if some and case.op not in HEADLINE]
    major = [case for case in cases if not some or case.op in HEADLINE]
    for part in (minor, major):
        for _, alike in sorted(_groups(filter(twins.__contains__, part), asked.__getitem__).items(), reverse=True):
            yield "in place", alike
    yield from (("of other operations", group) for group in _others(minor, asked))
    yield from _headline(major, asked)


def _too_long(cost_s: Mapping[Case, float], headline: set[Case], asked: Mapping[Case, int],
              budget_s: float) -> dict[Case, float]:
    """Cases that take too large a share of the time, the longest first; each operation keeps its smallest size."""
    world = max((case.members for case in headline), default=0)
    first = {case for case in headline if case.members == world}
    least = min(map(asked.__getitem__, first), default=0)
    found = {case: time_s for case, time_s in cost_s.items() if case.operation.has_payload
             and not (case in first and asked[case] == least)
             and time_s > budget_s * (_MOST_OF_BUDGET if case in first else _MOST_OF_OTHERS)}
    return dict(sorted(found.items(), key=lambda item: item[1], reverse=True))


def _others(minor: list[Case], asked: Mapping[Case, int]) -> Iterator[list[Case]]:
    """Middle sizes, then middle rank counts, small ones, and all ranks; there the largest size first."""
    by_size, by_ranks = _groups(minor, asked.__getitem__), _groups(minor, _ranks)
    yield from (by_size[size] for size in _inner(by_size, max))
    for ranks in [*_inner(by_ranks, min), *sorted(by_ranks)]:
        for _, alike in sorted(_groups(by_ranks[ranks], asked.__getitem__).items(), reverse=True):
            yield alike


def _headline(major: list[Case], asked: Mapping[Case, int]) -> Iterator[tuple[str, list[Case]]]:
    by_size = _groups(major, asked.__getitem__)
    by_ranks = _groups((case for case in major if not case.operation.memories), _ranks)     # copies are few and quick
    world = max(by_ranks, default=0)
    for ranks in _inner(by_ranks, min):
        yield f"over {ranks} ranks", by_ranks[ranks]
    for smaller in (True, False):       # over all ranks they are kept longest
        for size in _inner(by_size, max):
            yield f"of {format_size(size)}", [case for case in by_size[size] if (case.members < world) == smaller]
    for ranks in sorted(by_ranks)[:-1]:
        yield f"over {ranks} ranks", by_ranks[ranks]
    for size in sorted(by_size)[:-1]:
        yield f"of {format_size(size)}", by_size[size]


def _ranks(case: Case) -> int:
    return case.members


def _groups(cases: Iterable[Case], key: Callable[[Case], int]) -> dict[int, list[Case]]:
    found: dict[int, list[Case]] = {}
    for case in cases:
        found.setdefault(key(case), []).append(case)
    return found


def _inner(values: Iterable[int], first: Callable[[Iterable[int]], int]) -> list[int]:
    """All values but the smallest and largest, those closest to their neighbours first; of equals `first`."""
    left, order = sorted(values), []
    while len(left) > 2:
        ratios = {value: above / below for below, value, above in zip(left, left[1:], left[2:], strict=False)}
        order.append(first(value for value, ratio in ratios.items() if ratio <= min(ratios.values()) * _ALIKE))
        left.remove(order[-1])
    return order
