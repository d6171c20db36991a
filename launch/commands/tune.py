"""Find the fastest of several variants (algorithms, protocols, settings, libraries) and write the rules for it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from collbench.collectives.cases import catalog
from collbench.collectives.errors import UsageError, printable
from collbench.collectives.option_groups import HOW, OUTPUT, RUN, WHAT, GroupedCommand, option
from collbench.collectives.option_types import (
    Amount,
    Operations,
    RankCount,
    RankCounts,
    Sizes,
    TransportName,
)
from collbench.collectives.records.record import MODES, Mode

from ..shared_options import (
    RANKS_HERE,
    RankList,
    backend_option,
    device_option,
    json_option,
    only_data_on_stdout,
    verbose_option,
    warn,
    write_text,
)

if TYPE_CHECKING:
    from ..tune.requests import Request
    from ..tune.rounds import Rounds

__all__ = ["SECTION", "command"]

SECTION = "measure"

_OPS = ("all_reduce", "all_to_all")


@click.command(cls=GroupedCommand, short_help="Find the fastest algorithm, setting or library; write its rules")
@click.argument("data", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@option("--ops", group=WHAT, type=Operations(), default=",".join(_OPS), show_default=True, help="Operations to tune.")
@option("--sizes", group=WHAT, type=Sizes(), default=None,
        help="Message sizes.  [default: 64 to 256K by factors of 8; on accelerators 1K to 256M by factors of 16]")
@option("--group-ranks", group=WHAT, type=RankCounts(), default="curve", show_default=True,
        help="Rank counts, as groups within the job. curve: 2, 4, 8 ... and all ranks, which forecasts need.")
@option("--variants", group=WHAT, default="all", show_default=True, metavar="NAME,...",
        help="Variants, patterns of them, or tables; all: those for the library at hand, none: those of --variant "
             "only. --list shows them.")
@option("--variant", "own", group=WHAT, multiple=True, metavar="NAME:VARIABLE=VALUE,...",
        help="A variant of your own: environment variables, or transport, backend, python (the interpreter of another "
             "environment, with its MPI) and graph=yes. May be repeated.")
@option("--list", "show_list", group=WHAT, is_flag=True, help="List the variants of --ops and stop.")
@option("--transport", group=WHAT, type=TransportName(), default=None,
        help="Interface of the default variant.  [default: torch on accelerators, else mpi if it is installed]")
@device_option
@backend_option
@option("-d", "--dtype", group=WHAT, type=click.Choice(tuple(catalog.DTYPES)), default="float32", show_default=True,
        help="Element type.")
@option("--mode", group=HOW, type=click.Choice(MODES), default=None,
        help="What is to be fast: isolated calls, or calls back to back.  [default: streamed on accelerators, else "
             "isolated]")
@option("--case-seconds", group=HOW, type=Amount(min=0.0, min_open=True), default=0.25, show_default=True,
        help="Sampling time per case and launch. Launches differ by more than samples do, so several are needed.")
@option("--budget", group=RUN, type=Amount(min=5.0), default=600.0, show_default=True,
        help="Time in seconds. Whatever is not decided when it ends remains a tie.")
@option("--ranks", group=RUN, type=RankCount(2), default=None, help=RANKS_HERE)
@option("--out", group=OUTPUT, type=click.Path(path_type=Path, file_okay=False), default=None,
        help="Directory for everything.  [default: results/<time>-<host>]")
@option("--resume", group=RUN, is_flag=True,
        help="Go on with the tuning run in --out for another --budget; what it compares stays as it is.")
@option("--no-rules", group=OUTPUT, is_flag=True, help="Write no rules, and spend no time on measuring them again.")
@option("--to", "targets", group=OUTPUT, type=RankList(), default="72,384", show_default=True,
        help="Rank counts to forecast the fastest variant for.")
@json_option("Also write everything as JSON; - is standard output.")
@verbose_option
def command(data: Path | None, out: Path | None, resume: bool, show_list: bool, json_file: Path | None, verbose: bool,
            targets: tuple[int, ...], no_rules: bool, budget: float, ops: tuple[str, ...],
            sizes: tuple[int, ...] | None, group_ranks: tuple[int, ...], variants: str, own: tuple[str, ...],
            transport: str | None, device: str, backend: str | None, dtype: str, mode: Mode | None, case_seconds: float,
            ranks: int | None) -> None:
    """Measure variants of the same operations in turn, and say which is faster here, with confidence.

    Each variant is started once a round, in random order. What is clearly slower is dropped; the others are measured
    until they are told apart or the budget ends, and ties remain ties. The rules that follow are measured again in new
    launches, and kept only if they are slower nowhere. With DATA, the directory of an earlier run, only shows that.

    Example: collbench tune --ops all_reduce --ranks 8 --budget 300 --out results/tuned
    """
    from ..tune.requests import Request, listed
    patterns = () if variants == "none" else tuple(part.strip() for part in variants.split(",") if part.strip())
    request = Request(ops=ops, sizes=sizes, group_ranks=group_ranks, variants=patterns, own=own, transport=transport,
                      device=device, backend=backend, dtype=dtype, mode=mode, case_s=case_seconds, ranks=ranks)
    if show_list:
        for line in listed(request):
            click.echo(printable(line))
        return
    status = 0
    with only_data_on_stdout(json_file):
        if data is None:
            data, status = _measure(request, out, resume, budget, rules=not no_rules)
    if status == 0 or _has_reference(data):
        _show(data, targets, json_file, verbose)
    sys.exit(status)


def _has_reference(out: Path) -> bool:
    """Whether a launch that was not stopped has measured the reference, so that there is something to show."""
    from collbench.collectives.records.tuning import REFERENCE, read_launches
    return any(launch.status == 0 and REFERENCE in launch.variants.values() for launch in read_launches(out))


def _measure(request: "Request", out: Path | None, resume: bool, budget_s: float, rules: bool) -> tuple[Path, int]:
    """Race, write the rules, measure again; the directory and the exit status."""
    from collbench.analysis.tune import judge
    from collbench.collectives.records.tuning import read_tuning

    from .. import bench as job
    from ..allocation import find_allocation
    from ..supervise import was_stopped
    from ..tune.requests import tuning_for
    from ..tune.rounds import Rounds, write_tuning
    job.refuse_to_be_a_rank("tune")
    if resume and out is None:
        raise UsageError("--resume needs --out: the directory of the tuning run to resume")
    path = out or job.run_directory()
    if resume:
        tuning = read_tuning(path)
    else:
        if (path / "tune.json").exists():
            raise UsageError(f"--out {path}: a tuning run is there already: --resume goes on with it")
        tuning = tuning_for(request)
        write_tuning(path, tuning)
    click.echo(f"collbench: {len(tuning.variants)} variants of {', '.join(tuning.ops)} over {tuning.job_ranks} ranks, "
               f"about {budget_s:.0f} s; results in {path}")
    rounds = Rounds(path, tuning, budget_s, find_allocation(), warn, rules)
    rounds.race(judge(path))
    if rules and not rounds.stopped:
        _prove(path, rounds)
    if was_stopped(rounds.stopped):
        warn(f"stopped; collbench tune --resume --out {path} goes on")
    return path, rounds.stopped


def _prove(out: Path, rounds: "Rounds") -> None:
    """Write the rules that follow from the race, measure again under them, and keep them if they are slower nowhere."""
    from collbench.analysis.tune import proof_of, rules_of
    from collbench.analysis.tune.rules.rule_file import PATH
    from collbench.collectives.records.tuning import REFERENCE, RULES
    found, cells = rules_of(out)
    if found is None:
        return
    candidate = out / "candidate" / found.name
    write_text(candidate, found.text)
    if not found.needs:
        warn(f"measuring again under {found.name}")
        settings = {name: value.replace(PATH, str(candidate.absolute())) for name, value in found.settings.items()}
        reference = rounds.tuning.variant(REFERENCE)
        rounds.prove(msgspec.structs.replace(reference, name=RULES, settings=settings), found.digest, cells)
        proof = proof_of(out, found)
        if proof is not None and proof.holds:
            candidate.replace(out / found.name)
            candidate.parent.rmdir()


def _show(data: Path, targets: tuple[int, ...], json_file: Path | None, verbose: bool) -> None:
    from collbench.analysis.text.json_text import json_text
    from collbench.analysis.tune import answer_of
    from collbench.analysis.tune.show import as_json, lines
    answer = answer_of(data, targets)
    if str(json_file) != "-":
        for line in lines(answer, verbose):
            click.echo(line)
    if json_file:
        write_text(json_file, json_text("tune", as_json(answer)))
