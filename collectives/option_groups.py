"""Options in groups: the help shows each group under its title, and the values that can be named at the end."""

from collections.abc import Callable
from typing import Any

import click

from .option_types import Names

__all__ = ["HOW", "JOB", "OUTPUT", "RUN", "SELECTION", "WHAT", "GroupedCommand", "option"]

WHAT, HOW, RUN, JOB = "What to measure", "How to measure it", "Run", "Job"      # titles that several commands share
SELECTION, OUTPUT, _OTHER = "Selection", "Output", "Other options"


class _GroupedOption(click.Option):
    """An option with the title of its group."""

    def __init__(self, *args: Any, group: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.group = group


def option(*names: str, group: str, **attributes: Any) -> Callable[[Callable], Callable]:
    """As `click.option`, in the group of this title."""
    return click.option(*names, cls=_GroupedOption, group=group, **attributes)


class GroupedCommand(click.Command):
    """A command whose help has a section for each group of options, and one for the values of those that take names."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Called by click for the help."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                groups.setdefault(getattr(parameter, "group", _OTHER), []).append(record)
        for title in sorted(groups, key=_OTHER.__eq__):
            with formatter.section(title):
                formatter.write_dl(groups[title])
        values = [(max(parameter.opts, key=len), parameter.type.listed) for parameter in self.get_params(ctx)
                  if isinstance(parameter.type, Names)]
        if values:
            with formatter.section("Values"):
                formatter.write_dl(values)
