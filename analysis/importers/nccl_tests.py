"""nccl-tests: the text tables of all versions, and the JSON since 2.17.4."""

import re

from .shared.collector import Collector
from .shared.log import Log
from .shared.nccl_import import import_tables, import_text
from .shared.nccl_json import json_tables

__all__ = ["TITLE", "read", "recognise"]

TITLE = "nccl-tests"

# A table header of any version, the configuration line, a row (size, count and type), or the results of the JSON.
_MARKS = re.compile(
    r"\bsize\s+count\s+type\b.{0,200}\btime\b.{0,200}\balgbw|\bnThread\s+\d+\s+nGpus\s+\d+|"
    r"^.{0,64}?\s\d+\s+\d+\s+(?:float|double|half|bfloat16|u?int(?:8|32|64)|fp8_\w+|f8e\dm\d)\s.{0,200}\d\.\d|"
    r"\"results\"\s*:\s*\[\s*(?:\{\s*\"size\"|\])", re.MULTILINE)


def recognise(text: str) -> bool:
    """Whether `text` holds output of nccl-tests, or of a tool with the same format that does not print its name."""
    return "rccl-tests" not in text and bool(_MARKS.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add every run of the log."""
    if found := json_tables(log.text, collector):
        import_tables(collector, found)
    else:
        import_text(log, collector)
