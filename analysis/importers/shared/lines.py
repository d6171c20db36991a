"""One reading of a log's lines, before any tool recognises it.

Removes what launchers, loggers, terminals, web pages and mail add around the lines of a tool: prefixes, time stamps,
colours, quotes, bars, code fences and markup. Line numbers stay those of the file.
"""

import html
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple

from .unwrap import unwrapped

__all__ = ["LONGEST", "LogLine", "clean_lines", "split_lines"]

LONGEST = 4096           # characters of a line that are parsed: no tool prints a wider table
_MOST_PREFIXES = 6       # one after the other on one line
_LEAST_LINES = 3         # that share a prefix no launcher is known for

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

# Open MPI --tag-output; torchrun; PALS; srun -l; mpiexec -l. The number is the task that wrote the line.
_TASK = re.compile(r".{0,48}?\[[^\[\]\s]{1,64},(\d{1,7})\]<std(?:out|err)>: ?|\s{0,9}(\d{1,7}):(?: |$)|"
                   r"\s{0,9}\[(\d{1,7})\](?:<std(?:out|err)>)?:?(?: |$)|\[[A-Za-z_]{1,24}(\d{1,7})\]:? ?|"
                   r"(?=\S{0,64}\d)[A-Za-z][\w.-]{0,64} (\d{1,7}):(?: |$)")
_CLOCK = re.compile(r"\[?\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?\s?(?:Z|UTC|[+-]\d\d:?\d\d)?\]?"
                    r"(?:\s?\[[\w .:-]{1,64}\]|[ :-]{1,3}(?:DEBUG|INFO|WARNING|ERROR)\b| std(?:out|err) [FP])*"
                    r"(?:\s?[:|-])?\s|"
                    r"\[?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?\]?(?:\s?[:|-])?\s")
_SYSLOG = re.compile(r"(?:<\d{1,3}>)?(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )?"
                     r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) {1,2}\d{1,2} \d\d:\d\d:\d\d(?: \d{4})?"
                     r"(?: [\w.-]{1,64})? [\w./-]{1,64}(?:\[\d{1,8}\])?: ?")
_GLOG = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{1,9}\s{1,4}\d{1,9} [\w./-]{1,80}:\d{1,6}\] ")
_HOST = re.compile(r"(?=[A-Za-z.-]{0,64}\d)[A-Za-z][\w.-]{0,64}:(?: |$)")     # pdsh, clush: a host name has a digit
_OTHER = (
    re.compile(r"\s{0,9}(?:> ?){1,5}"),                                          # quoted in mail or an issue
    _CLOCK, _SYSLOG, _GLOG, _HOST,
    re.compile(r"\[(?=[^\]]{0,80}[\d/])[\w./:@+ -]{1,80}\]:? (?! *[\[\w]+:)|"       # kubectl --prefix, dmesg
               r"\[(?:INFO|DEBUG)\]:?\s"),
    re.compile(r"\((?:[\w.-]{1,64} )?pid=\d{1,9}(?:, ip=[\w.:]{1,64})?\) ?"),    # Ray
    re.compile(r"(?=[\w.]{0,64}[\d-])[A-Za-z][\w.-]{0,64}\s{1,24}\| ?"),         # docker compose
    re.compile(r"(?:INFO|DEBUG)(?::[\w.]{0,64}:|:)\s?"),
    re.compile(r"\+(?=[ \t#\d])"),                                              # an added line of a diff
    re.compile(r"\s{0,9}[-*\u2022] (?=\s*(?:#|\d+\s))"),
)
_PREFIX = re.compile("|".join(f"(?:{prefix.pattern})" for prefix in _OTHER))     # one match instead of many

# Lines that only a tool prints: whatever stands in front of them, the same on several lines, is a prefix.
_ANCHOR = re.compile(
    r"[#\s]*(?:nThread\s+\d+\s+nGpus\s|size\s+count\s+type\s|size\(B\)\s+count|OSU \S+ .{1,80}(?:Test|Benchmark)\b|"
    r"Size\s+(?:Avg |Latency|Bandwidth|MB/s)|data_size\s*\(Bytes\)|Collective:\s+\w+\s*$|Memory type:\s+\w+\s*$|"
    r"#bytes\s+#repetitions|Benchmarking:? +\w+|Number of GPUs:\s+\d|-{2,} Performance of \w+ on)|"
    r"\{\s*\"(?:numCycle|name)\"\s*:\s*")
_ANCHORS = ("nThread", "count", "OSU", "Size", "data_size", "Collective:", "Memory type:", "#bytes", "Benchmarking",
            "Number of GPUs:", "Performance of", '"numCycle"', '"name"')      # quick to look for in a long log
_PLAIN = re.compile(r"\s*(?:#|\(|[\d.]+\s+[\d.]+(?:\s|$))")       # a comment, units, or numbers without units
_WORD = re.compile(r"[A-Za-z]+|\d+|\s+|.")
_NUMBERED = re.compile(r"\s{0,9}(\d{1,7})(?:[:|]\s?|\t| \| ?|\.\s|\s{1,2})")


class LogLine(NamedTuple):
    """One cleaned line: number in the file from 1, text, and task that wrote it according to a launcher prefix."""

    number: int
    text: str
    task: str | None


def split_lines(text: str, keep_ends: bool = False) -> list[str]:
    """Lines as editors number them, optionally with line ends; `str.splitlines` splits at more characters."""
    return _LINE.findall(text) if keep_ends else _BREAK.split(text)


def clean_lines(text: str) -> list[LogLine]:
    """All lines of a log as the tool printed them, blank where nothing is left."""
    raw = _without_numbers([_without_markup(line[:LONGEST]) for line in unwrapped(split_lines(text))])
    lines = [_without_prefix(number, line) for number, line in enumerate(raw, 1)]
    return [line._replace(text=_tidy(line.text)) for line in _without_unknown_prefix(lines)]


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
    if inside.count("|") == 3 and (not inside[-1:].isdigit()):
        return inside       # hccl_test
    spaced = inside.replace("|", "  ")
    return spaced if _PLAIN.match(spaced) or _ANCHOR.match(spaced) else text


def _without_prefix(number: int, text: str) -> LogLine:
    """Without the prefixes of known launchers and loggers."""
    task: str | None = None
    for _ in range(_MOST_PREFIXES):
        if found := _TASK.match(text):
            task = next(group for group in found.groups() if group is not None)
        else:
            found = _PREFIX.match(text)
        if not found:
            break
        text = text[found.end():]
    return LogLine(number, text, task)


def _without_unknown_prefix(lines: list[LogLine]) -> list[LogLine]:
    """Without a prefix that no pattern knows: text before a tool's heading that other lines begin with as well."""
    for pattern in _prefixes(lines):
        stripped = [(line, pattern.match(line.text)) for line in lines]
        if sum(found is not None for _, found in stripped) >= _LEAST_LINES:
            lines = [line._replace(text=line.text[found.end():], task=line.task or found[0].strip()) if found else line
                     for line, found in stripped]
    return lines


def _prefixes(lines: Sequence[LogLine]) -> Iterator[re.Pattern[str]]:
    """Patterns for what stands before headings: numbers may differ, and words too if there is punctuation."""
    seen: Counter[str] = Counter()
    for line in lines:
        if any(map(line.text.__contains__, _ANCHORS)) and (found := _ANCHOR.search(line.text)) \
                and 0 < found.start() <= 120:
            prefix = line.text[:found.start()].rstrip()
            if prefix.strip(" #\t|,;\"'`({["):
                seen["".join(_loose(word) for word in _WORD.findall(prefix))] += 1
    for words, _ in seen.most_common(4):
        yield re.compile(words + r"[ \t]?")


def _loose(word: str) -> str:
    return r"\d+" if word.isdigit() else r"\s+" if word.isspace() else re.escape(word)


def _without_numbers(lines: list[str]) -> list[str]:
    """Without line numbers in front, as `cat -n` and `grep -n` print them: each is one more than the last.

    They count from 1; numbers from 0 are the labels of a matrix of devices.
    """
    printed = [(at, found) for at, line in enumerate(lines) if line.strip() and (found := _NUMBERED.match(line))]
    full = sum(bool(line.strip()) for line in lines)
    steps = sum(int(here[1][1]) == int(last[1][1]) + here[0] - last[0]
                for last, here in pairwise(printed))
    if full < 5 or steps < 0.9 * (full - 1) or any(int(found[1]) == 0 for _, found in printed):
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
