"""What a step of a model costs in communication on a domain or on the machine that was measured, with intervals."""

from .answer import Outcome, outcome_of
from .calls import Job, Use, job_of
from .model import Workload, load_workloads, workload_named
from .parallel import Parallel

__all__ = ["Job", "Outcome", "Parallel", "Use", "Workload", "job_of", "load_workloads", "outcome_of",
           "workload_named"]
