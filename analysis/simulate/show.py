"""Simulated rows as a table on the terminal, as JSON, and as a journal or tidy CSV."""

import tempfile
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from collbench.collectives.errors import UsageError

from ..frames.bandwidth import algbw_Bps, busbw_Bps
from ..importers import LogHints, import_logs
from ..text import units
from ..text.json_text import json_rows
from ..text.safe_console import Screen
from ..text.safe_csv import to_csv

__all__ = ["as_json", "save", "show"]


def as_json(rows: pd.DataFrame, domain: str) -> list[dict[str, object]]:
    """Rows as objects in SI units; `kind` is always `simulated`."""
    time_s = rows["time_us"] / 1e6
    rates = {"algbw_Bps": algbw_Bps(rows["message_bytes"], time_s),
             "busbw_Bps": busbw_Bps(rows["collective"], rows["n_ranks"], rows["message_bytes"], time_s)}
    frame = pd.DataFrame({
        "system": rows["system"], "library": rows["library"], "op": rows["collective"], "algorithm": rows["algorithm"],
        "variant": rows["variant"], "dtype": rows["dtype"], "ranks": rows["n_ranks"],
        "message_bytes": rows["message_bytes"], "asked_bytes": rows["native_size_bytes"], "time_s": time_s, **rates,
        "kind": "simulated", "domain": domain, "source": rows["source"]})
    return json_rows(frame)


def save(rows: pd.DataFrame, out: Path) -> None:
    """Write a journal if the name ends in .jsonl, else tidy CSV; UsageError if the file cannot be written."""
    if rows["variant"].eq("").all():
        rows = rows.drop(columns="variant")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix != ".jsonl":
            out.write_text(to_csv(rows), encoding="utf-8")
            return
        with tempfile.TemporaryDirectory() as name:
            table = Path(name) / f"{out.stem}.csv"
            table.write_text(to_csv(rows), encoding="utf-8")
            import_logs([table], out, LogHints())
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}") from None


def show(rows: pd.DataFrame, console: Console | None = None) -> None:
    """One table per operation and algorithm: times by message size and rank count."""
    console = console or Screen()
    for names, part in rows.groupby(["collective", "algorithm", "variant"], sort=False):
        title = ", ".join(str(name) for name in (*names, part["system"].iloc[0]) if name)
        console.print(Text(f"{title}, µs", style="bold"))
        table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1))
        table.add_column("message size", justify="right", no_wrap=True)
        grid = part.pivot_table(index="native_size_bytes", columns="n_ranks", values="time_us")
        for ranks in grid.columns:
            table.add_column(f"{ranks} ranks", justify="right", no_wrap=True)
        for size, times in zip(grid.index.tolist(), grid.to_numpy(dtype=float), strict=True):
            table.add_row(units.payload(size), *(units.microseconds(time / 1e6) for time in times))
        console.print(table)
