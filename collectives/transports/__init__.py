"""Communication libraries behind one protocol; a transport is a module here, imported when it is opened."""

import importlib

from ..errors import UsageError
from ..interfaces import Transport
from ..ranks.rendezvous import Place, mpi_obstacle
from ..transport_names import TRANSPORTS

__all__ = ["open_transport"]


def open_transport(name: str, place: Place, device: str = "auto", meeting_s: float = 300.0) -> Transport:
    """Start the communication library `name` on this rank, with payloads on `device`; collective.

    Ranks wait `meeting_s` seconds for each other, where the library leaves that to us.

    UsageError when it is not installed, there is no such device, or ranks could not meet.
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
    return module.open_transport(place, device, meeting_s)
