"""Plant bugs one at a time and see whether a test notices: `make mutants`.

A mutant is a table in mutants.toml: an area, a file, the text that is there, the text that takes its place, and the
tests that ought to fail. Each is planted in a copy of the tree, which has an environment of its own, so that the
command line and started ranks run the planted bug too. A mutant that no longer applies is an error: the list has to
follow the code.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "tools" / "mutants.toml"
ROOMS = ("collectives", "launch", "analysis")
LIMIT_S = 600       # of one mutant; a test that no longer ends has noticed too


class Mutant(NamedTuple):
    """One planted bug.

    Args:
        name: what is wrong, in a few words.
        area: the row of the summary that it counts in.
        file: from the root of the repository.
        old, new: `old` occurs exactly once in the file; `new` takes its place.
        tests: arguments of pytest.
        equivalent: why no user could notice; such a mutant may survive.
    """

    name: str
    area: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    equivalent: str | None = None


class Verdict(NamedTuple):
    """What became of a mutant: killed, survived, or stale where the text to replace is not there."""

    mutant: Mutant
    outcome: str
    detail: str


def read_mutants(path: Path = LIST) -> list[Mutant]:
    """All mutants of the list."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    return [Mutant(**{**table, "tests": tuple(table["tests"])}) for table in document["mutant"]]


class Workplace:
    """A copy of the tracked files with a Python that imports collbench from it."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "tree"
        shutil.rmtree(folder, ignore_errors=True)
        tracked = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                                 check=True, capture_output=True, text=True).stdout.split("\0")
        for name in filter(None, tracked):
            if (ROOT / name).is_file():
                (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.tree / name)
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        self.python = folder / "venv" / "bin" / "python"
        self._install(folder)

    def _install(self, folder: Path) -> None:
        """Link the rooms into one package; everything else comes from the environment that runs this program."""
        for room in (*ROOMS, "docs"):     # its examples are in the package, too
            (self.tree / "collbench" / room).symlink_to(self.tree / room)
        site = next((folder / "venv").glob("lib/python*/site-packages"))
        (site / "mutants.pth").write_text(f"{self.tree}\n{sysconfig.get_path('purelib')}\n", encoding="utf-8")
        for library in (Path(sys.prefix) / "lib").iterdir():     # libmpi, which mpi4py looks for beside Python
            if not library.name.startswith("python"):
                (folder / "venv" / "lib" / library.name).symlink_to(library)
        for script in Path(sys.executable).parent.iterdir():     # mpirun, which tests look for beside Python
            here = self.python.parent / script.name
            if script.name == "collbench":
                here.write_text(f"#!{self.python}\nfrom collbench.launch.cli import main\nmain()\n", encoding="utf-8")
                here.chmod(0o755)
            elif not here.exists():
                here.symlink_to(script)

    def run(self, tests: Iterable[str], limit_s: float | None = None) -> subprocess.CompletedProcess[str]:
        """Run pytest in the copy, slow tests too, until the first failure. TimeoutExpired after `limit_s` seconds."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        cache = f"cache_dir={ROOT / 'build' / 'mutants' / 'cache'}"      # of the compiled test device
        return subprocess.run([str(self.python), "-m", "pytest", "--all", "-x", "-q", "-o", cache, *tests],
                              cwd=self.tree, text=True, capture_output=True, timeout=limit_s, check=False,
                              env={**environment, "PYTHONDONTWRITEBYTECODE": "1"})

    def judge(self, mutant: Mutant) -> Verdict:
        """Plant one bug, run its tests, mend it again."""
        path = self.tree / mutant.file
        source = path.read_text(encoding="utf-8")
        if source.count(mutant.old) != 1:
            return Verdict(mutant, "stale", f"the text is {source.count(mutant.old)} times in {mutant.file}")
        path.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")
        try:
            done = self.run(mutant.tests, LIMIT_S)
        except subprocess.TimeoutExpired:
            return Verdict(mutant, "killed", f"no end after {LIMIT_S} s")
        finally:
            path.write_text(source, encoding="utf-8")
        if done.returncode == 1:
            failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
            return Verdict(mutant, "killed", failed[0][:160] if failed else "")
        if done.returncode == 0:
            return Verdict(mutant, "survived", "")
        return Verdict(mutant, "killed" if done.returncode == 2 else "stale", done.stdout[-300:] + done.stderr[-300:])


def judge_all(mutants: list[Mutant], workers: int) -> Iterator[Verdict]:
    """Verdicts in the order of the list; `workers` copies of the tree are used at once."""
    free: Queue[Workplace] = Queue()
    for number in range(workers):
        free.put(Workplace(ROOT / "build" / "mutants" / str(number)))

    def one(mutant: Mutant) -> Verdict:
        place = free.get()
        try:
            return place.judge(mutant)
        finally:
            free.put(place)

    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(one, mutants)


def main() -> int:
    """Judge the mutants; exit status 1 where one survives that a user would meet, or no longer applies."""
    parser = argparse.ArgumentParser(description="Plant bugs one at a time and see whether a test notices.")
    parser.add_argument("-k", dest="words", default="", help="only mutants whose name, area or file matches this")
    parser.add_argument("--workers", type=int, default=2, help="copies of the tree at once (default: 2)")
    options = parser.parse_args()
    chosen = [mutant for mutant in read_mutants()
              if re.search(options.words, f"{mutant.name} {mutant.area} {mutant.file}")]
    if not chosen:
        parser.error(f"-k {options.words}: no mutant matches")
    clean = Workplace(ROOT / "build" / "mutants" / "0").run(dict.fromkeys(test for one in chosen for test in one.tests))
    if clean.returncode:
        print(clean.stdout[-3000:], f"the tests fail without any planted bug (status {clean.returncode})", sep="\n")
        return 2
    verdicts = []
    for verdict in judge_all(chosen, options.workers):
        verdicts.append(verdict)
        print(f"{verdict.outcome:<9} {verdict.mutant.area}: {verdict.mutant.name}  {verdict.detail}", flush=True)
    for area in dict.fromkeys(verdict.mutant.area for verdict in verdicts):
        those = [verdict for verdict in verdicts if verdict.mutant.area == area]
        print(f"{area}: {sum(verdict.outcome == 'killed' for verdict in those)} of {len(those)} killed")
    killed = sum(verdict.outcome == "killed" for verdict in verdicts)
    print(f"{killed} of {len(verdicts)} killed ({killed / max(1, len(verdicts)):.0%})")
    open_ = [verdict for verdict in verdicts if verdict.outcome != "killed" and not verdict.mutant.equivalent]
    return 1 if open_ else 0


if __name__ == "__main__":
    sys.exit(main())
