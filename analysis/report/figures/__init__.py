"""The figures of a report: one module each, found by its file.

A module has `build(story) -> Iterable[Chart]` and `SECTION`, the part of the page that its charts stand in, or None
where each stands with the operation it is about. Nothing else lists the modules: neither the page nor this package.
"""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from typing import Protocol, cast

from ..story import Story
from .shared.chart import Chart
from .shared.section import Section

__all__ = ["Chart", "FigureModule", "Section", "build_charts", "figure_modules", "sections"]


class FigureModule(Protocol):
    """What a module of this folder declares."""

    SECTION: Section | None

    def build(self, story: Story) -> Iterable[Chart]:
        """Charts of a story that was built with its page, in the order in which they appear; none where none apply."""
        ...


def figure_modules() -> Iterator[FigureModule]:
    """Every module of this folder, in the order of their names."""
    for module in pkgutil.iter_modules(__path__):
        if not module.ispkg:
            yield cast(FigureModule, importlib.import_module(f"{__name__}.{module.name}"))


def sections() -> list[Section]:
    """Every declared section, in the order of the page."""
    return sorted({module.SECTION for module in figure_modules() if module.SECTION}, key=lambda section: section.order)


def build_charts(story: Story) -> list[Chart]:
    """Every chart of a report on `story`."""
    return [chart for module in figure_modules() for chart in module.build(story)]
