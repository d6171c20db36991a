"""Public claims about 72 and 384 accelerators, examined with the models and data that ship."""

from pathlib import Path

import click

from collbench.collectives.option_groups import OUTPUT, GroupedCommand, option

from ..shared_options import OutputFile, json_option, verbose_option, write_text

__all__ = ["SECTION", "command"]

SECTION = "forecast"


@click.command(cls=GroupedCommand, short_help="Public claims about 72 and 384, examined")
@json_option("Write claims, figures and verdicts as JSON; - is standard output.")
@option("--markdown", "file", group=OUTPUT, type=OutputFile(allow_dash=True), default=None, metavar="FILE",
        help="Write the page docs/claims.md, with the command that repeats each figure; - is standard output.")
@verbose_option
def command(json_file: Path | None, file: Path | None, verbose: bool) -> None:
    """Say of each public claim what the shipped models and data support, contradict or leave open.

    Example: collbench claims --markdown claims.md
    """
    from collbench.analysis.claims import all_claims
    from collbench.analysis.claims.show import page, show
    from collbench.analysis.text.json_text import json_text
    claims = all_claims()
    if json_file:
        write_text(json_file, json_text("claims", {"claims": [
            {**claim._asdict(), "figures": [figure._asdict() for figure in claim.figures],
             "verdicts": [{"verdict": verdict, "of": what} for verdict, what in claim.verdicts]} for claim in claims]}))
    if file:
        write_text(file, page(claims))
    if "-" not in (str(json_file), str(file)):
        show(claims, figures=verbose)
