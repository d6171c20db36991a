"""The report as one JSON document: `collbench report --json`. docs/report.md explains each field."""

from typing import Any

import pandas as pd

from ..findings.finding import as_json
from ..text.json_text import json_rows
from .story import Story
from .text import CAVEAT, METHOD

__all__ = ["document"]

_HEADLINE = ("fabric", "op", "quantity", "kind", "ranks", "message_bytes", "time_s", "time_lo_s", "time_hi_s",
             "busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps", "level", "distance", "holdout_error", "reason",
             "track_record")
_WHOLE = ("ranks", "message_bytes")


def document(story: Story) -> dict[str, Any]:
    """The first screen of the report as values: SI units, None where unknown."""
    head, points, records = story.overview, story.points, story.loaded.records
    sizes = records.loc[records["message_bytes"] > 0, "message_bytes"]
    return {
        "measured": {"title": head.title, "words": head.measured, "cases": len(records), "points": len(points),
                     "ops": sorted(records["op"].unique()), "ranks": sorted(int(n) for n in records["ranks"].unique()),
                     "smallest_bytes": int(sizes.min()) if len(sizes) else None,
                     "largest_bytes": int(sizes.max()) if len(sizes) else None,
                     "statuses": {str(name): int(count) for name, count in records["status"].value_counts().items()}},
        "on": dict(head.on),
        "domain": story.home[0] if story.home else None,
        "runs": [{"run": run.id, "started": run.started, "transport": run.transport, "library": run.library,
                  "device": run.device, "world": run.world, "command": list(run.command)}
                 for run in story.loaded.runs.values()],
        "sound": head.sound, "checked": head.checked,
        "verdict": head.verdict, "trust": head.trust, "judgement": head.judgement or None,
        "findings": [as_json(finding) for finding in story.findings],
        "expected": [row.case.as_json(row.why) for row in story.expected],
        "expected_from": list(story.legend),
        "answer": story.answer.as_json(),
        "headline": _headline(story.headline),
        "sequences": [one.as_json() for one in story.sequences],
        "comparisons": json_rows(story.loaded.comparisons, ("ranks", "message_bytes", "n")),
        "skew": [one.as_json() for one in story.skew],
        "caveat": CAVEAT, "method": METHOD,
    }


def _headline(headline: pd.DataFrame) -> list[dict[str, Any]]:
    return json_rows(headline.reindex(columns=list(_HEADLINE)), _WHOLE)
