"""Models whose communication can be derived: facts of their public configuration, as data with sources.

A shipped workload is one file in analysis/data/workload/models, which gives it its name. A user's file has the same
form.
"""

import difflib
import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

import msgspec

from collbench.collectives.cases.call_files import ENDINGS, read_calls
from collbench.collectives.cases.calls import CallList
from collbench.collectives.cases.mesh import Mesh, parse_mesh
from collbench.collectives.errors import UsageError

from ..text.safe_text import safe_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["ALL_RANKS", "AXES", "Extra", "Model", "Number", "Phase", "Workload", "load_workloads", "workload_named"]

AXES = ("tp", "ep", "fsdp", "dp", "pp")      # from the innermost out: neighbouring ranks share the first
ALL_RANKS = "all"        # of a call that no axis makes
_LIST = re.compile(r"^\s*\[\[call\]\]", re.MULTILINE)
_MOST_BYTES = 1 << 20


class Number(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number of a model's configuration with its source."""

    value: float
    source: str

    def __post_init__(self) -> None:
        if not 0 <= self.value < 1e15:
            raise ValueError(f"must be 0 or more, not {self.value:g}")


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes of a transformer. None: it has none of these.

    Args:
        layers: all of them; `dense_layers` of these, the first ones, have no experts.
        intermediate: width of the dense feed-forward part; `expert_intermediate` that of one expert.
        experts: routed experts of a layer; `experts_per_token` (top-k) of these see each token.
        activation_bytes: of one element of what layers hand on.
    """

    hidden: Number
    layers: Number
    heads: Number
    kv_heads: Number
    head_dim: Number
    intermediate: Number
    vocab: Number
    activation_bytes: Number
    dense_layers: Number | None = None
    experts: Number | None = None
    experts_per_token: Number | None = None
    expert_intermediate: Number | None = None

    def __post_init__(self) -> None:
        if (self.experts is None) != (self.experts_per_token is None):
            raise ValueError("experts and experts_per_token go together")
        if self.dense_layers is not None and self.dense_layers.value > self.layers.value:
            raise ValueError("more dense_layers than layers")

    @property
    def moe_layers(self) -> int:
        """Layers with experts."""
        dense = self.dense_layers.value if self.dense_layers else 0
        return int(self.layers.value - dense) if self.experts else 0

    @property
    def layer_parameters(self) -> float:
        """Weights of one dense layer: attention with grouped keys and values, and a gated feed-forward part."""
        wide = self.heads.value * self.head_dim.value
        narrow = self.kv_heads.value * self.head_dim.value
        return self.hidden.value * (2 * wide + 2 * narrow + 3 * self.intermediate.value)

    @property
    def embedding_parameters(self) -> float:
        """Weights of the embedding, which the head has once more."""
        return self.vocab.value * self.hidden.value


class Extra(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call that is stated rather than derived: see `collectives.cases.calls.Call`; `axis` may be `all`."""

    op: str
    bytes: int
    axis: str
    count: int = 1
    overlap: bool = False
    per_rank: bool = False
    part: str = "stated"

    def __post_init__(self) -> None:
        if self.axis not in (*AXES, ALL_RANKS):
            raise ValueError(f"axis must be one of {', '.join((*AXES, ALL_RANKS))}, not {self.axis!r}")
        if self.bytes < 0 or self.count < 1:
            raise ValueError("bytes must be 0 or more and count at least 1")


class Phase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the model is run, with the defaults of the command line.

    Args:
        tokens: of a data-parallel rank in one step; in training, of one micro-batch.
        parallel: degree of each axis.
        overlap: axes whose calls may run while the model computes.
        dispatch_bytes, combine_bytes: of one element on the way to the experts and back, with scales.
        gradient_bytes: of one element of a gradient that is reduced.
        gathered: with fsdp: weights are gathered for both directions of every micro-batch, and gradients scattered
            after it (`each pass`, PyTorch's default), or both once a step.
        sweep: degrees at which two domains are compared, by axis.
        calls: more calls of a step, or all of them where there is no model.
    """

    kind: Literal["decode", "prefill", "training"]
    tokens: int
    parallel: dict[str, int]
    source: str
    overlap: tuple[str, ...] = ()
    micro_batches: int = 1
    dispatch_bytes: Number | None = None
    combine_bytes: Number | None = None
    gradient_bytes: Number | None = None
    gathered: Literal["each pass", "once"] = "each pass"
    sweep: dict[str, tuple[int, ...]] = {}
    calls: tuple[Extra, ...] = ()

    def __post_init__(self) -> None:
        if unknown := {*self.parallel, *self.overlap, *self.sweep} - {*AXES}:
            raise ValueError(f"axes are {', '.join(AXES)}, not {', '.join(sorted(unknown))}")
        if self.tokens < 1 or self.micro_batches < 1:
            raise ValueError("tokens and micro_batches must be at least 1")


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model and the phases that it is run in; without a model, the calls of a phase are all there is."""

    title: str
    phases: dict[str, Phase]
    aliases: tuple[str, ...] = ()
    model: Model | None = None

    def __post_init__(self) -> None:
        if not self.phases:
            raise ValueError("at least one phase is needed, as [phases.decode]")
        for name, phase in self.phases.items():
            if self.model is None and not phase.calls:
                raise ValueError(f"phases.{name} has neither a model nor calls")
            if phase.kind == "training" and self.model is not None and self.model.experts is not None:
                raise ValueError(f"phases.{name}: the calls of training are derived for dense models only; state them "
                                 "as [[phases.NAME.calls]] without a model")


@cache
def load_workloads() -> Mapping[str, Workload]:
    """The shipped workloads by name."""
    folder = resources.files("collbench.analysis").joinpath("data", "workload", "models")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return {file.name.removesuffix(".toml"): _parse(file.read_text(encoding="utf-8"), file.name) for file in files}


def workload_named(name: str) -> tuple[str, Workload]:
    """The shipped workload of this name or alias, or that of a file, with its name.

    A file is a workload in TOML, or a list of calls in any form of `collectives.cases.call_files`.

    Raises:
        UsageError: there is none, or the file is invalid.
    """
    if name.endswith(".toml") and not _LIST.search(text := _read(Path(name))):
        return Path(name).stem, _parse(text, name)
    if name.endswith(ENDINGS):
        return Path(name).stem, _of_list(read_calls(Path(name)), name)
    shipped = load_workloads()
    known = {alias: key for key, workload in shipped.items() for alias in (key, *workload.aliases)}
    if name.lower() in known:
        return name.lower(), shipped[known[name.lower()]]
    close = difflib.get_close_matches(name.lower(), known, 3, 0.5)
    meant = f": did you mean {', '.join(close)}?" if close else ""
    raise UsageError(f"there is no workload {name!r}{meant} (known: {', '.join(known)}; or a file of your own, "
                     f"ending in {', '.join(ENDINGS)})")


def _of_list(calls: CallList, name: str) -> Workload:
    """A workload of one phase, `step`, on the mesh of the list if it has one."""
    mesh = parse_mesh(calls.mesh) if calls.mesh else Mesh((), ())
    order = [AXES[::-1].index(axis) for axis in mesh.names if axis in AXES]
    if not {*calls.axes, *mesh.names} <= {*AXES} or order != sorted(order):
        raise UsageError(f"{name}: axes must be {', '.join(AXES)}; in a mesh, the slowest first: "
                         f"{', '.join(reversed(AXES))}")
    counts: dict[Extra, int] = {}
    for call in calls.calls:
        extra = Extra(call.op, call.bytes, call.axis or ALL_RANKS, 1, call.overlap, call.per_rank)
        counts[extra] = counts.get(extra, 0) + call.count
    extras = tuple(msgspec.structs.replace(extra, count=count) for extra, count in counts.items())
    degrees = {axis: size for axis, size in zip(mesh.names, mesh.sizes, strict=True) if size > 0}
    title = calls.title or calls.name
    return Workload(title, {"step": Phase("training", 1, degrees, f"{name}: {title}", calls=extras)})


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise ValueError(f"larger than {_MOST_BYTES >> 20} MiB")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path}: not a text file: {error}") from None


def _parse(text: str, name: str) -> Workload:
    try:
        return msgspec.convert(safe_text(tomllib.loads(text), keep="\n"), Workload)
    except RecursionError:
        raise UsageError(f"{name}: nested too deeply") from None
    except ValueError as error:         # of TOML, and msgspec.ValidationError
        raise UsageError(f"{name}: {error}") from None
