"""The JavaScript that draws charts in a page: Vega, Vega-Lite, vega-embed. tools/bundle_vega.py makes the file.

It comes with collbench because the package that it is made with takes 84 MB, and a page needs nothing else of that.
"""

from pathlib import Path

__all__ = ["BUNDLE", "EXPORT", "VEGALITE", "library"]

VEGALITE = "6.4"            # that of the bundle; files are drawn with the same
EXPORT = "window.vegaEmbed = vegaEmbed;"
BUNDLE = Path(__file__).with_name("page") / "vega.js"


def library() -> str:
    """The code that draws a chart's specification in a page, as `vegaEmbed`."""
    return BUNDLE.read_text(encoding="utf-8")
