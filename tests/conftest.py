"""What several tests share: commands run as a user would run them, and loud skips for what is not here."""

import fcntl
import hashlib
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

from collbench.collectives.native.build import find_mpicc

# No test is about how long an example takes: machines that run them are shared.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

# readline, which pytest imports, sets it for processes started later; but what is not a terminal has no width.
os.environ.pop("COLUMNS", None)

HERE = Path(__file__).parent
DEVICE_SOURCE = HERE / "third_party_device.cpp"
DEVICE_LOADER = """
import importlib.util, os
def load():
    spec = importlib.util.spec_from_file_location("third_party_device", os.environ["DEMO_PROGRAM"])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.prepare(os.environ["DEMO_LIBRARY"])
"""


@pytest.fixture
def collbench(tmp_path):
    """Run the collbench command in an empty directory; returns the finished process."""
    def run(*words, timeout_s=240, **environment):
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


@pytest.fixture
def mpi_shim(tmp_path):
    """Compile C code that defines MPI functions and may call PMPI ones; loaded before MPI, it takes their place."""
    def build(code):
        compiler = find_mpicc()
        if compiler is None:
            pytest.skip("SKIPPED: no mpicc here")
        (tmp_path / "shim.c").write_text(f"#include <mpi.h>\n{code}")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "shim.so", tmp_path / "shim.c"], check=True)
        return tmp_path / "shim.so"
    return build


@pytest.fixture(scope="session")
def device(pytestconfig):
    """The compiled library, kept in pytest's cache as long as source and torch stay the same."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("SKIPPED: no C++ compiler, so no test device")
    home, version, python = subprocess.run(
        [sys.executable, "-c", "import sysconfig, torch; print(torch.__path__[0], torch.__version__, "
                               "sysconfig.get_path('include'))"],
        capture_output=True, text=True, check=True).stdout.split()
    digest = hashlib.sha256(DEVICE_SOURCE.read_bytes() + version.encode() + python.encode()).hexdigest()[:16]
    library = Path(pytestconfig.cache.mkdir("third-party-device")) / f"demo-{digest}.so"
    if not library.exists():
        draft = library.with_suffix(f".{os.getpid()}")
        done = subprocess.run(
            [compiler, "-std=c++20", "-O1", "-shared", "-fPIC", "-w", f"-I{home}/include", f"-I{python}",
             f"-I{home}/include/torch/csrc/api/include", str(DEVICE_SOURCE), "-o", str(draft), f"-L{home}/lib",
             "-ltorch", "-ltorch_cpu", "-ltorch_python", "-lc10", f"-Wl,-rpath,{home}/lib"],
            capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"SKIPPED: the device does not compile against torch {version}: {done.stderr[:400]}")
        draft.replace(library)
    return library


@pytest.fixture
def device_variables(device, tmp_path):
    """Variables with which torch loads the test device by itself, as it loads torch_npu."""
    site = tmp_path / "site"
    (site / "demo-1.dist-info").mkdir(parents=True)
    (site / "demo_loader.py").write_text(DEVICE_LOADER)
    (site / "demo-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: demo\nVersion: 1\n")
    (site / "demo-1.dist-info" / "entry_points.txt").write_text("[torch.backends]\ndemo = demo_loader:load\n")
    return {"PYTHONPATH": os.pathsep.join([str(HERE.parent), str(site)]), "DEMO_LIBRARY": str(device),
            "DEMO_PROGRAM": str(HERE / "third_party_device.py")}


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
