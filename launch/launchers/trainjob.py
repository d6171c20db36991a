"""Kubeflow Trainer 2: a TrainJob with a TrainingRuntime of its own, since patches of a shared one reach no claims.

The operator sets PET_NODE_RANK, PET_MASTER_ADDR and PET_MASTER_PORT, which torchrun reads: no ssh, no MPI.
"""

from ..job import Job
from ..manifests import pods
from ..manifests.submitted import Submitted

__all__ = ["FACTORY", "TITLE", "TrainJob"]

TITLE = "creates a Kubeflow TrainJob with kubectl"

_STEP = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}      # how the operator finds the pods of the ranks


class TrainJob(Submitted):
    """Renders the manifest of a TrainJob, and creates it."""

    name = "trainjob"

    def objects(self, job: Job) -> list[pods.Object]:
        """The runtime and the job, and the NVLink domain that its pods share."""
        name = pods.object_name(job)
        node = {"name": pods.CONTAINER, "template": {
            "metadata": {"labels": dict(_STEP)},
            "spec": {"backoffLimit": 0, "template": pods.pod(job, pods.as_torchrun(job))}}}
        runtime = {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainingRuntime",
                   "metadata": pods.metadata(job, labels={"trainer.kubeflow.org/framework": "torch"}),
                   "spec": {"mlPolicy": {"numNodes": job.nodes, "torch": {}},
                            "template": {"spec": {"replicatedJobs": [node]}}}}
        train = {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob",
                 "metadata": pods.metadata(job, **pods.queue_labels(job)),
                 "spec": {"runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": name},
                          "trainer": {"numNodes": job.nodes, "numProcPerNode": job.ranks_per_node},
                          **pods.deadline(job)}}
        return [*pods.compute_domain(job), runtime, train]

    def logs(self, job: Job) -> str:
        """The pods whose log holds the journal."""
        return (f"-l jobset.sigs.k8s.io/jobset-name={pods.object_name(job)},batch.kubernetes.io/"
                "job-completion-index=0")


FACTORY = TrainJob
