"""Render charts to files; also as a server that another process drives line by line.

The rendering library holds the interpreter lock all the time, so rendering can only overlap with other work in a
separate process. This module is all that such a process imports.
"""

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import vl_convert

from .vega import VEGALITE

__all__ = ["draw", "serve"]

_WIDTH = 460
_SCALE = 1.5                   # of the PNG; doubling it doubles the rendering time
_SLIDE_WIDTH, _SLIDE_SCALE = 600, 3.0       # letters are large on a slide, and the PNG is some 2000 pixels wide
_PAPER_INK = "#1c2430"         # replaces the page colour, which a file does not have
_CONFIG = {"background": "white", "font": "sans-serif", "padding": 12, "view": {"stroke": None}, "aria": False,
           "title": {"anchor": "start", "fontSize": 13, "fontWeight": "normal", "offset": 12},
           "axis": {"gridOpacity": 0.5}, "legend": {"orient": "bottom", "labelLimit": 400, "columns": 4,
           "layout": {"bottom": {"direction": "vertical", "anchor": "start"}}}}
_TITLE_LETTERS = {False: 72, True: 92}      # per line of a title, and of that of a slide
_FONTS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")
_FOREIGN = re.compile("[^\0-\u04ff\u2000-\u22ff]")      # characters that the built-in font lacks
Spec = dict[str, Any]


def draw(spec: Spec, caption: str, path: str, slide: bool = False) -> None:
    """Write a chart with its caption to `path` + `.svg` and `.png`, also in the shape of a slide.

    Raises:
        OSError: a file cannot be written.
    """
    width = {"width": _SLIDE_WIDTH if slide else _WIDTH} if spec["width"] == "container" else {}
    title = list(_lines(caption, _TITLE_LETTERS[slide]))
    whole = json.dumps({**_still(spec), **width, "title": title}, ensure_ascii=False)
    if _FOREIGN.search(whole):
        _take_fonts()
    svg = vl_convert.vegalite_to_svg(whole, vl_version=VEGALITE, config=_CONFIG).replace("currentColor", _PAPER_INK)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(caption)}" ', 1)
    Path(f"{path}.svg").write_text(svg, encoding="utf-8")
    Path(f"{path}.png").write_bytes(vl_convert.svg_to_png(svg, scale=_SLIDE_SCALE if slide else _SCALE))


def serve() -> None:
    """Answer each line of standard input with one on standard output, both JSON, until the input ends.

    A request holds the arguments of `draw`. The answer holds `errno` and `words` if a file cannot be written, or
    `refused` with the reason if the chart cannot be drawn, or nothing.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # the parent is interrupted as well and closes the input
    # A system font is a file that is opened four times for every letter; the built-in one is in memory. With it alone
    # a chart takes half the time and looks the same everywhere.
    os.environ.setdefault("FONTCONFIG_FILE", str(Path(__file__).with_name("fonts.conf")))
    for line in sys.stdin.buffer:
        answer: dict[str, Any] = {}
        try:
            draw(**json.loads(line))
        except OSError as error:
            answer = {"errno": error.errno, "words": error.strerror}
        except Exception as error:      # of the rendering library, which has no exceptions of its own
            answer = {"refused": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


@cache
def _take_fonts() -> None:
    """Register the system fonts, for characters that the built-in font lacks."""
    for folder in _FONTS:
        if (path := Path(folder).expanduser()).is_dir():
            vl_convert.register_font_directory(str(path))


def _still(part: Any) -> Any:
    """The chart without tooltips and without the fields that only they use."""
    if isinstance(part, list):
        return [_still(one) for one in part if not (isinstance(one, dict) and "calculate" in one)]
    return {name: _still(one) for name, one in part.items() if name != "tooltip"} if isinstance(part, dict) else part


def _lines(caption: str, letters: int) -> Iterator[str]:
    line = ""
    for word in caption.split():
        if len(line) + len(word) >= letters:
            yield line
            line = ""
        line = f"{line} {word}".strip()
    yield line
