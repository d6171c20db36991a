"""Simulated rows on the terminal, as JSON, and as files that every other command reads."""

import tempfile
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from collbench.collectives.errors import UsageError

from ..frames.bandwidth import algbw_Bps, busbw_Bps
from ..importers import Asked, import_logs
from ..text import units
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
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def save(rows: pd.DataFrame, out: Path) -> None:
    """Write a journal where the name ends in .jsonl, else tidy CSV; UsageError when that cannot be."""
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
            import_logs([table], out, Asked())
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}") from None


def show(rows: pd.DataFrame, console: Console | None = None) -> None:
    """One table an operation and algorithm: times by payload and rank count."""
    console = console or Screen()
    for (op, algorithm, variant), part in rows.groupby(["collective", "algorithm", "variant"], sort=False):
        words = ", ".join(filter(None, (op, algorithm, variant, part["system"].iloc[0])))
        console.print(Text(f"{words}, µs", style="bold"))
        table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1))
        table.add_column("payload", justify="right", no_wrap=True)
        grid = part.pivot_table(index="native_size_bytes", columns="n_ranks", values="time_us")
        for ranks in grid.columns:
            table.add_column(f"{ranks} ranks", justify="right", no_wrap=True)
        for size, times in grid.iterrows():
            table.add_row(units.payload(size), *(units.microseconds(time / 1e6) for time in times))
        console.print(table)
