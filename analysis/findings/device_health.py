"""Findings about the accelerators of a run: what their driver counted during it, and hosts that are not alike."""

from collections.abc import Iterator, Mapping

from collbench.collectives.records.record import Run

from .finding import Finding

__all__ = ["find_device_trouble"]

_SHOWN = 8      # sentences of one run; a rack that ran hot has one for every GPU


def find_device_trouble(runs: Mapping[str, Run]) -> Iterator[Finding]:
    """Throttled GPUs, memory and link errors that rose during the run, and differences between its hosts."""
    for run in runs.values():
        health = run.provenance.get("health")
        trouble = _sentences(health.get("warnings")) if isinstance(health, dict) else []
        yield from (Finding("warning", words) for words in [*_few(trouble, "GPUs"), *_few(_sentences(
            run.provenance.get("hosts differ")), "differences")])


def _sentences(value: object) -> list[str]:
    return [words for words in value if isinstance(words, str)] if isinstance(value, list) else []


def _few(sentences: list[str], what: str) -> list[str]:
    hidden = len(sentences) - _SHOWN
    return sentences[:_SHOWN] + ([f"{hidden} more such {what} are in the journal"] if hidden > 0 else [])
