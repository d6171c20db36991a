"""What several tests share: commands run as a user would run them, and loud skips for what is not here."""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

# No test is about how long an example takes: machines that run them are shared.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


@pytest.fixture
def collbench(tmp_path):
    """Run the collbench command in an empty directory; returns the finished process."""
    def run(*words, timeout_s=120, **environment):
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run([str(Path(sys.executable).parent / "collbench"), *map(str, words)], cwd=tmp_path,
                              text=True, capture_output=True, timeout=timeout_s, env={**clean, **environment},
                              check=False)
    return run


@pytest.fixture
def temporary(tmp_path):
    """A TMPDIR for jobs; when the test is over nothing may be left in it, nor of any ended job in shared memory."""
    rooms = tmp_path / "tmp"
    rooms.mkdir()
    shared = Path("/dev/shm")
    before = set(shared.iterdir())
    yield rooms
    assert list(rooms.iterdir()) == []
    for room in set(shared.glob("collbench-job-*")) - before:
        with suppress(FileNotFoundError):       # another job's, which has ended since
            held = os.open(room, os.O_RDONLY)
            try:
                if time.time() - os.fstat(held).st_mtime < 1:       # another job's, which is not locked yet
                    continue
                with pytest.raises(BlockingIOError):
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                os.close(held)


def _missing(need):
    """What is lacking for a transport, or None."""
    if not find_spec({"torch": "torch", "mpi": "mpi4py"}[need]):
        return f"transport {need} is not installed"
    beside = str(Path(sys.executable).parent)
    if need == "mpi" and not (shutil.which("mpirun", path=beside) or shutil.which("mpirun")):
        return "no mpirun beside this Python or on the PATH"
    return None


def pytest_addoption(parser):
    parser.addoption("--only-needs", metavar="TRANSPORT", help="run only tests that need this transport")
    parser.addoption("--all", action="store_true", help="also run tests that are marked slow")
    parser.addoption("--every-fault", action="store_true", help="every fault at every phase over every launcher")


def pytest_collection_modifyitems(config, items):
    every = config.getoption("--every-fault")
    for mark, wanted in ("slow", config.getoption("--all") or every), ("every_fault", every):
        if not wanted:
            left_out = [item for item in items if item.get_closest_marker(mark)]
            items[:] = [item for item in items if item not in left_out]
            config.hook.pytest_deselected(items=left_out)
    only = config.getoption("--only-needs")
    if only:
        items[:] = [item for item in items if any(only in mark.args for mark in item.iter_markers("needs"))]


def pytest_runtest_setup(item):
    """`@pytest.mark.needs("torch")` skips loudly where there is none."""
    for mark in item.iter_markers("needs"):
        for reason in filter(None, map(_missing, mark.args)):
            pytest.skip(f"SKIPPED: {reason}")


def pytest_terminal_summary(terminalreporter):
    """A skipped test is not a passed one: say it where it is seen."""
    skipped = len(terminalreporter.stats.get("skipped", []))
    if skipped:
        terminalreporter.section(f"{skipped} TESTS WERE SKIPPED: something that they need is not on this machine")
