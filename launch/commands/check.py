"""Compare this machine with its baseline: a gate for job prologues."""

import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from collbench.collectives.errors import CollbenchError, UsageError, printable
from collbench.collectives.option_groups import OUTPUT, RUN, WHAT, GroupedCommand, option
from collbench.collectives.option_types import Amount, RankCount, TransportName

from ..ci_output import CiFiles, ci_options, inconclusive_options, write_ci
from ..shared_options import (
    OutputFile,
    backend_option,
    device_option,
    json_option,
    only_data_on_stdout,
    warn,
    write_text,
)

if TYPE_CHECKING:
    from collbench.analysis.compare.gate import Gate, Verdict

__all__ = ["SECTION", "command"]

SECTION = "gate"

_ENOUGH = 4     # launches that suffice for a verdict if others failed
_FILE = click.Path(path_type=Path)


@click.command(cls=GroupedCommand, short_help="Measure and compare with a baseline")
@click.option("--baseline", type=_FILE, default=None, help="Journal or run directory to compare with.")
@option("--save", group=OUTPUT, type=OutputFile(), default=None, metavar="FILE",
        help="Save this measurement as a baseline.")
@click.option("--data", type=_FILE, default=None, help="Use this run instead of measuring for about 90 seconds.")
@click.option("--max-slowdown", type=Amount(min=0), default=10.0, show_default=True, metavar="PERCENT",
              help="Fail if a case, or all together, is slower by more than this.")
@inconclusive_options
@option("--ranks", group=RUN, type=RankCount(2), default=None,
        help="Ranks to start.  [default: one per accelerator; on CPUs one per core, at most 32 on one host]")
@option("--transport", group=WHAT, type=TransportName(), default="torch", show_default=True,
        help="Interface to measure.")
@device_option
@backend_option
@json_option("Also write the verdict and every case as JSON; - is standard output.")
@ci_options
def command(baseline: Path | None, save: Path | None, data: Path | None, max_slowdown: float, must_notice: float,
            allow_inconclusive: bool, ranks: int | None, transport: str, device: str, backend: str | None,
            json_file: Path | None, junit: Path | None, github: bool, markdown: Path | None) -> None:
    """Measure a few cases in several launches and compare them with a baseline.

    What is slower is measured a second time, and fails only if it is slower again.

    Exit status: 0 nothing is slower, 1 slower or wrong, 2 not comparable, 4 cannot tell: a slowdown as large as
    --must-notice would not have been noticed.

    Example: collbench check --save healthy.jsonl, and later: collbench check --baseline healthy.jsonl
    """
    if not (baseline or save):
        raise UsageError("nothing to do: give --baseline FILE to compare with, or --save FILE to make one")
    if baseline and not os.path.exists(baseline):     # Path.exists raises if a name is too long
        raise UsageError(f"--baseline {baseline}: no such file; make one with --save {baseline}")
    from collbench.analysis.compare.gate import Gate
    with TemporaryDirectory(prefix="collbench-check-") as folder:
        def measure(name: str) -> tuple[Path, int]:
            path = Path(folder, name)
            path.mkdir()
            with only_data_on_stdout(json_file):
                return path, _measure(path, ranks, transport, device, backend)
        measured, status = (data, 0) if data else measure("first")
        if save:
            _keep(measured, save)
        if baseline:
            gate = Gate(max_slowdown / 100, must_notice / 100)
            found = _judge(baseline, measured, status, gate)
            if found.slow and not found.comparison.match.broken and not data:
                warn("slower than the baseline; measuring again, to confirm it: other load may have passed")
                found = _judge(baseline, *measure("second"), gate=gate, suspects=found.slow)
            status = _report(found, json_file, CiFiles(junit, github, markdown), allow_inconclusive)
    sys.exit(status)


def _measure(folder: Path, ranks: int | None, transport: str, device: str, backend: str | None) -> int:
    from .. import bench as job
    from ..supervise import was_stopped
    job.refuse_to_be_a_rank()
    plan = job.plan_bench(job.PROFILES["check"], job.available_transports(transport), ranks, device, backend)
    status = job.bench(folder, plan)
    if not (folder / "journal.jsonl").exists():
        raise UsageError("nothing was measured, so there is nothing to compare")
    if was_stopped(status):
        sys.exit(status)
    return min(status, 1)


def _keep(measured: Path, save: Path) -> None:
    from collbench.analysis.frames.load import load
    load(measured)      # raises if unreadable
    try:
        save.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(measured / "journal.jsonl" if measured.is_dir() else measured, save)
    except OSError as error:
        raise UsageError(f"--save {save}: cannot be written: {error.strerror}") from None
    click.echo(printable(f"baseline: {save}"), err=True)


def _judge(baseline: Path, measured: Path, status: int, gate: "Gate",
           suspects: "frozenset[str] | None" = None) -> "Verdict":
    """The verdict, given the status of the launches; failed launches are tolerated if enough others remain."""
    from collbench.analysis.compare.gate import FAILED, check
    try:
        found = check(str(baseline), str(measured), gate, suspects)
    except CollbenchError as error:
        raise UsageError(str(error)) from None
    if not status:
        return found
    fewest = int(found.comparison.rows["launches_b"].min())
    if fewest >= _ENOUGH:
        return found.adding(f"a launch failed; the verdict is based on the others, at least {fewest} per case")
    return found.adding("launches failed, and too few are left for a verdict", FAILED)


def _report(found: "Verdict", json_file: Path | None, files: CiFiles, allow_inconclusive: bool) -> int:
    """Print and write the verdict; returns the exit status."""
    from collbench.analysis.compare.gate import CANNOT_TELL, SOUND
    from collbench.analysis.compare.show import as_json, show_differences
    from collbench.analysis.text.json_text import json_text
    status = SOUND if allow_inconclusive and found.status == CANNOT_TELL else found.status
    quiet = str(json_file) == "-"
    if not quiet:
        show_differences(found.comparison)
    if json_file:
        values = {"status": status, "outcome": found.name, "words": found.words, **as_json(found.comparison)}
        write_text(json_file, json_text("check", values))
    for line in found.words:
        warn(line)
    write_ci(found, "collbench check", files, quiet)
    return status
