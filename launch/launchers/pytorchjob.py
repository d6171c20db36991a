"""Kubeflow Training Operator 1: a PyTorchJob.

The operator sets PET_NODE_RANK, PET_MASTER_ADDR and PET_MASTER_PORT, which torchrun reads.
"""

from ..job import Job
from ..manifests import pods
from ..manifests.submitted import Submitted

__all__ = ["FACTORY", "TITLE", "PyTorchJob"]

TITLE = "creates a Kubeflow PyTorchJob with kubectl"

_CONTAINER = "pytorch"      # the operator looks for this name


class PyTorchJob(Submitted):
    """Renders the manifest of a PyTorchJob, and creates it."""

    name = "pytorchjob"

    def objects(self, job: Job) -> list[pods.Object]:
        """The job, and the NVLink domain that its pods share."""
        template = pods.pod(job, pods.as_torchrun(job), container_name=_CONTAINER)
        replicas = {"Master": 1, "Worker": job.nodes - 1}
        return [*pods.compute_domain(job), {
            "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob",
            "metadata": pods.metadata(job, **pods.queue_labels(job)),
            "spec": {"nprocPerNode": str(job.ranks_per_node),
                     "runPolicy": {"backoffLimit": 0, "cleanPodPolicy": "None", **pods.deadline(job)},
                     "pytorchReplicaSpecs": {role: {"replicas": count, "restartPolicy": "Never", "template": template}
                                             for role, count in replicas.items() if count}}}]

    def logs(self, job: Job) -> str:
        """The pods whose log holds the journal."""
        return (f"-l training.kubeflow.org/job-name={pods.object_name(job)},training.kubeflow.org/"
                "replica-type=master")


FACTORY = PyTorchJob
