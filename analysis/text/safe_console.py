"""A console that escapes terminal control characters: names from logs and journals are untrusted."""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from collbench.collectives.errors import printable

__all__ = ["Screen"]


class Screen(Console):
    """rich's Console, with control characters printed as Python escapes."""

    def on_broken_pipe(self) -> None:
        """Called by rich while it handles a BrokenPipeError, which it would turn into exit status 1."""
        raise BrokenPipeError

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Called by rich for everything that it prints, and for nested parts."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable() or segment.text == "\n":
                yield segment
                continue
            shown = printable(segment.text, keep="\n")
            yield segment if shown == segment.text else Segment(shown, segment.style)
