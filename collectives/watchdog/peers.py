"""Sockets between the watchdogs of ranks: one JSON object per line, separate from the communication library."""

import json
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ..interfaces import Communicator

__all__ = ["Message", "Peer", "addresses", "broadcast_bytes", "connect"]

_CONNECT_S = 3.0
_WORD_BYTES = 6

Message = dict[str, Any]


class Peer:
    """A connection to the watchdog of another rank.

    Attributes:
        identity: the peer's hello message: rank, pid, host, boot.
        report: its latest answer to the question where it is; None before it answers.
        left: it has said goodbye.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.identity: Message = {}
        self.report: Message | None = None
        self.left = False
        self._rest = b""

    def send(self, **message: object) -> None:
        """Never blocks: a message that does not fit into the socket's buffer is for a peer that does not read."""
        with suppress(OSError):
            self.socket.send(json.dumps(message).encode() + b"\n", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def receive(self) -> list[Message]:
        """New messages; empty if the connection is closed. TimeoutError as set on the socket."""
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
    """Connect to the first host that answers."""
    for host in hosts:
        with suppress(OSError):
            return Peer(socket.create_connection((host, port), _CONNECT_S))
    return None


def addresses(address: str | None) -> list[str]:
    """Names by which other hosts may reach this one."""
    names = [address] if address else []
    names.append(socket.gethostname())
    with suppress(OSError):
        names.append(socket.gethostbyname(socket.gethostname()))
    return list(dict.fromkeys(names))


def broadcast_bytes(world: Communicator, own: bytes) -> bytes:
    """Rank 0's bytes on all ranks, over the control path. Collective."""
    length = world.share(len(own))
    words = [int.from_bytes(own[at:at + _WORD_BYTES], "big") for at in range(0, length, _WORD_BYTES)]
    shared = [world.share(words[index] if words else 0) for index in range(-(-length // _WORD_BYTES))]
    sizes = [min(_WORD_BYTES, length - at) for at in range(0, length, _WORD_BYTES)]
    return b"".join(word.to_bytes(size, "big") for word, size in zip(shared, sizes, strict=True))
