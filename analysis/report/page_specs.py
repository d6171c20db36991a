"""The specifications of a page's charts without repetition: they share long texts, such as the formats of an axis."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

__all__ = ["SHARED", "share_texts"]

SHARED = "@"            # key of an object that stands for a text, by its place in the list of texts
_LONG = 40              # characters; shorter texts stay where they are


def share_texts(specs: dict[str, Any]) -> dict[str, Any]:
    """`texts` that occur several times, and `specs` with {"@": place} instead of each; report.js puts them back."""
    found: list[str] = []
    _collect_texts(specs, found)
    texts = [text for text, count in Counter(found).items() if count > 1]
    places = {text: {SHARED: place} for place, text in enumerate(texts)}
    return {"texts": texts, "specs": _replaced(specs, places)}


def _collect_texts(part: Any, found: list[str]) -> None:
    """Add the long texts in `part` to `found`."""
    if isinstance(part, str):
        if len(part) > _LONG:
            found.append(part)
    elif isinstance(part, dict | list):
        for one in part.values() if isinstance(part, dict) else part:
            _collect_texts(one, found)


def _replaced(part: Any, places: Mapping[str, dict[str, int]]) -> Any:
    if isinstance(part, str):
        return places.get(part, part)
    if isinstance(part, dict):
        return {name: _replaced(one, places) for name, one in part.items()}
    return [_replaced(one, places) for one in part] if isinstance(part, list) else part
