"""Communication libraries behind one protocol: one module per transport, imported when it is opened."""

import importlib
from typing import cast

from ..errors import UsageError
from ..interfaces import Transport
from ..ranks.rendezvous import Place, mpi_obstacle
from ..transport_names import TRANSPORTS

__all__ = ["open_transport"]


def open_transport(name: str, place: Place, device: str = "auto", meeting_s: float = 300.0,
                   backend: str | None = None) -> Transport:
    """Start the communication library `name` on this rank, with buffers on `device`; collective.

    Ranks wait `meeting_s` seconds for each other, unless the library has its own rendezvous. `backend` is one that the
    library lets users choose; None for its default.

    Raises:
        UsageError: the library is not installed or there is no such device.
        CollbenchError: the rendezvous failed.
    """
    if name not in TRANSPORTS:
        raise UsageError(f"transport {name!r}: known are {', '.join(TRANSPORTS)}")
    row = TRANSPORTS[name]
    if row.mpi_ranks and (reason := mpi_obstacle(place)):
        raise UsageError(f"transport {name}: {reason}")
    try:
        module = importlib.import_module(f"{__name__}.{row.module}")
    except ImportError as error:
        raise UsageError(f"transport {name}: {error}; install it with: {row.install}") from None
    chosen = (backend,) if row.backends else ()
    return cast(Transport, module.open_transport(place, device, meeting_s, *chosen))
