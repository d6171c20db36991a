"""What to measure in one launch of the ranks, as a value: the sweeps of `bench`, `check` and `links`."""

import random
import sys
from pathlib import Path

import msgspec

from collbench.collectives.cases import catalog
from collbench.collectives.cases.case import Sweep, size_range
from collbench.collectives.options import RunConfig
from collbench.collectives.records.record import Policy

__all__ = ["CPU_SIZES", "DEVICE_SIZES", "Workload", "display_mode", "random_seed", "typed_command"]

CPU_SIZES = size_range(32, 1 << 20, 8)
DEVICE_SIZES = size_range(1 << 10, 1 << 30, 4)


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """Operations, sizes and how to measure them; independent of transport and machine.

    Args:
        ops: operations; the empty call, which measures the harness, is added.
        device_ops: further operations if the buffers are on an accelerator.
        sizes: message sizes in bytes; None for those that suit the device.
        device_sizes: sizes instead of these if the buffers are on an accelerator; empty for the same.
        group_ranks: rank counts; empty for the default curve.
        curve_ends: measure only the ends of the default curve, two ranks and all.
        whole: never leave out cases to fit the time.
    """

    ops: tuple[str, ...] = catalog.GROUPS["all"]
    device_ops: tuple[str, ...] = ()
    sizes: tuple[int, ...] | None = None
    device_sizes: tuple[int, ...] = ()
    group_ranks: tuple[int, ...] = ()
    curve_ends: bool = False
    whole: bool = False
    dtypes: tuple[str, ...] = ("float32",)
    redops: tuple[str, ...] = ("sum",)
    policy: Policy = Policy()

    def sweep(self, on_device: bool, seed: int | None) -> Sweep:
        """The recipe for the cases, shuffled by `seed`."""
        ops = tuple(dict.fromkeys((*self.ops, *(self.device_ops if on_device else ()))))
        sizes = self.sizes or (DEVICE_SIZES if on_device else CPU_SIZES)
        return Sweep(ops=ops if "noop" in ops else ("noop", *ops), sizes=sizes, ranks=self.group_ranks,
                     dtypes=self.dtypes, redops=self.redops, seed=seed)

    def at(self, ranks: int) -> "Workload":
        """The workload in a job of `ranks` ranks."""
        return msgspec.structs.replace(self, group_ranks=tuple(sorted({2, ranks}))) if self.curve_ends else self

    def config(self, transport: str, out: Path, *, on_device: bool, budget_s: float | None = None,
               resume: bool = False, device: str = "auto", backend: str | None = None) -> RunConfig:
        """The configuration of a run that writes into `out`, its cases in random order."""
        either = self.sizes is None and not on_device and device != "cpu"
        device_sizes = self.device_sizes or (DEVICE_SIZES if either else ())
        return RunConfig(transport=transport, device=device, backend=backend, policy=self.policy,
                         device_sizes=device_sizes,
                         sweep=self.sweep(on_device, random_seed()), journal=out / "journal.jsonl", budget_s=budget_s,
                         command=typed_command(), display=display_mode(), resume="same" if resume else "never")


def random_seed() -> int:
    """A seed for the order of the cases; the journal records it."""
    return random.SystemRandom().randrange(1 << 31)


def typed_command() -> tuple[str, ...]:
    """The command line of this process, for the journal."""
    return ("collbench", *sys.argv[1:])


def display_mode() -> str:
    """How rank 0 shows its progress: ranks cannot tell whether their output reaches a terminal, this process can."""
    return "live" if sys.stdout.isatty() else "plain"
