"""A console that escapes terminal control characters: names from logs and journals are untrusted."""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table

from collbench.collectives.errors import printable

__all__ = ["Screen", "fits", "print_whole"]

_UNLIMITED = 10_000       # columns


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


def fits(table: Table, console: Console) -> bool:
    """Whether the console is wide enough for the table without wrapping or cutting a cell."""
    return _natural(table, console) <= console.width


def print_whole(table: Table, console: Console) -> None:
    """Print a table at the width that it needs: a terminal wraps a line that is too long, and no figure is cut."""
    console.print(_Whole(table), crop=False)


class _Whole:
    def __init__(self, table: Table) -> None:
        self._table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        yield from console.render(self._table, options.update(max_width=max(options.max_width,
                                                                            _natural(self._table, console))))


def _natural(table: Table, console: Console) -> int:
    return Measurement.get(console, console.options.update(max_width=_UNLIMITED), table).maximum
