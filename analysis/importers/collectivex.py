"""CollectiveX of SemiAnalysis: JSON of one case, with a row for each number of tokens per rank.

Times are percentiles over iterations of the slowest rank (docs/methodology.md of CollectiveX). `roundtrip` is a
dispatch and a combine one pair at a time, `pair_period` the same in a chain of pairs: moe_pair, isolated and streamed.
The logical bytes are those of all ranks: a rank's mean share is taken. What `collbench export --format collectivex`
wrote has the workload in the field `collbench`, and with it the message size.
"""

import re
from typing import NamedTuple

from collbench.collectives.cases.moe_workload import DTYPES, is_workload, parse_workload, token_bytes
from collbench.collectives.cases.names import dtype_name
from collbench.collectives.records.record import Imported

from .shared.collector import SLOWEST, Collector, Origin, joined
from .shared.json_text import documents
from .shared.log import Log
from .shared.printed_numbers import printed_number, whole

__all__ = ["TITLE", "read", "recognise"]

TITLE = "CollectiveX"

_MARK = re.compile(r"\"record_type\"\s*:\s*\"case-attempt\"")
_COMPONENTS = (("dispatch", "moe_dispatch", False), ("combine", "moe_combine", False),
               ("roundtrip", "moe_pair", False), ("pair_period", "moe_pair", True))
_SETTINGS = ("hidden", "topk", "experts", "routing", "phase", "precision")


def recognise(text: str) -> bool:
    """Whether `text` has a case of this benchmark."""
    return bool(_MARK.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add the components of every row of every case."""
    found = 0
    for line, document in documents(log.text):
        if isinstance(document, dict) and document.get("record_type") == "case-attempt":
            found += 1
            _case(collector, line, document)
    if found < (printed := len(_MARK.findall(log.text))):
        collector.rows += printed - found
        collector.warn(None, f"{printed - found} of {printed} cases are incomplete JSON: left out")


def _part(value: object, *names: str) -> dict[str, object]:
    """The object at a path of names, empty if there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _case(collector: Collector, line: int, document: dict[str, object]) -> None:
    factors, case = _part(document, "identity", "case_factors"), _part(document, "identity", "case_factors", "case")
    measurement, about = _part(document, "measurement"), _part(document, "implementation")
    rows = measurement.get("rows")
    ranks = whole(str(case.get("ep"))) or whole(str(_part(document, "topology").get("world_size")))
    if not isinstance(rows, list) or not ranks:
        collector.rows += 1
        collector.warn(line, "case skipped: no rows, or no number of ranks (ep)")
        return
    library = f"{about.get('name') or case.get('backend')} {about.get('library_version') or 'version not stated'}"
    traffic, transport = (_part(document, "collbench").get(name) for name in ("traffic", "transport"))
    run = collector.run(Origin("collectivex", library=library, ranks=ranks,
                               device=str(_part(document, "topology").get("device_product") or "not stated"),
                               system=str(factors.get("sku")) if factors.get("sku") else None,
                               transport=str(transport) if transport else None))
    own = str(traffic) if is_workload(traffic) else None
    for row in rows:
        collector.rows += 1
        if not isinstance(row, dict) or not _row(collector, _Place(run, line, ranks, own), row, case, document):
            collector.warn(line, f"a row of {case.get('mode')} {case.get('phase')} has no tokens per rank or no times: "
                                 "left out")


class _Place(NamedTuple):
    """Where a row stands; `traffic` is the workload if collbench wrote it."""

    run: str
    line: int
    ranks: int
    traffic: str | None


def _row(collector: Collector, place: _Place, row: dict[str, object], case: dict[str, object],
         document: dict[str, object]) -> int:
    """Add the components of a row; returns how many."""
    measurement, outcome = _part(document, "measurement"), _part(document, "outcome").get("status")
    run, line, ranks, traffic = place
    tokens = whole(str(row.get("tokens_per_rank")))
    if not tokens or tokens < 1:
        return 0
    passed = _part(row, "correctness").get("passed")
    right = passed is not False and outcome in (None, "success")
    per_node = whole(str(case.get("gpus_per_node")))
    settings = joined([f"num_tokens_per_rank={tokens}",
                       *(f"{name}={case[name]}" for name in _SETTINGS if case.get(name) not in (None, ""))])
    added = 0
    for name, op, chained in _COMPONENTS:
        times = {key: number.value / 1e6 for key, value in _part(row, "components", name, "percentiles_us").items()
                 if (number := printed_number(str(value))) and number.value > 0}
        if "p50" not in times:
            if _part(row, "components", name, "percentiles_us"):
                collector.warn(line, f"{name} of {tokens} tokens per rank left out: no median above zero")
            continue
        share = printed_number(str(_part(row, "byte_provenance", "roundtrip" if chained else name)
                                   .get("total_logical_bytes")))
        if share and share.value < 0:
            collector.warn(line, f"{name} of {tokens} tokens per rank: its bytes are negative: taken as unknown")
            share = None
        stated = measurement.get("combine_dtype" if op == "moe_combine" else "dispatch_dtype")
        dtype = dtype_name(str(stated)) if stated else None
        own = _own_size(traffic, dtype, tokens)
        median = chained and own is None
        collector.add(Imported(
            run=run, op=op, ranks=ranks, message_bytes=own or (round(share.value / ranks) if share else 0),
            native_size_bytes=int(share.value) if share and own is None else None, traffic=traffic if own else None,
            dtype=dtype, mode="streamed" if chained else "isolated",
            time_s=times["p50"], statistic="median over ranks and iterations" if median
            else "slowest rank, median over iterations", time_kind="median over ranks" if median else SLOWEST,
            repeats=whole(str(_part(row, "components", name).get("sample_count"))), p50_s=times["p50"],
            p95_s=times.get("p95"), p99_s=times.get("p99"), checked=passed if isinstance(passed, bool) else None,
            status="ok" if right else "wrong", reason=None if right else "the tool's own check failed",
            algorithm=str(case.get("mode"))[:40] if case.get("mode") and own is None else None,
            ranks_per_node=per_node if per_node and per_node <= ranks else None,
            variant=settings if own is None else None,
            source=collector.source(line)))
        added += 1
    return added


def _own_size(traffic: str | None, dtype: str | None, tokens: int) -> int | None:
    """The message size of a case of collbench: the tokens of a rank; None if the row is none."""
    return tokens * token_bytes(parse_workload(traffic), dtype) if traffic and dtype in DTYPES else None
