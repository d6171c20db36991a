"""What launchers, loggers and services print in front of the lines of a tool, and how it is taken away.

A prefix that no pattern knows is found by what stands behind it: a heading or a row that only a tool prints.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["LogLine", "is_tools_own", "without_prefix", "without_unknown_prefix"]

_MOST_PREFIXES = 6       # one after the other on one line
_LEAST_LINES = 3         # that share a prefix no launcher is known for

# Open MPI --tag-output; torchrun; PALS; srun -l; mpiexec -l. The number is the task that wrote the line.
_TASK = re.compile(r".{0,48}?\[[^\[\]\s]{1,64},(\d{1,7})\]<std(?:out|err)>: ?|\s{0,9}(\d{1,7}):(?:[ \t]|$)|"
                   r"\s{0,9}\[(\d{1,7})\](?:<std(?:out|err)>)?(?:: ?| |$)|\[[A-Za-z_]{1,24}(\d{1,7})\]:? ?|"
                   r"\[[\w.-]{1,64}:(\d{1,8})\]<std(?:out|err)>: ?|"
                   r"(?=\S{0,64}\d)[A-Za-z][\w.-]{0,64} (\d{1,7}):(?: |$)")
_CLOCK = re.compile(r"\[?\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:\s?(?:Z|UTC|[+-]\d\d:?\d\d))?\]?"
                    r"(?: \d\d[OE]\+?(?= )|\s?\[[\w .:-]{1,64}\]|[ :-]{1,3}(?:DEBUG|INFO|WARNING|ERROR)\b|"
                    r" \| [A-Z]{4,8} {0,4} \| \S{1,80} -(?= )| std(?:out|err) [FP]|"
                    r" [\w.-]{1,64} [\w./-]{1,64}\[\d{1,8}\]:)*"
                    r"(?:\s?[:|-])?\s|"
                    r"\[?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?\]?(?:\s?[:|-])?\s")
_SYSLOG = re.compile(r"(?:<\d{1,3}>)?(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )?"
                     r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) {1,2}\d{1,2} \d\d:\d\d:\d\d(?: 20[0-3]\d)?"
                     r"(?:(?: [\w.-]{1,64})? [\w./-]{1,64}\[\d{1,8}\]:| (?=\S{0,64}[\d.-])[\w.-]{1,64} [\w./-]{1,64}:|"
                     r"(?= |$)) ?")
_GLOG = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{1,9}\s{1,4}\d{1,9} [\w./-]{1,80}:\d{1,6}\] ")
_HOST = re.compile(r"(?=[A-Za-z.-]{0,64}\d)[A-Za-z][\w.-]{0,64}:(?: |$)")     # pdsh, clush: a host name has a digit
_OTHER = (
    re.compile(r"\s{0,9}(?:> ?){1,5}"),                                          # quoted in mail or an issue
    _CLOCK, _SYSLOG, _GLOG, _HOST,
    re.compile(r"\[(?=[^\]]{0,80}[\d/])[\w./:@+ -]{1,80}\]:? (?! *[\[\w]+:)|"       # kubectl --prefix, dmesg
               r"\[(?:INFO|DEBUG)\]:?\s"),
    re.compile(r"\((?:[\w.-]{1,64} )?pid=\d{1,9}(?:, ip=[\w.:]{1,64})?\) ?"),    # Ray
    re.compile(r"(?=[\w.]{0,64}[\d-])[A-Za-z][\w.@-]{0,128}\s{1,24}\| ?"),        # docker compose, docker service
    re.compile(r"[\w./+@-]{1,128}\.(?:log|txt|out|err|o\d{1,9}|md):(?:\d{1,9}:)?"),  # grep -H, grep -Hn
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
    r"\{\s*\"\w+\"\s*:\s*|#bytes\s+#iterations|memcpy \w+ [CG]PU\(row\)|"
    r"(?<!\S)\d{1,18}\s+\d{1,18}\s+(?:b?float(?:16)?|half|double|u?int(?:8|32|64)|fp32|fp16|bf16)\s")
_ANCHORS = ("nThread", "count", "OSU", "Size", "data_size", "Collective:", "Memory type:", "#bytes", "Benchmarking",
            "Number of GPUs:", "Performance of", '{"', '{ "', "(row)", "float", " half", " double", "int8", "int32",
            "int64", " fp32", "p16", "bf16")      # quick to look for in a long log
_WORD = re.compile(r"[A-Za-z]+|\d+|\s+|.")


class LogLine(NamedTuple):
    """One cleaned line: number in the file from 1, text, and task that wrote it according to a launcher prefix."""

    number: int
    text: str
    task: str | None


def is_tools_own(text: str) -> bool:
    """Whether a line begins as a heading or a row that only a tool prints."""
    return bool(_ANCHOR.match(text))


def without_prefix(number: int, text: str) -> LogLine:
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


def without_unknown_prefix(lines: list[LogLine]) -> list[LogLine]:
    """Without what stands before headings and rows, and other lines begin with; or what every line begins with."""
    for pattern in [*_prefixes(lines), *_common(lines)]:
        stripped = [(line, pattern.match(line.text)) for line in lines]
        tasks = Counter(found[0].strip() for _, found in stripped if found)
        if tasks.total() >= min(_LEAST_LINES, sum(bool(line.text) for line in lines)):
            named = tasks.total() >= _LEAST_LINES * len(tasks)      # else a time or a count
            lines = [line._replace(text=line.text[found.end():],
                                   task=line.task or (found[0].strip() if named else None)) if found else line
                     for line, found in stripped]
    return lines


def _prefixes(lines: Sequence[LogLine]) -> Iterator[re.Pattern[str]]:
    """Patterns for what stands before headings and rows: numbers may differ, and words too if there is punctuation."""
    seen: Counter[str] = Counter()
    whole = "\n".join([line.text for line in lines])
    words = [word for word in _ANCHORS if word in whole]
    for line in lines if words else ():
        if any(map(line.text.__contains__, words)) and (found := _ANCHOR.search(line.text)) \
                and 0 < found.start() <= 120:
            prefix = line.text[:found.start()].rstrip()
            if prefix.strip(" #\t|,;\"'`({[0123456789"):
                seen["".join(_loose(word) for word in _WORD.findall(prefix))] += 1
    for pattern, _ in seen.most_common(4):
        yield re.compile(pattern + r"[ \t]?")


def _common(lines: Sequence[LogLine]) -> Iterator[re.Pattern[str]]:
    """The pattern for what every line begins with, up to a blank, if it has digits and other signs."""
    texts = [line.text for line in lines if line.text.strip()]
    first, last = (texts[0], texts[-1]) if len(texts) > _LEAST_LINES else ("", "")
    shared = 0
    for one, other in zip(_WORD.findall(first), _WORD.findall(last), strict=False):
        if one != other and not (one.isdigit() and other.isdigit()):
            break
        shared += len(one)
    prefix = first[:first[:shared].rfind(" ") + 1]
    if not re.search(r"\d", prefix) or not re.search(r"[~>|:/=\]]", prefix) or re.search(r"[{\"#]", prefix):
        return
    pattern = re.compile("".join(_loose(word) for word in _WORD.findall(prefix.rstrip())) + r"[ \t]?")
    if all(map(pattern.match, texts)):
        yield pattern


def _loose(word: str) -> str:
    return r"\d+" if word.isdigit() else r"\s+" if word.isspace() else re.escape(word)
