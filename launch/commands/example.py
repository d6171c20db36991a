"""Write the example measurements into this directory."""

from pathlib import Path

import click

from collbench.collectives.errors import UsageError
from collbench.collectives.option_groups import GroupedCommand

__all__ = ["SECTION", "command"]

SECTION = "manage"
_NAME = "hgx-h100-8.csv"
# Beside the package in a checkout, inside it where it is installed (setup.py).
_SOURCE = Path(__file__).parents[2] / "docs" / "examples" / _NAME


@click.command(cls=GroupedCommand, short_help="Write example measurements to this directory")
def command() -> None:
    """Write hgx-h100-8.csv, published measurements of 8 H100, into this directory, and say what to do with it.

    Example: collbench example && collbench report hgx-h100-8.csv
    """
    content = _SOURCE.read_bytes()
    file = Path(_NAME)
    if file.exists() and file.read_bytes() != content:
        raise UsageError(f"{file}: exists already and is different; remove it, or go to another directory")
    try:
        file.write_bytes(content)
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}") from None
    click.echo(f"{file}: published measurements of 8 H100; next:\n"
               f"    collbench summary {file}                 # is it normal, and what would 72 and 384 be\n"
               f"    collbench report {file}                  # the same as a page\n"
               f"    collbench project {file} --domain nvl72,cm384")
