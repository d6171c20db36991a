"""What several tests share: commands run as a user would run them, and loud skips for what is not here."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def collbench(tmp_path):
    """Run the collbench command in an empty directory; returns the finished process."""
    def run(*words, timeout_s=120, **environment):
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run([str(Path(sys.executable).parent / "collbench"), *map(str, words)], cwd=tmp_path,
                              text=True, capture_output=True, timeout=timeout_s, env={**clean, **environment},
                              check=False)
    return run


def needs(transport):
    """Skip mark for what a transport needs; said in the summary of the run."""
    package = {"torch": "torch", "mpi": "mpi4py"}[transport]
    here = bool(find_spec(package))
    if transport == "mpi":
        beside = str(Path(sys.executable).parent)
        here = here and bool(shutil.which("mpirun", path=beside) or shutil.which("mpirun"))
    return pytest.mark.skipif(not here, reason=f"SKIPPED: transport {transport} is not installed")


def pytest_terminal_summary(terminalreporter):
    """A skipped test is not a passed one: say it where it is seen."""
    skipped = len(terminalreporter.stats.get("skipped", []))
    if skipped:
        terminalreporter.section(f"{skipped} TESTS WERE SKIPPED: something that they need is not on this machine")
