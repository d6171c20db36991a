"""Report on DATA: on the terminal, as an HTML page, and as one JSON document."""

from pathlib import Path

import click

from collbench.collectives.errors import UsageError, printable

from ..shared_options import DATA, domains_options, json_option, log_options, verbose_option, warn, write_text

__all__ = ["command"]


@click.command()
@DATA
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Directory for report.html, figures and tables.  [default: DATA if it is a directory; no page with "
              "--json]")
@click.option("--baseline", type=click.Path(path_type=Path, exists=True), default=None, metavar="DATA",
              help="A run or log of the same cases to compare DATA with.")
@domains_options
@json_option("Write verdict, findings, expectations and predictions as one JSON document; - is standard output, "
             "without the text.")
@log_options
@verbose_option
def command(data: Path, out: Path | None, baseline: Path | None, measured_on: str | None, nic: str | None,
            file: Path | None, json_file: Path | None, log_ranks: int | None, log_op: str | None,
            verbose: bool) -> None:
    """Report on DATA: on the terminal, and as a page with figures and tables beside it.

    Headline numbers are compared with what is attainable: the links of the domain (--measured-on if the data do not
    name it), published measurements of it, the memory bandwidth of a CPU, and a --baseline.

    Example: collbench report results/latest -o my-report
    """
    if out is None and not json_file and not data.is_dir():
        raise UsageError(f"{data} is a file: give the directory for the report with -o, or use --json")
    from collbench.analysis.cost.cards import with_cards
    from collbench.analysis.domains.facts import domain_named, load_domains
    from collbench.analysis.importers import LogHints
    from collbench.analysis.report.json_document import document
    from collbench.analysis.report.story import build_story
    from collbench.analysis.report.terminal import show
    from collbench.analysis.report.write import write_report
    from collbench.analysis.text.json_text import json_text
    domains = with_cards(load_domains(file), nic)
    story = build_story(data, asked=LogHints(log_ranks, log_op), known=domains,
                        measured_on=domain_named(measured_on, domains) if measured_on else None,
                        baseline=baseline, page=bool(out or not json_file))
    page = write_report(story, out or data, warn) if out or not json_file else None
    if json_file:
        write_text(json_file, json_text("report", document(story)))
    if str(json_file) != "-":
        show(story, verbose=verbose, page=str(page or ""))
    elif page:
        click.echo(printable(f"report: {page}"), err=True)
