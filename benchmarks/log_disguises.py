"""What pastes, launchers and terminals do to a log: functions from the text of a log to a text or bytes.

`DISGUISES` change no figure, but of those in `TOLD` an import may say that it cannot read them. `CUTS` take parts away.
"""

import gzip
import html
import json
import lzma
import re
import textwrap
from collections.abc import Callable

__all__ = ["BETWEEN", "CUTS", "DISGUISES", "TOLD"]

Disguise = Callable[[str], str | bytes]


def each(prefix: str | Callable[[int], str], suffix: str = "") -> Disguise:
    """Something before and behind every line; a function of the line's number, from 0."""
    return lambda text: "".join(f"{prefix(number) if callable(prefix) else prefix}{line}{suffix}\n"
                                for number, line in enumerate(text.splitlines()))


def _alternating(text: str) -> str:
    """Two tasks that print the same, line by line."""
    return "".join(f"[1,0]<stdout>:{line}\n[1,1]<stderr>:NCCL WARN again\n" for line in text.splitlines())


def _debug_between(text: str) -> str:
    return "".join(f"{line}\nnode0:4711:4720 [0] NCCL INFO Channel 00/02 : 0 1\n" for line in text.splitlines())


def _wrapped(width: int) -> Disguise:
    return lambda text: "".join(line[start:start + width] + "\n" for line in text.splitlines()
                                for start in range(0, max(len(line), 1), width))


def _in_log_object(key: str) -> Disguise:
    return lambda text: "".join(json.dumps({key: f"{line}\n", "stream": "stdout"}, separators=(",", ":")) + "\n"
                                for line in text.splitlines())


def _strings(text: str) -> str:
    return "[\n" + ",\n".join(f"  {json.dumps(line)}" for line in text.splitlines()) + "\n]\n"


def _html_table(text: str) -> str:
    return "<div class=\"highlight\"><pre>\n" + html.escape(text) + "</pre></div>\n"


def _markdown_bars(text: str) -> str:
    """Rows of a table with bars between the cells."""
    def row(line: str) -> str:
        cells = line.replace("|", " ").split()
        return f"| {' | '.join(cells)} |" if len(cells) > 1 and re.fullmatch(r"[\d.]+", cells[0]) else line
    return "".join(f"{row(line)}\n" for line in text.splitlines())


def _thousands(text: str) -> str:
    return re.sub(r"(?<![\w.,:/-])\d{4,}(?![\w,])", lambda found: f"{int(found[0]):,}", text)


def _decimal_comma(text: str) -> str:
    return re.sub(r"(?<![\w.])(\d+)\.(\d+)(?![\w.])", r"\1,\2", text)


def _unicode_minus(text: str) -> str:
    return re.sub(r"(?<=\s)-(?=\d)", "\u2212", text)


def _tabs(text: str) -> str:
    return re.sub(r"(?<=\S) {2,}(?=\S)", "\t", text)


def _progress(text: str) -> str:
    return "".join(f"working 10 %\rworking 90 %\r{line}\n" for line in text.splitlines())


def _top(text: str, share: float) -> str:
    lines = text.splitlines()
    return "\n".join(lines[int(share * len(lines)):]) + "\n"


def _glued(text: str) -> str:
    """A bar behind each row, without a blank."""
    return "".join(f"{line}|\n" if line.strip()[:1].isdigit() else f"{line}\n" for line in text.splitlines())


DISGUISES: dict[str, Disguise] = {
    # launchers
    "mpirun --tag-output": each("[1,0]<stdout>:"), "mpirun, timestamps": each("Fri Nov 29 11:20:07 2024[1,0]<stdout>:"),
    "prterun": each("[prterun-n0-17@1,0]<stdout>: "), "prterun, rank": each("[node0:4711]<stdout>: "),
    "srun -l": each("0: "), "srun -l, many tasks": each("  17: "), "mpiexec -l": each("[0] "),
    "torchrun": each("[default0]:"), "torchrun --tee": each("[rank0]: "), "PALS": each("x1000c0s0b0n0 0: "),
    "pdsh": each("node17: "), "pdsh, srun -l": each("node17: 0: "), "clush": each("gpu-a-01.example.org: "),
    "Ray": each("(Worker pid=1234, ip=10.0.0.1) "), "accelerate": each("[0]:"), "jsrun": each("[h41n04:0] "),
    "flux": each("3: "), "unknown, with a blank": each("job a / "),
    # containers and services
    "kubectl --prefix": each("[pod/run-abcde/main] "), "kubectl --timestamps": each("2024-05-01T12:00:00.123456789Z "),
    "kubectl, both": each("[pod/run-abcde/main] 2024-05-01T12:00:00.123Z "), "docker compose": each("bench-1  | "),
    "docker service": each("bench.1.abc123@node0    | "),
    "containerd": each("2024-05-01T12:00:00.123456789Z stdout F "),
    "docker json": _in_log_object("log"), "cloud logging": _in_log_object("textPayload"),
    "journald": each("Nov 29 11:20:07 node0 bench[17]: "), "journald, ISO": each(
        "2024-11-29T11:20:07+0100 node0 bench[17]: "),
    "GitHub Actions": each(lambda n: f"2024-11-29T11:20:{n % 60:02}.1234567Z "),
    "GitLab": each(lambda n: f"2024-11-29T11:20:{n % 60:02}.123456Z 00O "),
    "Jenkins": each("[2024-11-29T11:20:07.123Z] "), "dmesg": each(lambda n: f"[ {n + 100}.123456] "),
    "clock": each(lambda n: f"[12:{n // 60 % 60:02}:{n % 60:02}] "), "ts": each("Nov 29 11:20:07 "),
    "glog": each("I0501 12:00:00.123456 4711 log.cc:17] "), "Python logging": each("INFO:bench:"),
    "loguru": each("2024-11-29 11:20:07.123 | INFO     | bench:run:17 - "), "unknown": each("run=7/job-a ~ "),
    # terminals
    "colour": each("\x1b[0;32m"), "colour, reset": each("\x1b[1m", "\x1b[0m"), "colour without escape": each("[0;32m"),
    "tabs between cells": _tabs, "indented": each(" " * 24), "tab in front": each("\t"),
    "blanks behind": each("", "   "),
    "wrapped at 60": _wrapped(60), "wrapped at 80": _wrapped(80), "wrapped at 100": _wrapped(100),
    "CRLF": lambda text: text.replace("\n", "\r\n"), "CR": lambda text: text.replace("\n", "\r"),
    "CR progress": _progress, "script": lambda text: f"Script started on 2024-11-29\n{text}\nScript done\n",
    # editors and pagers
    "cat -n": each(lambda n: f"{n + 1:6}\t"), "grep -n": each(lambda n: f"{n + 1}:"),
    "grep -Hn": each(lambda n: f"out.log:{n + 1}:"), "less -N": each(lambda n: f"{n + 1:7} "),
    "diff": each("+"), "diff of a new file": lambda text: "--- /dev/null\n+++ b/out.log\n@@ -0,0 +1,99 @@\n"
                                                           + str(each("+")(text)),
    # mail, issues, chats
    "quoted": each("> "), "quoted twice": each(">> "), "quoted, deep": each("> > > "), "Slack quote": each("&gt; "),
    "fence": lambda text: f"```\n{text}```\n", "fence in a list": lambda text: textwrap.indent(
        f"```text\n{text}```\n", "   "),
    "details": lambda text: f"<details><summary>log</summary>\n\n```\n{text}```\n</details>\n",
    "bars behind": each("", " |"), "bars glued": _glued, "Markdown table": _markdown_bars,
    "backslash behind": each("", "\\"), "break behind": each("", "<br/>"), "HTML": _html_table,
    "escaped": lambda text: text.replace("#", "\\#"), "JSON strings": _strings,
    "no-break blanks": lambda text: text.replace("  ", "\u00a0 "),
    "zero width": each("\u200b"), "unicode minus": _unicode_minus,
    "prose around": lambda text: "# What I see\n\nHello, it is slow:\n\n" + text + "\nThanks, 3 4 5\n",
    # files
    "byte-order mark": lambda text: "\ufeff" + text, "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"), "NUL in front": lambda text: "\0" * 64 + text,
    "NUL in the middle": lambda text: text.replace("\n", "\n" + "\0" * 512, 1),
    "Latin-1": lambda text: ("# gemessen für Jörg\n" + text).encode("latin-1", "replace"),
    "gzip": lambda text: gzip.compress(text.encode()), "xz": lambda text: lzma.compress(text.encode()),
    "debug between": _debug_between, "another task between": _alternating, "blank lines between": each("", "\n"),
    "thousands": _thousands, "decimal comma": _decimal_comma,
}

# Lines between those of a document of several lines: no reader of JSON can tell them from it.
BETWEEN = frozenset({"CR progress", "debug between", "another task between", "unknown, with a blank"})

# Figures that these make unreadable are reported, not read.
TOLD = frozenset({"thousands", "decimal comma", "wrapped at 60", "wrapped at 80", "wrapped at 100"})

CUTS: dict[str, Disguise] = {
    "cut at the top": lambda text: _top(text, 0.25), "cut in half": lambda text: _top(text, 0.5),
    "cut at the bottom": lambda text: text[:int(len(text) * 0.7)], "cut in a row": lambda text: text[:-7],
    "head | tail": lambda text: "\n".join([*text.splitlines()[:-3][:8], "[...]", *text.splitlines()[-3:]]) + "\n",
    "columns cut at 72": lambda text: "".join(f"{line[:72]}\n" for line in text.splitlines()),
}
