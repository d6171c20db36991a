"""The part of the page that the charts of a module stand in."""

from typing import NamedTuple

__all__ = ["Section"]


class Section(NamedTuple):
    """One part of the page.

    Args:
        key: its anchor; `Chart.section` of its charts.
        title: its heading.
        nav: its name in the list of figures at the top.
        order: sections appear in ascending order.
        intro: a paragraph above the charts.
    """

    key: str
    title: str
    nav: str
    order: int
    intro: str = ""
