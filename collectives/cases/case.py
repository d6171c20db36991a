"""What is measured: a `Case` is one point, a `Sweep` a recipe that expands to points in a known order."""

import math
import random
import re
from collections.abc import Iterator

import msgspec

from ..errors import UsageError
from . import catalog

__all__ = ["Case", "Sweep", "format_size", "parse_size", "rank_counts", "size_range"]

_SUFFIXES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+)\s*([KMGT]?)(?:I?B)?", re.IGNORECASE)
_MAX_BYTES = 1 << 50
_MOST_SIZES = 10_000
_MOST_DIGITS = 4000         # more cannot become a number, and need not, to be too many


class Case(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One point of a sweep: an operation over the first `ranks` ranks of the job.

    `bytes` is the payload S that bandwidth is computed from (see `catalog`), after rounding up to what
    divides among the ranks. `dtype` is None for barrier, `redop` for whatever does not reduce, `traffic`
    for whatever has even blocks; for links it names who meets whom.
    """

    op: str
    ranks: int
    bytes: int
    dtype: str | None = None
    redop: str | None = None
    in_place: bool = False
    traffic: str | None = None

    def __post_init__(self) -> None:
        catalog.check(self)

    @property
    def operation(self) -> catalog.Operation:
        """The row of the catalog that this case is an instance of."""
        return catalog.OPERATIONS[self.op]

    @property
    def itemsize(self) -> int:
        """Bytes an element; 1 where there are none."""
        return catalog.DTYPES[self.dtype].itemsize if self.dtype else 1

    @property
    def count(self) -> int:
        """Elements in the payload."""
        return self.bytes // self.itemsize

    def label(self) -> str:
        """A few words for messages: `all_reduce 1 MiB float32 sum in-place, 4 ranks`."""
        words = [self.op, format_size(self.bytes) if self.bytes else "", self.dtype, self.redop,
                 self.traffic, "in-place" if self.in_place else ""]
        return " ".join(word for word in words if word) + f", {self.ranks} ranks"

    def options(self) -> list[str]:
        """The options of `collbench run` that measure this case and nothing else."""
        words = ["--ops", self.op, "--group-ranks", str(self.ranks)]
        if self.bytes:
            words += ["-b", str(self.bytes), "-e", str(self.bytes), "--dtypes", str(self.dtype)]
        if self.redop:
            words += ["--redops", self.redop]
        if self.traffic:
            words += ["--traffic", self.traffic]
        if self.operation.has_in_place:
            words += ["--place", "in" if self.in_place else "out"]
        return words


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe for cases; every rank expands the same one to the same cases in the same order.

    Args:
        sizes: payloads S asked for, in bytes; a case's own size may be rounded up from them.
        ranks: group sizes; each group is the first so many ranks of the job.
        places: False for out-of-place, True for in-place; an operation without a choice ignores it.
        seed: order of the cases is shuffled with it, so that drift does not look like a size effect;
            None keeps the order of the recipe.
    """

    ops: tuple[str, ...]
    sizes: tuple[int, ...]
    ranks: tuple[int, ...]
    dtypes: tuple[str, ...] = ("float32",)
    redops: tuple[str, ...] = ("sum",)
    places: tuple[bool, ...] = (False, True)
    traffics: tuple[str, ...] = ("linear",)
    seed: int | None = None

    def cases(self) -> dict[Case, int]:
        """Each case once, with the size in bytes that was asked for (the smallest that rounds to it)."""
        wanted: dict[Case, int] = {}
        for case, asked in self._expand():
            wanted.setdefault(case, asked)
        order = list(wanted)
        if self.seed is not None:
            random.Random(self.seed).shuffle(order)
        order.sort(key=lambda case: case.op != "noop")      # what the harness costs is known before it is shown
        return {case: wanted[case] for case in order}

    def group_sizes(self) -> set[int]:
        """Numbers of ranks that some case is over."""
        return {size for name in self.ops for size in self._group_sizes(catalog.OPERATIONS[name])}

    def _group_sizes(self, operation: catalog.Operation) -> list[int]:
        """Links are measured in the largest group, whose pairs include all others; a copy, where there is a curve over
        rank counts, also by one rank alone, with what an empty call reads there."""
        if operation.linked:
            return [max(self.ranks)]
        copies = any(catalog.OPERATIONS[name].memories for name in self.ops)
        alone = operation.memories or (operation.name == "noop" and copies)
        return sorted({*self.ranks, *((1,) if alone and len(set(self.ranks)) > 1 else ())})

    def _sizes(self, operation: catalog.Operation) -> list[int]:
        """All of them; of a link the latency at the smallest and the bandwidth at the largest, as there are many."""
        ordered = sorted(set(self.sizes))
        if not operation.linked:
            return ordered
        return ordered[-1:] if operation.windowed else ordered[:1]

    def _expand(self) -> Iterator[tuple[Case, int]]:
        """Each case with the size that was asked for; several sizes may round up to the same case."""
        for name in self.ops:
            operation = catalog.OPERATIONS[name]
            places = tuple(dict.fromkeys(self.places)) if operation.has_in_place else (False,)
            for ranks in self._group_sizes(operation):
                if not operation.has_payload:
                    yield Case(op=name, ranks=ranks, bytes=0), 0
                    continue
                for dtype in self.dtypes:
                    for redop in self.redops if operation.reduces else (None,):
                        for traffic in catalog.traffics(operation, ranks, self.traffics):
                            for size in self._sizes(operation):
                                true = catalog.round_up(name, size, ranks, dtype, traffic)
                                for in_place in places:
                                    yield Case(op=name, ranks=ranks, bytes=true, dtype=dtype, redop=redop,
                                               in_place=in_place, traffic=traffic), size


def parse_size(text: str) -> int:
    """Bytes from text such as `8`, `4K`, `1M`, `2GiB`; suffixes are binary, as nccl-tests has them."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise UsageError(f"size {text!r}: expected a whole number of bytes with an optional K, M, G or T (1K = 1024)")
    size = int(match[1][:_MOST_DIGITS]) * _SUFFIXES[match[2].upper()]
    if not 1 <= size <= _MAX_BYTES:
        raise UsageError(f"size {text!r}: must be from 1 byte to {format_size(_MAX_BYTES)}")
    return size


def format_size(size: int) -> str:
    """`1 MiB`, `32 B`; exact: what is not a whole number of the larger unit stays in the smaller."""
    for unit, scale in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= scale and size % scale == 0:
            return f"{size // scale} {unit}"
    return f"{size} B"


def size_range(begin: int, end: int, factor: float | None = None, step: int | None = None) -> tuple[int, ...]:
    """Sizes from `begin` to `end` bytes, both included where the steps meet them, as -b -e -f -i of nccl-tests."""
    if begin > end:
        raise UsageError(f"sizes begin at {format_size(begin)} and end at {format_size(end)}: -b must not exceed -e")
    if factor is not None and step is not None:
        raise UsageError("sizes grow either by a factor (-f) or by a step (-i), not by both")
    if step is not None:
        if step < 1:
            raise UsageError(f"size step -i {step}: must be at least 1 byte")
        if (end - begin) // step >= _MOST_SIZES:
            raise UsageError(f"-b {begin} -e {end} -i {step} makes more than {_MOST_SIZES} sizes")
        return tuple(range(begin, end + 1, step))
    factor = 2.0 if factor is None else factor
    if not (math.isfinite(factor) and factor > 1):
        raise UsageError(f"size factor -f {factor:g}: must be greater than 1")
    sizes, size = [begin], float(begin)
    while (size := max(size * factor, sizes[-1] + 1)) <= end:
        sizes.append(int(size))
        if len(sizes) > _MOST_SIZES:
            raise UsageError(f"-b {begin} -e {end} -f {factor} makes more than {_MOST_SIZES} sizes")
    return tuple(sizes)


def rank_counts(world: int) -> tuple[int, ...]:
    """The curve over rank counts that one job of `world` ranks measures: 2, 4, 8 ... and the whole world."""
    powers = [1 << k for k in range(1, world.bit_length()) if 1 << k <= world]
    return tuple(sorted({*powers, world}))
