"""Export points in the formats of other tools, for scripts that already parse those."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, count
from types import MappingProxyType

from ..frames.load import Loaded
from . import collectivex, nccl_tests, osu, tidy_csv

__all__ = ["FORMATS", "PER_LIBRARY", "by_library", "export"]

FORMATS: MappingProxyType[str, Callable[[Loaded], tuple[str, list[str]]]] = MappingProxyType({
    "nccl-tests": nccl_tests.text, "osu": osu.text, "csv": tidy_csv.text, "json": nccl_tests.json_lines,
    "collectivex": collectivex.text})

PER_LIBRARY = ("nccl-tests", "osu")     # formats of tools that measure one library


def by_library(loaded: Loaded) -> dict[str, Loaded]:
    """The points of each library, under a name for a file: `open-mpi-5.0.11`, `gloo`."""
    found: dict[str, Loaded] = {}
    for (library, _), points in loaded.points.groupby(["library", "transport"], dropna=False, sort=False):
        words = re.sub(r"[^a-z0-9.]+", "-", f"{library}".partition(",")[0].lower()).strip("-.") or "library"
        name = next(name for name in chain((words,), (f"{words}-{number}" for number in count(2))) if name not in found)
        found[name] = replace(loaded, points=points)
    return found


def export(loaded: Loaded, form: str) -> tuple[str, list[str]]:
    """The points of `loaded` as text in `form`, a key of FORMATS, and warnings about points left out."""
    return FORMATS[form](loaded)
