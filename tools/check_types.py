"""Type-check the package and the tools with mypy: `make types`.

mypy derives the name of a module from its path, but collbench.analysis is in analysis/ of the repository. So it reads a
folder of links, build/types/collbench, that is laid out like the installed package.

A folder listed in type_budget.txt may still have that many errors, and the number may only fall. All others have none.
"""

import argparse
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("collectives", "launch", "analysis")
LINKS = Path("build", "types", "collbench")
ALSO = ("tools",)
BUDGET = ROOT / "tools" / "type_budget.txt"     # a line per folder: its path and the errors it may have
_ERROR = re.compile(r"(?P<file>[^:]+\.py):\d+(?::\d+)?: error:")


def link_package() -> None:
    """Make LINKS hold every room and every file of collbench/, and nothing else."""
    package = ROOT / LINKS
    package.mkdir(parents=True, exist_ok=True)
    targets = [*(ROOT / room for room in ROOMS), *(ROOT / "collbench").glob("*.*")]
    wanted = {target.name: os.path.relpath(target, package) for target in targets}
    for link in package.iterdir():
        if link.is_symlink() and wanted.get(link.name) != os.readlink(link):
            link.unlink()
    for name, target in wanted.items():
        if not (package / name).is_symlink():
            (package / name).symlink_to(target)


def source_of(path: str) -> str:
    """A path below LINKS as the path in the repository that it stands for."""
    inside = path.removeprefix(f"{LINKS}/")
    return inside if inside == path or inside.split("/")[0] in ROOMS else f"collbench/{inside}"


def find_errors() -> list[str]:
    """Error lines of mypy, with the paths of the sources. Exits where mypy itself fails."""
    link_package()
    done = subprocess.run([sys.executable, "-m", "mypy", "--no-error-summary", str(LINKS), *ALSO], cwd=ROOT, text=True,
                          capture_output=True, check=False, env={**os.environ, "MYPYPATH": str(LINKS.parent)})
    if done.returncode not in (0, 1):
        sys.exit(done.stdout + done.stderr)
    found = [(match["file"], line) for line in done.stdout.splitlines() if (match := _ERROR.match(line))]
    return [source_of(file) + line.removeprefix(file) for file, line in found]


def read_budget() -> dict[str, int]:
    """Errors that a folder may still have."""
    lines = (line.split() for line in BUDGET.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    return {folder: int(count) for folder, count in filter(None, lines)}


def folder_of(error: str) -> str:
    """The folder that an error counts in."""
    return str(Path(error.partition(":")[0]).parent)


def compare_with_budget(errors: list[str], budget: dict[str, int]) -> bool:
    """Print what is not as the budget says; returns whether all is."""
    counts = Counter(map(folder_of, errors))
    differ = [folder for folder in sorted({*counts, *budget}) if counts[folder] != budget.get(folder, 0)]
    for folder in differ:
        have, allowed = counts[folder], budget.get(folder, 0)
        if have > allowed:
            print(*(error for error in errors if folder_of(error) == folder), sep="\n")
            print(f"{folder}: {have} type errors, {allowed} allowed")
        else:
            print(f"{folder}: {have} type errors, {allowed} allowed: lower {BUDGET.relative_to(ROOT)}")
    print(f"types: {len(errors)} errors, {sum(budget.values())} allowed")
    return not differ


def main() -> int:
    """Exit status 1 where the number of errors in a folder is not what the budget says."""
    parser = argparse.ArgumentParser(description="Type-check the package and the tools.")
    parser.add_argument("--list", nargs="?", const="", metavar="PATH", help="print every error, or those below PATH")
    below = parser.parse_args().list
    errors = find_errors()
    if below is not None:
        print(*(error for error in errors if error.startswith(below)), sep="\n")
        return 0
    return 0 if compare_with_budget(errors, read_budget()) else 1


if __name__ == "__main__":
    sys.exit(main())
