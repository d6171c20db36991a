"""A console whose output steers nothing: names from logs and journals may hold escape sequences of a terminal."""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from collbench.collectives.errors import printable

__all__ = ["Screen"]


class Screen(Console):
    """As rich's, but characters that a terminal would obey are shown as Python writes them."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """What rich calls for everything that it prints, and for all parts of it."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable() or segment.text == "\n":
                yield segment
                continue
            shown = printable(segment.text, keep="\n")
            yield segment if shown == segment.text else Segment(shown, segment.style)
