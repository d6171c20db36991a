"""Kubeflow MPI Operator: an MPIJob, for ranks of MPI. Its image needs an ssh server, with which mpirun starts them."""

import shlex

from ..job import Job
from ..manifests import pods
from ..manifests.submitted import Submitted

__all__ = ["FACTORY", "TITLE", "MpiJob"]

TITLE = "creates a Kubeflow MPIJob with kubectl"

_HOSTS = "/etc/mpi/hostfile"        # written by the operator
_USER = 1000
# The operator writes a host name and its slots on each line of the file of hosts.
_START = """\
MASTER_ADDR=$(head -n 1 {hosts} | cut -d ' ' -f 1)
export MASTER_ADDR
exec mpirun -n {ranks} --hostfile {hosts} -x MASTER_ADDR -x PYTHONSAFEPATH \\
    {program}
"""


class MpiJob(Submitted):
    """Renders the manifest of an MPIJob, and creates it."""

    name = "mpijob"

    def objects(self, job: Job) -> list[pods.Object]:
        """The job, and the NVLink domain that its workers share."""
        program = shlex.join([job.python, "-m", "collbench.rank", *job.arguments()])
        start = _START.format(hosts=_HOSTS, ranks=job.ranks, program=program)
        launcher: pods.Object = {
            "metadata": {"labels": {"app.kubernetes.io/name": "collbench"}},
            "spec": {"restartPolicy": "Never", "containers": [
                {"name": "launcher", "image": job.container, "command": ["sh", "-c", start],
                 "env": [{"name": "PYTHONSAFEPATH", "value": "1"}], "securityContext": {"runAsUser": _USER}}]}}
        worker = pods.pod(job, ["/usr/sbin/sshd", "-De", "-f", "/home/mpiuser/.sshd_config"])
        worker["spec"]["containers"][0].setdefault("securityContext", {})["runAsUser"] = _USER
        return [*pods.compute_domain(job), {
            "apiVersion": "kubeflow.org/v2beta1", "kind": "MPIJob",
            "metadata": pods.metadata(job, **pods.queue_labels(job)),
            "spec": {"slotsPerWorker": job.ranks_per_node, "mpiImplementation": "OpenMPI",
                     "launcherCreationPolicy": "WaitForWorkersReady", "sshAuthMountPath": "/home/mpiuser/.ssh",
                     "runPolicy": {"backoffLimit": 0, "cleanPodPolicy": "Running", **pods.deadline(job)},
                     "mpiReplicaSpecs": {"Launcher": {"replicas": 1, "template": launcher},
                                         "Worker": {"replicas": job.nodes, "template": worker}}}}]

    def logs(self, job: Job) -> str:
        """The pods whose log holds the journal."""
        return (f"-l training.kubeflow.org/job-name={pods.object_name(job)},training.kubeflow.org/"
                "job-role=launcher")


FACTORY = MpiJob
