"""Where a command measures: on the accelerators of this host, or on its CPUs if they are asked for or all there is.

A host whose accelerators torch cannot use is refused, with the reason: its CPUs are rarely what was meant.
"""

import math
import os
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.util import find_spec
from typing import NamedTuple

import msgspec

from collbench.collectives.device_files import HostAccelerators, compute_capability, find_device_files
from collbench.collectives.errors import UsageError
from collbench.collectives.topology import Accelerators, find_accelerators

from .bootstrap import BUILT_FOR, probe
from .torch_wheels import choose_wheel, index_url, least_driver

__all__ = ["TorchBuild", "Unusable", "accelerators_for", "check_ranks", "every", "find_unusable", "why_unusable"]

_TYPES = {"NVIDIA": "cuda", "AMD": "cuda", "Intel": "xpu", "Ascend": "npu", "Habana": "hpu"}     # as torch names them
_VISIBLE = {"NVIDIA": ("CUDA_VISIBLE_DEVICES",), "Ascend": ("ASCEND_RT_VISIBLE_DEVICES",),
            "AMD": ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
            "Intel": ("ZE_AFFINITY_MASK", "ONEAPI_DEVICE_SELECTOR")}
_ABSENT = "not installed"
_LONGEST = 200      # characters of torch's own message
_PROBE = """
import json, sys
import torch
try:
    torch.zeros(1, device={type!r})
    error = None
except Exception as failure:
    error = (str(failure).strip().splitlines() or [type(failure).__name__])[0]
built_for = {{name: getattr(torch.version, name, None) for name in ("cuda", "hip", "xpu")}}
with open(sys.argv[1], "w") as answer:
    json.dump({{"version": str(torch.__version__), "built_for": built_for, "error": error}}, answer)
"""


class TorchBuild(msgspec.Struct, frozen=True, kw_only=True):
    """What torch says of itself.

    Args:
        version: None if it is not installed or does not load; `failure` says why.
        built_for: versions of cuda, hip and xpu that it was built with; None for those that it was built without.
        error: its message when it was asked for memory on the device; None if it gave some.
    """

    version: str | None = None
    failure: str = ""
    built_for: Mapping[str, str | None] = {}
    error: str | None = None


class Unusable(NamedTuple):
    """Accelerators that torch cannot use: which and why, and what to do about it."""

    found: str
    do: str


@cache
def accelerators_for(device: str) -> Accelerators | None:
    """The accelerators that ranks use with `--device DEVICE`; None if they use host memory.

    UsageError: this host has accelerators that torch cannot use, and `device` is not `cpu`.
    """
    if device == "cpu":
        return None
    usable = find_accelerators()
    lost = find_unusable(usable)
    if lost:
        raise UsageError(f"{lost.found}; {lost.do}; to measure the CPUs instead, pass --device cpu")
    return usable


def check_ranks(ranks: int, usable: Accelerators | None, hosts: int = 1) -> None:
    """UsageError if two of `ranks` ranks of torch, spread evenly over the hosts, would share an accelerator."""
    if usable and ranks > usable.count * hosts:
        there = f"{usable.count} {usable.kind} device(s)" + (f" on each of {hosts} hosts" if hosts > 1 else "")
        raise UsageError(f"{ranks} ranks for {there}: two ranks cannot share one; start fewer ranks, or measure the "
                         "CPUs with --device cpu")


def every(stride: int, usable: Accelerators | None) -> Accelerators | None:
    """Those that ranks take with `--device-stride STRIDE`."""
    return usable and usable._replace(count=math.lcm(usable.count, stride) // stride)


def find_unusable(usable: Accelerators | None, environment: Mapping[str, str] = os.environ) -> Unusable | None:
    """Why torch uses none of the accelerators of this host; None if it uses some or there are none.

    `usable` is the answer of `find_accelerators`.
    """
    here = None if usable else find_device_files()
    return why_unusable(here, _ask_torch(here), environment, _capability(here)) if here else None


def why_unusable(here: HostAccelerators, torch: TorchBuild, environment: Mapping[str, str] = os.environ,
                 capability: tuple[int, int] | None = None) -> Unusable:
    """The most likely reason why torch does not find these accelerators, as far as it can be known."""
    install = partial(_install, here, capability)
    more = f" and {len(here.files) - 1} more" if len(here.files) > 1 else ""
    why, do = (_not_loaded(torch, install) or _not_permitted(here) or _built_for_others(here, torch, install)
               or _hidden(here, environment) or _unknown(here, torch, install))
    return Unusable(f"torch cannot use the {here.vendor} devices of this host ({here.files[0]}{more}): {why}", do)


def _ask_torch(here: HostAccelerators) -> TorchBuild:
    if find_spec("torch") is None:
        return TorchBuild(failure=_ABSENT)
    answer = probe(sys.executable, _PROBE.format(type=_TYPES[here.vendor]))
    return msgspec.convert(answer.facts, TorchBuild) if answer.facts else TorchBuild(failure=answer.failure)


def _capability(here: HostAccelerators) -> tuple[int, int] | None:
    return compute_capability() if here.vendor == "NVIDIA" else None


def _not_loaded(torch: TorchBuild, install: Callable[[], str]) -> tuple[str, str] | None:
    if torch.version is not None:
        return None
    if torch.failure == _ABSENT:
        return "torch is not installed", install()
    return f"torch does not load ({torch.failure[:_LONGEST]})", f"repair it, or {install()}"


def _not_permitted(here: HostAccelerators) -> tuple[str, str] | None:
    if not here.unreadable:
        return None
    return (f"this user may not open {here.unreadable[0]}",
            "join the group of that file (ls -l shows it), often render or video")


def _built_for_others(here: HostAccelerators, torch: TorchBuild, install: Callable[[], str]) -> tuple[str, str] | None:
    """A build without support for this vendor, or one that needs a newer driver."""
    name, title = BUILT_FOR.get(here.vendor, ("", ""))
    built = torch.built_for.get(name)
    if name and not built:
        return f"torch {torch.version} is built without {title}", install()
    least = least_driver(built) if built and here.vendor == "NVIDIA" else None
    if least and here.numbers and here.numbers[0] < least:
        return (f"torch {torch.version} is built for CUDA {built}, which needs driver {least} or newer, but the driver "
                f"is {here.version}", f"update the driver, or {install()}")
    return None


def _hidden(here: HostAccelerators, environment: Mapping[str, str]) -> tuple[str, str] | None:
    name = next((name for name in _VISIBLE.get(here.vendor, ()) if name in environment), None)
    return (f"{name}={environment[name]!r:.60} leaves none visible", f"correct or unset {name}") if name else None


def _unknown(here: HostAccelerators, torch: TorchBuild, install: Callable[[], str]) -> tuple[str, str]:
    said = f": {torch.error[:_LONGEST]}" if torch.error else ""
    return (f"torch {torch.version} finds none{said}",
            "collbench doctor shows what the driver reports" if here.vendor in BUILT_FOR else install())


def _install(here: HostAccelerators, capability: tuple[int, int] | None) -> str:
    """What to install."""
    wheel, why = choose_wheel(here, capability)
    if wheel is None:
        return why
    version = f"=={wheel.torch}" if wheel.torch else ""
    source = f" --index-url {index_url(wheel)}" if wheel.build else ""
    return f"install a torch for {wheel.title}: pip install --force-reinstall torch{version}{source}"
