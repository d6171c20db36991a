"""Accelerators that torch can use, and the links between them that their drivers report."""

import msgspec

from collbench.collectives.topology import describe

from ...device_choice import find_unusable
from ..check_api import CheckRequest, CheckResult

__all__ = ["ORDER", "examine"]

ORDER = 40


def examine(request: CheckRequest) -> list[CheckResult]:
    """What torch can use compared with what the drivers show; then the links."""
    found = describe()
    seen, used = len(found.devices), request.accelerators[1] if request.accelerators else 0
    facts = msgspec.to_builtins(found)
    lost = None if used else find_unusable(None, request.environment)
    if lost:        # what measures would refuse as well
        first = CheckResult(level="error", what="accelerators", facts=facts, found=lost.found,
                            do=f"{lost.do}; to measure the CPUs instead, pass --device cpu")
    elif seen and not used:
        first = CheckResult(level="warning", what="accelerators", facts=facts,
                            found=f"{seen} found by {found.source}, but torch can use none of them",
                            do="load their driver, and give this container their device files")
    elif request.accelerators:
        hidden = f"; {seen} found by {found.source}" if seen not in (0, used) else ""
        first = CheckResult(level="ok", what="accelerators", found=f"{used} of type {request.accelerators[0]}{hidden}",
                            facts=facts)
    else:
        first = CheckResult(level="note", what="accelerators", found="none: buffers are in host memory", facts=facts)
    findings = [first, CheckResult(level="ok", what="links", found=found.words())]
    if used and request.ranks > used:
        findings.append(CheckResult(level="warning", what="ranks", found=f"{request.ranks} ranks for {used} devices",
                                    do=f"start at most {used} on this host: two ranks cannot share one device"))
    return findings + [CheckResult(level="note", what="links", found=note) for note in found.notes]
