"""The pod that runs all ranks of a node, and what it shares with the other objects of a job."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from collbench.collectives.errors import UsageError

from ..job import Job

__all__ = ["CONTAINER", "Object", "as_torchrun", "checked", "compute_domain", "deadline", "heading", "metadata",
           "object_name", "pod", "queue_labels", "resources", "results_folder"]

Object = dict[str, Any]

CONTAINER = "node"                  # as the runtimes of Kubeflow Trainer call it
_RESULTS = "/results"
_GRACE_S = 300                      # ranks that are told to stop finish their case first
_LONGEST_NAME = 40                  # operators add to it, and a host name has at most 63 characters
_CHANNEL = "compute-domain-channel"


def checked(job: Job) -> Job:
    """The job as its pods run it: results on the volume or in the log, which every line of the journal goes to.

    UsageError without an image, or if something was asked for that pods do not have.
    """
    if not job.container:
        raise UsageError("--container IMAGE is needed: the image that the pods run, with collbench in it")
    for option, given in (("--directive", job.directives), ("--hosts", job.hosts), ("--account", job.account),
                          ("--partition", job.partition), ("--container-mounts", job.container_mounts)):
        if given:
            raise UsageError(f"{option} is not for Kubernetes: see --namespace, --queue and --topology, or edit the "
                             "manifest that --dry-run prints")
    if job.more_transports:
        raise UsageError(f"one job measures one transport: give --transport {' or '.join(job.transports)}")
    if len(object_name(job)) > _LONGEST_NAME:
        raise UsageError(f"--name {job.name!r}: at most {_LONGEST_NAME} characters")
    journal = results_folder(job) / "journal.jsonl"
    config = msgspec.structs.replace(job.config, journal=journal, echo_journal=True, display="plain", resume="same"
                                     if job.pods.claim else "never")
    if job.curve:
        config = msgspec.structs.replace(config, sweep=msgspec.structs.replace(config.sweep, ranks=job.curve))
    return msgspec.structs.replace(job, config=config, curve=())


def object_name(job: Job) -> str:
    """The name of a job as Kubernetes allows it."""
    return re.sub(r"[^a-z0-9]+", "-", job.name.lower()).strip("-") or "collbench"


def results_folder(job: Job) -> Path:
    """Where the ranks write, on the volume if there is one."""
    return Path(_RESULTS if job.pods.claim else "/tmp") / object_name(job)


def metadata(job: Job, **more: Any) -> Object:
    """Name and namespace, and what else is given."""
    found: Object = {"name": object_name(job)}
    if job.pods.namespace:
        found["namespace"] = job.pods.namespace
    return found | more


def queue_labels(job: Job) -> Object:
    """For the metadata of the object that Kueue admits."""
    return {"labels": {"kueue.x-k8s.io/queue-name": job.pods.queue}} if job.pods.queue else {}


def as_torchrun(job: Job, *place: str) -> list[str]:
    """The command of a pod: torchrun with the ranks of its node; operators tell it the rest in PET_ variables.

    Args:
        place: options for what they do not tell.
    """
    if job.needs_mpi:
        raise UsageError("torchrun starts no MPI ranks: use --launcher mpijob, or --transport torch")
    return [job.python, "-m", "torch.distributed.run", "--nnodes", str(job.nodes), "--nproc-per-node",
            str(job.ranks_per_node), *place, "-m", "collbench.rank", *job.arguments()]


def resources(job: Job) -> Object:
    """What the container takes of a node; empty for CPUs, as many as there are."""
    needs = job.pods
    limits: Object = {}
    if needs.resource and job.config.device != "cpu":
        limits[needs.resource] = job.ranks_per_node * job.config.device_stride if needs.devices is None \
            else needs.devices
    limits |= dict(needs.more_resources)
    found: Object = {"limits": limits, "requests": limits} if limits else {}
    return found | ({"claims": [{"name": _CHANNEL}]} if needs.compute_domain else {})


def pod(job: Job, command: list[str], env: Sequence[Object] = (), container_name: str = CONTAINER) -> Object:
    """Template of the pod: metadata and spec."""
    needs = job.pods
    volumes: list[Object] = [{"name": "shm", "emptyDir": {"medium": "Memory"}}]
    mounts: list[Object] = [{"name": "shm", "mountPath": "/dev/shm"}]
    if needs.claim:
        volumes.append({"name": "results", "persistentVolumeClaim": {"claimName": needs.claim}})
        mounts.append({"name": "results", "mountPath": _RESULTS})
    for number, path in enumerate(needs.host_paths):
        volumes.append({"name": f"driver-{number}", "hostPath": {"path": path}})
        mounts.append({"name": f"driver-{number}", "mountPath": path, "readOnly": True})
    container: Object = {"name": container_name, "image": job.container, "command": command,
                         "env": [{"name": "PYTHONSAFEPATH", "value": "1"}, *env]}
    if own := resources(job):
        container["resources"] = own
    if needs.resource and job.nodes > 1:        # RDMA registers memory
        container["securityContext"] = {"capabilities": {"add": ["IPC_LOCK"]}}
    container["volumeMounts"] = mounts
    spec: Object = {"restartPolicy": "Never", "terminationGracePeriodSeconds": _GRACE_S, "containers": [container],
                    "volumes": volumes}
    if needs.compute_domain:
        spec["resourceClaims"] = [{"name": _CHANNEL, "resourceClaimTemplateName": _channel(job)}]
    labels = {"app.kubernetes.io/name": "collbench", "app.kubernetes.io/instance": object_name(job)}
    about: Object = {"labels": labels}
    if needs.topology and needs.queue:
        about["annotations"] = {"kueue.x-k8s.io/podset-required-topology": needs.topology}
    elif needs.topology:
        spec["affinity"] = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": labels}, "topologyKey": needs.topology}]}}
    return {"metadata": about, "spec": spec}


def deadline(job: Job) -> Object:
    """The time limit of the job, for the object that has one."""
    return {} if job.time_limit_s is None else {"activeDeadlineSeconds": int(job.time_limit_s)}


def compute_domain(job: Job) -> list[Object]:
    """The NVLink domain of the pods, of which NVIDIA's DRA driver makes the claims; none if it is not needed."""
    if not job.pods.compute_domain:
        return []
    # 0: the number of nodes is no longer needed, and the driver ignores it
    return [{"apiVersion": "resource.nvidia.com/v1beta1", "kind": "ComputeDomain", "metadata": metadata(job),
             "spec": {"numNodes": 0, "channel": {"resourceClaimTemplate": {"name": _channel(job)}}}}]


def _channel(job: Job) -> str:
    return f"{object_name(job)}-channel"


def heading(job: Job, pods: str) -> str:
    """Comments on top of a manifest: what it is, and how to get its results."""
    where = f"--namespace {job.pods.namespace} " if job.pods.namespace else ""
    result = f"results: in {results_folder(job)} of the volume {job.pods.claim}; or from the log:" \
        if job.pods.claim else "results, from the log of the pod with rank 0:"
    return ((f"# {job.title}\n" if job.title else "") + f"# kubectl create {where}-f FILE\n# {result}\n"
            f"#   kubectl logs {where}{pods} --tail=-1 > collbench.log && collbench report collbench.log\n")
