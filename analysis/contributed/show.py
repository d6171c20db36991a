"""Contributed runs and scored predictions, on the terminal and as the page docs/contributed.md."""

from collections.abc import Iterator, Sequence

from ..text.units import counted, payload, seconds
from .frozen import Frozen, frozen
from .score import Score

__all__ = ["lines", "page"]

_TOP = """# Contributed results

This page is generated: `make contributed` checks the journals in `contributed/` and writes it, and a test compares the
two. How to submit a journal is in [CONTRIBUTING.md](../CONTRIBUTING.md#contributed-results).

The [predictions](predictions-2026-11-24.md) and [projections](projections-2026-11-24.md) for 72 and 384 ranks were
written down on 2026-11-24 and are never changed. A contributed run at one of these rank counts scores those of its own
machine, or domain, and library: is the measured time inside the 90 % interval? Times are medians of calls back to back.
Of a run on a named machine (Perlmutter A100, Frontier MI250X, NASA Pleiades) the name is given with `--system`; NVL72
and CloudMatrix 384 are recognised by their driver. The predictions of TensorRT-LLM's exchange cannot be scored by a
journal, since collbench does not measure that library.

"""


def lines(scored: Sequence[Score]) -> list[str]:
    """The scores for the terminal."""
    if not scored:
        return ["no frozen prediction is of these runs"]
    inside = sum(score.inside for score in scored)
    return [f"{_what(score.prediction)}: predicted {_interval(score.prediction)}, measured "
            f"{seconds(score.measured_s)}: {_where(score)}" for score in scored] + [
            f"{inside} of {counted(len(scored), 'prediction')} inside the 90 % interval"]


def page(scored: Sequence[Score], files: Sequence[str]) -> str:
    """The whole page as Markdown; `files` are the names of the journals in the folder."""
    return "".join([_TOP, *_journals(files, scored), *_totals(scored), *_table(scored)])


def _journals(files: Sequence[str], scored: Sequence[Score]) -> Iterator[str]:
    yield "## Journals\n\n"
    if not files:
        yield "No contribution yet.\n\n"
        return
    yield "| journal | predictions scored |\n|---|---|\n"
    yield from (f"| {_cell(name)} | {sum(score.file == name for score in scored)} |\n" for name in files)
    yield "\n"


def _totals(scored: Sequence[Score]) -> Iterator[str]:
    yield "## Scores\n\n| page | of | ranks | predictions | measured | inside |\n|---|---|---|---|---|---|\n"
    groups = dict.fromkeys((one.page, one.system or one.domain, one.ranks) for one in frozen())
    for group in groups:
        mine = [score for score in scored if _group(score.prediction) == group]
        count = sum(_group(one) == group for one in frozen())
        inside = sum(score.inside for score in mine) if mine else "–"
        yield f"| [{group[0]}]({group[0]}.md) | {group[1]} | {group[2]} | {count} | {len(mine)} | {inside} |\n"


def _group(one: Frozen) -> tuple[str, str, int]:
    return one.page, one.system or one.domain, one.ranks


def _table(scored: Sequence[Score]) -> Iterator[str]:
    if not scored:
        yield "\nNo contribution yet: none of these predictions has been measured.\n"
        return
    yield ("\n| journal | device | library | operation | payload | ranks | predicted, 90 % interval | measured | "
           "samples | is |\n|---|---|---|---|---|---|---|---|---|---|\n")
    for score in scored:
        one = score.prediction
        yield (f"| {_cell(score.file)} | {_cell(score.device)} | {one.library} | {one.op} | "
               f"{payload(one.message_bytes)} | {one.ranks} | {_interval(one)} | {seconds(score.measured_s)} | "
               f"{score.samples} | {_where(score)} |\n")


def _what(one: Frozen) -> str:
    return f"{one.system or one.domain}, {one.library}, {one.op} {payload(one.message_bytes)}, {one.ranks} ranks"


def _interval(one: Frozen) -> str:
    return f"{seconds(one.time_s)} [{seconds(one.time_lo_s)} to {seconds(one.time_hi_s)}]"


def _where(score: Score) -> str:
    if score.inside:
        return "inside"
    return "faster" if score.measured_s < score.prediction.time_lo_s else "slower"


def _cell(text: str) -> str:
    """Text of a submitted file as it can be put in a table."""
    return text.replace("|", "/").replace("<", "(").replace(">", ")").replace("\n", " ")
