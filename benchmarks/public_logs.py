"""How many public logs get an answer to "is my number normal?", each without the source that it was published in.

    python benchmarks/public_logs.py LOGS [--told]

LOGS is a folder of logs with an index.csv: file, accelerator, source, n_ranks. A log is answered if a point of it is
normal, low or high by published runs. Every run of the same repository is left out, also where the figures do not show
that it is the same source. With --told, a log that names no accelerator of a known domain gets the one of the index, as
--measured-on would.
"""

import argparse
import csv
from collections import Counter
from pathlib import Path

from collbench.analysis.assess import published
from collbench.analysis.assess.reference_runs import accelerator_named, published_runs
from collbench.analysis.domains.facts import load_domains
from collbench.analysis.importers import LogHints
from collbench.analysis.report.story import build_story
from collbench.collectives.errors import CollbenchError


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", type=Path)
    parser.add_argument("--told", action="store_true")
    options = parser.parse_args()
    domains = {accelerator_named(str(domain.accelerator)): key
               for key, domain in reversed(load_domains().items())}
    outcomes = Counter()
    found_by_figures = published.own_sources
    for row in csv.DictReader((options.logs / "index.csv").open(encoding="utf-8")):
        repository = row["source"].split(":")[0].split("@")[0].replace("#", " issue ")
        same = frozenset(run.source for run in published_runs()
                         if f"{run.source} ".lower().startswith(f"{repository} ".lower()))
        published.own_sources = lambda groups, same=same: found_by_figures(groups) | same
        home = domains.get(accelerator_named(row["accelerator"])) if options.told else None
        outcome = answer(options.logs / row["file"], LogHints(ranks_of(row)), home)
        outcomes[outcome] += 1
        print(f"{outcome:<12} {row['file']}")
    with_results = sum(count for outcome, count in outcomes.items() if outcome != "no results")
    print(f"{with_results - outcomes['no reference']} of {with_results} logs with results are answered: "
          f"{', '.join(f'{count} {outcome}' for outcome, count in outcomes.items())}")


def ranks_of(row):
    return int(row["n_ranks"]) if row["n_ranks"].isdigit() else None


def answer(log, hints, home):
    """The verdicts by published runs that the points of a log have, in a word."""
    try:
        story = build_story(log, asked=hints, measured_on=home)
    except CollbenchError:
        return "no results"
    if story.points.empty:
        return "no results"
    words = set(story.points.loc[story.points["basis"].eq("published"), "verdict"])
    return words.pop() if len(words) == 1 else "mixed" if words else "no reference"


if __name__ == "__main__":
    main()
