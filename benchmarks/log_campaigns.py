"""Import logs after what happens to them: one garbled cell, disguises, mutations; and list what was lost or misread.

    python benchmarks/log_campaigns.py [cells] [disguises] [mutations] [--logs FOLDER] [--count N] [--only NAME]

Logs are the excerpts of real logs in tests/log_excerpts, and with --logs those of a folder that
tests/expected_logs.json describes. A fault is one of: an exception other than a refusal in one line; a figure that is
lost, or another operation, rank count, element type or unit, without a warning; a figure of another row than the
garbled one that is lost or changed; a negative, zero or infinite time, one that light or memory forbid, with status ok.
Exit status 1 if there is any.
"""

import argparse
import importlib.util
import json
import math
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from collbench.analysis.frames.load import load
from collbench.analysis.importers import LogHints, read_log
from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.errors import CollbenchError
from collbench.collectives.records.record import Imported

ROOT = Path(__file__).resolve().parent.parent
EXCERPTS, EXPECTED = ROOT / "tests" / "log_excerpts", ROOT / "tests" / "expected_logs.json"
CAMPAIGNS = ("cells", "disguises", "mutations")
ROWS = 2                # of a log, whose cells are garbled
SHORTEST_S, FASTEST_Bps, MOST_RANKS, MOST_BYTES = 1e-9, 2e13, 1 << 24, 1 << 60
GARBLES = ("", "nan", "-nan", "inf", "-", "--", "****", "x", "N/A", "1e999", "-1", "9" * 25, "12.3us", "1,234", "1 2",
           "0|", "\u00bd", "?", "0x10", "1..2", "<1", "~5", "(3)", "12.34.56")
_CELL = re.compile(r"[\w.+%*\u2212-]*\w[\w.+%*-]*")
_DIGIT = re.compile(r"\d")


def log_disguises() -> Any:
    """The module beside this one."""
    spec = importlib.util.spec_from_file_location("log_disguises", Path(__file__).with_name("log_disguises.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Source(NamedTuple):
    """A log and the options that it needs."""

    name: str
    text: str
    hints: LogHints


class Figure(NamedTuple):
    """What must not change."""

    op: str
    ranks: int
    dtype: str | None
    redop: str | None
    in_place: bool | None
    message_bytes: int
    time_s: float | None
    variant: str | None
    status: str


@dataclass
class Outcome:
    """The result of an import: figures by line, warnings; or why it was refused, or crashed."""

    figures: list[tuple[int, Figure]] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)
    refused: str | None = None
    crashed: str | None = None
    impossible: list[Figure] = field(default_factory=list)

    def by_line(self) -> dict[int, Counter[Figure]]:
        """Figures of each line."""
        lines: dict[int, Counter[Figure]] = {}
        for line, figure in self.figures:
            lines.setdefault(line, Counter())[figure] += 1
        return lines

    def ok(self) -> Counter[Figure]:
        """Figures that can be analysed."""
        return Counter(figure for _, figure in self.figures if figure.status in ("ok", "wrong"))


def sources(folder: Path | None) -> Iterator[Source]:
    """The excerpts, and the logs of a folder."""
    for name, want in json.loads(EXPECTED.read_text()).items():
        hints = LogHints(want.get("ranks"), want.get("op"))
        for path, about in ((EXCERPTS, want.get("excerpt")), (folder, want)):
            file = path and path / f"{name}{want.get('suffix', '.txt')}"
            if file and about and "rows" in about and file.exists():
                yield Source(f"{path.name}/{name}", file.read_text(errors="replace"), hints)


def attempt(path: Path, content: str | bytes, hints: LogHints, frames: bool = False) -> Outcome:
    """Import `content`, and with `frames` load it as the report does."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
    outcome = Outcome()
    try:
        found = read_log(path, hints)
        if frames:
            load(path, hints)
    except CollbenchError as error:
        outcome.refused = str(error)
        return outcome
    except Exception as error:
        outcome.crashed = f"{type(error).__name__}: {error}"
        return outcome
    outcome.warnings = Counter(found.warnings)
    for result in found.results:
        if isinstance(result, Imported):
            line = (result.source or "").rpartition(":")[2]
            figure = Figure(*(getattr(result, name) for name in Figure._fields))
            outcome.figures.append((int(line) if line.isdecimal() else 0, figure))
            if result.status == "ok" and not possible(figure):
                outcome.impossible.append(figure)
    return outcome


def possible(figure: Figure) -> bool:
    """Whether a machine can have measured it, by limits that are not those of the importers."""
    if not (1 < figure.ranks <= MOST_RANKS and 0 <= figure.message_bytes <= MOST_BYTES):
        return False
    if figure.time_s is None or not math.isfinite(figure.time_s) or not SHORTEST_S <= figure.time_s <= 1e6:
        return False
    factor = OPERATIONS[figure.op].bus_factor(figure.ranks) if figure.op in OPERATIONS else 1.0
    return figure.message_bytes * factor / figure.time_s <= FASTEST_Bps


def fault_of(plain: Outcome, found: Outcome, line: int | None = None, cut: bool = False) -> str | None:
    """What is wrong with an import, compared with that of the log as it was.

    Args:
        line: the line that was garbled: nothing may be lost or changed in others; without, nothing silently.
        cut: lines are missing, about which no warning is possible.
    """
    if found.crashed:
        return f"crash: {found.crashed}"
    if found.impossible:
        return f"impossible: {found.impossible[0]}"
    if found.refused:
        told = cut or re.search(r":\d+: |line \d+", found.refused)
        alone = line is None or len(plain.figures) < 3 or {at for at, _ in plain.figures} == {line}
        return None if told and alone else f"refused: {found.refused}"
    told = bool(found.warnings - plain.warnings)
    lost, more = plain.ok() - found.ok(), found.ok() - plain.ok()
    if (lost or more) and not told and not cut and not (line and _another_number(plain, found, line)):
        return f"silent: {len(lost)} lost, {len(more)} others; {[*lost][:1]} {[*more][:1]}"
    if line:
        return _fault_elsewhere(plain, found, line)
    kinds = {figure[:3] for figure in plain.ok()}
    changed = [figure for figure in more if figure[:3] not in kinds and (figure[2] or not cut)]
    return f"changed: {changed[0]}" if changed and not told else None


def _another_number(plain: Outcome, found: Outcome, line: int) -> bool:
    """Whether only a number of the garbled row is another one, that no rule of the format contradicts."""
    before, after = plain.by_line(), found.by_line()
    others = all(before.get(at) == after.get(at) for at in {*before, *after} - {line})
    here, there = before.get(line, Counter()), after.get(line, Counter())
    return others and sorted(figure[:5] for figure in here) == sorted(figure[:5] for figure in there)


def _fault_elsewhere(plain: Outcome, found: Outcome, line: int) -> str | None:
    before, after = plain.by_line(), found.by_line()
    for at in sorted({*before, *after} - {line}):
        if before.get(at) != after.get(at):
            return f"line {at}: {[*before.get(at, {})][:1]} became {[*after.get(at, {})][:1]}"
    return None


@dataclass
class Tally:
    """Counts of a campaign and its faults."""

    tried: int = 0
    same: int = 0
    told: int = 0
    refused: int = 0
    another: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, name: str, plain: Outcome, found: Outcome, fault: str | None) -> None:
        """Count one import."""
        self.tried += 1
        if fault:
            self.faults.append(f"{name}: {fault}")
        elif found.refused:
            self.refused += 1
        elif plain.ok() == found.ok():
            self.same += 1
        elif found.warnings - plain.warnings:
            self.told += 1
        else:
            self.another += 1

    def line(self, name: str) -> str:
        """The counts as one line."""
        return (f"{name}: {self.tried} imports: {self.same} with the same figures, {self.told} with a loss that is "
                f"told, {self.refused} refused in one line, {self.another} with another plausible number, "
                f"{len(self.faults)} faults")


def cells(logs: list[Source], path: Path, only: str = "", rows: int = ROWS,
          garbles: tuple[str, ...] = GARBLES) -> Tally:
    """Each cell of some rows of each log is replaced by each of `garbles`."""
    tally = Tally()
    for log in logs:
        plain = attempt(path, log.text, log.hints)
        lines = log.text.split("\n")
        numbers = sorted({line for line, _ in plain.figures if line})
        chosen = sorted({numbers[len(numbers) // 2], numbers[-1]})[:rows] if numbers else []
        for number in chosen:
            at = number if _CELL.search(lines[number - 1]) else number + 1      # an object of several lines
            for cell in _CELL.finditer(lines[at - 1]):
                for garble in garbles:
                    name = f"{log.name}:{number} {cell[0]!r} -> {garble!r}"
                    if only not in name:
                        continue
                    row = lines[at - 1][:cell.start()] + garble + lines[at - 1][cell.end():]
                    found = attempt(path, "\n".join([*lines[:at - 1], row, *lines[at:]]), log.hints)
                    tally.add(name, plain, found, fault_of(plain, found, number))
    return tally


def disguises(logs: list[Source], path: Path, only: str = "", exactly: str = "") -> Tally:
    """Each log in each disguise, or in that which is called `exactly`."""
    tally, module = Tally(), log_disguises()
    for log in logs:
        plain = attempt(path, log.text, log.hints)
        for name, disguise in (module.DISGUISES | module.CUTS).items():
            if only not in f"{log.name} {name}" or exactly not in ("", name):
                continue
            found = attempt(path, disguise(log.text), log.hints)
            fault = fault_of(plain, found, cut=name in module.CUTS or (bool(found.refused) and name in module.TOLD))
            readable = name in module.DISGUISES and name not in module.TOLD and not (
                name in module.BETWEEN and log.text.lstrip().startswith("{\n"))
            if not fault and readable and (found.refused or plain.ok() != found.ok()):
                lost = plain.ok() - found.ok()
                fault = f"{len(lost)} lost, told: {found.refused or [*(found.warnings - plain.warnings)][:1]}"
            tally.add(f"{log.name} {name}", plain, found, fault)
    return tally


def mutated(text: str, rng: random.Random) -> str:
    """One to four edits: a byte, a line, cells, or a number."""
    for _ in range(rng.randint(1, 4)):
        lines = text.split("\n")
        at = rng.randrange(len(lines))
        edit = rng.choice(_EDITS)
        edit(lines, at, rng)
        text = "\n".join(lines)
    return text


def _flip(lines: list[str], at: int, rng: random.Random) -> None:
    if lines[at]:
        place = rng.randrange(len(lines[at]))
        lines[at] = lines[at][:place] + chr(ord(lines[at][place]) ^ 1 << rng.randrange(7)) + lines[at][place + 1:]


def _delete(lines: list[str], at: int, rng: random.Random) -> None:
    del lines[at:at + rng.choice((1, 1, 1, 3, 10))]


def _repeat(lines: list[str], at: int, rng: random.Random) -> None:
    lines.insert(at, lines[at])


def _swap(lines: list[str], at: int, rng: random.Random) -> None:
    other = rng.randrange(len(lines))
    lines[at], lines[other] = lines[other], lines[at]


def _join(lines: list[str], at: int, rng: random.Random) -> None:
    lines[at:at + 2] = ["".join(lines[at:at + 2])]


def _shift(lines: list[str], at: int, rng: random.Random) -> None:
    """A cell is gone, or there twice, or two change places."""
    found = [*_CELL.finditer(lines[at])]
    if len(found) < 2:
        return
    one, other = sorted(rng.sample(found, 2), key=lambda cell: cell.start())
    line, choice = lines[at], rng.randrange(3)
    between = line[one.end():other.start()]
    lines[at] = line[:one.start()] + (
        ("" if choice == 0 else f"{one[0]} {one[0]}") + between + other[0] if choice < 2
        else other[0] + between + one[0]) + line[other.end():]


def _number(lines: list[str], at: int, rng: random.Random) -> None:
    """A number loses its sign, point or a digit, or has another, or is far too large or small."""
    found = [cell for cell in _CELL.finditer(lines[at]) if _DIGIT.search(cell[0])]
    if not found:
        return
    cell = rng.choice(found)
    place = rng.randrange(len(cell[0]))
    new = rng.choice((lambda: cell[0][:place] + cell[0][place + 1:], lambda: cell[0].replace(".", ""),
                      lambda: cell[0] + str(rng.randrange(10)), lambda: f"-{cell[0]}", lambda: "0", lambda: "0.00",
                      lambda: f"{cell[0]}e{rng.choice((-9, 9, 300))}", lambda: rng.choice(GARBLES)))()
    lines[at] = lines[at][:cell.start()] + new + lines[at][cell.end():]


_EDITS: tuple[Callable[[list[str], int, random.Random], None], ...] = (
    _flip, _flip, _delete, _repeat, _swap, _join, _shift, _shift, _number, _number, _number)


def mutations(logs: list[Source], path: Path, count: int, seed: int) -> Tally:
    """Random edits; only crashes and impossible figures are faults, since many edits leave a valid log."""
    tally, rng = Tally(), random.Random(seed)
    plain = [attempt(path, log.text, log.hints) for log in logs]
    for number in range(count):
        log, before = logs[number % len(logs)], plain[number % len(logs)]
        found = attempt(path, mutated(log.text, rng), log.hints, frames=number % 8 == 0)
        fault = f"crash: {found.crashed}" if found.crashed else (
            f"impossible: {found.impossible[0]}" if found.impossible else None)
        tally.add(f"{log.name}, mutation {number}", before, found, fault)
    return tally


def main() -> int:
    """Run the campaigns; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaigns", nargs="*", default=CAMPAIGNS, choices=[*CAMPAIGNS, []], metavar="campaign")
    parser.add_argument("--logs", type=Path, help="folder with further logs")
    parser.add_argument("--count", type=int, default=24_000, help="mutations (default: 24,000)")
    parser.add_argument("--seed", type=int, default=18)
    parser.add_argument("--only", default="", help="imports whose name contains this")
    parser.add_argument("--faults", type=int, default=100, help="faults that are listed (default: 100)")
    given = parser.parse_args()
    logs, faults = [*sources(given.logs)], 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.log"
        for name in given.campaigns:
            tally = (cells(logs, path, given.only) if name == "cells" else disguises(logs, path, given.only)
                     if name == "disguises" else mutations(logs, path, given.count, given.seed))
            print(*tally.faults[:given.faults], tally.line(name), sep="\n", flush=True)
            faults += len(tally.faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
