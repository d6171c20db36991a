"""Sockets between the watchdogs of ranks: JSON objects, one a line, beside whatever the library does."""

import json
import socket
from collections.abc import Sequence
from contextlib import suppress

from ..interfaces import Communicator

__all__ = ["Peer", "addresses", "connect", "spread"]

_CONNECT_S = 3.0
_WORD_BYTES = 6


class Peer:
    """A connection on which both sides say JSON objects, one a line."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.who: dict = {}
        self.said: dict | None = None
        self.left = False
        self._rest = b""

    def send(self, **message: object) -> None:
        """Never waits: what does not fit into the socket's buffer is for one who does not listen."""
        with suppress(OSError):
            self.socket.send(json.dumps(message).encode() + b"\n", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def receive(self) -> list[dict]:
        """What was said since; empty when the other side is gone. TimeoutError as the socket is set."""
        while True:
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                raise
            except OSError:
                return []
            if not data:
                return []
            *lines, self._rest = (self._rest + data).split(b"\n")
            if lines:
                return [message for line in lines if isinstance(message := json.loads(line), dict)]


def connect(hosts: Sequence[str], port: int) -> Peer | None:
    """To the first host that answers."""
    for host in hosts:
        with suppress(OSError):
            return Peer(socket.create_connection((host, port), _CONNECT_S))
    return None


def addresses(address: str | None) -> list[str]:
    """Names under which other hosts may know this one."""
    names = [address] if address else []
    names.append(socket.gethostname())
    with suppress(OSError):
        names.append(socket.gethostbyname(socket.gethostname()))
    return list(dict.fromkeys(names))


def spread(world: Communicator, own: bytes) -> bytes:
    """Rank 0's bytes on all ranks, over the control path."""
    length = world.share(len(own))
    words = [int.from_bytes(own[at:at + _WORD_BYTES], "big") for at in range(0, length, _WORD_BYTES)]
    shared = [world.share(words[index] if words else 0) for index in range(-(-length // _WORD_BYTES))]
    sizes = [min(_WORD_BYTES, length - at) for at in range(0, length, _WORD_BYTES)]
    return b"".join(word.to_bytes(size, "big") for word, size in zip(shared, sizes, strict=True))
