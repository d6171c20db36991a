"""The outcome of a gate for CI systems: JUnit XML, annotations of GitHub Actions, Markdown."""

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from ..text.units import seconds
from .gate import CANNOT_TELL, FAILED, Verdict, case_name
from .words import counts, factor, movers, named

__all__ = ["annotations", "junit", "markdown"]


def junit(verdict: Verdict, name: str) -> str:
    """A JUnit test suite: each case is a test; slower or wrong is a failure, cannot tell is skipped.

    The gate itself is the first test, so that a machine that is slower in everything fails too.
    """
    suite = ElementTree.Element("testsuite", name=name)
    gate = ElementTree.SubElement(suite, "testcase", classname=name, name="gate")
    if verdict.status == FAILED:
        _note(gate, "failure", verdict.words)
    elif verdict.status == CANNOT_TELL:
        _note(gate, "skipped", verdict.words)
    for row in named(verdict.comparison.rows):
        case = ElementTree.SubElement(suite, "testcase", classname=f"{name}.{row.op}", name=f"{row.label}, {row.mode}",
                                      time=f"{row.b_s:.9f}")
        if case_name(row) in verdict.slow:
            _note(case, "failure", [_figures(row)])
        elif row.noticed > 1 + verdict.gate.notice:
            _note(case, "skipped", [f"cannot tell: a slowdown is noticed from {factor(row.noticed)} on"])
    for kind, attribute in (("testcase", "tests"), ("failure", "failures"), ("skipped", "skipped")):
        suite.set(attribute, str(len(suite.findall(f".//{kind}"))))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _note(case: ElementTree.Element, kind: str, words: Any) -> None:
    ElementTree.SubElement(case, kind, message=_printable(words[0])).text = _printable("\n".join(words))


def annotations(verdict: Verdict, name: str) -> Iterator[str]:
    """Workflow commands of GitHub Actions: an error where the gate failed, a warning where it cannot tell."""
    if verdict.status in (FAILED, CANNOT_TELL):
        level = "error" if verdict.status == FAILED else "warning"
        title, message = _escaped(f"{name}: {verdict.name}", also=":,"), _escaped("\n".join(verdict.words))
        yield f"::{level} title={title}::{message}"


def markdown(verdict: Verdict, name: str) -> str:
    """A summary: the outcome, its reasons, and the largest differences."""
    lines = [f"### {name}: {verdict.words[0]}", "", *(f"- {_cell(words)}" for words in verdict.words[1:]),
             f"- {counts(verdict.comparison)}", "", "| case | mode | baseline | now | ratio | interval | verdict |",
             "|---|---|---:|---:|---:|---|---|"]
    lines += [f"| {_cell(row.label)} | {row.mode} | {seconds(row.a_s)} | {seconds(row.b_s)} | {factor(row.ratio)} | "
              f"{factor(row.ratio_lo)} to {factor(row.ratio_hi)} | {row.verdict} |"
              for row in named(movers(verdict.comparison))]
    return "\n".join([*lines, ""])


def _figures(row: Any) -> str:
    return (f"{seconds(row.b_s)}, {factor(row.ratio)} the time of the baseline, {seconds(row.a_s)} "
            f"(interval {factor(row.ratio_lo)} to {factor(row.ratio_hi)})")


def _escaped(text: str, also: str = "") -> str:
    """As the toolkit of GitHub Actions escapes the values of workflow commands."""
    for char in "%\r\n" + also:
        text = text.replace(char, f"%{ord(char):02X}")
    return text


def _cell(text: str) -> str:
    return _printable(text).replace("|", "\\|").replace("<", "&lt;")


def _printable(text: str) -> str:
    """XML has no control characters, and names in a log may contain some."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)
