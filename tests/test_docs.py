"""The docs name only what exists: links, files, commands with their options, modules and make targets."""

import re
import shlex
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
import yaml

from collbench.collectives.program.rank import main as rank_program
from collbench.launch.cli import cli

ROOT = Path(__file__).parent.parent
FOLDERS = (".", "docs", "contributed", "plugins")
PAGES = sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))
IN_README = (".", "docs")
TOP = ("analysis", "benchmarks", "collbench", "collectives", "docs", "launch", "tests", "tools")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(rf"(?<![\w./<>-])((?:{'|'.join(TOP)})/[\w./-]*\w|\.ci/\w+|test_[a-z_0-9]+\.py)(?!\w*[<*])")
OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
MAKE = re.compile(r"(?:`|^    )make ([a-z][a-z-]*)", re.MULTILINE)
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
OUTSIDE = ("index.md", "contributing.md", "changelog.md", "plugins.md")      # what tools/site_pages.py adds
MODULE = re.compile(r"-m (collbench[\w.]*)")


@cache
def text(page):
    return page.read_text()


def each_page(function):
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)(function)


def anchors(page):
    """The anchors that a forge makes of the headings."""
    heads = re.findall(r"^#+ +(.*)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def blocks(page):
    """Lines of the indented and fenced blocks, with continued lines joined and fences told apart by indentation."""
    fenced, lines = False, []
    for line in text(page).replace("\\\n", " ").splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            lines.append(line.strip())
    return lines


def command_lines(page):
    """Words of every `collbench` or rank program command in a block, without comments and redirections."""
    found = []
    for line in blocks(page):
        start = re.match(r"collbench (?!:)|.*?-m collbench\.rank ", line)
        if start and not line.startswith("collbench:"):
            plain = re.split(r"\s+#|\s[|>]\s", line[start.end():])[0]
            found.append(("rank" if "collbench.rank" in start[0] else "collbench", plain))
    return found


def inline_commands(page):
    return re.findall(r"`collbench ([a-z]+[^`]*)`", text(page).replace("\n", " "))


def subcommand(name):
    group = cli.commands.get(name) or cli.get_command(click.Context(cli), name)
    assert group is not None, f"there is no command collbench {name}"
    return group


def spellings(command):
    with click.Context(command) as context:
        return {name for option in command.get_params(context) for name in (*option.opts, *option.secondary_opts)}


def check_options(command, words):
    known = spellings(command)
    for option in OPTION.findall(words):
        assert option in known, f"{option} is no option of {command.name}: {words}"


def check_values(command, words):
    """Parse a whole line and convert its values, except paths, which need not exist here."""
    context = click.Context(command, info_name=command.name)
    values, rest, _ = command.make_parser(context).parse_args(shlex.split(words))
    assert not rest, f"{rest} left over: {words}"
    for option in command.get_params(context):
        if values.get(option.name) is not None and not isinstance(option.type, (click.Path, click.File)):
            option.type_cast_value(context, values[option.name])


@each_page
def test_links_lead_somewhere(page):
    for target in LINK.findall(text(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}"


@each_page
def test_files_that_are_named_exist(page):
    for name in FILE.findall(text(page)):
        path = ROOT / "tests" / name if name.startswith("test_") else ROOT / name
        assert path.exists(), f"{page.name} names {name}"


@each_page
def test_commands_in_blocks_parse(page):
    for program, words in command_lines(page):
        if program == "rank":
            command = rank_program
        else:
            name, _, words = words.strip().partition(" ")
            command = subcommand(name)
        if re.search(r"[\[|]|\.\.\.", words):       # a synopsis, or shortened
            check_options(command, words)
        else:
            check_values(command, words)


@each_page
def test_commands_in_sentences_exist(page):
    for words in inline_commands(page):
        name, _, rest = words.partition(" ")
        check_options(subcommand(name), rest)


@each_page
def test_modules_and_make_targets_exist(page):
    for module in MODULE.findall(text(page)):
        assert find_spec(module), f"{page.name} starts {module}"
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in MAKE.findall(text(page)):
        assert target in targets, f"{page.name} names make {target}"


def test_every_page_is_listed_in_the_readme():
    listed = {(ROOT / target.partition("#")[0]).resolve() for target in LINK.findall(text(ROOT / "README.md"))}
    assert {page for folder in IN_README for page in (ROOT / folder).glob("*.md")} - {ROOT / "README.md"} <= listed


def test_every_page_of_the_docs_is_in_the_navigation_of_the_site_once():
    groups = [group for entry in SITE["nav"] for group in entry.values()]
    names = [name for group in groups for name in ([group] if isinstance(group, str) else group)]
    pages = [page.name for page in (ROOT / "docs").glob("*.md")]
    assert sorted(names) == sorted([*pages, *OUTSIDE])


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="SKIPPED: mkdocs is not installed (make docs)")
@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)], cwd=ROOT,
                          text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 'href="plugins.html"' in (tmp_path / "kubernetes.html").read_text()
    assert 'href="measuring.html"' in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize("words", ["run --no-such-option", "run --ranks", "no-such-command", "run --ops no_such_op"])
def test_a_wrong_command_is_noticed(words):
    name, _, rest = words.partition(" ")
    with pytest.raises((AssertionError, click.ClickException)):
        check_values(subcommand(name), rest)
