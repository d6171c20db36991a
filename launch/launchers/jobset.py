"""JobSet: one indexed job whose pods find the first one by its host name; torchrun starts the ranks of each."""

from ..job import Job
from ..manifests import pods
from ..manifests.submitted import Submitted

__all__ = ["FACTORY", "TITLE", "JobSet"]

TITLE = "creates a JobSet with kubectl"

_PORT = 29400
_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


class JobSet(Submitted):
    """Renders the manifest of a JobSet, and creates it."""

    name = "jobset"

    def objects(self, job: Job) -> list[pods.Object]:
        """The JobSet, and the NVLink domain that its pods share."""
        name = pods.object_name(job)
        first = f"{name}-{pods.CONTAINER}-0-0.{name}"
        command = pods.as_torchrun(job, "--master-addr", first, "--master-port", str(_PORT))
        index = {"name": "PET_NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": _INDEX}}}
        spec = {"parallelism": job.nodes, "completions": job.nodes, "completionMode": "Indexed", "backoffLimit": 0,
                **pods.deadline(job), "template": pods.pod(job, command, [index])}
        return [*pods.compute_domain(job), {
            "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet",
            "metadata": pods.metadata(job, **pods.queue_labels(job)),
            "spec": {"network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True, "subdomain": name},
                     "failurePolicy": {"maxRestarts": 0},
                     "replicatedJobs": [{"name": pods.CONTAINER, "replicas": 1, "template": {"spec": spec}}]}}]

    def logs(self, job: Job) -> str:
        """The pods whose log holds the journal."""
        return (f"-l jobset.sigs.k8s.io/jobset-name={pods.object_name(job)},batch.kubernetes.io/"
                "job-completion-index=0")


FACTORY = JobSet
