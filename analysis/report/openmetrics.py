"""A report as metrics, for a collector of text files such as that of Prometheus' node exporter.

The text is OpenMetrics 1.0 (prometheus.io/docs/specs/om), and valid in Prometheus' older format as well. All are
gauges: a later report on the same cases replaces the file. Every figure has its interval in metrics of its own, and
the label `kind` says whether it is measured or extrapolated.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from ..text.metric_text import escaped, heading
from .story import Story

__all__ = ["openmetrics"]

_LABELS = {"system": "system", "transport": "transport", "library": "library", "device": "device", "op": "op",
           "mode": "mode", "dtype": "dtype", "redop": "redop", "place": "place", "traffic": "traffic",
           "algorithm": "algorithm", "protocol": "protocol", "variant": "variant", "ranks": "ranks",
           "message_bytes": "bytes"}


class _Metric(NamedTuple):
    """A family: its name ends in its unit, if it has one."""

    name: str
    unit: str
    help: str
    column: str


_METRICS = (
    _Metric("collbench_time_seconds", "seconds", "Median time of one call.", "time_s"),
    _Metric("collbench_time_lower_seconds", "seconds", "Lower end of the interval of the time.", "time_lo_s"),
    _Metric("collbench_time_upper_seconds", "seconds", "Upper end of the interval of the time.", "time_hi_s"),
    _Metric("collbench_busbw_bytes_per_second", "bytes_per_second", "Bus bandwidth, as nccl-tests defines it.",
            "busbw_Bps"),
    _Metric("collbench_busbw_lower_bytes_per_second", "bytes_per_second", "Lower end of its interval.", "busbw_lo_Bps"),
    _Metric("collbench_busbw_upper_bytes_per_second", "bytes_per_second", "Upper end of its interval.", "busbw_hi_Bps"),
    _Metric("collbench_samples", "", "Samples behind a measured time.", "samples"),
)


def openmetrics(story: Story) -> str:
    """All measured cases and forecasts of a report, its verdict, and when it was measured."""
    measured = story.shown.assign(kind="measured")
    forecast = story.predictions[story.predictions["time_s"].notna()].drop(columns="algorithm", errors="ignore")
    rows = pd.concat([measured, forecast], ignore_index=True)
    labelled = {_labels(row): row for row in rows.to_dict("records")}
    lines: list[str] = []
    for metric in _METRICS:
        samples = [f"{metric.name}{labels} {row[metric.column]:.10g}" for labels, row in labelled.items()
                   if _is_number(row.get(metric.column))]
        if samples:
            lines += [*heading(metric.name, metric.help, metric.unit), *samples]
    return "\n".join([*lines, *_verdict(story), *_started(story), "# EOF"]) + "\n"


def _verdict(story: Story) -> Iterator[str]:
    yield from heading("collbench_verdict", "1 for the verdict of the report.")
    yield f'collbench_verdict{{verdict="{escaped(story.answer.verdict.word)}"}} 1'
    yield from heading("collbench_results_right", "1 if every result was checked and right.")
    yield f"collbench_results_right {int(story.overview.sound and story.overview.checked)}"


def _started(story: Story) -> Iterator[str]:
    texts = pd.Series([run.started for run in story.loaded.runs.values()], dtype=object)
    starts = pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601").dropna()
    if len(starts):
        yield from heading("collbench_run_started_timestamp_seconds", "Start of the last run.", "seconds")
        yield f"collbench_run_started_timestamp_seconds {starts.max().timestamp():.0f}"


def _labels(row: Mapping[Any, Any]) -> str:
    """The labels of a row, without those that are unknown."""
    known = {label: row.get(column) for column, label in _LABELS.items()} | {"kind": row["kind"]}
    words = (f'{label}="{escaped(f"{value:.0f}" if isinstance(value, float) else str(value))}"'
             for label, value in known.items() if value is not None and not (_is_float(value) and math.isnan(value)))
    return "{" + ",".join(words) + "}"


def _is_float(value: object) -> bool:
    return isinstance(value, float)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
