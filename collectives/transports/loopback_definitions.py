"""Every operation from its definition in numpy, on the buffers of all ranks at once."""

import functools

import numpy as np

from ..cases import catalog
from ..cases.case import Case
from ..cases.families.one_shot import ONE_SHOT
from ..cases.messages import messages

__all__ = ["perform", "swap"]

_UFUNCS = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum, "avg": np.add}


def perform(case: Case, buffers: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Perform the operation for all ranks; sends are copied first, since buffers may overlap."""
    sends, receives = [send.copy() for send, _ in buffers], [recv for _, recv in buffers]
    _DEFINITIONS.get(case.op, _messages)(case, sends, receives)


def _combined(case: Case, sends: list[np.ndarray]) -> np.ndarray:
    assert case.redop is not None
    typed = [send.view(np.dtype(case.dtype)) for send in sends]
    with np.errstate(over="ignore"):
        total: np.ndarray = functools.reduce(_UFUNCS[case.redop], typed)
    if case.redop == "avg":
        total = (total / case.ranks).astype(total.dtype) if total.dtype.kind == "f" else total // case.ranks
    return total.view(np.uint8)


def _all_reduce(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    total = _combined(case, sends)
    for recv in receives:
        recv[:] = total


def _reduce(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    receives[catalog.ROOT][:] = _combined(case, sends)


def _reduce_scatter(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    for recv, part in zip(receives, np.split(_combined(case, sends), case.ranks), strict=True):
        recv[:] = part


def _broadcast(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    for recv in receives:
        recv[:] = sends[catalog.ROOT]


def _all_gather(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    for recv in receives:
        recv[:] = np.concatenate(sends)


def _gather(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    receives[catalog.ROOT][:] = np.concatenate(sends)


def _scatter(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    for recv, part in zip(receives, np.split(sends[catalog.ROOT], case.ranks), strict=True):
        recv[:] = part


def _all_to_all(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    parts = [np.split(send, case.ranks) for send in sends]
    for rank, recv in enumerate(receives):
        recv[:] = np.concatenate([row[rank] for row in parts])


def _all_to_all_v(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    ends = [np.cumsum(row)[:-1] * case.itemsize for row in catalog.traffic_counts(case)]
    parts = [np.split(send, end) for send, end in zip(sends, ends, strict=True)]
    for rank, recv in enumerate(receives):
        recv[:] = np.concatenate([row[rank] for row in parts])


def _send_recv(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    for rank, recv in enumerate(receives):
        recv[:] = sends[rank - 1]


def _messages(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    """An operation without a definition of its own."""
    size = case.itemsize
    sent = [(messages(case, rank) or ([], []))[0] for rank in range(case.ranks)]
    for rank, recv in enumerate(receives):
        queued = {source: [one for one in sent[source] if one.peer == rank] for source in range(case.ranks)}
        for target in (messages(case, rank) or ([], []))[1]:
            source = queued[target.peer].pop(0)
            recv[target.at * size:(target.at + target.count) * size] = (
                sends[target.peer][source.at * size:(source.at + source.count) * size])


def _pairs(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    for rank, recv in enumerate(receives):
        partner = catalog.partner(case, rank)
        if recv.size and partner is not None:
            recv[:] = sends[partner]


def swap(buffers: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Two ranks send each other what they have to send."""
    (send, recv), (other_send, other_recv) = buffers
    sent = send.copy()
    if recv.size:
        recv[:] = other_send
    if other_recv.size:
        other_recv[:] = sent


def _copy(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    for send, recv in zip(sends, receives, strict=True):
        recv[:] = send


def _nothing(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    """For operations without data: the exchange itself is the barrier."""


_DEFINITIONS = {"all_reduce": _all_reduce, ONE_SHOT: _all_reduce, "reduce": _reduce, "reduce_scatter": _reduce_scatter,
                "broadcast": _broadcast, "all_gather": _all_gather, "gather": _gather, "scatter": _scatter,
                "all_to_all": _all_to_all, "all_to_all_v": _all_to_all_v, "send_recv": _send_recv,
                "ping_pong": _pairs, "bandwidth": _pairs, "bi_bandwidth": _pairs, "barrier": _nothing, "noop": _nothing,
                **dict.fromkeys(catalog.GROUPS["copies"], _copy)}
