"""Diagnose this machine: what it has, what collbench will use, and how to fix what is missing."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from collbench.collectives.errors import printable
from collbench.collectives.option_groups import GroupedCommand
from collbench.collectives.option_types import RankCount, TransportName

from ..allocation import find_allocation, ranks_per_host
from ..shared_options import json_option, write_text

if TYPE_CHECKING:
    from ..doctor.run_checks import Diagnosis

__all__ = ["SECTION", "command"]

SECTION = "manage"

_MARKS = {"ok": ("ok", "green"), "note": ("note", "cyan"), "warning": ("warning", "yellow"), "error": ("ERROR", "red")}


@click.command(cls=GroupedCommand, short_help="What this machine has, lacks, and how to fix it")
@click.option("--ranks", type=RankCount(), default=None,
              help="Ranks on this host to check limits for.  [default: as many as collbench bench starts on it]")
@click.option("--transport", "transports", type=TransportName(), multiple=True,
              help="A transport that has to work; may be repeated.  [default: at least one]")
@json_option("Also write everything as JSON; - is standard output.")
def command(ranks: int | None, transports: tuple[str, ...], json_file: Path | None) -> None:
    """Diagnose this machine: what it has, what collbench will use and why, and how to fix what is missing.

    Exit status, for job prologues: 0 if everything required works, warnings or not; else 1.

    Example: collbench doctor --ranks 8 --transport torch || exit 1
    """
    from collbench.collectives.topology import find_accelerators

    from ..doctor.check_api import CheckRequest
    from ..doctor.run_checks import examine
    found = find_accelerators()
    accelerators = (found.kind, found.count) if found else None
    ranks = ranks or ranks_per_host(found, find_allocation())
    diagnosis = examine(CheckRequest(ranks=ranks, transports=transports, accelerators=accelerators))
    if str(json_file) != "-":
        _show(diagnosis)
    if json_file is not None:
        from collbench.analysis.text.json_text import json_text
        whole = {**msgspec.to_builtins(diagnosis), "worst": diagnosis.worst}
        write_text(json_file, json_text("doctor", whole))
    sys.exit(diagnosis.worst == "error")


def _show(diagnosis: "Diagnosis") -> None:
    width = max(len(finding.what) for finding in diagnosis.findings)
    for finding in diagnosis.findings:
        mark, colour = _MARKS[finding.level]
        click.echo(f"{click.style(f'{mark:<7}', fg=colour, bold=finding.level != 'ok')}  {finding.what:<{width}}  "
                   f"{printable(finding.found)}")
        if finding.do:
            click.echo(f"{'':<7}  {'':<{width}}  {click.style('do: ' + printable(finding.do), fg=colour)}")
    click.echo(f"\ncollbench on {diagnosis.host} will use")
    for line in diagnosis.uses:
        click.echo(f"  {printable(line)}")
    counts = {level: sum(finding.level == level for finding in diagnosis.findings) for level in _MARKS}
    problems = ", ".join(f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts.items()
                         if count and level in ("warning", "error"))
    click.echo(f"\n{problems or 'no problems found'} ({diagnosis.took_s:.1f} s)")
