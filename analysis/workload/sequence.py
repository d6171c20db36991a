"""A step as a list of calls that can be measured: the calls of a job in the form of `collectives.cases.call_files`."""

from collections.abc import Iterator

from collbench.collectives.cases.call_files import csv_text, toml_text
from collbench.collectives.cases.calls import Call, CallList
from collbench.collectives.errors import UsageError

from ..text.units import counted
from .calls import EXCHANGES, Job
from .model import ALL_RANKS
from .parallel import Parallel

__all__ = ["call_list", "sequence_text"]

_PLAIN = "all_to_all"       # what an exchange between experts is measured as: its routing is no part of a list


def call_list(job: Job) -> CallList:
    """The calls of a job, on the mesh of its ranks; the order is that of the derivation, not that of the model.

    Raises:
        UsageError: experts and tensor parallelism share ranks in a pipeline, which no mesh of named axes describes.
    """
    parallel = job.parallel
    if parallel.ep > 1 and parallel.tp > 1 and parallel.pp > 1:
        raise UsageError(f"{parallel}: groups of ep contain those of tp, which a mesh can describe only without pp")
    return CallList(f"{job.name}-{job.phase}", tuple(_calls(job)), _mesh(parallel),
                    f"a step of {job.name}, {job.phase}, {parallel}, {counted(job.batch, 'token')}")


def sequence_text(job: Job, form: str) -> str:
    """The list as `csv` or `toml`."""
    return csv_text(call_list(job)) if form == "csv" else toml_text(call_list(job))


def _calls(job: Job) -> Iterator[Call]:
    shared = job.parallel.ep > 1 and job.parallel.tp > 1
    for call, _ in job.uses:
        op = _PLAIN if call.op in EXCHANGES else call.op
        axis = None if call.axis == ALL_RANKS or (call.axis == "ep" and shared) else call.axis
        yield Call(op, call.bytes, axis, call.count, call.overlap)


def _mesh(parallel: Parallel) -> str:
    """Slowest axis first; where tp divides ep, the rest of ep is an axis of its own."""
    sizes = {"pp": parallel.pp, "dp": parallel.dp, "fsdp": parallel.fsdp}
    if parallel.ep > 1:
        sizes["ep" if parallel.tp == 1 else "groups"] = parallel.ep // parallel.tp
    sizes["tp"] = parallel.tp
    return ",".join(f"{name}={size}" for name, size in sizes.items() if size > 1)
