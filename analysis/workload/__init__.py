"""What a step of a model costs in communication on a domain or on the machine that was measured, with intervals."""

from .answer import Outcome, outcome_of
from .calls import Call, Job, job_of
from .model import Workload, load_workloads, workload_named
from .parallel import Parallel

__all__ = ["Call", "Job", "Outcome", "Parallel", "Workload", "job_of", "load_workloads", "outcome_of",
           "workload_named"]
