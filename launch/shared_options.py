"""What several subcommands share: how DATA is named, what is said of a log, and where output goes."""

from collections.abc import Callable
from pathlib import Path

import click

from collectives.errors import UsageError

__all__ = ["DATA", "RankList", "csv_option", "json_option", "log_options", "report_on", "write_points", "write_text"]

DATA = click.argument("data", type=click.Path(path_type=Path))
_OUTPUT = click.Path(path_type=Path, allow_dash=True, dir_okay=False)


def json_option(words: str) -> Callable:
    """`--json FILE`, with `words` as its help."""
    return click.option("--json", "json_file", type=_OUTPUT, default=None, help=words)


def csv_option(words: str) -> Callable:
    """`--csv FILE`, with `words` as its help."""
    return click.option("--csv", "csv_file", type=_OUTPUT, default=None, help=words)


def log_options(command: Callable) -> Callable:
    """What a person can say of a log that does not say it itself."""
    for option in (click.option("--op", default=None, help="Operation, where a log does not say it."),
                   click.option("--ranks", type=click.IntRange(min=1), default=None,
                                help="Rank count, where a log does not say it.")):
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
    from analysis.summary import print_report, tell, write_report
    story = tell(data, asked=asked)
    print_report(story)
    click.echo(f"report: {write_report(story, out)}")


def write_points(path: Path, json_file: Path | None, csv_file: Path | None) -> None:
    """The measured points of a run directory in the forms that were asked for."""
    if not (json_file or csv_file):
        return
    from analysis.tidy import load
    points = load(path).points
    if json_file:
        write_text(json_file, points.to_json(orient="records", indent=1) + "\n")
    if csv_file:
        write_text(csv_file, points.to_csv(index=False))


def write_text(file: Path, text: str) -> None:
    """Write `text` to `file`, - for standard output; UsageError says why it cannot be."""
    try:
        with click.open_file(str(file), "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}") from None
