"""What is to be started: a frozen request that knows nothing of collectives."""

import msgspec

from collectives.errors import UsageError

__all__ = ["Job"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Ranks of one program on this host.

    Args:
        arguments: what each rank's program is given; the same for all.
        ranks: how many processes.
        time_limit_s: the job is ended after this; None for no limit.
    """

    arguments: tuple[str, ...]
    ranks: int
    time_limit_s: float | None = None

    def __post_init__(self) -> None:
        if self.ranks < 1:
            raise UsageError(f"a job of {self.ranks} ranks: at least 1 is needed")
        if any("\0" in word for word in self.arguments):
            raise UsageError("an argument holds a NUL character, which no program can be given")
