"""NVML through its Python bindings (pip install nvidia-ml-py), versions 12.535 to 13.x.

Bindings and drivers of different age lack functions, rename structures and decode bytes; GPUs fail one at a time.
So every query may fail, and none of them ends a run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from .host_files import System

__all__ = ["Gpu", "Nvml", "bus_address", "have_nvidia", "open_nvml", "text"]

class Gpu(NamedTuple):
    """A GPU that answers: its number in NVML's order, its handle, name, unique identity and PCI address."""

    number: int
    handle: Any
    name: str
    uuid: str
    bus: str


class Nvml:
    """An initialised NVML; `bindings` is the module."""

    def __init__(self, bindings: Any) -> None:
        self.bindings = bindings

    def query(self, function: str, *arguments: object) -> Any | None:
        """The result of an NVML function; None if bindings, driver or device do not have it, or fail."""
        try:
            return getattr(self.bindings, function)(*arguments)
        except Exception:       # NVMLError, a missing name, or a value that these bindings cannot convert
            return None

    def gpus(self, notes: list[str]) -> list[Gpu]:
        """The GPUs that answer; adds a note for each that does not, such as one that fell off the bus."""
        count, found = self.query("nvmlDeviceGetCount"), []
        if count is None:
            notes.append("NVML: the number of GPUs cannot be queried")
        for number in range(count or 0):
            try:
                handle = self.bindings.nvmlDeviceGetHandleByIndex(number)
                found.append(Gpu(number, handle, text(self.bindings.nvmlDeviceGetName(handle)),
                                 text(self.bindings.nvmlDeviceGetUUID(handle)),
                                 bus_address(self.bindings.nvmlDeviceGetPciInfo(handle))))
            except Exception as error:      # as in `query`; the other GPUs are still described
                notes.append(f"NVML: GPU {number}: {error or type(error).__name__}")
        return found


def have_nvidia(system: System) -> bool:
    """Whether the driver has made a device file for at least one GPU."""
    return any((system.root / "dev").glob("nvidia[0-9]*"))


@contextmanager
def open_nvml(system: System, notes: list[str]) -> Iterator[Nvml | None]:
    """NVML for the time of a `with` block; None, and a note that says why, if it cannot be used."""
    bindings = system.load("pynvml")
    if bindings is None:
        notes.append("NVIDIA devices found, but nvidia-ml-py is not installed: NVLink was not probed "
                     "(pip install 'collbench[nvidia]')")
        yield None
        return
    try:
        bindings.nvmlInit()
    except Exception as error:      # no driver, a driver of another version than the library, no permission
        notes.append(f"NVML: {error or type(error).__name__}")
        yield None
        return
    nvml = Nvml(bindings)
    try:
        yield nvml
    finally:
        nvml.query("nvmlShutdown")


def bus_address(info: Any) -> str:
    """The PCI address as in sysfs; NVML prints eight digits of the PCI domain, in capitals."""
    domain, _, rest = text(info.busId).lower().partition(":")
    return f"{domain[-4:]}:{rest}"


def text(value: object) -> str:
    """A string of NVML, which older bindings return as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
