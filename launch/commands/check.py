"""Compare this machine with its baseline: a gate for job prologues."""

import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from collbench.collectives.errors import CollbenchError, UsageError, printable
from collbench.collectives.options import Amount, RankCount
from collbench.collectives.transport_names import TRANSPORTS

from ..shared_options import OutputFile, device_option, json_option, only_data_on_stdout, warn, write_text
from ..supervise import was_stopped

__all__ = ["command"]

_ENOUGH = 4     # launches that suffice for a verdict if others failed
_FILE = click.Path(path_type=Path)


@click.command()
@click.option("--baseline", type=_FILE, default=None, help="Journal or run directory to compare with.")
@click.option("--save", type=OutputFile(), default=None, metavar="FILE", help="Save this measurement as a baseline.")
@click.option("--data", type=_FILE, default=None, help="Use this run instead of measuring for about 90 seconds.")
@click.option("--max-slowdown", type=Amount(min=0), default=10.0, show_default=True, metavar="PERCENT",
              help="Fail if a case is slower by more than this.")
@click.option("--ranks", type=RankCount(2), default=None, help="Ranks to start.  [default: one per accelerator; on CPUs one per core, at most 32 per host]")
@click.option("--transport", type=click.Choice(tuple(TRANSPORTS)), default="torch", show_default=True,
              help="Communication library to measure.")
@device_option
@json_option("Also write the verdict and every case as JSON; - is standard output.")
def command(baseline: Path | None, save: Path | None, data: Path | None, max_slowdown: float, ranks: int | None,
            transport: str, device: str, json_file: Path | None) -> None:
    """Measure a few cases in several launches and compare them with a baseline.

    Exit status: 0 nothing is slower, 1 slower or wrong, 2 not comparable.

    Example: collbench check --save healthy.jsonl, and later: collbench check --baseline healthy.jsonl
    """
    if not (baseline or save):
        raise UsageError("nothing to do: give --baseline FILE to compare with, or --save FILE to make one")
    if baseline and not os.path.exists(baseline):     # Path.exists raises if a name is too long
        raise UsageError(f"--baseline {baseline}: no such file; make one with --save {baseline}")
    with TemporaryDirectory(prefix="collbench-check-") as folder:
        measured, status = data or Path(folder), 0
        if not data:
            with only_data_on_stdout(json_file):
                status = _measure(measured, ranks, transport, device)
            if was_stopped(status):
                sys.exit(status)
        if save:
            _keep(measured, save)
        if baseline:
            status = _judge(baseline, measured, max_slowdown / 100, json_file, status)
    sys.exit(status)


def _measure(folder: Path, ranks: int | None, transport: str, device: str) -> int:
    from .. import bench as job
    job.refuse_to_be_a_rank()
    plan = job.plan_bench(job.PROFILES["check"], job.available_transports(transport), ranks, device)
    status = job.bench(folder, plan)
    if not (folder / "journal.jsonl").exists():
        raise UsageError("nothing was measured, so there is nothing to compare")
    return status if was_stopped(status) else min(status, 1)


def _keep(measured: Path, save: Path) -> None:
    from collbench.analysis.frames.load import load
    load(measured)      # raises if unreadable
    try:
        save.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(measured / "journal.jsonl" if measured.is_dir() else measured, save)
    except OSError as error:
        raise UsageError(f"--save {save}: cannot be written: {error.strerror}") from None
    click.echo(printable(f"baseline: {save}"), err=True)


def _judge(baseline: Path, measured: Path, over: float, json_file: Path | None, status: int) -> int:
    """The exit status, given that of the launches; failed launches are tolerated if enough others remain."""
    from collbench.analysis.compare.gate import check
    from collbench.analysis.compare.show import as_json, show
    from collbench.analysis.text.json_text import json_text
    try:
        verdict = check(str(baseline), str(measured), over)
    except CollbenchError as error:
        raise UsageError(str(error)) from None
    words = list(verdict.words)
    if status and (fewest := int(verdict.comparison.rows["launches_b"].min())) >= _ENOUGH:
        words.append(f"a launch failed; the verdict is based on the others, at least {fewest} per case")
        status = 0
    elif status:
        words.append("launches failed, and too few are left for a verdict")
    status = max(status, verdict.status)
    if str(json_file) != "-":
        show(verdict.comparison)
    if json_file:
        write_text(json_file, json_text("check", {"status": status, "words": words,
                                                **as_json(verdict.comparison)}))
    for line in words:
        warn(line)
    return status
