"""Execution traces of MLCommons Chakra, read as lists of calls: the protobuf form, and both JSON forms.

Of `schema/protobuf/et_def.proto` of mlcommons/chakra only the fields that name a call are read, without the protobuf
library: a file is a sequence of messages, each after its length, the first of which is metadata and the others nodes.
JSON is either what Chakra's jsonizer writes, one object after another, or the `workload_graph` that its feeder reads.

`comm_size` is what each rank contributes, as ASTRA-sim takes it (Ring.cc: an all-gather ends with n times as much). A
send is measured as a shift around the ring, in which every rank sends; its receive is part of that. Calls are in the
order of the file, and none is taken to overlap.
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UsageError
from .calls import Call
from .mesh import is_axis

__all__ = ["ENDINGS", "read_chakra"]

ENDINGS = (".et", ".json")
_MOST_BYTES = 512 << 20
_GZIP = b"\x1f\x8b"
_SEND, _RECEIVE, _COLLECTIVE = 5, 6, 7
_NODE_TYPES = {"COMM_SEND_NODE": _SEND, "COMM_RECV_NODE": _RECEIVE, "COMM_COLL_NODE": _COLLECTIVE}
# CollectiveCommType, by number; the name of each as in the schema is its name here in capitals.
_COLLECTIVES = ("all_reduce", "reduce", "all_gather", "gather", "scatter", "broadcast", "all_to_all", "reduce_scatter",
                "reduce_scatter", "barrier")
_SHARES = ("all_gather", "gather")      # a rank contributes one block of the message
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5     # wire types of protobuf
_NAME, _INTEGERS, _BOOL, _BOOLS, _STRING = 1, (7, 9, 11, 13), 27, 28, 29        # fields of AttributeProto


class _Node(NamedTuple):
    """What names a call; `attributes` by name."""

    kind: int
    name: str
    attributes: Mapping[str, Any]


def read_chakra(path: Path) -> tuple[Call, ...]:
    """The calls of a trace in order; equal ones in a row are one with a count.

    Raises:
        UsageError: the file cannot be read, is no such trace, or has a call whose operation or size is not stated.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path}: larger than {_MOST_BYTES >> 20} MiB")
        raw = path.read_bytes()
        if raw.startswith(_GZIP):
            with gzip.open(path) as stream:
                raw = stream.read(_MOST_BYTES)
        nodes = _from_json(raw) if path.suffix.lower() == ".json" else _from_protobuf(raw)
        found = [call for node in nodes if (call := _call(node))]
    except (OSError, EOFError) as error:
        raise UsageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path}: not an execution trace of Chakra: {str(error).partition(chr(10))[0]:.120}") from None
    return tuple(_merged(found))


def _call(node: _Node) -> Call | None:
    """The call that a node makes; None if it makes none, or is the receiving side of one."""
    if node.kind not in (_SEND, _COLLECTIVE):
        return None
    known = node.attributes
    if node.kind == _COLLECTIVE and "comm_type" not in known:
        raise ValueError(f"node {node.name!r:.40} has no comm_type")
    op = "send_recv" if node.kind == _SEND else _collective(known["comm_type"])
    if op == "barrier":
        return Call(op, 0)
    size = int(known.get("comm_size", 0))
    if size < 1:
        raise ValueError(f"node {node.name!r:.40} has no comm_size")
    return Call(op, size, _axis(node), per_rank=op in _SHARES)


def _collective(value: object) -> str:
    """A collective by its number, or by its name in JSON."""
    word = str(value)
    if word.isdigit():
        return _COLLECTIVES[int(word)]
    name = word.lower().removesuffix("_block")
    if name not in _COLLECTIVES:
        raise ValueError(f"collective {word!r:.40}")
    return name


def _axis(node: _Node) -> str | None:
    """A process group by its name, or a dimension of the network by its number; None for all ranks."""
    group, dimensions = node.attributes.get("pg_name"), node.attributes.get("involved_dim")
    if group not in (None, ""):
        name = f"pg{group}" if str(group)[0].isdigit() else str(group)
        if not is_axis(name):
            raise ValueError(f"node {node.name!r:.40}: process group {str(group)!r:.40} cannot be the name of an axis")
        return name
    if dimensions and not all(dimensions):
        chosen = [number for number, involved in enumerate(dimensions) if involved]
        if len(chosen) != 1:
            raise ValueError(f"node {node.name!r:.40} communicates over {len(chosen)} dimensions: expected one, or all")
        return f"dim{chosen[0]}"
    return None


def _merged(calls: list[Call]) -> Iterator[Call]:
    last: Call | None = None
    count = 0
    for call in [*calls, None]:
        if call == last:
            count += 1
            continue
        if last is not None:
            yield Call(last.op, last.bytes, last.axis, count, last.overlap, last.per_rank)
        last, count = call, 1


def _from_protobuf(raw: bytes) -> Iterator[_Node]:
    """Every message but the first, which is metadata."""
    at, first = 0, True
    while at < len(raw):
        length, at = _varint(raw, at)
        if at + length > len(raw):
            raise ValueError("it ends within a message")
        if not first:
            yield _node(raw[at:at + length])
        at, first = at + length, False


def _node(raw: bytes) -> _Node:
    kind, name = 0, ""
    attributes: dict[str, object] = {}
    for field, value in _fields(raw):
        if field == 2 and isinstance(value, bytes):
            name = value.decode("utf-8", "replace")
        elif field == 3 and isinstance(value, int):
            kind = value
        elif field == 10 and isinstance(value, bytes):
            key, found = _attribute(value)
            attributes[key] = found
    return _Node(kind, name, attributes)


def _attribute(raw: bytes) -> tuple[str, object]:
    name = ""
    found: object = None
    for field, value in _fields(raw):
        if field == _NAME and isinstance(value, bytes):
            name = value.decode("utf-8", "replace")
        elif field in _INTEGERS:
            found = value
        elif field == _BOOL:
            found = bool(value)
        elif field == _STRING and isinstance(value, bytes):
            found = value.decode("utf-8", "replace")
        elif field == _BOOLS and isinstance(value, bytes):
            found = [bool(one) for _, packed in _fields(value)
                     for one in (packed if isinstance(packed, bytes) else [packed])]
    return name, found


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a message."""
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(raw, at)
            yield number, value
            continue
        length = {_EIGHT: 8, _FOUR: 4}.get(wire)
        if length is None:
            if wire != _BYTES:
                raise ValueError(f"wire type {wire}")
            length, at = _varint(raw, at)
        if at + length > len(raw):
            raise ValueError("a field ends beyond its message")
        yield number, raw[at:at + length]
        at += length


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """An integer in base 128, and where it ends."""
    value = shift = 0
    while True:
        byte = raw[at]
        at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("an integer of more than ten bytes")


def _from_json(raw: bytes) -> Iterator[_Node]:
    text, at, decoder = raw.decode("utf-8"), 0, json.JSONDecoder()
    while at < len(text) and (rest := text[at:at + 1]):
        if rest.isspace():
            at += 1
            continue
        value, at = decoder.raw_decode(text, at)
        if "workload_graph" in value:
            yield from (_Node(int(node["NodeType"]), str(node.get("Name", "")), node)
                        for node in value["workload_graph"])
        elif "type" in value:
            yield _Node(_NODE_TYPES.get(value["type"], 0), str(value.get("name", "")),
                        dict(map(_json_attribute, value.get("attr", []))))
        elif "version" not in value and "attr" not in value and value:
            raise ValueError("neither metadata nor a node")


def _json_attribute(attribute: Mapping[str, Any]) -> tuple[str, object]:
    """Name and value; protobuf's JSON has 64-bit integers as text, and lists as an object with `values`."""
    found = next((value for key, value in attribute.items() if key.endswith(("Val", "_val", "List", "_list"))), None)
    return str(attribute["name"]), found.get("values", []) if isinstance(found, dict) else found
