"""Domains on the terminal: a table of all of them, or every figure of one domain with its source."""

import re
from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..text import units
from ..text.safe_console import Screen
from .facts import Domain, Fact, Figure, Measured, figures_of

__all__ = ["as_json", "show_all", "show_one"]

_NARROWEST = 130
_UNITS = (
    ("_Bps", lambda value: f"{value / 1e12:.6g} TB/s" if value >= 1e12 else units.rate(value)),
    ("_flops", lambda value: f"{units.digits(value / 1e12)} TFLOP/s"),
    ("_bytes", lambda value: f"{value / 1e9:.4g} GB"), ("_W", lambda value: f"{value / 1e3:.4g} kW"),
    ("_s", units.seconds))


def as_json(domains: Mapping[str, Domain]) -> dict[str, object]:
    """Every field of every domain; None where no source states it."""
    import msgspec
    return {key: msgspec.to_builtins(domain) for key, domain in domains.items()}


def show_all(domains: Mapping[str, Domain], console: Console | None = None) -> None:
    """One line per domain, and the sources of the rates."""
    console = _wide(console or Screen())
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1))
    table.add_column("name\n", no_wrap=True)
    for name in ("acceler-\nators", "one way,\nGB/s each", "in-switch\nreduction", "dense BF16,\nTFLOP/s each",
                 "power,\nkW total"):
        table.add_column(name, justify="right", no_wrap=True)
    wide = console.width >= _NARROWEST
    if wide:
        table.add_column("one pair,\nGB/s", justify="right", no_wrap=True)
        table.add_column("topology\n", no_wrap=True)
        table.add_column("status\n", min_width=10)
    for key, domain in domains.items():
        outer = domain.tiers[-1] if domain.tiers else None
        rate, pair = (outer.rate_Bps, outer.pair_Bps) if outer else (None, None)
        reduces = domain.in_network_reduction
        status = re.split("[;,(]", domain.status or units.UNKNOWN)[0].strip()
        more = (_scaled(pair, 1e9), _joined(domain), escape(status))
        table.add_row(key, _scaled(domain.accelerators, 1), _scaled(rate, 1e9),
                      units.UNKNOWN if reduces is None else "yes" if reduces.value else "no",
                      _scaled(domain.dense_bf16_flops, 1e12), _scaled(domain.power_W, 1e3), *(more if wide else ()))
    console.print(table)
    console.print(Text("Sources of the rates per accelerator", style="bold"))
    for source, keys in _sources(domains).items():
        console.print(Text(f"{', '.join(keys)}: {source}"))
    console.print(Text("\nIn brackets: values of other sources. –: no source found. "
                       "`collbench domains NAME` shows every figure of a domain with its source.", style="dim"))


def _sources(domains: Mapping[str, Domain]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, domain in domains.items():
        rate = domain.tiers[-1].rate_Bps if domain.tiers else None
        found.setdefault(f"{rate.source} ({rate.grade})" if rate else "no source gives a rate", []).append(key)
    return found


def show_one(key: str, domain: Domain, console: Console | None = None) -> None:
    """Every figure of `domain`: value, grade, source, note, and the values of other sources."""
    console = _wide(console or Screen())
    console.print(Text(f"{key}: {domain.product or domain.name}", style="bold"))
    for name in ("accelerator", "fabric", "status"):
        if value := getattr(domain, name):
            console.print(Text(f"{name}: {value}"))
    if domain.aliases:
        console.print(Text(f"aliases: {', '.join(domain.aliases)}"))
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1))
    for name in ("figure", "value"):
        table.add_column(name, no_wrap=True)
    for name in ("grade", "source"):
        table.add_column(name, overflow="fold")
    for path, figure in figures_of(domain):
        table.add_row(escape(_named(path, domain)), _value(path, figure), figure.grade, escape(_source(figure)))
        for other in getattr(figure, "alternatives", ()):
            table.add_row("", f"or {_formatted(path, other.value)}", "", escape(other.source))
    console.print(table)
    missing = [name for name in ("accelerators", "dense_bf16_flops", "power_W", "in_network_reduction")
               if getattr(domain, name) is None] + ([] if domain.tiers else ["tiers"])
    if missing:
        console.print(Text(f"no source found for: {', '.join(missing)}", style="dim"))


def _wide(console: Console) -> Console:
    return Screen(width=_NARROWEST, file=console.file) if console.width < _NARROWEST and not console.is_terminal \
        else console


def _named(path: str, domain: Domain) -> str:
    """The field path with the name of the tier instead of its index."""
    if not path.startswith("tiers["):
        return path
    at, _, field = path.removeprefix("tiers[").partition("].")
    tier = domain.tiers[int(at)]
    size = f", {tier.accelerators} accelerators" if (tier.accelerators or 1) > 1 else ""
    return f"{tier.name} ({tier.topology}{size}):\n  {field}"


def _value(path: str, figure: Figure | Fact) -> str:
    if isinstance(figure, Fact):
        return "yes" if figure.value else "no"
    text = _formatted(path, figure.value)
    of = []
    if isinstance(figure, Measured):
        of = [f"{figure.ranks} ranks"] if figure.ranks else []
        of += [units.payload(figure.message_bytes)] if figure.message_bytes else []
    return f"{text} ({', '.join(of)})" if of else text


def _source(figure: Figure | Fact) -> str:
    note = getattr(figure, "note", None)
    return f"{figure.source} [{note}]" if note else figure.source


def _formatted(path: str, value: float) -> str:
    formatter = next((formatter for ending, formatter in _UNITS if path.endswith(ending)), None)
    return formatter(value) if formatter else f"{value:g}"


def _scaled(figure: Figure | None, unit: float) -> str:
    """`392 (350)`."""
    if figure is None:
        return units.UNKNOWN
    value, *others = (f"{value / unit:.5g}" for value in figure.all_values())
    return f"{value} ({', '.join(dict.fromkeys(others))})" if others else value


def _joined(domain: Domain) -> str:
    """`switched 8, switched 384`."""
    return "\n".join(f"{tier.topology}{f' {tier.accelerators}' if tier.accelerators else ''}"
                     for tier in domain.tiers if tier.accelerators != 1) or units.UNKNOWN
