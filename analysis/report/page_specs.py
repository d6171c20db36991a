"""The specifications of a page's charts without repetition: they share long texts, such as the formats of an axis."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["SHARED", "share_texts"]

SHARED = "@"            # key of an object that stands for a text, by its place in the list of texts
_LONG = 40              # characters; shorter texts stay where they are


def share_texts(specs: Mapping[str, Any]) -> dict[str, Any]:
    """`texts` that occur several times, and `specs` with {"@": place} instead of each; report.js puts them back."""
    counts = Counter(_texts(specs))
    texts = [text for text, count in counts.items() if count > 1 and len(text) > _LONG]
    places = {text: {SHARED: place} for place, text in enumerate(texts)}
    return {"texts": texts, "specs": _replaced(specs, places)}


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, Mapping | list):
        for one in part.values() if isinstance(part, Mapping) else part:
            yield from _texts(one)


def _replaced(part: Any, places: Mapping[str, dict[str, int]]) -> Any:
    if isinstance(part, str):
        return places.get(part, part)
    if isinstance(part, Mapping):
        return {name: _replaced(one, places) for name, one in part.items()}
    return [_replaced(one, places) for one in part] if isinstance(part, list) else part
