"""JSON in logs: several documents in a row, text before and after, truncated documents."""

import json
import re
from collections.abc import Iterator

__all__ = ["documents", "objects"]

_MOST_TRIES = 2_000      # of text that looks like JSON and is not
_DECODER = json.JSONDecoder(parse_int=lambda text: int(text) if len(text) < 19 else float(text))


def documents(text: str) -> Iterator[tuple[int, object]]:
    """Every JSON object or list in `text` that begins a line, with its line number."""
    starts = re.compile(r"^[ \t]*(?=[\[{])", re.MULTILINE)
    position, line, counted, failures = 0, 1, 0, 0
    while failures < _MOST_TRIES:
        found = starts.search(text, position)
        if not found:
            return
        line, counted = line + text.count("\n", counted, found.end()), found.end()
        value, end = _decode(text, found.end())
        if value is not None:
            yield line, value
        else:
            failures += 1
        position = max(end, found.end() + 1)


def objects(text: str, key: str) -> Iterator[tuple[int, dict[str, object]]]:
    """Every complete object whose first key is `key`, with its line; recovers rows of a truncated document."""
    start = re.compile(r"\{\s{0,64}\"" + re.escape(key) + r"\"\s{0,9}:")
    position, line, counted = 0, 1, 0
    failures = 0
    while failures < _MOST_TRIES:
        found = start.search(text, position)
        if not found:
            return
        line, counted = line + text.count("\n", counted, found.start()), found.start()
        value, end = _decode(text[found.start():found.start() + 65536], 0)
        if isinstance(value, dict):
            yield line, value
        else:
            failures += 1
        position = max(found.start() + end, found.end())


def _decode(text: str, start: int) -> tuple[object | None, int]:
    """The value that begins at `start` and its end; None if there is none."""
    try:
        return _DECODER.raw_decode(text, start)
    except RecursionError:
        return None, len(text)      # no tool nests that deeply
    except ValueError:
        return None, start
