"""The answer in at most ten lines of a terminal: verdict, headline results, outlook, and where the rest is."""

import textwrap
from collections.abc import Sequence

from rich.text import Text

from collbench.collectives.records.figures import FIGURES

from ..assess.verdicts import HIGH, LOW, NORMAL
from ..text.units import counted, payload, percent, rate, seconds, span
from .answer import WRONG, Answer, Outlook, Result
from .answer_words import figure
from .contention_words import contention_lines
from .skew_words import skew_lines
from .story import Story
from .together_words import together_lines

__all__ = ["MOST_LINES", "brief"]

MOST_LINES = 10
_MOST_ROWS, _FEWEST_ROWS, _MOST_BESIDE = 5, 2, 2
_STYLE = {WRONG: "bold red", LOW: "bold yellow", HIGH: "bold yellow", NORMAL: "bold green"}
_MORE = " ..."
_MINUTES = "3 minutes"      # the budget of `collbench bench`


def brief(story: Story, width: int, page: str = "") -> list[Text]:
    """The lines, none longer than `width` except a command or a path that is to be copied.

    Args:
        page: path of the page, if one was written.
    """
    answer = story.answer
    above, last = [*_verdict(answer, width), *_error(story, width)], _where_the_rest_is(story, width, page)
    beside = _beside(story, width)
    room = MOST_LINES - len(above) - len(beside) - 2      # without the head of the table and the last line
    results = _chosen(answer.results, _MOST_ROWS)
    ahead = [result for result in results if result.op not in FIGURES]
    outlook = _outlook(ahead, width)[:room - min(_FEWEST_ROWS, len(results))] if ahead else []
    return [*above, *_table(_chosen(results, room - len(outlook)), width), *outlook, *beside, last]


def _verdict(answer: Answer, width: int) -> list[Text]:
    """The word and the sentence, in two lines at most."""
    word = answer.verdict.word
    first, *others = textwrap.wrap(f"{word}: {answer.verdict.sentence}", width, max_lines=2, placeholder=_MORE)
    return [Text.assemble((word, _STYLE.get(word, "bold")), first[len(word):]), *map(Text, others)]


def _error(story: Story, width: int) -> list[Text]:
    """The first error, of which the verdict only tells that there is one."""
    words = next((finding.words for finding in story.findings if finding.severity == "error"), "")
    return [Text(textwrap.shorten(f"error: {words}", width, placeholder=_MORE), style="red")] if words else []


def _beside(story: Story, width: int) -> list[Text]:
    """What skewed routing costs here and at the targets; what axes and sequences, others and compute cost: a line each.
    """
    lines = [*skew_lines(story.skew), *together_lines(story.loaded.comparisons, story.sequences),
             *contention_lines(story.loaded.comparisons)]
    return [Text(textwrap.shorten(line, width, placeholder=_MORE)) for line in lines[:_MOST_BESIDE]]


def _where_the_rest_is(story: Story, width: int, page: str) -> Text:
    severities = [finding.severity for finding in story.findings]
    counts = [counted(count, name) for name in ("error", "warning")
              if (count := severities.count(name))]
    more = f"{', '.join(counts)} and all tables: -v" if counts else "all tables: -v"
    if page and len(f"report: {page}  ({more})") > width:
        more = "more: -v"
    return Text(f"report: {page}  ({more})" if page else more, style="dim")


def _chosen(results: Sequence[Result], most: int) -> list[Result]:
    """The first operations, each on every fabric, as far as whole operations fit; at least one of them."""
    ops = list(dict.fromkeys(result.op for result in results))
    fabrics = len({result.fabric for result in results})
    wanted = ops[:max(1, most // max(1, fabrics))]
    return [result for result in results if result.op in wanted][:most]


def _table(results: Sequence[Result], width: int) -> list[Text]:
    """A head and one line a result, with as much of the reference as fits into every line."""
    if not results:
        return []
    alike = {result.ranks for result in results}
    named = len({result.fabric for result in results}) > 1
    head = [f"{alike.pop()} ranks" if len(alike) == 1 else "operation", *(["library"] if named else []), "size",
            *(["ranks"] if alike else []), "busbw", "time", "±"]
    rows = [[result.op, *([result.library] if named else []), payload(result.message_bytes) if result.message_bytes
             else "-", *([str(result.ranks)] if alike else []), figure(result)
             if result.busbw_Bps else "-", seconds(result.time_s), "-" if result.plus_minus is None
             else percent(result.plus_minus)] for result in results]
    left = 2 if named else 1
    wide = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(cell.ljust(wide[at]) if at < left else cell.rjust(wide[at]) for at, cell in enumerate(cells))
    room = width - sum(wide) - 2 * len(wide)
    words = [result.reference.word for result in results]
    details = [f"{result.reference.word}, {result.reference.basis}" if result.reference.basis else
               result.reference.word for result in results]
    against = details if max(map(len, details)) <= room else words
    return [Text(f"{line(head)}  against", style="dim"),
            *(Text.assemble(f"{line(cells)}  ", (text, _STYLE.get(word, "")))
              for cells, text, word in zip(rows, against, words, strict=True))]


def _outlook(results: Sequence[Result], width: int) -> list[Text]:
    """A line for each target with the results that are known there; what to measure where none is."""
    targets = [outlook.ranks for outlook in results[0].outlook]
    named = len({result.fabric for result in results}) > 1
    known = {target: [(result, outlook) for result in results for outlook in result.outlook
                      if outlook.ranks == target and outlook.time_s] for target in targets}
    lines = []
    shown = [outlook for pairs in known.values() for _, outlook in pairs[:1]]
    if shown:
        kinds = " and ".join(dict.fromkeys(outlook.kind for outlook in shown))
        lines.append(Text(f"{kinds.capitalize()}, {100 * shown[0].level:.0f} % intervals{_assumed(shown)}:",
                          style="dim"))
    digits = max(len(str(target)) for target in targets)
    for target, pairs in known.items():
        if pairs:
            first, *others = [f"{result.op}{f' {result.library}' if named else ''} {_value(outlook)}"
                              for result, outlook in pairs]
            line = f"{target:>{digits}} ranks: {first}"
            for other in others:
                line = f"{line}, {other}" if len(line) + len(other) + 2 <= width else line
            lines.append(Text(line))
    return [*lines, *_not_known([target for target in targets if not known[target]], results, width)]


def _assumed(outlooks: Sequence[Outlook]) -> str:
    """What they assume; the hosts of several targets in one phrase."""
    texts = list(dict.fromkeys(outlook.assumption for outlook in outlooks if outlook.assumption))
    heads, tails = [text.partition(" ")[0] for text in texts], {text.partition(" ")[2] for text in texts}
    return f"; {' and '.join(heads)} {tails.pop()}" if len(tails) == 1 else f"; {', '.join(texts)}" if texts else ""


def _value(outlook: Outlook) -> str:
    values, formatted = (outlook.busbw_Bps, rate) if outlook.busbw_Bps else (outlook.time_s, seconds)
    assert values is not None       # only known outlooks are shown
    value, low, high = map(formatted, values)
    limits, unit = span(low, high), value.partition(" ")[2]
    return f"{value} [{limits.removesuffix(f' {unit}') if limits.count(unit) == 1 else limits}]"


def _not_known(targets: Sequence[int], results: Sequence[Result], width: int) -> list[Text]:
    """Why nothing is known at these targets, and what to measure."""
    if not targets:
        return []
    outlooks = [outlook for result in results for outlook in result.outlook if outlook.ranks in targets]
    advised = next((outlook for outlook in outlooks if outlook.command), None)
    at = f"{' and '.join(map(str, targets))} ranks"
    if advised is None:
        return [Text(textwrap.shorten(f"{at}: not known: {outlooks[0].why}", width, placeholder=_MORE))]
    counts = " and ".join(map(str, advised.measure))
    lasts = f" ({_MINUTES})" if advised.command.startswith("collbench bench") else ""
    text = f"{at}: {'too uncertain' if advised.record else 'not known'}; measure {counts} ranks{lasts}:"
    both = f"{text} {advised.command}"
    return [Text(both)] if len(both) <= width else [Text(text), Text(f"    {advised.command}")]
