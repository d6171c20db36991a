"""Findings about the accelerators and hosts of a run, from its provenance."""

from collections.abc import Iterator, Mapping

from collbench.collectives.records.record import Run

from .finding import Finding

__all__ = ["find_device_trouble"]

_SHOWN = 8      # sentences of one run; a rack that ran hot has one for every GPU


def find_device_trouble(runs: Mapping[str, Run]) -> Iterator[Finding]:
    """Throttled GPUs, memory and link errors that rose, differences between hosts, and devices that may be shared."""
    for run in runs.values():
        health = run.provenance.get("health")
        trouble = _sentences(health.get("warnings")) if isinstance(health, dict) else []
        doubt = run.provenance.get("devices in doubt")
        words = [*_few(trouble, "GPUs"), *_few(_sentences(run.provenance.get("hosts differ")), "differences"),
                 *([doubt] if isinstance(doubt, str) else [])]
        yield from (Finding("warning", sentence, kind="device or host", advice="see to it and measure again")
                    for sentence in words)
        yield from (Finding("note", words) for words in _few(_sentences(run.provenance.get("host notes")), "notes"))


def _sentences(value: object) -> list[str]:
    return [words for words in value if isinstance(words, str)] if isinstance(value, list) else []


def _few(sentences: list[str], what: str) -> list[str]:
    hidden = len(sentences) - _SHOWN
    return sentences[:_SHOWN] + ([f"{hidden} more such {what} are in the journal"] if hidden > 0 else [])
