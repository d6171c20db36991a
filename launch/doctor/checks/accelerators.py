"""Accelerators, as torch counts them, and what joins them, as their drivers tell."""

import msgspec

from collbench.collectives.topology import describe

from ..check_api import Asked, Finding

__all__ = ["ORDER", "examine"]

ORDER = 40


def examine(asked: Asked) -> list[Finding]:
    """What torch can use against what the drivers show; then the links."""
    found = describe()
    seen, used = len(found.devices), asked.accelerators[1] if asked.accelerators else 0
    facts = msgspec.to_builtins(found)
    if seen and not used:
        first = Finding(level="warning", what="accelerators", facts=facts,
                        found=f"{seen} found by {found.source}, but torch can use none",
                        do="install the torch of this vendor, and see whether *_VISIBLE_DEVICES hides them")
    elif asked.accelerators:
        hidden = f"; {seen} found by {found.source}" if seen not in (0, used) else ""
        first = Finding(level="ok", what="accelerators", found=f"{used} of type {asked.accelerators[0]}{hidden}",
                        facts=facts)
    else:
        first = Finding(level="note", what="accelerators", found="none: payloads live in host memory", facts=facts)
    findings = [first, Finding(level="ok", what="links", found=found.words())]
    if used and asked.ranks > used:
        findings.append(Finding(level="warning", what="ranks", found=f"{asked.ranks} ranks for {used} devices",
                                do=f"start at most {used} on this host: two ranks of one device refuse to start"))
    return findings + [Finding(level="note", what="links", found=note) for note in found.notes]
