"""Type-check the whole package: `make types`.

mypy looks for modules where their names say that they are, and `collbench.analysis` lies in analysis/ of the
repository; so it is shown a folder of links that looks like the installed package. Folders listed in BUDGET may still
have that many errors; the number may only fall. Everything else has none, under `strict`.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("collectives", "launch", "analysis")
BUDGET = ROOT / "tools" / "type_budget.txt"     # a line a folder: its path and the errors it may have
_ERROR = re.compile(r"^(?P<file>[^:]+\.py):\d+(?::\d+)?: error:")


def package_of_links() -> Path:
    """build/types/collbench, as it would be installed; returns the folder that holds it."""
    package = ROOT / "build" / "types" / "collbench"
    package.mkdir(parents=True, exist_ok=True)
    wanted = {room: ROOT / room for room in ROOMS}
    wanted |= {path.name: path for path in (ROOT / "collbench").iterdir() if path.suffix in (".py", ".typed")}
    for link in package.iterdir():
        if link.is_symlink() and link.name not in wanted:
            link.unlink()
    for name, target in wanted.items():
        link = package / name
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(target, package))
    return package.parent


def errors() -> list[str]:
    """Errors of mypy, with paths from the root of the repository."""
    folder = package_of_links()
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "-p", "collbench"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False,
                          env={**os.environ, "MYPYPATH": str(folder)})
    if done.returncode not in (0, 1):
        sys.exit(done.stdout + done.stderr)
    prefix = re.compile(r"^build/types/(collbench/(?=\w+\.py)|collbench/)")
    lines = [prefix.sub(lambda found: "collbench/" if found[0].endswith("x/") else "", line)
             for line in done.stdout.splitlines()]
    return [line for line in lines if _ERROR.match(line)]


def budget() -> dict[str, int]:
    """Errors that a folder may still have."""
    lines = (line.split() for line in BUDGET.read_text(encoding="utf-8").splitlines())
    return {words[0]: int(words[1]) for words in lines if words and not words[0].startswith("#")}


def main(words: list[str]) -> int:
    """Compare with the budget; `--list [PATH]` prints every error, of one folder or file."""
    found = errors()
    if words[:1] == ["--list"]:
        print("\n".join(line for line in found if line.startswith(tuple(words[1:] or [""]))))
        return 0
    allowed = budget()
    counts = Counter(str(Path(line.partition(":")[0]).parent) for line in found)
    status = 0
    for folder in sorted({*counts, *allowed}):
        have, may = counts[folder], allowed.get(folder, 0)
        if have > may:
            print("\n".join(line for line in found if str(Path(line.partition(":")[0]).parent) == folder))
            print(f"{folder}: {have} type errors, at most {may} allowed")
            status = 1
        elif have < may:
            print(f"{folder}: {have} type errors, {may} allowed: lower {BUDGET.relative_to(ROOT)}")
            status = 1
    print(f"types: {len(found)} errors, {sum(allowed.values())} allowed")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
