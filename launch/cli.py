"""`collbench`: subcommands, their help, and exit codes; nothing else.

Exit status: 0 all well; 1 a result was wrong or a run failed; 2 what was asked for cannot be; 124 out of time;
143 told to stop, everything saved.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import click

from collectives.errors import CollbenchError, UsageError
from collectives.options import measuring_options, request_from

__all__ = ["cli", "main"]

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_DATA = click.argument("data", type=click.Path(path_type=Path))


def _log_options(command: Callable) -> Callable:
    """What a person can say of a log that does not say it itself."""
    for option in (click.option("--op", default=None, help="Operation, where a log does not say it."),
                   click.option("--ranks", type=click.IntRange(min=1), default=None,
                                help="Rank count, where a log does not say it.")):
        command = option(command)
    return command


class _RankList(click.ParamType):
    """Rank counts to extrapolate to."""

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


@click.group(context_settings=_CONTEXT)
@click.version_option(package_name="collbench")
def cli() -> None:
    """Measure the interconnect you have, and say with honest error bars what it means at 72 and at 384 accelerators.

    Start with: collbench bench
    """


@cli.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Directory for everything.  [default: results/<time>-<host>]")
@click.option("--budget", type=click.FloatRange(min=5.0), default=None,
              help="Seconds to measure, all transports together.  [default: 170]")
@click.option("--ranks", type=click.IntRange(min=2), default=None,
              help="Ranks to start.  [default: one a device; on CPUs one a core, at least 8]")
@click.option("--transport", type=click.Choice(("torch", "mpi", "all")), default="all", show_default=True,
              help="The libraries to measure.")
@click.option("--profile", type=click.Choice(("full", "smoke")), default="full", show_default=True,
              help="smoke: every operation and element type once, in under a minute, for CI.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False), default=None,
              help="Also write the measured points as JSON; - is standard output.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False), default=None,
              help="Also write the measured points as CSV; - is standard output.")
def bench(out: Path | None, budget: float | None, ranks: int | None, transport: str, profile: str,
          json_file: Path | None, csv_file: Path | None) -> None:
    """The main job: measure what is here, extrapolate, report.

    Example: collbench bench --budget 60 --out results/first
    """
    from . import bench as job
    transports = job.available_transports(transport)
    path = job.new_run_directory(out)
    status = job.bench(path, job.PROFILES[profile], transports, ranks, budget)
    if job.conclude(path):
        _report(path, path)
        _write_points(path, json_file, csv_file)
    else:
        click.echo("collbench: nothing was measured", err=True)
    sys.exit(status)


@cli.command()
@click.option("--ranks", type=click.IntRange(min=1), default=None,
              help="Ranks to start on this host, where no launcher has started any.  [default: 2]")
@click.option("--json", "json_file", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False), default=None,
              help="Also write the measured points as JSON; - is standard output.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False), default=None,
              help="Also write the measured points as CSV; - is standard output.")
@measuring_options
def run(ranks: int | None, json_file: Path | None, csv_file: Path | None, **values: object) -> None:
    """Measure what the options say: as one rank of a job that a launcher started, or by starting ranks on this host.

    Example: collbench run --transport mpi --ranks 4 --ops all_reduce,all_to_all -b 8 -e 4M --in-order
    """
    from collectives.rendezvous import find_place
    place = find_place()
    if place is not None:
        _run_as_rank(place, values)
    _write_points(_run_here(ranks or 2, values), json_file, csv_file)


def _run_as_rank(place: object, values: dict) -> None:
    from collectives.__main__ import run_rank
    if values["out"] is None:
        raise UsageError("--out DIRECTORY is needed under a launcher: every rank must name the same one")
    sys.exit(run_rank(request_from(values, values["out"], ("collbench", *sys.argv[1:])), place))


def _run_here(ranks: int, values: dict) -> Path:
    from . import bench as job
    from .job import Job
    from .launchers import launcher_for
    from .run import run_job
    request = request_from(values, Path("."), ())     # what contradicts itself is refused before anything is started
    if max(request.sweep.ranks, default=0) > ranks:
        raise UsageError(f"--group-ranks asks for groups of {max(request.sweep.ranks)} ranks, but --ranks is {ranks}")
    job.available_transports(str(values["transport"]))
    path = job.new_run_directory(values["out"])
    display = "live" if sys.stdout.isatty() and values["display"] == "auto" else values["display"]
    words = [*_given_options(), "--out", str(path), "--display", display]
    status = run_job(launcher_for(str(values["transport"])), Job(arguments=tuple(words), ranks=ranks))
    if job.conclude(path):
        click.echo(f"# journal: {path / 'journal.jsonl'}")
    if status:
        sys.exit(status)
    return path


def _given_options() -> list[str]:
    """The options of this command as they were typed, less those that only this process understands."""
    context = click.get_current_context()
    words: list[str] = []
    for parameter in context.command.get_params(context):
        if parameter.name in ("ranks", "json_file", "csv_file", "out", "display", "help"):
            continue
        source = context.get_parameter_source(parameter.name)
        if source is not click.core.ParameterSource.COMMANDLINE:
            continue
        value = context.params[parameter.name]
        if isinstance(parameter, click.Option) and parameter.is_flag:
            words.append(parameter.opts[-1])
        else:
            words += [parameter.opts[-1], ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return words


@cli.command()
@_DATA
@click.option("--to", "targets", type=_RankList(), default="72,384", show_default=True, help="Rank counts.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False), default=None,
              help="Write the predictions as a list of JSON objects; - is standard output.")
@_log_options
def extrapolate(data: Path, targets: tuple[int, ...], json_file: Path | None, ranks: int | None,
                op: str | None) -> None:
    """Predict times and bandwidths at other rank counts of the fabric that DATA was measured on.

    Example: collbench extrapolate results/latest --to 72,384 --json predictions.json
    """
    import json

    from analysis.importers import Asked
    from analysis.models import as_json
    from analysis.models import extrapolate as predict
    from analysis.tidy import load
    loaded = load(data, Asked(ranks, op))
    for warning in loaded.warnings:
        click.echo(f"collbench: {warning}", err=True)
    frame = predict(loaded.points, targets)
    if json_file:
        _write_text(json_file, json.dumps(as_json(frame), indent=1, allow_nan=False) + "\n")
    else:
        from analysis.report.terminal import show_predictions
        show_predictions(frame)


@cli.command()
@click.argument("files", metavar="DATA...", type=click.Path(path_type=Path, exists=True, dir_okay=False), nargs=-1,
                required=True)
@click.option("--train-max-ranks", type=click.IntRange(min=2), default=None,
              help="Fit on rank counts up to this one.  [default: every split with at least 2 rank counts to fit on]")
@click.option("--json", "json_file", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False), default=None,
              help="Write points and summary as JSON; - is standard output.")
def backtest(files: tuple[Path, ...], train_max_ranks: int | None, json_file: Path | None) -> None:
    """Fit on few ranks, predict the rest, and say how often the intervals of tidy CSV DATA were right.

    Example: collbench backtest measurements.csv --train-max-ranks 64 --json backtest.json
    """
    import json

    from analysis.backtest import backtest as judge
    from analysis.backtest import load_rows, summary
    from analysis.backtest.show import as_json, table
    points = judge(load_rows(files), train_max_ranks)
    lines = summary(points)
    if json_file:
        _write_text(json_file, json.dumps(as_json(points, lines), indent=1, allow_nan=False) + "\n")
    else:
        click.echo(table(lines))


@cli.command("import")
@click.argument("logs", metavar="LOG...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, dir_okay=False),
              help="Journal to write; it must not exist yet.")
@_log_options
@click.option("--system", default=None, help="What to call the system that was measured.")
@click.option("--strict", is_flag=True, help="Exit with 1 if anything was left out or is doubtful.")
def import_(logs: tuple[Path, ...], out: Path, ranks: int | None, op: str | None, system: str | None,
            strict: bool) -> None:
    """Turn logs of other tools into a journal: nccl-tests, rccl-tests, hccl_test, OSU, IMB, PARAM, tidy CSV.

    Example: collbench import n2.log n4.log n8.log --system cluster-a -o cluster-a.jsonl
    """
    from analysis.importers import Asked, import_logs
    result = import_logs(logs, out, Asked(ranks, op, system))
    for warning in result.warnings:
        click.echo(f"collbench: {warning}", err=True)
    click.echo(f"{out}: {result.figures} figures of {result.rows} rows, from {result.files} of {len(logs)} "
               f"log{'' if len(logs) == 1 else 's'}")
    if result.files < len(logs) or (strict and result.warnings):
        sys.exit(1)


@cli.command()
@_DATA
@click.option("--to", "form", required=True, type=click.Choice(("nccl-tests", "osu", "csv", "json")),
              help="Format; json is that of nccl-tests, one document a line.")
@click.option("-o", "--out", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False), default="-",
              show_default=True, help="File to write; - is standard output.")
def export(data: Path, form: str, out: Path) -> None:
    """Write DATA in the format of another tool, for what already reads that.

    Example: collbench export results/latest --to nccl-tests -o all_reduce.log
    """
    from analysis.export import export as write
    from analysis.tidy import load
    text, lost = write(load(data), form)
    for words in lost:
        click.echo(f"collbench: {words}", err=True)
    _write_text(out, text)


@cli.command()
@_DATA
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Directory for report.html, figures and tables.  [default: DATA, where it is a directory]")
@_log_options
def report(data: Path, out: Path | None, ranks: int | None, op: str | None) -> None:
    """Say what DATA means: on the terminal, and as a page with figures and tables beside it.

    Example: collbench report results/latest -o my-report
    """
    if out is None and not data.is_dir():
        raise UsageError(f"{data} is a file: say with -o where the report is to go")
    from analysis.importers import Asked
    _report(data, out or data, Asked(ranks, op))


def _report(data: Path, out: Path, asked: object = None) -> None:
    from analysis.summary import print_report, tell, write_report
    story = tell(data, asked=asked)
    print_report(story)
    click.echo(f"report: {write_report(story, out)}")


def _write_points(path: Path, json_file: Path | None, csv_file: Path | None) -> None:
    """The measured points in the forms that were asked for."""
    if not (json_file or csv_file):
        return
    from analysis.tidy import load
    points = load(path).points
    if json_file:
        _write_text(json_file, points.to_json(orient="records", indent=1) + "\n")
    if csv_file:
        _write_text(csv_file, points.to_csv(index=False))


def _write_text(file: Path, text: str) -> None:
    try:
        with click.open_file(str(file), "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}") from None


def _check_names() -> None:
    """Our packages have ordinary names: say so when a folder of the same name hides one of them."""
    homes = {name: Path(spec.origin).parent.parent for name in ("collectives", "launch", "analysis")
             if (spec := find_spec(name)) and spec.origin}
    if len(homes) < 3 or len(set(homes.values())) > 1:
        found = ", ".join(f"{name} in {home}" for name, home in homes.items())
        raise UsageError(f"another package hides one of collbench's ({found}); run from another directory")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors that a person can act on are one line."""
    try:
        _check_names()
        cli(args=arguments, prog_name="collbench")
    except CollbenchError as error:
        click.echo(f"collbench: {error}", err=True)
        sys.exit(error.exit_status)
    except BrokenPipeError:     # the reader of our output has seen enough
        sys.stderr.close()
        sys.exit(141)


if __name__ == "__main__":
    main()
