"""Check journals that are to be submitted, and score the frozen predictions with them."""

import sys
from pathlib import Path

import click

from collbench.collectives.errors import UsageError, printable
from collbench.collectives.option_groups import OUTPUT, GroupedCommand, option

from ..shared_options import OutputFile, write_text

__all__ = ["SECTION", "command"]

SECTION = "manage"
_SUFFIX = "*.jsonl"


@click.command(cls=GroupedCommand, short_help="Check journals to submit; score frozen predictions")
@click.argument("files", metavar="JOURNAL...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@option("--scrub", group=OUTPUT, type=OutputFile(), default=None, metavar="FILE",
        help="Write a copy of the one JOURNAL without host names, paths, user names and addresses, and check that.")
@option("--system", group=OUTPUT, default=None, metavar="NAME",
        help="With --scrub: the name of the machine, such as Perlmutter A100.")
@option("--markdown", "markdown", group=OUTPUT, type=OutputFile(allow_dash=True), default=None, metavar="FILE",
        help="Write the page docs/contributed.md; - is standard output.")
def command(files: tuple[Path, ...], scrub: Path | None, system: str | None, markdown: Path | None) -> None:
    """Say of each JOURNAL, a file, a run directory or a folder of journals, whether it can be submitted, or what is
    wrong with it; then compare runs at 72 and 384 ranks with the frozen predictions.

    Exits with 1 if anything is wrong, and then writes no page.

    Example: collbench contributed results/mine --scrub contributed/nvl72-2026-12.jsonl
    """
    from collbench.analysis.contributed.check import defects
    from collbench.analysis.contributed.score import scores
    from collbench.analysis.contributed.show import lines, page
    journals = [journal for path in files for journal in _journals(path)]
    if scrub:
        journals = [_scrubbed(journals, scrub, system)]
    elif system is not None:
        raise UsageError("--system names the machine in a copy: give --scrub FILE too")
    found = {journal: defects(journal) for journal in journals}
    to_page = str(markdown) == "-"
    for journal, words in found.items():
        for line in words or [printable(f"{journal}: can be submitted")]:
            click.echo(line, err=bool(words) or to_page)
    if any(found.values()):
        sys.exit(1)
    scored = scores(journals)
    if markdown:
        write_text(markdown, page(scored, [journal.name for journal in journals]))
    for line in lines(scored) if journals else ["no journal there yet"]:
        click.echo(printable(line), err=to_page)


def _journals(path: Path) -> list[Path]:
    """The journals in a folder, of which there may be none yet; a file is one."""
    if not path.is_dir():
        return [path]
    run = path / "journal.jsonl"
    return [run] if run.exists() else sorted(path.glob(_SUFFIX))


def _scrubbed(journals: list[Path], out: Path, system: str | None) -> Path:
    from collbench.analysis.contributed.personal import scrub
    if len(journals) != 1:
        raise UsageError(f"--scrub copies one journal, and these are {len(journals)}")
    scrub(journals[0], out, system)
    return out
