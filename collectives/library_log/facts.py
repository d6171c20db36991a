"""What a communication library reports about itself in its log."""

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

__all__ = ["Choice", "LibraryFacts", "sorted_pairs"]

_MOST_PAIRS = 8192      # 72 ranks have 5112; a journal should not hold the 147072 of 384 ranks


class Choice(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """What the library selected for a call.

    Args:
        op: name in the catalog, or the library's own in lower case if the catalog has none; empty if it is not told.
        bytes: as the library counts them: for some operations of one rank's block, not of the whole message.
        algorithm, protocol: in the library's own terms; None if not told.
    """

    op: str
    bytes: int
    algorithm: str
    protocol: str | None = None


class LibraryFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How a communicator was set up, from the logs of its ranks. None or empty: not told.

    Args:
        library: name, such as `NCCL`.
        logs: number of processes whose log was read; pairs that only the other ranks report are missing.
        ranks: size of the communicator, the largest in the logs.
        nodes: hosts as the library counts them; several hosts that share an NVLink domain may count as one.
        local_ranks: ranks on the node of the first rank that was read.
        channels: of collectives.
        nvls_channels: of in-switch reduction; 0 if it is off.
        mnnvl: whether NVLink is used between hosts (multi-node NVLink).
        link: kind of link inside a host that the rings were planned over: `NVL`, or the PCI path `PIX` to `SYS`.
        transports: number of ordered pairs of ranks by transport.
        pairs: (sender, receiver, transport); the slowest transport where a pair has several. Of more than 8192 pairs,
            those with the rarest transports.
        rings: orders of ranks, each once; NCCL cuts those of many ranks short, which are left out.
        choices: algorithm and protocol by operation and size.
        init_s: time to make the communicator in seconds, by rank.
        warnings: messages that the library marked as warnings, each once.
    """

    library: str
    version: str | None = None
    logs: int
    ranks: int | None = None
    nodes: int | None = None
    local_ranks: int | None = None
    channels: int | None = None
    nvls_channels: int | None = None
    mnnvl: bool | None = None
    link: str | None = None
    transports: dict[str, int] = {}
    pairs: list[tuple[int, int, str]] = []
    rings: list[list[int]] = []
    choices: list[Choice] = []
    init_s: list[float | None] = []
    warnings: list[str] = []

    def words(self) -> str:
        """One line: `NCCL 2.27.3: 56 pairs over P2P/CUMEM, 24 channels, NVLS`."""
        parts = [f"{count} pair{'s' if count > 1 else ''} over {name}"
                 for name, count in sorted(self.transports.items(), key=lambda item: -item[1])]
        if self.channels is not None:
            parts.append(f"{self.channels} channels")
        if self.nvls_channels is not None:
            parts.append("NVLS" if self.nvls_channels else "no NVLS")
        if self.mnnvl:
            parts.append("MNNVL")
        algorithms = dict.fromkeys(choice.algorithm for choice in self.choices)
        if algorithms and not self.transports:
            parts.append(f"algorithms {', '.join(algorithms)}")
        if self.ranks is not None and self.logs < self.ranks:
            parts.append(f"as told by {self.logs} of {self.ranks} ranks")
        name = f"{self.library} {self.version}" if self.version else self.library
        return f"{name}: {', '.join(parts)}" if parts else name


def sorted_pairs(found: Mapping[tuple[int, int], str]) -> tuple[dict[str, int], list[tuple[int, int, str]]]:
    """The fields `transports` and `pairs` from the transport of each pair."""
    counts = Counter(found.values())
    rarest: Iterable[tuple[int, int]] = sorted(found, key=lambda pair: (counts[found[pair]], pair))
    kept = list(rarest)[:_MOST_PAIRS]
    return dict(counts.most_common()), [(*pair, found[pair]) for pair in sorted(kept)]
