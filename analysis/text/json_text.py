"""The JSON documents of the commands: each names itself and the version of its form. docs/json.md lists the fields."""

import json
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DOCUMENTS", "json_rows", "json_text"]

# A number grows when a field is renamed, removed or means something else; new fields leave it.
DOCUMENTS = MappingProxyType({
    "backtest": 1, "check": 1, "claims": 1, "compare": 1, "doctor": 1, "domains": 1, "expect": 1, "extrapolate": 1,
    "fleet": 1, "history": 1, "links": 1, "project": 1, "report": 2, "run": 1, "simulate": 1, "tune": 1,
    "workload": 1})


def json_text(name: str, body: Mapping[str, object]) -> str:
    """The document `name`, a key of DOCUMENTS, with the fields of `body`. ValueError if a number is not finite."""
    return json.dumps({"document": f"collbench {name}", "schema": DOCUMENTS[name], **body}, indent=1,
                      allow_nan=False) + "\n"


def json_rows(frame: "pd.DataFrame", whole: Collection[str] = ()) -> list[dict[str, Any]]:
    """The rows of a frame as objects, at full precision; None for NaN, and integers in the columns `whole`."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(name): int(value) if name in whole and value is not None else value for name, value in row.items()}
            for row in rows]
