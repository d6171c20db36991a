"""One reading of a log's lines, before any tool recognises it.

Removes what launchers, loggers, terminals, web pages and mail add around the lines of a tool: prefixes, time stamps,
colours, quotes, bars, code fences and markup. Line numbers stay those of the file.
"""

import html
import json
import re
from contextlib import suppress
from itertools import pairwise

from .debug_output import without_idle_output
from .prefixes import LogLine, is_tools_own, without_prefix, without_unknown_prefix
from .unwrap import unwrapped

__all__ = ["LONGEST", "LogLine", "clean_lines", "split_lines"]

LONGEST = 4096           # characters of a line that are parsed: no tool prints a wider table

_BREAK = re.compile(r"\r\n?|\n")
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")

# Any of these makes a line worth a closer look; most lines of a long log have none.
_SPECIAL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f<>&|`\"\\\u00a0\u2000-\u206f\u2212\u2500-\u257f\u3000\ufeff]|"
                      r"[\[\^#]\[?\d|\[/")
_COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.|"
                     r"(?:\^\[|\\u001b|\\x1b|\\033|\\e|#033)\[[\d;]{0,12}[mK]|\[\d{1,3}(?:;\d{1,3}){0,4}m|\[0?[mK]|"
                     r"\[/?(?:bold|red|green|blue|yellow|cyan|magenta|white)\]")
_BLANKS = str.maketrans({
    **dict.fromkeys(map(chr, (*range(0x2000, 0x200b), 0xa0, 0x202f, 0x205f, 0x3000)), " "),
    **dict.fromkeys(map(chr, (0x200b, 0x200c, 0x200d, 0x2060, 0xfeff, 0xad)), ""),
    **dict.fromkeys(map(chr, (*range(9), 0x0b, 0x0c, *range(0x0e, 0x1b), 0x7f)), ""),
    "\u2010": "-", "\u2011": "-", "\u2212": "-", "\u2502": "|", "\u2503": "|", "\u2551": "|"})
_MARKUP = re.compile(r"</?(?:br|p|pre|code|tt|div|span|tr|table|tbody|thead|b|i|strong|em|font|li|samp|kbd)"
                     r"(?:\s[^<>]{0,200})?\s?/?>", re.IGNORECASE)
_CELL = re.compile(r"</?t[dh](?:\s[^<>]{0,200})?>", re.IGNORECASE)
_ESCAPED = re.compile(r"\\([#_*\[\]|<>()`.+-])")
_STRING = re.compile(r"\s*[\"'](\s*(?:#|\d+\s).*?)(?:\\n)?[\"'],?\s*$")
_WRAPPED_LOG = ('{"log":', '{"message":', '{"msg":', '{"textPayload":')
_TAIL = re.compile(r"(?:\s*(?:[|;\\\"`]|,))+\s*$")

_PLAIN = re.compile(r"\s*(?:#|\(|[\d.]+\s+[\d.]+(?:\s|$))")       # a comment, units, or numbers without units
_DIFF = re.compile(r"\+\+\+ |--- |@@ |diff |index ")                    # lines of a diff about the file
_FEW = 5                 # lines, of which the numbers in front may be sizes
_MOST = 0.9              # of the lines that are not blank: what they share is no part of the log
_NUMBERED = re.compile(r"\s{0,9}(\d{1,7})(?:[:|]\s?|\t| \| ?|\.\s|\s{1,2})")


def split_lines(text: str, keep_ends: bool = False) -> list[str]:
    """Lines as editors number them, optionally with line ends; `str.splitlines` splits at more characters."""
    if keep_ends:
        return _LINE.findall(text)
    return _BREAK.split(text) if "\r" in text else text.split("\n")      # which is ten times as fast


def clean_lines(text: str) -> list[LogLine]:
    """All lines of a log as the tool printed them, blank where nothing is left."""
    whole = unwrapped(_without_ends(_without_numbers(_not_added(_unquoted(split_lines(text))))))
    whole = without_idle_output(whole)
    lines = [without_prefix(number, _without_markup(line[:LONGEST])) if line else LogLine(number, "", None)
             for number, line in enumerate(whole, 1)]
    return [line._replace(text=_tidy(line.text)) if line.text else line for line in without_unknown_prefix(lines)]


def _unquoted(lines: list[str]) -> list[str]:
    """The strings of a JSON list of lines; other lines as they are."""
    strings = [at for at, line in enumerate(lines)
               if line.lstrip().startswith('"') and line.rstrip(", \t").endswith('"')]
    if not strings or len(strings) < _MOST * sum(len(line.strip()) > 1 for line in lines):
        return lines
    for at, line in enumerate(lines):
        with suppress(ValueError):
            value = json.loads(line.strip(" \t,")) if line.lstrip().startswith('"') else None
            lines[at] = value.rstrip("\r\n").replace("\n", " ") if isinstance(value, str) else line
        if line.strip() in ("[", "]"):
            lines[at] = ""
    return lines


def _not_added(lines: list[str]) -> list[str]:
    """Without the signs of a diff in which every line is added."""
    added = sum(line.startswith("+") and not _DIFF.match(line) for line in lines)
    others = sum(bool(line.strip()) and not line.startswith("+") and not _DIFF.match(line) for line in lines)
    if added < _MOST * (added + others):
        return lines
    return [line[1:] if line.startswith("+") and not _DIFF.match(line) else line for line in lines]


def _without_ends(lines: list[str]) -> list[str]:
    """Without a bar or backslash that stands behind every line, unless it ends the rows of a table with bars."""
    ends = [line.rstrip()[-1:] for line in lines if line.strip()]
    bars = sum(line.lstrip().startswith("|") for line in lines)
    for sign in ("|", "\\"):
        if ends.count(sign) > max(_MOST * len(ends), 2 * bars):
            return [line.rstrip()[:-1] if line.rstrip().endswith(sign) else line for line in lines]
    return lines


def _without_markup(line: str) -> str:
    """Without colours, odd blanks, HTML, Markdown and the quotes of a list of strings."""
    if not _SPECIAL.search(line):
        return line
    text = line
    if text.startswith(_WRAPPED_LOG):
        text = _logged(text)
    text = _COLOUR.sub("", text).translate(_BLANKS)
    if "<" in text:
        text = _MARKUP.sub("", _CELL.sub("  ", text))
    if "&" in text and ";" in text:
        text = html.unescape(text).replace("\xa0", " ")
    if "\\" in text:
        text = _ESCAPED.sub(r"\1", text)
    if quoted := _STRING.match(text):
        text = quoted[1].replace("\\t", "\t")
    if text[:1] == "`" and not text.startswith("```"):
        text = text.strip("`")
    return _without_bars(text)


def _logged(text: str) -> str:
    """The line inside a JSON object that a container runtime or log service wrote for it."""
    with suppress(ValueError, RecursionError):
        value = json.loads(text)
        if isinstance(value, dict) and isinstance(words := next(iter(value.values()), None), str):
            return words.rstrip("\r\n").replace("\n", " ")
    return text


def _without_bars(text: str) -> str:
    """Without the bars of a Markdown table that somebody made of a tool's table; bars that a tool prints stay."""
    if "|" not in text or not text.lstrip().startswith("|"):
        return text
    inside = text.strip().strip("|")
    if inside.count("|") == 3 and not inside.rstrip()[-1:].isdigit():
        return inside       # hccl_test
    spaced = inside.replace("|", "  ")
    return spaced if _PLAIN.match(spaced) or is_tools_own(spaced) else text


def _without_numbers(lines: list[str]) -> list[str]:
    """Without line numbers in front, as `cat -n` and `grep -n` print them: each is one more than the last.

    They count from 1; numbers from 0 are the labels of a matrix of devices.
    """
    printed = [(at, found) for at, line in enumerate(lines) if line.strip() and (found := _NUMBERED.match(line))]
    full = sum(bool(line.strip()) for line in lines)
    steps = sum(int(here[1][1]) == int(last[1][1]) + here[0] - last[0]
                for last, here in pairwise(printed))
    few = full < _FEW and not all(lines[at][found.end():].lstrip()[:1] in ("{", '"', "#") for at, found in printed)
    if not printed or few or steps < _MOST * (full - 1) or any(int(found[1]) == 0 for _, found in printed):
        return lines
    for at, found in printed:
        lines[at] = lines[at][found.end():]
    return lines


def _tidy(text: str) -> str:
    """Without blanks and stray signs at the end, and a tab at the beginning."""
    text = text.rstrip()
    if text[:1] == "\t":
        text = text.expandtabs()
    if text[-1:] not in ("|", ",", ";", "\\", '"', "`") or text.lstrip()[:1] in ("{", "[", '"', "`", "}", "]", "$"):
        return text
    found = _TAIL.search(text)
    if found and len(text[:found.start()].split()) >= 2 and "," not in text[:found.start()] \
            and not text[:found.start()].rstrip().endswith(":") and '"' not in text[:found.start()]:
        text = text[:found.start()].rstrip()
    return text
