"""torch: whether it loads, and which backends it was built with."""

import sys

from ...bootstrap import OLDEST_TORCH
from ..check_api import CheckRequest, CheckResult
from ..subprocess_probe import ask

__all__ = ["ORDER", "examine"]

ORDER = 10
_PROBE = """
import json, os
import torch, torch.distributed as dist
names = ["gloo", "nccl", "ucc", "xccl", "mpi"]
there = [n for n in names if dist.is_available() and getattr(dist, f"is_{n}_available", lambda: False)()]
extra = [n for n in getattr(dist.Backend, "backend_list", []) if n not in names + ["undefined", "fake"]]
default = dict(getattr(dist.Backend, "default_device_backend_map", {}))
with open(os.environ["COLLBENCH_ANSWER"], "w") as answer:
    json.dump({"version": str(torch.__version__), "distributed": dist.is_available(), "backends": there + extra,
               "backend": default, "cuda": torch.version.cuda, "hip": torch.version.hip}, answer)
"""


def examine(request: CheckRequest) -> list[CheckResult]:
    """One finding for the library."""
    facts, why = ask([sys.executable, "-c", _PROBE], request.environment)
    lack = request.lack("torch")
    if not facts:
        missing = "No module named 'torch'" in why
        return [CheckResult(level=lack, what="torch", found="not installed" if missing else f"does not load: {why}",
                            do="pip install 'collbench[torch]'" if missing else
                            f"run {sys.executable} -c 'import torch'; reinstall torch, or use another interpreter",
                            works={"torch": False})]
    if not facts["distributed"] or "gloo" not in facts["backends"]:
        return [CheckResult(level=lack, what="torch", found=f"{facts['version']} without torch.distributed over gloo",
                            do="install a torch built with USE_DISTRIBUTED and gloo", works={"torch": False},
                            facts=facts)]
    words = f"{facts['version']}, backends {', '.join(facts['backends'])}"
    number = tuple(int(part) for part in facts["version"].split("+")[0].split(".")[:2])
    if number < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        return [CheckResult(level=lack, what="torch", found=words, do=f"install torch {oldest} or newer",
                            works={"torch": False}, facts=facts)]
    return [CheckResult(level="ok", what="torch", found=words, works={"torch": True}, facts=facts)]
