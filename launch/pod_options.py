"""The options of `collbench launch` for Kubernetes, over the needs of a preset."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from collbench.collectives.errors import UsageError
from collbench.collectives.option_groups import JOB, option

from .pod_needs import PodNeeds

__all__ = ["pod_needs", "pod_options"]

_QUANTITY_HINT = "expected NAME=QUANTITY, such as rdma/ib=1"
_OPTIONS = (
    option("--namespace", group=JOB, default=None, help="Kubernetes: namespace of the job."),
    option("--queue", group=JOB, default=None, metavar="NAME", help="Kubernetes: local queue of Kueue."),
    option("--topology", group=JOB, default=None, metavar="LABEL",
           help="Kubernetes: label of the nodes whose value all pods must share, such as nvidia.com/gpu.clique or "
                "the level of a block; with --queue by topology-aware scheduling."),
    option("--results-claim", group=JOB, default=None, metavar="PVC",
           help="Kubernetes: volume for the results. They are in the log anyway: collbench report reads the output of "
                "kubectl logs."),
    option("--device-resource", group=JOB, default=None, metavar="NAME",
           help="Kubernetes: resource of an accelerator, such as nvidia.com/gpu or amd.com/gpu; one a rank."),
    option("--pod-resource", "more_resources", group=JOB, multiple=True, metavar="NAME=QUANTITY",
           help="Kubernetes: another resource that each pod takes, such as rdma/ib=1; may be repeated."),
)


def pod_options(command: Callable) -> Callable:
    """Add the options to a click command."""
    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command


def pod_needs(values: Mapping[str, Any], preset: PodNeeds) -> PodNeeds:
    """The needs of a preset, with what was given in place of its own. UsageError if a value is malformed."""
    more = []
    for text in values["more_resources"]:
        name, equals, quantity = text.partition("=")
        if not (name and equals and quantity):
            raise UsageError(f"--pod-resource {text!r:.80}: {_QUANTITY_HINT}")
        more.append((name, quantity))
    given = {"namespace": values["namespace"], "queue": values["queue"], "topology": values["topology"],
             "claim": values["results_claim"], "resource": values["device_resource"],
             "devices": None if values["device_resource"] else preset.devices,
             "more_resources": (*preset.more_resources, *more)}
    return msgspec.structs.replace(preset, **{name: value for name, value in given.items() if value is not None})
