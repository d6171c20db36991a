"""Find the slow or broken node among many: launches over disjoint pairs of nodes."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from collbench.collectives.errors import UsageError, printable
from collbench.collectives.option_groups import HOW, JOB, OUTPUT, WHAT, GroupedCommand, option
from collbench.collectives.option_types import Amount, RankCount, Sizes, TransportName

from ..ci_output import inconclusive_options
from ..shared_options import (
    OutputFile,
    device_option,
    json_option,
    only_data_on_stdout,
    replace_text,
    write_text,
)

if TYPE_CHECKING:
    from collbench.analysis.fleet.judge import Judgement, Pair, Rule
    from collbench.collectives.records.fleet import Fleet, PairLaunch

    from ..fleet.sweep import FleetSweep

__all__ = ["SECTION", "command"]

SECTION = "gate"

_FORMATS = ("event", "nhc", "npd", "openmetrics")       # of analysis/fleet/formats, which is not loaded for the help
_CANNOT_TELL = 4
_LAUNCHERS = ("mpirun", "srun")


@click.command(cls=GroupedCommand, short_help="Find the slow or broken node among many")
@click.argument("data", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@option("--hosts", group=JOB, default="", metavar="HOST,...",
        help="The nodes, as the launcher takes them.  [default: those of the allocation of Slurm, PBS or LSF]")
@option("--ranks-per-node", group=JOB, type=RankCount(), default=1, show_default=True, help="Ranks on each node.")
@option("--launcher", group=JOB, type=click.Choice(_LAUNCHERS), default=None,
        help="What starts ranks on two nodes.  [default: srun in an allocation of Slurm, else mpirun]")
@option("--pair-seconds", group=JOB, type=Amount(min=1), default=120.0, show_default=True,
        help="A pair that takes longer is ended, and has failed.")
@option("--rounds", group=HOW, type=click.IntRange(1, 100), default=3, show_default=True,
        help="At most so many rounds of disjoint pairs; what is known earlier ends the sweep.")
@option("--case-seconds", group=HOW, type=Amount(min=0.0, min_open=True), default=0.5, show_default=True,
        help="Sampling time per case of a pair.")
@option("--transport", group=WHAT, type=TransportName(), default="mpi", show_default=True,
        help="Communication library to measure.")
@option("--sizes", group=WHAT, type=Sizes(), default=None,
        help="Message sizes of ping_pong and all_reduce.  [default: 8,1M; 8,64M on an accelerator]")
@device_option
@click.option("--max-slowdown", type=Amount(min=0), default=30.0, show_default=True, metavar="PERCENT",
              help="A node that is slower by less is good.")
@inconclusive_options
@option("--db", group=OUTPUT, type=click.Path(path_type=Path, dir_okay=False), default=None, metavar="FILE",
        help="Add the verdicts to this history (SQLite), and say what it knows of a bad node.")
@option("--out", group=OUTPUT, type=click.Path(path_type=Path, file_okay=False), default=None,
        help="Directory for journals and outputs of all pairs, on a disk that the nodes share.  "
             "[default: results/<time>-<host>]")
@json_option("Also write nodes, links and pairs as JSON; - is standard output.")
@option("--format", "formats", group=OUTPUT, type=(click.Choice(_FORMATS), OutputFile(allow_dash=True)), multiple=True,
        metavar=f"{'|'.join(_FORMATS)} FILE",
        help="Also write the verdicts for NVSentinel (event), a Slurm prolog or NHC, Node Problem Detector, or a "
             "collector of metrics; - is standard output. May be repeated.")
@option("--this-node", group=OUTPUT, is_flag=True,
        help="Only the verdict on this host counts, for --format and the exit status.")
def command(data: Path | None, hosts: str, ranks_per_node: int, launcher: str | None, pair_seconds: float, rounds: int,
            case_seconds: float, transport: str, sizes: tuple[int, ...] | None, device: str, max_slowdown: float,
            must_notice: float, allow_inconclusive: bool, db: Path | None, out: Path | None, json_file: Path | None,
            formats: tuple[tuple[str, Path], ...], this_node: bool) -> None:
    """Measure disjoint pairs of nodes, all at once, and find the node that is slow with every partner.

    After the first round, suspects are paired with nodes that are known to be good. A pair that fails is a finding, not
    the end. With DATA, the directory of an earlier sweep, its verdict is shown again and nothing is measured.

    Exit status: 0 all nodes are good, 1 a node, or a link between good nodes, is slow or broken, 2 invalid request, 4
    cannot tell. With --format npd --this-node: 0, 1, and 2 for cannot tell, as Node Problem Detector expects.

    Example: collbench fleet --hosts n1,n2,n3,n4,n5,n6,n7,n8 --ranks-per-node 8 --db cluster.db
    """
    from collbench.analysis.fleet.judge import Rule, judge
    from collbench.analysis.fleet.read import read_pairs
    from collbench.collectives.records.fleet import read_fleet

    from ..fleet.sweep import new_fleet
    from ..fleet.sweep import this_node as name_of
    outputs = [json_file, *(path for _, path in formats)]
    stopped = 0
    with only_data_on_stdout(*outputs):
        if data is None:
            nodes, launcher = _nodes(hosts, launcher)
            fleet = new_fleet(nodes, transport, ranks_per_node, max_slowdown / 100, must_notice / 100)
            if this_node:
                name_of(fleet.nodes)        # refused before anything is measured
            data, sweep = _opened(fleet, launcher, out, transport, sizes, device, case_seconds, pair_seconds)
            _measure(sweep, data, Rule(fleet.max_slowdown, fleet.must_notice), rounds)
            stopped = sweep.stopped
        fleet = read_fleet(data)
        pairs = read_pairs(data)
        found = judge(fleet.nodes, pairs, Rule(fleet.max_slowdown, fleet.must_notice))
        _say(fleet, found, pairs, db, keep=not stopped)
    status = _write(fleet, found, pairs, json_file, formats, this_node)
    if stopped:
        sys.exit(128 + stopped)
    sys.exit(0 if allow_inconclusive and status == _CANNOT_TELL else status)


def _nodes(hosts: str, launcher: str | None) -> tuple[list[str], str]:
    """The nodes, and the name of what starts ranks on them. UsageError if none are named and there is no allocation."""
    from ..allocation import find_allocation
    from ..bench import refuse_to_be_a_rank
    refuse_to_be_a_rank("fleet")
    allocation = find_allocation()
    named = [host for host in hosts.split(",") if host]
    if not named and allocation is None:
        raise UsageError("no nodes: name them with --hosts, or run in an allocation of Slurm, PBS or LSF with several "
                         "hosts")
    default = allocation.launcher if allocation else "mpirun"
    return named or list(allocation.hosts if allocation else ()), launcher or default


def _opened(fleet: "Fleet", launcher: str, out: Path | None, transport: str, sizes: tuple[int, ...] | None, device: str,
            case_s: float, pair_s: float) -> "tuple[Path, FleetSweep]":
    from ..bench import available_transports, new_run_directory
    from ..fleet.sweep import FleetSweep
    from ..launchers import open_launcher
    available_transports(transport)
    starter = open_launcher(launcher)
    path = new_run_directory(out)
    return path, FleetSweep(path, fleet, starter, sizes, device, case_s, pair_s)


def _measure(sweep: "FleetSweep", data: Path, rule: "Rule", rounds: int) -> None:
    """Round after round, until all is known, `rounds` are done, or a signal stops it."""
    from collbench.analysis.fleet.plan import next_round
    from collbench.analysis.fleet.read import pair_of, read_pairs
    fleet = sweep.fleet

    def told(launch: "PairLaunch") -> None:
        pair = pair_of(launch, data)
        times = ", ".join(f"{case} {1e6 * time_s:.4g} us" for case, time_s in sorted(pair.times_s.items()))
        click.echo(printable(f"round {launch.round}: {' - '.join(launch.nodes)}: {pair.failure or times}"))
    for number in range(1, rounds + 1):
        pairs = next_round(fleet.nodes, read_pairs(data), rule, fleet.id)
        if not pairs or sweep.stopped:
            return
        sweep.measure(number, pairs, told)


def _say(fleet: "Fleet", found: "Judgement", pairs: "Sequence[Pair]", db: Path | None, keep: bool) -> None:
    """Print the verdict; with a history, what it knows, and then add to it."""
    from collbench.analysis.fleet.show import as_history, lines
    from collbench.analysis.history.nodes import add_verdicts, verdicts_of
    suspects = [node.node for node in found.nodes if node.verdict != "good"]
    past = {node: [one for one in verdicts_of(db, node) if one.sweep != fleet.id] for node in suspects
            } if db and db.exists() else {}
    for line in lines(found, pairs, past):
        click.echo(printable(line))
    if db and keep:
        new = add_verdicts(db, as_history(fleet, found))
        click.echo(printable(f"history: {db}, {new} new verdicts"))


def _write(fleet: "Fleet", found: "Judgement", pairs: "Sequence[Pair]", json_file: Path | None,
           formats: tuple[tuple[str, Path], ...], this_node: bool) -> int:
    """Write what was asked for; returns the exit status."""
    from collbench.analysis.fleet.formats import status_for_tool, text_of
    from collbench.analysis.fleet.judge import status_of
    from collbench.analysis.fleet.show import document
    from collbench.analysis.text.json_text import json_text

    from ..fleet.sweep import this_node as name_of
    if json_file:
        write_text(json_file, json_text("fleet", document(fleet, found, pairs)))
    here = name_of(fleet.nodes) if this_node else None
    shown = [node for node in found.nodes if here is None or node.node == here]
    for name, path in formats:
        text = text_of(name, fleet, shown)
        if str(path) == "-":
            write_text(path, text)
        else:
            replace_text(path, text)
    if here is None:
        return found.status
    wanted = [status for name, _ in formats if (status := status_for_tool(name, shown[0])) is not None]
    return wanted[0] if wanted else status_of(shown[0].verdict)
