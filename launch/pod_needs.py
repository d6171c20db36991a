"""What a job needs of a Kubernetes cluster, beyond its image: plain values, which presets and options fill in."""

import re

import msgspec

from collbench.collectives.errors import UsageError

__all__ = ["PodNeeds"]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")                     # namespaces, claims, queues
_RESOURCE = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")


class PodNeeds(msgspec.Struct, frozen=True, kw_only=True):
    """One pod runs on each node, with all ranks of that node.

    Args:
        namespace: of all objects; None for that of the context.
        queue: local queue of Kueue that admits the job; None without Kueue.
        topology: label of the nodes in whose value all pods must agree, for example the NVLink domain or the block;
            Kueue's topology-aware scheduling places them if there is a queue, else an affinity between the pods.
        claim: a PersistentVolumeClaim for the results, which all pods can write (ReadWriteMany); None to rebuild them
            from the log.
        resource: extended resource of an accelerator, as its device plugin names it; empty for CPUs.
        devices: how many of it a pod takes; None for one a rank.
        more_resources: others that a pod takes, for example network cards: (name, quantity).
        compute_domain: the pods share an NVLink domain of several nodes: NVIDIA's DRA driver gives them IMEX channels.
        host_paths: folders of the host that a container needs for its driver.
    """

    namespace: str | None = None
    queue: str | None = None
    topology: str | None = None
    claim: str | None = None
    resource: str = ""
    devices: int | None = None
    more_resources: tuple[tuple[str, str], ...] = ()
    compute_domain: bool = False
    host_paths: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for option, text in (("--namespace", self.namespace), ("--queue", self.queue),
                             ("--results-claim", self.claim)):
            if text is not None and not _LABEL.fullmatch(text):
                raise UsageError(f"{option} {text!r:.80}: expected lower-case letters, digits, dots and dashes")
        for text in (self.topology, self.resource, *(name for name, _ in self.more_resources)):
            if text and not _RESOURCE.fullmatch(text):
                raise UsageError(f"{text!r:.80}: expected a name such as nvidia.com/gpu")
