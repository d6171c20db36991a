"""What the launchers of Kubernetes have in common: a manifest that kubectl creates."""

import signal
from abc import ABC, abstractmethod

from ..job import Job
from . import pods

__all__ = ["Submitted"]


class Submitted(ABC):
    """Renders a manifest, and creates its objects once it lies in the results' directory; see `launchers.base`."""

    name: str
    stop_signal = signal.SIGTERM
    hides_status = False
    only_here = False
    whole_lines = True
    containers = True
    script_name = "job.yaml"

    def command(self, job: Job) -> list[str]:
        """What creates the objects."""
        where = ["--namespace", job.pods.namespace] if job.pods.namespace else []
        return ["kubectl", "create", *where, "-f", str(job.out / self.script_name)]

    def script(self, job: Job) -> str:
        """The complete manifest."""
        from .yaml_text import as_yaml  # PyYAML, which only a manifest needs
        own = pods.checked(job)
        return as_yaml(self.objects(own), pods.heading(own, self.logs(own)))

    @abstractmethod
    def objects(self, job: Job) -> list[pods.Object]:
        """The objects, in the order in which they are created. `job` has been checked."""

    @abstractmethod
    def logs(self, job: Job) -> str:
        """Selects the pod whose log holds the journal, as an argument of kubectl."""
