"""The interpreter, and collbench itself."""

import importlib.metadata
import platform
import sys

from ..check_api import CheckRequest, CheckResult

__all__ = ["ORDER", "examine"]

ORDER = 0


def examine(request: CheckRequest) -> list[CheckResult]:
    """Versions of Python, collbench and the system."""
    try:
        own = importlib.metadata.version("collbench")
    except importlib.metadata.PackageNotFoundError:
        own = "not installed"
    facts = {"python": platform.python_version(), "executable": sys.executable, "collbench": own}
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return [CheckResult(level="ok", what="collbench", found=f"{own} on Python {facts['python']} ({sys.executable})",
                        facts=facts),
            CheckResult(level="ok", what="system", found=system)]
