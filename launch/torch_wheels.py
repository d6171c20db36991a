"""The wheels of torch that PyTorch publishes, and the one that suits the accelerators of this host.

Standard library only: set-up runs this before anything is installed. Sources of the table:

- builds per release, and the GPUs they hold code for: pytorch/pytorch, RELEASE.md ("PyTorch CUDA Support Matrix") and
  issue 178665. Of torch 2.13: CUDA 12.6, 13.0 (which PyPI has) and 13.2, ROCm 7.1 and 7.2, XPU. CUDA 12.8, the last
  CUDA 12 with code for Blackwell, ended with torch 2.11, which does not install beside setuptools 82 or newer.
- drivers: NVIDIA, "CUDA Compatibility", minor version compatibility: CUDA 12.x needs 525, CUDA 13.x needs 580.
- ROCm, "User and kernel-space support matrix": user space, which the wheels contain, works with drivers of ROCm up to
  two releases older or newer.
"""

from typing import NamedTuple

from collbench.collectives.device_files import HostAccelerators

__all__ = ["Wheel", "choose_wheel", "index_url", "least_driver"]

_INDEX = "https://download.pytorch.org/whl/"
_LEAST_DRIVER = {11: (450,), 12: (525,), 13: (580,)}        # by the major version of CUDA
_HOPPER, _BLACKWELL = (9, 0), (10, 0)
_FIRST_BLACKWELL_DRIVER = (570,)


class Wheel(NamedTuple):
    """One build of torch.

    Args:
        build: its name at download.pytorch.org/whl; empty for the build on PyPI.
        torch: version of torch; None for the one in constraints.txt.
        least: oldest version that runs it: of the NVIDIA driver, or of ROCm.
        capabilities: oldest and newest compute capability that it holds code for; None for no limit.
        title: what it was built for.
    """

    vendor: str
    build: str
    torch: str | None
    least: tuple[int, ...]
    title: str
    capabilities: tuple[tuple[int, int], tuple[int, int] | None] | None = None


# In order of preference.
_WHEELS = (
    Wheel("NVIDIA", "", None, _LEAST_DRIVER[13], "CUDA 13.0", ((7, 5), None)),
    Wheel("NVIDIA", "cu126", None, _LEAST_DRIVER[12], "CUDA 12.6", ((5, 0), _HOPPER)),
    Wheel("NVIDIA", "cu128", "2.10.0", _LEAST_DRIVER[12], "CUDA 12.8", ((7, 5), None)),
    Wheel("AMD", "rocm7.2", None, (7, 2), "ROCm 7.2"),
    Wheel("AMD", "rocm7.1", None, (7, 1), "ROCm 7.1"),
    Wheel("AMD", "rocm7.0", "2.10.0", (7, 0), "ROCm 7.0"),
    Wheel("AMD", "rocm6.4", "2.9.1", (6, 2), "ROCm 6.4"),
    Wheel("Intel", "xpu", None, (), "XPU"),
)


def choose_wheel(found: HostAccelerators, capability: tuple[int, int] | None = None) -> tuple[Wheel | None, str]:
    """The wheel for these accelerators, and why it or none.

    `capability` is that of an NVIDIA GPU; if it is None, a driver that is new enough for Blackwell is taken to have it.
    A version that is unknown is taken to be the newest.
    """
    rows = [wheel for wheel in _WHEELS if wheel.vendor == found.vendor]
    if not rows:
        return None, _without_wheel(found.vendor)
    version, what = found.numbers, "driver" if found.vendor == "NVIDIA" else "ROCm"
    if capability is None and found.vendor == "NVIDIA" and version:
        capability = _HOPPER if version < _FIRST_BLACKWELL_DRIVER else _BLACKWELL
    wheel = next((row for row in rows if (version is None or version >= row.least) and _has_code(row, capability)),
                 None)
    least = min(row.least for row in rows)
    said = (f"the version of {what} is unknown" if version is None else f"{what} {found.version}") if least else ""
    if wheel is None and version is not None and version < least:
        return None, (f"{said} is too old for any wheel of torch that collbench can use: {what} "
                      f"{'.'.join(map(str, least))} or newer is needed")
    if wheel is None:
        return None, f"no wheel of torch runs on {said} and has code for compute capability {_dotted(capability)}"
    return wheel, f"{found.vendor} devices" + (f", {said}" if said else "")


def least_driver(cuda: str) -> int | None:
    """The oldest major version of the NVIDIA driver that runs a torch built for this CUDA; None if unknown."""
    major = cuda.partition(".")[0]
    row = _LEAST_DRIVER.get(int(major)) if major.isdigit() else None
    return row[0] if row else None


def index_url(wheel: Wheel) -> str:
    """Where pip finds it; empty for PyPI."""
    return f"{_INDEX}{wheel.build}" if wheel.build else ""


def _has_code(wheel: Wheel, capability: tuple[int, int] | None) -> bool:
    if wheel.capabilities is None or capability is None:
        return True
    oldest, newest = wheel.capabilities
    return oldest <= capability and (newest is None or capability <= newest)


def _without_wheel(vendor: str) -> str:
    if vendor == "Ascend":
        return ("PyTorch publishes no wheel for Ascend: install torch_npu and the torch that it is built for, "
                "which gitcode.com/Ascend/pytorch lists for each CANN")
    return f"PyTorch publishes no wheel for {vendor}: install the vendor's extension and the torch that it is built for"


def _dotted(numbers: tuple[int, ...] | None) -> str:
    return "?" if numbers is None else ".".join(map(str, numbers))
