"""Export points in the formats of other tools, for scripts that already parse those."""

from collections.abc import Callable
from types import MappingProxyType

from ..frames.load import Loaded
from . import nccl_tests, osu, tidy_csv

__all__ = ["FORMATS", "export"]

FORMATS: MappingProxyType[str, Callable[[Loaded], tuple[str, list[str]]]] = MappingProxyType({
    "nccl-tests": nccl_tests.text, "osu": osu.text, "csv": tidy_csv.text, "json": nccl_tests.json_lines})


def export(loaded: Loaded, form: str) -> tuple[str, list[str]]:
    """The points of `loaded` as text in `form`, a key of FORMATS, and warnings about points left out."""
    return FORMATS[form](loaded)
