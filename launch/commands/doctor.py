"""What is here, what collbench will use, and what to do about what is missing."""

import sys
from pathlib import Path

import click
import msgspec

from collbench.collectives.errors import printable
from collbench.collectives.options import RankCount
from collbench.collectives.topology import find_accelerators, usable_cores

from ..shared_options import json_option, write_text

__all__ = ["command"]

_MARKS = {"ok": ("ok", "green"), "note": ("note", "cyan"), "warning": ("warning", "yellow"), "error": ("ERROR", "red")}


@click.command()
@click.option("--ranks", type=RankCount(), default=None,
              help="Ranks on this host to check limits for.  [default: as many as collbench bench starts]")
@click.option("--transport", "transports", type=click.Choice(("torch", "mpi")), multiple=True,
              help="What has to work, may be repeated.  [default: any]")
@json_option("Also write everything as JSON; - is standard output.")
def command(ranks: int | None, transports: tuple[str, ...], json_file: Path | None) -> None:
    """Say what is here, what collbench will use and why, and what to do about what is missing.

    Exit status, for a job's prologue: 0 what was asked for works, warnings or not; 1 it does not.

    Example: collbench doctor --ranks 8 --transport torch || exit 1
    """
    from ..doctor.check_api import Asked
    from ..doctor.run_checks import examine
    found = find_accelerators()
    ranks = ranks or (found.count if found else len(usable_cores()))
    diagnosis = examine(Asked(ranks=ranks, transports=transports, accelerators=found and tuple(found)))
    if str(json_file) != "-":
        _show(diagnosis)
    if json_file is not None:
        whole = {**msgspec.to_builtins(diagnosis), "worst": diagnosis.worst}
        write_text(json_file, msgspec.json.format(msgspec.json.encode(whole)).decode() + "\n")
    sys.exit(diagnosis.worst == "error")


def _show(diagnosis: "Diagnosis") -> None:    # noqa: F821  (its module is imported when it is used)
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
    said = ", ".join(f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts.items()
                     if count and level in ("warning", "error"))
    click.echo(f"\n{said or 'nothing to complain about'} ({diagnosis.took_s:.1f} s)")
