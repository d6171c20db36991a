"""The tests that hold MPI to its contract once more, under MPICH: an environment of its own, where it is the only MPI.

    python tests/test_launch_mpich.py [OPTION OF PYTEST...]     every test that needs MPI, and not only the shortest

The environment is kept in build/; it has MPICH and mpi4py, and sees everything else where these tests run.
"""

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOME = ROOT / "build" / f"mpich-{sysconfig.get_platform()}-{sysconfig.get_python_version()}"
SCRIPT = "import sys\nfrom collbench.launch.cli import main\nsys.argv[0] = 'collbench'\nmain()\n"
# What MPI itself is asked for, or how its ranks are started; the rest of the set is the same code over other calls.
FILES = ("collectives_ranks", "collectives_rendezvous", "launch_launchers")
ELSEWHERE = "not local and not torchrun"       # launchers that start no MPI
pytestmark = [pytest.mark.slow, pytest.mark.mpich, pytest.mark.ranks, pytest.mark.needs("mpi")]


def environment():
    return {name: value for name, value in os.environ.items()
            if name != "PYTHONPATH" and not name.startswith(("MPI4PY_", "OMPI_", "PYTEST_"))}


def run(*words, timeout_s=300):
    return subprocess.run([str(word) for word in words], cwd=ROOT, capture_output=True, text=True, timeout=timeout_s,
                          check=False, env=environment())


def make():
    """The interpreter of the environment, made when it is not there. LookupError where there is no MPICH to be had."""
    python = HOME / "bin" / "python"
    if not (HOME / "bin" / "collbench").exists():
        wanted = ["mpich>=5", f"mpi4py=={importlib.metadata.version('mpi4py')}"]
        for words in ((sys.executable, "-m", "venv", "--clear", "--without-pip", HOME),
                      (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps",
                       "--only-binary", ":all:", *wanted)):
            done = run(*words)
            if done.returncode:
                raise LookupError(f"no MPICH to be had: {(done.stderr.strip() or 'no reason').splitlines()[-1]}")
        site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
        here = sysconfig.get_path("purelib")
        (site / "outer.pth").write_text(f"import site; site.addsitedir({here!r})\n")
        script = HOME / "bin" / "collbench"
        script.write_text(f"#!{python}\n{SCRIPT}")
        script.chmod(0o755)
    said = run(python, "-c", "from mpi4py import MPI; print(MPI.Get_library_version())").stdout
    assert "MPICH" in said, f"{HOME} is not an environment with MPICH; remove it. It says: {said[:200]}"
    return python


def pytest_words(python):
    return [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--all", "--only-needs", "mpi"]


def test_mpi_keeps_its_contract_under_mpich_too():
    try:
        python = make()
    except LookupError as error:
        pytest.skip(f"SKIPPED: {error}")
    done = run(*pytest_words(python), "-k", ELSEWHERE, *(f"tests/test_{name}.py" for name in FILES), timeout_s=400)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


if __name__ == "__main__":
    words = [*map(str, pytest_words(make())), f"--ignore={Path(__file__).relative_to(ROOT)}", "tests"]
    sys.exit(subprocess.call([*words, *sys.argv[1:]], cwd=ROOT, env=environment()))
