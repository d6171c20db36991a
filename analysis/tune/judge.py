"""What is still to be measured, after each round."""

from collections.abc import Callable
from pathlib import Path

from collbench.collectives.records.tuning import REFERENCE, Standing

from ..text.units import counted
from .measured import Measured, Table
from .race import Race, is_look
from .winners import race_of

__all__ = ["judge"]


def judge(out: Path) -> Callable[[int], Standing | None]:
    """A function that is told how many rounds are complete and returns what stands; None if that is not a look."""
    measured = Measured.read(out)

    def standing(rounds: int) -> Standing | None:
        if not is_look(rounds):
            return None
        measured.update()
        table = measured.table()
        return None if table is None else _standing(table, race_of(table))
    return standing


def _standing(table: Table, race: Race) -> Standing:
    left, settled = race.contenders(table.measured), race.settled(table.measured)
    open_: dict[str, dict[str, list[tuple[int, int]]]] = {}
    reference = table.variants.index(REFERENCE)
    for cell, row in enumerate(table.cells.to_dict("records")):
        if settled[cell]:
            continue
        for at, name in enumerate(table.variants):
            if table.measured[cell, at] and (left[cell, at] or at == reference):
                open_.setdefault(row["op"], {}).setdefault(name, []).append((int(row["asked_bytes"]),
                                                                             int(row["ranks"])))
    racing = {name for variants in open_.values() for name in variants}
    words = (f"{counted(int(settled.sum()), 'case')} of {len(table.cells)} decided, "
             f"{counted(len(racing), 'variant')} of {len(table.variants)} still racing")
    return Standing(open=open_, words=words)
