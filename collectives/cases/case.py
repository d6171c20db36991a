"""What is measured: a `Case` is one point, a `Sweep` a recipe that expands to cases in a reproducible order."""

import itertools
import math
import random
import re
from collections.abc import Iterator

import msgspec

from ..errors import UsageError
from . import catalog, on_axis
from .axis_traffic import AxisTraffic, axis_of, expand, is_mesh, parse_axis_traffic

__all__ = ["Case", "Sweep", "format_size", "parse_size", "rank_counts", "size_range"]

_SUFFIXES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+)\s*([KMGT]?)(?:I?B)?", re.IGNORECASE)
_MAX_BYTES = 1 << 50
_MOST_SIZES = 10_000
_MOST_DIGITS = 4000         # Python converts no longer text to int, and anything near is too large anyway


class Case(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One point of a sweep: an operation over the first `ranks` ranks of the job, or in groups of `ranks` of them.

    `bytes` is the message size S of the bandwidth formulas (see `catalog`), rounded up to a size that divides among
    the ranks. `dtype` is None for operations without data, `redop` for those that do not reduce. `traffic` is the
    canonical text of a pattern (see `traffic`) for the uneven all-to-all, a round (see `link_rounds`) for links, the
    axis of a mesh (see `axis_traffic`) for a collective in its groups, and None for everything else.
    """

    op: str
    ranks: int
    bytes: int
    dtype: str | None = None
    redop: str | None = None
    in_place: bool = False
    traffic: str | None = None

    def __post_init__(self) -> None:
        if self.axis is None:
            catalog.check(self)
        else:
            on_axis.check(self, self.axis)

    @property
    def operation(self) -> catalog.Operation:
        """The row of the catalog that this case is an instance of."""
        return catalog.OPERATIONS[self.op]

    @property
    def axis(self) -> AxisTraffic | None:
        """The axis of a mesh whose groups make the operation all at once; None for the first ranks of the job."""
        return axis_of(self.traffic)

    @property
    def in_group(self) -> "Case":
        """The case as one group sees it: without the mesh. It is valid if this one is."""
        return msgspec.structs.replace(self, traffic=self.axis.inner) if self.axis else self

    @property
    def members(self) -> int:
        """How many ranks of the job, the first ones, take part."""
        return self.axis.mesh.ranks if self.axis else self.ranks

    @property
    def composition(self) -> catalog.Composition | None:
        """What differs if it is made of several calls."""
        return on_axis.COMPOSITION if self.axis else self.operation.composition

    @property
    def itemsize(self) -> int:
        """Bytes per element; 1 without an element type."""
        return catalog.DTYPES[self.dtype].itemsize if self.dtype else 1

    @property
    def count(self) -> int:
        """Elements in the message."""
        return self.bytes // self.itemsize

    def label(self) -> str:
        """A short name for messages: `all_reduce 1 MiB float32 sum in-place, 4 ranks`."""
        words = [self.op, format_size(self.bytes) if self.bytes else "", self.dtype, self.redop,
                 self.traffic, "in-place" if self.in_place else ""]
        ranks = f"{self.ranks} of {self.members} ranks" if self.axis else f"{self.ranks} ranks"
        return " ".join(word for word in words if word) + f", {ranks}"

    def options(self) -> list[str]:
        """The options of `collbench run` that measure this case and nothing else."""
        words = ["--ops", self.op, "--group-ranks", str(self.members)]
        if self.bytes:
            words += ["-b", str(self.bytes), "-e", str(self.bytes), "--dtypes", str(self.dtype)]
        if self.redop:
            words += ["--redops", self.redop]
        if self.traffic:
            words += self.operation.options(self.traffic) if self.operation.options else ["--traffic", self.traffic]
        if self.operation.has_in_place:
            words += ["--place", "in" if self.in_place else "out"]
        return words


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe for cases; every rank expands it to the same cases in the same order.

    Args:
        sizes: requested message sizes S in bytes; the size of a case may be rounded up from these.
        ranks: group sizes n; each group consists of the first n ranks of the job.
        places: False for out-of-place, True for in-place; ignored by operations that have no in-place form.
        traffics: text forms of traffic patterns and link rounds.
        tokens: tokens of a rank, instead of sizes, for the exchange of a mixture-of-experts layer; empty for sizes.
        seed: seed for shuffling the cases, so that drift does not look like a size effect; None keeps their order.
    """

    ops: tuple[str, ...]
    sizes: tuple[int, ...]
    ranks: tuple[int, ...]
    dtypes: tuple[str, ...] = ("float32",)
    redops: tuple[str, ...] = ("sum",)
    places: tuple[bool, ...] = (False, True)
    traffics: tuple[str, ...] = ("linear",)
    tokens: tuple[int, ...] = ()
    seed: int | None = None

    def cases(self) -> dict[Case, int]:
        """Each case once, with the requested size in bytes (the smallest that rounds up to it)."""
        wanted: dict[Case, int] = {}
        for case, asked in self._expand():
            wanted.setdefault(case, asked)
        order = list(wanted)
        if self.seed is not None:
            random.Random(self.seed).shuffle(order)
        order.sort(key=lambda case: case.op != "noop")      # the harness overhead is needed for the first row shown
        return {case: wanted[case] for case in order}

    def group_sizes(self) -> set[int]:
        """How many ranks take part, of all cases."""
        return {size for name in self.ops for size in self._group_sizes(catalog.OPERATIONS[name])}

    def _group_sizes(self, operation: catalog.Operation) -> list[int]:
        """Group sizes of one operation.

        Links use the largest group only, since its pairs include all others, and so does what is made in the groups of
        a mesh. A sweep over rank counts also measures copies on a single rank, and there the empty call, too.
        """
        on_mesh = any(map(is_mesh, self.traffics)) and (operation.on_axes or operation.over_mesh)
        if operation.linked or on_mesh:
            return [max(self.ranks)]
        copies = any(catalog.OPERATIONS[name].memories for name in self.ops)
        alone = operation.memories or (operation.name == "noop" and copies)
        return sorted({*self.ranks, *((1,) if alone and len(set(self.ranks)) > 1 else ())})

    def _sizes(self, operation: catalog.Operation) -> list[int]:
        """Message sizes of one operation; links are many, so latency uses the smallest, bandwidth the largest only."""
        ordered = sorted(set(self.sizes))
        if not operation.linked:
            return ordered
        return ordered[-1:] if operation.windowed else ordered[:1]

    def _expand(self) -> Iterator[tuple[Case, int]]:
        """Each case with its requested size; several sizes may round up to the same case."""
        for name in self.ops:
            operation = catalog.OPERATIONS[name]
            places = tuple(dict.fromkeys(self.places)) if operation.has_in_place else (False,)
            if not operation.has_payload:
                yield from ((Case(op=name, ranks=ranks, bytes=0), 0) for ranks in self._group_sizes(operation))
                continue
            dtypes = [name for name in self.dtypes if operation.takes(name)]
            if not dtypes:
                raise UsageError(catalog.why_not_taken(self.dtypes, name))
            redops = self.redops if operation.reduces else (None,)
            by_tokens = bool(self.tokens) and operation.group == "moe"
            for (ranks, traffic), dtype, redop, size in itertools.product(
                    self._groups(operation), dtypes, redops, self.tokens if by_tokens else self._sizes(operation)):
                asked = size * catalog.round_up(name, 1, ranks, dtype, traffic) if by_tokens else size
                true = catalog.round_up(name, asked, ranks, dtype, traffic)
                fixed = operation.fixed_bytes and operation.fixed_bytes(traffic)
                for in_place in places:
                    case = Case(op=name, ranks=ranks, bytes=true, dtype=dtype, redop=redop, in_place=in_place,
                                traffic=traffic)
                    yield case, true if fixed else asked
                    if operation.composition and not catalog.why_not(case):
                        yield from ((beside, beside.bytes) for beside in operation.composition.beside(case))

    def _groups(self, operation: catalog.Operation) -> Iterator[tuple[int, str | None]]:
        """Group sizes of one operation, each with its traffics: of the axes of meshes, if there are any."""
        meshes = [parse_axis_traffic(text) for text in self.traffics if is_mesh(text)] if operation.on_axes else []
        if not meshes:
            found = [(ranks, traffic) for ranks in self._group_sizes(operation)
                     for traffic in catalog.traffics(operation, ranks, self.traffics)]
            if not found and operation.over_mesh:
                raise UsageError(f"{operation.name}: no mesh of {', '.join(self.traffics)} has "
                                 f"{' or '.join(map(str, self._group_sizes(operation)))} ranks")
            yield from found
        for axis in (axis for mesh in meshes for axis in expand(mesh, max(self.ranks))):
            own = (axis.inner,) if axis.inner else self.traffics
            for inner in catalog.traffics(operation, axis.ranks, own):
                yield axis.ranks, axis._replace(inner=inner).text


def parse_size(text: str) -> int:
    """Bytes from text such as `8`, `4K`, `1M`, `2GiB`; suffixes are binary, as in nccl-tests."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise UsageError(f"size {text!r}: expected a whole number of bytes with an optional K, M, G or T (1K = 1024)")
    size = int(match[1][:_MOST_DIGITS]) * _SUFFIXES[match[2].upper()]
    if not 1 <= size <= _MAX_BYTES:
        raise UsageError(f"size {text!r}: must be from 1 byte to {format_size(_MAX_BYTES)}")
    return size


def format_size(size: int) -> str:
    """`1 MiB`, `32 B`: exact, in the largest unit that divides the size."""
    for unit, scale in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= scale and size % scale == 0:
            return f"{size // scale} {unit}"
    return f"{size} B"


def size_range(begin: int, end: int, factor: float | None = None, step: int | None = None) -> tuple[int, ...]:
    """Sizes from `begin` to at most `end` bytes, like -b -e -f -i of nccl-tests."""
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
    """The rank counts that a job of `world` ranks measures by default: 2, 4, 8 ... and the whole world."""
    powers = [1 << k for k in range(1, world.bit_length()) if 1 << k <= world]
    return tuple(sorted({*powers, world}))
