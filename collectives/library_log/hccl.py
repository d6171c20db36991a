"""HCCL, the library of Ascend devices, in the run log of CANN.

The formats are those of the HCCL documents (gitcode.com/cann/hccl: docs on logs, HCCL_ENTRY_LOG_ENABLE and
HCCL_DEBUG_CONFIG) and sources. HCCL states neither the transport of a pair nor its version there.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from .facts import Choice, LibraryFacts

__all__ = ["TITLE", "parse", "variables"]

TITLE = "HCCL"

_LINE = re.compile(r"^\[(?:INFO|EVENT)\] HCCL\(\d+, ?[^)]*\):\S+ \[[^\]]*\] ?\[\d+\](.*)")
_MADE = re.compile(r"Entry-HcclCommInit\w*:.*?ranks\[(\d+)\], rank\[(\d+)\]")
_SERVERS = re.compile(r"\[Communicator Key Info\].*rankSize\[(\d+)\] serverNum\[(\d+)\]")
_CALL = re.compile(r"Entry-Hccl(\w+?)(?:Inner|V2)?: tag\[.*\bcount\[(\d+)\], dataType\[(\w+)\]")
_CHOSEN = re.compile(r"\[SelectAlg\]\s*userRank_?\[(\d+)\], algName\[(\w+)\]")
_OPS = {"AllGather": "all_gather", "AllReduce": "all_reduce", "Broadcast": "broadcast", "Reduce": "reduce",
        "ReduceScatter": "reduce_scatter", "Scatter": "scatter"}
_BYTES = {"int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "float16": 2, "bfp16": 2, "bfloat16": 2, "int32": 4,
          "uint32": 4, "float32": 4, "int64": 8, "uint64": 8, "float64": 8}


def variables(directory: Path) -> dict[str, str]:
    """The run log has its own level, INFO; ASCEND_GLOBAL_LOG_LEVEL is that of the debug log and only slows the run."""
    return {"ASCEND_PROCESS_LOG_PATH": str(directory), "HCCL_ENTRY_LOG_ENABLE": "1", "HCCL_DEBUG_CONFIG": "ALG"}


def parse(logs: Sequence[Iterable[str]]) -> LibraryFacts | None:
    """Facts of the largest communicator; an algorithm is that of the call entered last in the same process."""
    read, ranks, nodes = 0, None, None
    choices: set[Choice] = set()
    for lines in logs:
        known, call = False, None
        for line in lines:
            match = _LINE.match(line)
            if match is None:
                continue
            known = True
            if found := _MADE.search(match[1]):
                ranks = max(ranks or 0, int(found[1]))
            elif found := _SERVERS.search(match[1]):
                if int(found[1]) >= (ranks or 0):
                    ranks, nodes = int(found[1]), int(found[2])
            elif found := _CALL.search(match[1]):
                size = _BYTES.get(found[3].lower())
                call = (_OPS.get(found[1], found[1].lower()), int(found[2]) * size) if size else None
            elif (found := _CHOSEN.search(match[1])) and call:
                choices.add(Choice(op=call[0], bytes=call[1], algorithm=found[2]))
        read += known
    if not read:
        return None
    return LibraryFacts(library="HCCL", logs=read, ranks=ranks, nodes=nodes,
                        choices=sorted(choices, key=lambda choice: (choice.op, choice.bytes, choice.algorithm)))
