"""Names that tools and people use for operations, element types and reduce operations, and their names in collbench."""

import difflib
import re
from collections.abc import Iterable
from types import MappingProxyType

from ..errors import UsageError
from .catalog import DTYPES, OPERATIONS

__all__ = ["ITEMSIZES", "did_you_mean", "dtype_name", "is_known", "is_own", "op_name", "plain", "redop_name",
           "requested_op"]

_NOT_A_LETTER = re.compile(r"[^a-z0-9]+")

# Keys in lower case, without blanks, dashes and underscores. Names equal to those of the catalog need no row.
_OPS = MappingProxyType({
    "bcast": "broadcast", "reducescatterblock": "reduce_scatter", "psum": "all_reduce",
    "alltoall": "all_to_all", "alltoallpersonalizedexchange": "all_to_all", "a2a": "all_to_all",
    "alltoallsingle": "all_to_all", "alltoallv": "all_to_all_v", "alltoallvpersonalizedexchange": "all_to_all_v",
    "allgatherbase": "all_gather", "allgatherintotensor": "all_gather", "reducescatterbase": "reduce_scatter",
    "reducescattertensor": "reduce_scatter",
    "sendrecv": "send_recv", "sendreceive": "send_recv", "pingpong": "ping_pong",
    "dissemination": "barrier",
    "bibw": "bi_bandwidth", "bidirectionalbandwidth": "bi_bandwidth", "bw": "bandwidth",
})
_CATALOG = MappingProxyType({name.replace("_", ""): name for name in OPERATIONS})

_DTYPES = MappingProxyType({
    "float": "float32", "fp32": "float32", "f32": "float32", "mpifloat": "float32",
    "double": "float64", "fp64": "float64", "f64": "float64", "mpidouble": "float64",
    "half": "float16", "fp16": "float16", "f16": "float16",
    "bf16": "bfloat16", "bfp16": "bfloat16",
    "int": "int32", "mpiint": "int32", "i32": "int32", "long": "int64", "mpichar": "char", "mpibyte": "byte",
    "f8e4m3": "fp8_e4m3", "fp8e4m3": "fp8_e4m3", "float8e4m3": "fp8_e4m3",
    "f8e5m2": "fp8_e5m2", "fp8e5m2": "fp8_e5m2", "float8e5m2": "fp8_e5m2", "fp8e8m0": "fp8_e8m0",
})

_REDOPS = MappingProxyType({"add": "sum", "plus": "sum", "product": "prod", "multiply": "prod", "minimum": "min",
                            "maximum": "max", "average": "avg", "mean": "avg"})

# Bytes per element, of our types and of those that only other tools have.
ITEMSIZES = MappingProxyType({name: dtype.itemsize for name, dtype in DTYPES.items()} | {
    "char": 1, "byte": 1, "uint8": 1, "int16": 2, "uint16": 2, "uint32": 4, "uint64": 8, "fp8": 1, "fp8_e4m3": 1,
    "fp8_e5m2": 1, "fp8_e8m0": 1, "hif8": 1,
})


def plain(name: str) -> str:
    """`name` in lower case, without blanks, dashes and underscores."""
    return _NOT_A_LETTER.sub("", name[:80].lower())


def op_name(name: str) -> str:
    """Catalog name of the operation `name`; `name` itself, in lower case, if the catalog lacks it."""
    key = plain(name)
    key = key if key in _OPS or key in _CATALOG else key.removeprefix("mpi")
    return _OPS.get(key) or _CATALOG.get(key) or name.strip().lower()[:80]


def is_known(op: str) -> bool:
    """Whether `op` is an operation of the catalog that is a single call, which means the same in every tool."""
    return op in OPERATIONS and OPERATIONS[op].composition is None


def is_own(op: str, traffic: str | None) -> bool:
    """Whether `op` is an operation of several calls with its traffic as only collbench writes it."""
    row = OPERATIONS.get(op)
    if row is None or row.composition is None or row.grammar is None or traffic is None:
        return False
    try:
        return row.grammar.parse(traffic) == traffic
    except UsageError:
        return False


def requested_op(name: str) -> str:
    """The operation given by the user. UsageError if the catalog lacks it."""
    op = op_name(name)
    if op not in OPERATIONS:
        raise UsageError(f"operation {name!r}{did_you_mean(name, OPERATIONS)}; known are {', '.join(OPERATIONS)}")
    return op


def dtype_name(name: str | None) -> str | None:
    """Name of the element type `name` in collbench; `name` itself, in lower case, if it has none."""
    if not name or not name.strip():
        return None
    word = name.strip().lower().removeprefix("torch.")[:32]
    return _DTYPES.get(plain(word), word)


def redop_name(name: str) -> str:
    """Name of the reduce operation `name` in collbench; `name` itself, in lower case, if it has none."""
    word = plain(name)
    word = word if word in _REDOPS else word.removeprefix("mpi").removeprefix("nccl")
    return _REDOPS.get(word, word)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`: did you mean X?` for the closest of `known`, else nothing."""
    close = difflib.get_close_matches(name.lower(), list(known), 1)
    return f": did you mean {close[0]}?" if close else ""
