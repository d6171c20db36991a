"""Sequences of collectives as programs make them, each measured as one case and compared with its parts.

Each call of a sequence has buffers of its own, as gradients and activations have, and every byte of them is checked. In
a hierarchical all-reduce (reduce-scatter, all-reduce and all-gather in the groups of a mesh) each call takes what the
one before left; the result must have the bytes of a plain all-reduce.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ...errors import UsageError
from ..axis_traffic import AxisTraffic, is_mesh, parse_axis_traffic
from ..calls import Call, CallList
from ..mesh import Mesh, parse_mesh
from ..operation import CaseLike, Composition, Grammar, Operation, nothing
from ..sequence_traffic import calls_of, listed, parse_sequence, spelling
from ..sequences import shipped

if TYPE_CHECKING:       # numpy would make every command slow to start
    import numpy as np

    from ..case import Case
    from ..side_by_side import SideCall

__all__ = ["OPERATIONS", "Part", "check_parts", "levels", "parts", "side_calls"]

_SALT_STEP = 1009       # between calls and groups, so that the data of one never pass for those of another
_IN_PLACE = ("all_reduce",)     # as frameworks reduce gradients; all others have two buffers
_UNEVEN = "linear"
_LEVELS = "levels:"
_MOST_CALLS = 4096


class Part(NamedTuple):
    """A call of a sequence: the case that measures it alone, how often it is made, and whether it may overlap."""

    case: "Case"
    times: int
    overlap: bool


def parts(case: "Case") -> tuple[Part, ...]:
    """The calls of a sequence, or of a hierarchical all-reduce, in order; those over one rank are left out."""
    if case.op == "all_reduce_hierarchical":
        return tuple(Part(part, 1, False) for part in _stages(case))
    return _parts(case, calls_of(parse_sequence(case.traffic or ""), case.bytes, case.ranks))


@lru_cache(maxsize=64)
def _parts(case: "Case", calls: tuple[Call, ...]) -> tuple[Part, ...]:
    whole = parse_sequence(case.traffic or "").mesh
    found: list[Part] = []
    for call in calls:
        mesh = whole if call.axis else None
        ranks = mesh.size(call.axis) if mesh and call.axis else case.ranks
        if ranks > 1:
            found.append(Part(_case(case, call, ranks, mesh), call.count, call.overlap))
    return tuple(found)


def _case(whole: "Case", call: Call, ranks: int, mesh: Mesh | None) -> "Case":
    """The case of one call."""
    from ..catalog import OPERATIONS as KNOWN
    from ..catalog import round_up
    if not KNOWN[call.op].has_payload:
        return type(whole)(op=call.op, ranks=ranks, bytes=0)
    row, inner = KNOWN[call.op], _UNEVEN if call.op == "all_to_all_v" else None
    size = call.bytes * (ranks if call.per_rank else 1)
    traffic = AxisTraffic(mesh, call.axis, inner=inner).text if mesh and call.axis else inner
    return type(whole)(op=call.op, ranks=ranks, bytes=round_up(call.op, size, ranks, str(whole.dtype), traffic),
                       dtype=whole.dtype, redop=whole.redop if row.reduces else None,
                       in_place=call.op in _IN_PLACE, traffic=traffic)


def check_parts(calls: CallList) -> None:
    """Raise UsageError, with the file, unless the calls of the list can be made one after another, and alone."""
    from ..catalog import OPERATIONS as KNOWN
    made = sum(call.count for call in calls.calls)
    where = calls.source or calls.name
    if made > _MOST_CALLS:
        raise UsageError(f"{where}: {made} calls, counting repetitions; a sequence has at most {_MOST_CALLS}, since "
                         "each has buffers of its own")
    able = [name for name, row in KNOWN.items() if row.on_axes]
    for number, call in enumerate(calls.calls, 1):
        if call.op not in able and (call.op != "barrier" or call.axis):
            raise UsageError(f"{where}: call {number}: {call.op}{' on an axis' if call.axis else ''} cannot be part of "
                             f"a sequence; what can: {', '.join(able)}, and barrier of all ranks")


def side_calls(case: "Case", rank: int) -> "list[tuple[SideCall, bool]]":
    """Every call that `rank` makes, one by one, and whether it may overlap."""
    from ..side_by_side import SideCall
    found: list[tuple[SideCall, bool]] = []
    for part in parts(case):
        axis = part.case.axis
        members = axis.mesh.group(axis.axis, rank) if axis else range(case.ranks)
        number = members.index(rank)
        for _ in range(part.times):
            salt = _SALT_STEP * (1 + len(found) * case.ranks + members[0])
            found.append((SideCall(part.case.in_group, members, number, salt), part.overlap))
    return found


def _only(case: "Case", rank: int) -> "list[SideCall]":
    return [call for call, _ in side_calls(case, rank)]


def _extent(case: "Case", rank: int) -> tuple[int, int]:
    from .. import side_by_side
    return side_by_side.extent(_only(case, rank))


def _shared(case: "Case", rank: int) -> int:
    from .. import side_by_side
    return side_by_side.shared(_only(case, rank))


def _image(case: "Case", rank: int, salt: int, step: int, sent: bool) -> "np.ndarray":
    from .. import side_by_side
    return side_by_side.image(_only(case, rank), salt, sent)


def _volume(case: "Case") -> int:
    return sum(part.case.bytes * part.times for part in parts(case))


def _calls(case: "Case") -> int:
    return max(1, sum(part.times for part in parts(case)))


def _beside(case: "Case") -> "tuple[Case, ...]":
    return tuple(dict.fromkeys(part.case for part in parts(case)))


def _parse(text: str) -> str:
    """Texts of meshes are accepted too: they say where sequences are measured."""
    return parse_axis_traffic(text).text if is_mesh(text) else parse_sequence(text).text


def _expand(operation: Operation, ranks: int, given: tuple[str, ...]) -> tuple[str, ...]:
    meshes = _meshes(given, ranks)
    asked = [parse_sequence(text) for text in given if not is_mesh(text)]
    found: dict[str, None] = {}
    for sequence in asked or [parse_sequence(name) for name in shipped()]:
        own = sequence.mesh or (parse_mesh(text) if sequence.is_list and (text := listed(sequence.name).mesh) else None)
        if own and (sequence.mesh or not meshes):       # only over as many ranks as it has
            found |= dict.fromkeys(sequence.over(own.over(ranks)).text for _ in range(own.fits(ranks)))
            continue
        choice: list[Mesh | None] = [*meshes] or [None]
        found |= dict.fromkeys(sequence.over(mesh).text for mesh in choice)
    return tuple(found)


def _meshes(given: tuple[str, ...], ranks: int) -> list[Mesh]:
    return list(dict.fromkeys(parse_axis_traffic(text).mesh.over(ranks) for text in given if is_mesh(text)))


def _check(case: CaseLike) -> str | None:
    sequence = parse_sequence(case.traffic or "")
    if sequence.mesh and (-1 in sequence.mesh.sizes or sequence.mesh.ranks != case.ranks):
        return f"its mesh has not {case.ranks} ranks"
    axes = {call.axis for call in listed(sequence.name).calls if call.axis} if sequence.is_list else set()
    if lacking := sorted(axes - set(sequence.mesh.names if sequence.mesh else ())):
        return f"its axis {lacking[0]} is not in {f'mesh {sequence.mesh.text}' if sequence.mesh else 'a mesh: --mesh'}"
    return None


def _fixed_bytes(text: str | None) -> int | None:
    """The message size of a list, which the sizes asked for do not change; None where they do."""
    sequence = parse_sequence(text or "")
    return listed(sequence.name).bytes or None if sequence.is_list else None


def _options(text: str) -> list[str]:
    """A list is given by its file."""
    sequence = parse_sequence(text)
    source = listed(sequence.name).source if sequence.is_list else None
    if source is None:
        return ["--traffic", text]
    return ["--sequence", source, *(["--mesh", sequence.mesh.text.replace("/", ",")] if sequence.mesh else [])]


def _why_not(case: CaseLike) -> str | None:
    sequence = parse_sequence(case.traffic or "")
    if sequence.is_list and not listed(sequence.name).calls:
        return f"the calls of {sequence.name} are not known: give their file (--sequence FILE)"
    return None


def levels(text: str | None) -> Mesh:
    """The mesh of a hierarchical all-reduce; its last axis is the first level. UsageError if `text` is none."""
    if is_mesh(text):
        return parse_axis_traffic(str(text)).mesh
    if not (text or "").startswith(_LEVELS):
        raise UsageError(f"{text!r:.80}: expected {_LEVELS}NAME=SIZE/NAME=SIZE")
    return parse_mesh(str(text).removeprefix(_LEVELS))


def _expand_levels(operation: Operation, ranks: int, given: tuple[str, ...]) -> tuple[str, ...]:
    """By default two levels, of which the inner one has half of the ranks, or all if their number is odd."""
    outer = 2 if ranks % 2 == 0 else 1
    asked = [levels(text) for text in given] or [Mesh(("outer", "inner"), (outer, ranks // outer))]
    return tuple(_LEVELS + mesh.over(ranks).text for mesh in asked)


def _check_levels(case: CaseLike) -> str | None:
    mesh = levels(case.traffic)
    return None if -1 not in mesh.sizes and mesh.ranks == case.ranks else f"its levels have not {case.ranks} ranks"


def _why_one_level(case: CaseLike) -> str | None:
    several = sum(size > 1 for size in levels(case.traffic).sizes) > 1
    return None if several else f"it needs two levels of more than one rank (--mesh); {case.ranks} ranks have one"


def _stages(case: "Case") -> "list[Case]":
    """Reduce-scatters from the last axis on, an all-reduce on the first one, and all-gathers back."""
    mesh, share = levels(case.traffic), case.bytes
    inward: list[Case] = []
    large = [name for name in mesh.names if mesh.size(name) > 1]
    if not large:
        return []
    for name in reversed(large[1:]):
        inward.append(_case(case, Call("reduce_scatter", share, name), mesh.size(name), mesh))
        share //= mesh.size(name)
    outward = [_case(case, Call("all_gather", stage.bytes, stage.axis.axis), stage.ranks, mesh)
               for stage in reversed(inward) if stage.axis]
    return [*inward, _case(case, Call("all_reduce", share, large[0]), mesh.size(large[0]), mesh), *outward]


def _flat(case: "Case") -> "Case":
    """The plain all-reduce that the result must equal."""
    return type(case)(op="all_reduce", ranks=case.ranks, bytes=case.bytes, dtype=case.dtype, redop=case.redop,
                      in_place=True)


def _flat_image(case: "Case", rank: int, salt: int, step: int, sent: bool) -> "np.ndarray":
    from .. import catalog, values
    flat = _flat(case)
    return values.image(flat, (catalog.sent if sent else catalog.received)(flat, rank), salt)


OPERATIONS = (
    Operation("sequence", lambda n: 1.0, nothing, nothing, "all calls of the sequence",
              reduces=True, group="sequences", over_mesh=True, why_not=_why_not, fixed_bytes=_fixed_bytes,
              options=_options,
              grammar=Grammar(_parse, _expand, _check, lambda: f"{spelling()}, or a file of calls (--sequence)"),
              composition=Composition(_extent, _image, _volume, shared=_shared, calls=_calls, beside=_beside)),
    Operation("all_reduce_hierarchical", lambda n: 2 * (n - 1) / n, nothing, nothing,
              "a reduce-scatter, an all-reduce and an all-gather in the groups of a mesh",
              reduces=True, group="sequences", over_mesh=True, why_not=_why_one_level,
              unit=lambda ranks, dtype, text: ranks,
              grammar=Grammar(lambda text: text if is_mesh(text) else _LEVELS + levels(text).text, _expand_levels,
                              _check_levels, lambda: f"{_LEVELS}NAME=SIZE/NAME=SIZE"),
              composition=Composition(lambda case, rank: (case.bytes, case.bytes), _flat_image,
                                      lambda case: 2 * case.bytes, calls=_calls, scratch=lambda case: case.bytes,
                                      beside=lambda case: (*_beside(case), _flat(case)))),
)
