"""What several subcommands share: how DATA is named, what is said of a log, and where output goes."""

import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import click

from collbench.collectives.errors import UsageError, printable
from collbench.collectives.options import RankCount

__all__ = ["DATA", "OutputFile", "RankList", "csv_option", "domains_options", "given_options", "json_option",
           "log_options", "report_on", "warn", "write_points", "write_text"]

DATA = click.argument("data", type=click.Path(path_type=Path, exists=True))


class OutputFile(click.Path):
    """A file to write: what would stand in its way is said before a long measurement, not after it."""

    def __init__(self, allow_dash: bool = False) -> None:
        super().__init__(path_type=Path, allow_dash=allow_dash, dir_okay=False, writable=True)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = super().convert(value, param, ctx)
        if self.allow_dash and str(path) == "-":
            return path
        try:
            path.lstat()
        except FileNotFoundError:
            above = next(folder for folder in path.absolute().parents if folder.exists())
            if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
                self.fail(f"{path}: {above} is no directory that can be written", param, ctx)
        except OSError as error:
            self.fail(f"{path}: cannot be written: {error.strerror}", param, ctx)
        return path


_OUTPUT = OutputFile(allow_dash=True)


def json_option(words: str) -> Callable:
    """`--json FILE`, with `words` as its help."""
    return click.option("--json", "json_file", type=_OUTPUT, default=None, help=words)


def csv_option(words: str) -> Callable:
    """`--csv FILE`, with `words` as its help."""
    return click.option("--csv", "csv_file", type=_OUTPUT, default=None, help=words)


def log_options(command: Callable) -> Callable:
    """What a person can say of a log that does not say it itself."""
    for option in (click.option("--op", default=None, help="Operation, where a log does not say it."),
                   click.option("--ranks", type=RankCount(), default=None,
                                help="Rank count, where a log does not say it.")):
        command = option(command)
    return command


def given_options(own: Collection[str]) -> list[str]:
    """The options of the command that runs, as they were typed, less those named in `own`; for another program."""
    context = click.get_current_context()
    words: list[str] = []
    for parameter in context.command.params:
        if parameter.name in own:
            continue
        if context.get_parameter_source(parameter.name) is not click.core.ParameterSource.COMMANDLINE:
            continue
        value = context.params[parameter.name]
        if isinstance(parameter, click.Option) and parameter.is_flag:
            words.append(parameter.opts[-1])
        else:
            words += [parameter.opts[-1], ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return words


def domains_options(command: Callable) -> Callable:
    """Domains of one's own, and the one that DATA was measured on; parameters `file` and `measured_on`."""
    for option in (click.option("--measured-on", default=None, metavar="NAME", help="Domain that DATA was measured on, "
                                "where it does not name its accelerator; `collbench domains` lists them."),
                   click.option("--domains", "file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
                                default=None,
                                help="TOML file of domains of your own, in the form of the shipped ones.")):
        command = option(command)
    return command


class RankList(click.ParamType):
    """Rank counts to predict, ascending and without repeats."""

    name = "N,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            counts = tuple(sorted({int(part) for part in str(value).split(",")}))
        except ValueError:
            self.fail(f"{value!r}: expected whole numbers such as 72,384", param, ctx)
        if counts[0] < 2 or counts[-1] > 1_000_000:
            self.fail(f"{value!r}: rank counts are from 2 to 1000000", param, ctx)
        return counts


def report_on(data: Path, out: Path, asked: object = None) -> None:
    """Tell what `data` means on the terminal and write the page into `out`."""
    from collbench.analysis.report.story import print_report, tell, write_report
    story = tell(data, asked=asked)
    print_report(story)
    click.echo(f"report: {write_report(story, out)}")


def write_points(path: Path, json_file: Path | None, csv_file: Path | None) -> None:
    """The measured points of a run directory in the forms that were asked for."""
    if not (json_file or csv_file):
        return
    from collbench.analysis.frames.load import load
    points = load(path).points
    if json_file:
        write_text(json_file, points.to_json(orient="records", indent=1) + "\n")
    if csv_file:
        from collbench.analysis.text.safe_csv import to_csv
        write_text(csv_file, to_csv(points))


def warn(words: str) -> None:
    """A line on standard error; what it quotes from a file cannot steer the terminal."""
    click.echo(printable(f"collbench: {words}"), err=True)


def write_text(file: Path, text: str) -> None:
    """Write `text` to `file`, in a directory that is made for it, - for standard output; UsageError: it cannot be."""
    if str(file) == "-" and sys.stdout.isatty():
        text = printable(text, keep="\n")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with click.open_file(str(file), "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}") from None
