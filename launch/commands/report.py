"""What DATA means: on the terminal, as a page, and as one document for machines."""

from pathlib import Path

import click

from collbench.collectives.errors import UsageError

from ..shared_options import DATA, domains_options, json_option, log_options, write_text

__all__ = ["command"]


@click.command()
@DATA
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Directory for report.html, figures and tables.  [default: DATA, where it is a directory; with "
              "--json no page]")
@click.option("--baseline", type=click.Path(path_type=Path, exists=True), default=None, metavar="DATA",
              help="A run or log of the same cases that DATA is held against.")
@domains_options
@json_option("Write verdict, findings, what was expected and the answer as one JSON document; - is standard output, "
             "and no text.")
@log_options
def command(data: Path, out: Path | None, baseline: Path | None, measured_on: str | None, file: Path | None,
            json_file: Path | None, ranks: int | None, op: str | None) -> None:
    """Say what DATA means: on the terminal, and as a page with figures and tables beside it.

    Every headline figure is held against what it could be: the links of the domain (--measured-on where the data do not
    name it), published measurements of it, the memory of a CPU, and a --baseline.

    Example: collbench report results/latest -o my-report
    """
    if out is None and not json_file and not data.is_dir():
        raise UsageError(f"{data} is a file: say with -o where the report is to go, or ask for --json")
    import json

    from collbench.analysis.domains.facts import domain_named, load_domains
    from collbench.analysis.importers import Asked
    from collbench.analysis.report.json_document import document
    from collbench.analysis.report.story import print_report, tell, write_report
    domains = load_domains(file)
    story = tell(data, asked=Asked(ranks, op), measured_on=domain_named(measured_on, domains) if measured_on else None,
                 known=domains, baseline=baseline)
    if str(json_file) != "-":
        print_report(story)
    if json_file:
        write_text(json_file, json.dumps(document(story), indent=1, allow_nan=False) + "\n")
    if out or not json_file:
        page = write_report(story, out or data)
        click.echo(f"report: {page}", err=str(json_file) == "-")
