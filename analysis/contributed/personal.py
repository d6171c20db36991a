"""Personal data in a journal: host names, paths, user names and addresses, which are named and can be removed.

Settings, versions and hardware stay: without them a measurement says nothing.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from collbench.collectives.errors import UsageError
from collbench.collectives.records.journal import Journal, Line, read_lines
from collbench.collectives.records.record import CALL_LISTS, Record, Run

__all__ = ["personal_data", "scrub"]

_NO_NAMES = re.compile(r"(host\d+|localhost)?")
_HOME = re.compile(r"/(?:home|Users)/([\w.-]+)|(?<![\w~])~([a-z_][\w-]+)")
_LOGIN = re.compile(r"\b[\w.+-]+@[\w-][\w.-]*")
# Folders that every system has say nothing about a person.
_PATH = re.compile(r"(?<![\w/.~-])(?:~[\w-]*|\.{1,2})?/(?!/)"
                   r"(?!(?:etc|usr|opt|dev|proc|sys|lib|lib64|bin|sbin|run)/)[^\s'\",;:()\[\]]+")
_ADDRESS = re.compile(r"(?<![\w.])(?!127\.|0\.0\.0\.0)\d{1,3}(?:\.\d{1,3}){3}(?![\w.])"
                      r"|(?<![\w:])(?:[0-9a-fA-F]{1,4}:){4,}[0-9a-fA-F:]*(?![\w:])")
_AS_IS = ("versions", CALL_LISTS)        # a version has dots as an address has; call lists have names of cases
_SHORTEST_USER = 3


class _Cleaner:
    """Replaces personal data in lines, and remembers what it replaced: kind -> texts."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.found: dict[str, dict[str, None]] = {}
        known = list(runs)
        self._hosts = {name: f"host{number}" for number, name in enumerate(
            dict.fromkeys(name for run in known for name in _hosts(run)), 1)}
        short = {name.partition(".")[0]: new for name, new in self._hosts.items() if not name[0].isdigit()}
        self._hosts = {**short, **self._hosts}
        users = {name for run in known for match in _HOME.finditer(_text_of(run)) for name in match.groups() if name}
        self._host = _any_of(self._hosts)
        self._user = _any_of(name for name in users if len(name) >= _SHORTEST_USER)

    def clean(self, line: Line) -> Line:
        """The line without personal data."""
        if isinstance(line, Run):
            facts = {key: value if key in _AS_IS else self._each(value) for key, value in line.provenance.items()}
            return msgspec.structs.replace(line, command=tuple(map(self._text, line.command)), provenance=facts)
        if isinstance(line, Record):
            return msgspec.structs.replace(
                line, reason=line.reason and self._text(line.reason), notes=tuple(map(self._text, line.notes)),
                reproduce=self._text(line.reproduce))
        return line

    def _each(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list | tuple):
            return [self._each(one) for one in value]
        if isinstance(value, dict):
            return {self._text(key) if "/" in key else key: self._each(one) for key, one in value.items()}
        return value

    def _text(self, text: str) -> str:
        for kind, pattern, new in (("host names", self._host, None), ("user names", _LOGIN, "LOGIN"),
                                   ("paths", _PATH, "PATH"), ("user names", self._user, "USER"),
                                   ("addresses", _ADDRESS, "ADDRESS")):
            found = [match[0] for match in pattern.finditer(text)] if pattern else []
            if pattern and found:
                self.found.setdefault(kind, {}).update(dict.fromkeys(found))
                text = pattern.sub(new or self._new_host, text)
        return text

    def _new_host(self, match: re.Match[str]) -> str:
        return self._hosts[match[0]]


def personal_data(lines: Iterable[Line]) -> dict[str, tuple[str, ...]]:
    """Kinds of personal data in the lines of a journal, and the texts of each; empty if there are none."""
    kept = list(lines)
    cleaner = _Cleaner(line for line in kept if isinstance(line, Run))
    for line in kept:
        cleaner.clean(line)
    return {kind: tuple(texts) for kind, texts in cleaner.found.items()}


def scrub(path: Path, out: Path, system: str | None = None) -> None:
    """Write a copy of the journal `path` without personal data; times and digests stay as they are.

    Args:
        out: must not exist.
        system: name of the machine, which replaces that of its hosts in reports and finds its frozen predictions.

    Raises:
        UsageError: `out` exists, or a line is damaged, which a copy would hide.
        JournalError: one of the files cannot be read or written.
    """
    if out.exists():
        raise UsageError(f"{out}: exists already; give another file to --scrub")
    warnings: list[str] = []
    lines = list(read_lines(path, warnings))
    if warnings or not lines:
        raise UsageError(f"{warnings[0] if warnings else f'{path}: it is empty'}; nothing was copied")
    cleaner = _Cleaner(line for line in lines if isinstance(line, Run))
    with Journal(out) as journal:
        journal.extend(_named(cleaner.clean(line), system) for line in lines)


def _named(line: Line, system: str | None) -> Line:
    if system is None or not isinstance(line, Run):
        return line
    return msgspec.structs.replace(line, provenance={**line.provenance, "cluster": system})


def _hosts(run: Run) -> Iterator[str]:
    """Host names in the fields that have them."""
    facts = run.provenance
    launch, devices = facts.get("launch"), facts.get("devices")
    named: list[object] = [facts.get("host")]
    for several in (facts.get("hosts"), launch.get("nodes") if isinstance(launch, dict) else None):
        named += several if isinstance(several, list) else []
    named += [device.get("host") for device in devices if isinstance(device, dict)] if isinstance(devices, list) else []
    return (name for name in named if isinstance(name, str) and not _NO_NAMES.fullmatch(name))


def _text_of(run: Run) -> str:
    return msgspec.json.encode(run).decode()


def _any_of(names: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern of whole names, the longest first; None if there are none."""
    longest = sorted(map(re.escape, names), key=len, reverse=True)
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(longest)})(?![A-Za-z0-9])") if longest else None
