"""DATA as the reading commands take it: several files or folders, completed by what the user knows about them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from collbench.collectives.cases.case import format_size
from collbench.collectives.errors import UsageError

from .shared_options import warn

if TYPE_CHECKING:
    import pandas as pd

    from collbench.analysis.domains.facts import Domain
    from collbench.analysis.frames.load import Loaded

__all__ = ["ALL_DATA", "Data", "read_data", "selected"]

ALL_DATA = click.argument("data", metavar="DATA...", type=click.Path(path_type=Path, exists=True), nargs=-1,
                          required=True)
_NAMED = 6      # candidates in a message
_NONE = "none"


class Data(NamedTuple):
    """What was loaded from `paths`, the domains by key, and the one that the user says it was measured on."""

    paths: list[Path]
    loaded: "Loaded"
    domains: "dict[str, Domain]"
    measured_on: str | None


def read_data(data: Sequence[Path], log_ranks: int | None, log_op: str | None, measured_on: str | None,
              nic: str | None, file: Path | None) -> Data:
    """Load DATA. Where logs do not name their accelerator, ask on a terminal, else list what it may be.

    Raises:
        CollbenchError: nothing can be read, a domain is unknown, or an option is missing, which the message names.
    """
    from collbench.analysis.cost.cards import with_cards
    from collbench.analysis.domains.candidates import candidates
    from collbench.analysis.domains.facts import domain_named, load_domains
    from collbench.analysis.frames.pool import data_files, load_all
    from collbench.analysis.importers import LogHints
    from collbench.analysis.projection import home_of
    domains = with_cards(load_domains(file), nic)
    home = domain_named(measured_on, domains) if measured_on else None
    paths = data_files(data)
    loaded = load_all(paths, LogHints(log_ranks, log_op))
    if home is None and home_of(loaded.points, domains) is None:
        home = _asked_for(candidates(loaded.points, domains), domains)
    return Data(paths, loaded, domains, home)


def selected(points: "pd.DataFrame", ops: Sequence[str], sizes: Sequence[int]) -> "pd.DataFrame":
    """The points of these operations and message sizes, of all where none are named.

    UsageError if there are none.
    """
    for name, wanted, columns in (("--ops", ops, ("op",)), ("--sizes", sizes, ("asked_bytes", "message_bytes"))):
        if wanted and "all" not in wanted:
            rest = points[points[list(columns)].isin(list(wanted)).any(axis=1)]
            if rest.empty:
                there = points[columns[0]].drop_duplicates().sort_values()
                known = ", ".join(map(format_size, there.astype(int)) if sizes is wanted else map(str, there))
                raise UsageError(f"{name}: not in the data, which contain {known}")
            points = rest
    return points


def _asked_for(keys: list[str], domains: "dict[str, Domain]") -> str | None:
    if not keys:
        return None
    if sys.stdin.isatty() and sys.stderr.isatty():
        for key in keys:
            click.echo(f"  {key:<16} {domains[key].accelerator}", err=True)
        answer = click.prompt("Measured on which of these? The data do not name the accelerator",
                              type=click.Choice([*keys, _NONE]), default=_NONE, show_choices=False, err=True)
        return None if answer == _NONE else str(answer)
    listed = ", ".join(keys[:_NAMED]) + (", ..." if len(keys) > _NAMED else "")
    warn("the data do not name their accelerator, so no links or published figures are compared with: give "
         f"--measured-on (could be {listed})")
    return None
