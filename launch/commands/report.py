"""Report on DATA: on the terminal, as an HTML page, and as one JSON document."""

from pathlib import Path

import click

from collbench.collectives.errors import UsageError, printable
from collbench.collectives.option_groups import GroupedCommand

from ..data_arguments import ALL_DATA, read_data
from ..shared_options import (
    OutputFile,
    domains_options,
    json_option,
    log_options,
    replace_text,
    verbose_option,
    warn,
    write_text,
)

__all__ = ["SECTION", "command"]

SECTION = "read"


@click.command(cls=GroupedCommand, short_help="Report on runs or logs: terminal, page, JSON")
@ALL_DATA
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Directory for report.html and tables.  [default: the run directory; for logs NAME-report here; no "
              "page with --json]")
@click.option("--figures", is_flag=True, help="Also write every figure of the page as PNG and SVG.")
@click.option("--slide", default=None, metavar="OP", help="Also write the first chart for this operation as "
              "slide-OP.png and .svg, large enough for a slide.")
@click.option("--baseline", type=click.Path(path_type=Path, exists=True), default=None, metavar="DATA",
              help="A run or log of the same cases to compare DATA with.")
@click.option("--openmetrics", "metrics_file", type=OutputFile(allow_dash=True), default=None, metavar="FILE",
              help="Write every figure with its interval as metrics, for the text file collector of Prometheus' node "
              "exporter; - is standard output, without the text.")
@domains_options
@json_option("Write verdict, findings, expectations and predictions as one JSON document; - is standard output, "
             "without the text.")
@log_options
@verbose_option
def command(data: tuple[Path, ...], out: Path | None, figures: bool, slide: str | None, baseline: Path | None,
            metrics_file: Path | None, measured_on: str | None, nic: str | None, file: Path | None,
            json_file: Path | None, log_ranks: int | None, log_op: str | None, verbose: bool) -> None:
    """Report on DATA: on the terminal, and as a page with its tables beside it.

    Headline numbers are compared with what is attainable: the links of the domain (--measured-on if the data do not
    name it), published measurements of it, the memory bandwidth of a CPU, and a --baseline.

    DATA are runs, logs of other tools, or folders of them; several are pooled.

    Example: collbench report *.log --measured-on hgx_h100_8 -o my-report
    """
    if str(json_file) == str(metrics_file) == "-":
        raise UsageError("only one output can be -, which is standard output: give a file to each other one")
    data_on_stdout = "-" in (str(json_file), str(metrics_file))
    if out is None and (figures or slide or not json_file):
        out = _usual_directory(data)
    from collbench.analysis.report.figure_files import require_renderer
    from collbench.analysis.report.json_document import document
    from collbench.analysis.report.story import build_story
    from collbench.analysis.report.terminal import show
    from collbench.analysis.report.write import write_report, write_slide
    from collbench.analysis.text.json_text import json_text
    if figures or slide:
        require_renderer()      # before any work
    read = read_data(data, log_ranks, log_op, measured_on, nic, file)
    story = build_story(read.paths, known=read.domains, measured_on=read.measured_on, baseline=baseline,
                        loaded=read.loaded, page=out is not None)
    page = write_report(story, out, warn, figures) if out is not None else None
    if json_file:
        write_text(json_file, json_text("report", document(story)))
    if metrics_file:
        from collbench.analysis.report.openmetrics import openmetrics
        replace_text(metrics_file, openmetrics(story))
    if not data_on_stdout:
        show(story, verbose=verbose, page=str(page or ""))
    elif page:
        click.echo(printable(f"report: {page}"), err=True)
    if slide and out is not None:
        click.echo(printable(f"slide: {write_slide(story, slide, out)}"), err=data_on_stdout)


def _usual_directory(data: tuple[Path, ...]) -> Path:
    """The run directory itself, or NAME-report in this directory for a log or folder NAME.

    UsageError if that holds something else.
    """
    first = data[0]
    if len(data) == 1 and (first / "journal.jsonl").is_file():
        return first
    name = first.resolve()
    out = Path(f"{name.name if name.is_dir() else name.stem}-report")
    if out.exists() and not (out / "report.html").exists():
        raise UsageError(f"{out} exists and is no report: give the directory for the report with -o")
    return out
