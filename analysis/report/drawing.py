"""Charts to files, by what draws them; also as a program that does it for another process, told line by line.

The library that draws keeps the interpreter to itself all the while, so a process of its own is the one way to go on
beside it. This module is all that such a process imports.
"""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import vl_convert

__all__ = ["draw", "library", "serve"]

_VEGALITE = vl_convert.get_vegalite_versions()[-1]
_WIDTH = 460
_SCALE = 1.5                   # of the PNG, for screens and slides; each doubling doubles the time of it
_PAPER_INK = "#1c2430"         # of a file, which has no page to take its colour from
_TITLE_SIZE, _TITLE_LETTERS = 13, 72            # a line of a file's title
_LABEL_LETTERS = 60
# Half of the time of a chart goes into the width of its texts. Nothing stands beside a title, which needs none: it has
# no size until all is laid out. A label that has a limit is measured twice, so labels are cut by the letter instead.
_CONFIG = {"background": "white", "font": "sans-serif", "padding": 12, "view": {"stroke": None}, "aria": False,
           "title": {"anchor": "start", "fontSize": 0, "fontWeight": "normal", "lineHeight": _TITLE_SIZE + 2,
                     "offset": 12 + _TITLE_SIZE},
           "axis": {"gridOpacity": 0.5, "labelLimit": 0},
           "legend": {"orient": "bottom", "labelLimit": 0, "columns": 4,
                      "layout": {"bottom": {"direction": "vertical", "anchor": "start"}}}}
Spec = dict[str, Any]


def draw(spec: Spec, caption: str, path: Path) -> None:
    """A chart to `path` with the suffixes svg and png, its caption above it. OSError: it cannot be written."""
    whole = {**_still(spec), "width": _WIDTH, "title": _lines(caption)}
    svg = vl_convert.vegalite_to_svg(json.dumps(whole), vl_version=_VEGALITE, config=_CONFIG)
    svg = svg.replace("currentColor", _PAPER_INK).replace('font-size="0px"', f'font-size="{_TITLE_SIZE}px"')
    path.with_name(f"{path.name}.svg").write_text(svg, encoding="utf-8")
    path.with_name(f"{path.name}.png").write_bytes(vl_convert.svg_to_png(svg, scale=_SCALE))


def library() -> str:
    """The JavaScript that draws the charts' specifications in a page, as `vegaEmbed`."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", _VEGALITE)


def serve() -> None:
    """Answer each line of standard input with one of standard output, both JSON.

    A line has the arguments of `draw`, or is null and asks for the library. An answer has the `library`, or `errno` and
    `words` where a file cannot be written, or nothing.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # whoever asks is interrupted as well, and ends the input
    for line in sys.stdin:
        asked, told = json.loads(line), {}
        try:
            if asked is None:
                told = {"library": library()}
            else:
                draw(asked["spec"], asked["caption"], Path(asked["path"]))
        except OSError as error:
            told = {"errno": error.errno, "words": error.strerror}
        print(json.dumps(told), flush=True)


def _still(spec: Spec) -> Spec:
    """The chart without hover values, and without the texts that only they show."""
    bare = _without_tips(spec)
    shown = set(_fields(bare))

    def kept(part: Any) -> Any:
        if isinstance(part, list):
            return [kept(one) for one in part if not (isinstance(one, dict) and "calculate" in one
                                                      and one["as"] not in shown)]
        return {name: kept(one) for name, one in part.items()} if isinstance(part, dict) else part
    return kept(bare)


def _without_tips(part: Any) -> Any:
    if isinstance(part, list):
        return [_without_tips(one) for one in part]
    if not isinstance(part, dict):
        return part
    found = {name: _without_tips(one) for name, one in part.items() if name != "tooltip"}
    if isinstance(part.get("legend"), dict):
        found["legend"] = {"labelExpr": f"truncate(datum.label, {_LABEL_LETTERS})"} | found["legend"]
    return found


def _fields(part: Any) -> Iterator[str]:
    """The fields that any part of a chart shows."""
    if isinstance(part, dict):
        if isinstance(part.get("field"), str):
            yield part["field"]
        part = list(part.values())
    for one in part if isinstance(part, list) else ():
        yield from _fields(one)


def _lines(caption: str) -> list[str]:
    lines = [""]
    for word in caption.split():
        if len(lines[-1]) + len(word) >= _TITLE_LETTERS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
