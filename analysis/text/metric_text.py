"""Lines of OpenMetrics 1.0 (prometheus.io/docs/specs/om): the head of a gauge, and label values."""

import re
from collections.abc import Iterator

__all__ = ["escaped", "heading"]

_ESCAPES = {"\\": r"\\", '"': r"\"", "\n": r"\n"}
_UNSAFE = re.compile(r'[\\"\n]')


def heading(name: str, help_text: str, unit: str = "") -> Iterator[str]:
    """The lines before the samples of a gauge, whose name ends in its unit if it has one."""
    yield f"# TYPE {name} gauge"
    if unit:
        yield f"# UNIT {name} {unit}"
    yield f"# HELP {name} {help_text}"


def escaped(text: str) -> str:
    """`text` as it stands between the quotes of a label's value."""
    return _UNSAFE.sub(lambda found: _ESCAPES[found[0]], text)
