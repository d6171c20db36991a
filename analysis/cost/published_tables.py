"""Published constants of communication libraries and network cards, as shipped in analysis/data/selection."""

import sys
from functools import cache
from importlib import resources
from typing import Any

from collbench.collectives.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["nccl_tuning", "table"]


@cache
def table(name: str) -> dict[str, Any]:
    """A shipped table, by the name of its file without `.toml`."""
    text = resources.files("collbench.analysis").joinpath("data", "selection", f"{name}.toml")
    return tomllib.loads(text.read_text(encoding="utf-8"))


@cache
def nccl_tuning(version: str | None = None) -> dict[str, Any]:
    """NCCL's tuning constants in a release such as "2.27" or "2.27.3"; the newest known if None.

    `version` and `source` of the result are those of the release in which something last changed.

    Raises:
        UsageError: `version` is no release number, or is older than the oldest table.
    """
    shipped = table("nccl_tuning")
    found = {key: value for key, value in shipped.items() if key != "tables"}
    wanted = None if version is None else _release(version)
    for changed in shipped["tables"]:
        if wanted is None or _release(changed["from"]) <= wanted:
            found = _merged(found, changed) | {"version": changed["from"],
                                               "source": f"NVIDIA/nccl src/graph/tuning.cc, {changed['source']}"}
    if "version" not in found:
        raise UsageError(f"NCCL {version}: the oldest release with a known table is {shipped['tables'][0]['from']}")
    return found


def _release(version: str) -> tuple[int, int]:
    parts = version.split(".")
    if len(parts) < 2 or not (parts[0].isdecimal() and parts[1].isdecimal()):
        raise UsageError(f"NCCL version {version!r} is not a release number such as 2.27")
    return int(parts[0]), int(parts[1])


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`new` over `old`, table by table."""
    return old | {key: _merged(old[key], value) if isinstance(value, dict) and key in old else value
                  for key, value in new.items()}
