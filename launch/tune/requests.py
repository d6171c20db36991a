"""From options to what is compared: the reference, the variants that concern it, sizes and rank counts."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec

import msgspec

from collbench.collectives.cases.case import rank_counts, size_range
from collbench.collectives.errors import UsageError
from collbench.collectives.records.record import Mode
from collbench.collectives.records.tuning import Tuning, Variant
from collbench.collectives.topology import Accelerators
from collbench.collectives.transport_names import TRANSPORTS

from ..allocation import default_ranks, find_allocation
from ..device_choice import accelerators_for, check_ranks
from ..workload import random_seed, typed_command
from .variants import lacking, library_here, reference, select, tables, user_variant, why_not_here

__all__ = ["Request", "listed", "tuning_for"]

_CPU_SIZES, _DEVICE_SIZES = size_range(64, 256 << 10, 8), size_range(1 << 10, 256 << 20, 16)
_SHOWN_VALUES = 90      # characters


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the options of `collbench tune` say; None where the machine decides."""

    ops: tuple[str, ...]
    sizes: tuple[int, ...] | None
    group_ranks: tuple[int, ...]
    variants: tuple[str, ...]
    own: tuple[str, ...]
    transport: str | None
    device: str
    backend: str | None
    dtype: str
    mode: Mode | None
    case_s: float
    ranks: int | None


class _Here(msgspec.Struct, frozen=True):
    """The reference on this machine, and the library that carries it out."""

    base: Variant
    library: str
    ranks: int
    hosts: int
    devices: Accelerators | None


def _here(request: Request) -> _Here:
    devices, allocation = accelerators_for(request.device), find_allocation()
    hosts = len(allocation.hosts) if allocation else 1
    transport = request.transport or ("torch" if devices or request.backend or find_spec("mpi4py") is None else "mpi")
    base = reference(transport, request.backend if TRANSPORTS[transport].backends else None)
    if request.backend and not TRANSPORTS[transport].backends:
        raise UsageError(f"--backend {request.backend}: transport {transport} has no backends to choose from")
    if reason := why_not_here(base):
        raise UsageError(f"transport {transport}: {reason}")
    ranks = request.ranks or max(2, default_ranks(devices, allocation))
    if transport == "torch":
        check_ranks(ranks, devices, hosts)
    return _Here(base, library_here(transport, request.backend, devices), ranks, hosts, devices)


def tuning_for(request: Request) -> Tuning:
    """What to compare on this machine.

    UsageError: nothing is left to compare, a variant is unknown or cannot be started here, or there are fewer ranks
    than a group needs.
    """
    here = _here(request)
    counts = tuple(request.group_ranks or rank_counts(here.ranks))
    if max(counts) > here.ranks:
        raise UsageError(f"--group-ranks {max(counts)}: the job has {here.ranks} ranks")
    chosen = select(request.variants, here.library, here.base, request.ops, counts, here.hosts)
    own = [user_variant(text, here.base) for text in request.own]
    variants = {variant.name: variant for variant in (here.base, *chosen, *own)}
    if len(own) != len({variant.name for variant in own}):
        raise UsageError("--variant: two variants have the same name")
    for variant in variants.values():
        if reason := why_not_here(variant):
            raise UsageError(f"variant {variant.name}: {reason}")
    if len(variants) < 2:
        raise UsageError(f"no variant for {', '.join(request.ops)} with {here.library}: give --variant "
                         "NAME:VARIABLE=VALUE, or another --transport or --backend")
    on_device = here.devices is not None and here.base.transport == "torch"
    sizes = request.sizes or (_DEVICE_SIZES if on_device else _CPU_SIZES)
    notes = [f"{variant.name}: {words}" for variant in own for words in lacking(variant)]
    return Tuning(variants=tuple(variants.values()), ops=request.ops, sizes=sizes, ranks=counts, job_ranks=here.ranks,
                  dtype=request.dtype, mode=request.mode or ("streamed" if on_device else "isolated"),
                  case_s=request.case_s, device=request.device, seed=random_seed(), command=typed_command(),
                  notes=tuple(notes))


def listed(request: Request) -> Iterator[str]:
    """The variants of the operations of a request, table by table, those for the library at hand first."""
    here = _here(request)
    yield f"default: {here.library} as it is, over {here.ranks} ranks"
    for name, table in sorted(tables().items(), key=lambda item: item[1].library != here.library):
        rows = [row for row in table.rows if not row.ops or set(row.ops) & set(request.ops)]
        yield f"{name}: {table.title}{'' if table.library == here.library else ' (not by --variants all)'}"
        for row in rows:
            words = ", ".join(f"{key}={value}" for key, value in row.settings.items()) or ", ".join(_start_words(row))
            limits = [f"{row.hosts} hosts or more"] if row.hosts > here.hosts else []
            limits += [f"{', '.join(map(str, row.ranks))} ranks only"] if row.ranks else []
            suffix = f" ({'; '.join(limits)})" if limits else ""
            yield f"    {row.name:<34} {words:.{_SHOWN_VALUES}}{suffix}"


def _start_words(row: object) -> Sequence[str]:
    parts = [(name, getattr(row, name)) for name in ("transport", "backend", "graph")]
    return [f"{name}={'yes' if value is True else value}" for name, value in parts if value]
