"""Rebuild the reference set in analysis/data/published from a folder of raw public results.

    python tools/published_runs.py RAW

RAW holds what published_sources.csv names: logs that the importers read, tidy CSVs, and tables of quoted figures.
published_sources.csv says of each file where it was published and what the file leaves out: the accelerator, ranks,
ranks per host, the library. Only figures are taken, and only from sources that published_licences.csv lists: those of
all powers of two if the licence is permissive; at most eight sizes of a run if somebody quoted them in a public thread
or document (`cited figure`). A repository with another licence, or without one, is not listed.
"""

import argparse
import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from collbench.analysis.assess.reference_runs import CPU, accelerator_named, library_family
from collbench.analysis.frames.bandwidth import bus_factor
from collbench.analysis.frames.load import load
from collbench.analysis.importers import LogHints
from collbench.collectives.cases.names import is_known, op_name

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "analysis" / "data" / "published"
PERMISSIVE = frozenset({"Apache-2.0", "MIT", "MIT-0", "UPL-1.0", "BSD-3-Clause"})
QUOTED_SIZES = (8, 1 << 10, 1 << 15, 1 << 20, 1 << 24, 1 << 27, 1 << 30, 1 << 33)
RUN_COLUMNS = ("run", "accelerator", "library", "op", "ranks", "hosts", "source", "licence", "detail")


@dataclass(frozen=True)
class Point:
    """One figure: accelerator, library, operation, rank count, hosts (None: not stated), what tells runs apart."""

    accelerator: str
    library: str
    op: str
    ranks: int
    hosts: int | None
    detail: str
    message_bytes: int
    time_us: float


def main() -> None:
    """Write runs.csv and points.csv."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("raw", type=Path)
    raw = parser.parse_args().raw
    licences = {row["source"]: row["licence"] for row in _rows(HERE / "published_licences.csv")}
    runs: dict[tuple[object, ...], dict[int, float]] = {}
    for row in _rows(HERE / "published_sources.csv"):
        for point, source in _read(raw, row):
            if point.message_bytes < 1 or source not in licences:
                continue
            key = (point.accelerator, point.library, point.op, point.ranks, point.hosts or "", source,
                   licences[source], point.detail)
            runs.setdefault(key, {}).setdefault(point.message_bytes, point.time_us)
    OUT.mkdir(exist_ok=True)
    with (OUT / "runs.csv").open("w", newline="") as about, (OUT / "points.csv").open("w", newline="") as figures:
        named, timed = csv.writer(about, lineterminator="\n"), csv.writer(figures, lineterminator="\n")
        named.writerow(RUN_COLUMNS)
        timed.writerow(("run", "message_bytes", "time_us"))
        for number, (about_it, times) in enumerate(sorted(runs.items(), key=lambda item: str(item[0]))):
            named.writerow((number, *about_it))
            timed.writerows((number, size, f"{times[size]:.6g}") for size in _kept(times, str(about_it[6])))


def _kept(times: dict[int, float], licence: str) -> list[int]:
    """The sizes of a run that are taken."""
    sizes = sorted(times)
    if licence in PERMISSIVE:
        return [size for size in sizes if size & (size - 1) == 0] or sizes
    if len(sizes) <= len(QUOTED_SIZES):
        return sizes
    nearest = {min(sizes, key=lambda size: abs(math.log(size / wanted))) for wanted in QUOTED_SIZES}
    return sorted(nearest)


def _read(raw: Path, row: dict[str, str]) -> Iterator[tuple[Point, str]]:
    path = raw / row["raw"]
    if row["raw"] == "quoted.csv":
        yield from _quoted(_rows(HERE / "published_quoted.csv"))
    elif row["raw"].startswith("logs/"):
        yield from ((point, row["source"]) for point in _log(path, row))
    elif row["raw"].startswith("scaling/"):
        yield from ((point, row["source"]) for point in _scaling(path, row))
    else:
        yield from _quoted(_rows(path))


def _log(path: Path, row: dict[str, str]) -> Iterator[Point]:
    points = load(path, LogHints(int(row["ranks"]) if row["ranks"] else None, None)).points
    points = points[(points["time_s"] > 0) & (points["message_bytes"] > 0) & points["variant"].isna()]
    cpu = row["accelerator"] == CPU
    points = points[points["device"].eq("CPU") if cpu else ~points["device"].eq("CPU")]
    points = points.sort_values("place", ascending=False, kind="stable")      # out-of-place first
    per, library = row["ranks_per_host"], library_family(row["library"], row["accelerator"])
    assert library, path
    for op, ranks, size, time_s in points[["op", "ranks", "message_bytes", "time_s"]].to_numpy(object).tolist():
        hosts = -(-int(ranks) // int(per)) if per else None
        yield Point(row["accelerator"], library, op, int(ranks), hosts, path.stem, int(size), float(time_s) * 1e6)


def _scaling(path: Path, row: dict[str, str]) -> Iterator[Point]:
    for one in _rows(path):
        op, ranks, per = op_name(one["collective"]), int(one["n_ranks"]), int(one["ranks_per_node"] or 0)
        variant, mpi = one["variant"], "MPI" in one["library"].upper() and row["accelerator"] != CPU
        if not is_known(op) or not one["message_bytes"] or not one["time_us"] or "env:" in variant \
                or "wrong_results" in variant or variant.startswith("in-place") or "placement=" in variant \
                or (mpi and op != "all_gather"):       # its reductions are staged through the host
            continue
        named = re.sub(r"[_-]", " ", one["system"])
        accelerator = row["accelerator"] or accelerator_named(named)
        library = library_family(row["library"] or one["library"], accelerator or "")
        if accelerator is None or library is None or ranks < 2:
            continue
        hosts = -(-ranks // (per or int(row["ranks_per_host"]))) if per or row["ranks_per_host"] else None
        algorithm = "" if one["algorithm"] == "default" else f"; {one['algorithm']}"
        detail = f"{one['system']}; {one['library']}{algorithm}"
        yield Point(accelerator, library, op, ranks, hosts, detail, int(float(one["message_bytes"])),
                    float(one["time_us"]))


def _quoted(rows: list[dict[str, str]]) -> Iterator[tuple[Point, str]]:
    """Figures one by one, with their source; those without a message size or rank count are of no use."""
    for one in rows:
        op = op_name(one["collective"])
        accelerator = CPU if one["accelerators"] == CPU else accelerator_named(one["accelerators"])
        if not is_known(op) or accelerator is None or not (one["message_bytes"] and one["world_size"]):
            continue
        ranks, size = _ranks(one, op), int(float(one["message_bytes"]))
        hosts = int(one.get("hosts") or max(1, -(-ranks // _per_host(one["system"], accelerator))))
        time_us, rate = float(one.get("time_us") or 0), float(one["busbw_GBps"] or 0)
        time_us = time_us or (size * bus_factor(op, ranks) / rate / 1e3 if rate else 0.0)
        named = one.get("library") or ("RCCL" if accelerator.startswith("MI") else "NCCL")
        library = library_family(named, accelerator)
        assert library
        detail = f"{one['system']}; {named}" if one.get("library") else one["system"]
        if time_us > 0:
            yield Point(accelerator, library, op, ranks, hosts, detail, size, time_us), _source(one["source"])


def _source(told: str) -> str:
    """A repository, or the thread of one, as "owner/name issue 7"."""
    thread = re.match(r"(?:github.com/)?([\w.-]+/[\w.-]+)(?: (issue|pull)(?: request)? #?(\d+))?", told)
    assert thread, told
    return " ".join(part for part in thread.groups() if part)


def _ranks(one: dict[str, str], op: str) -> int:
    """The stated rank count, unless busbw / algbw of a large all-reduce, 2 - 2 / n, proves another."""
    stated = int(one["world_size"])
    if op != "all_reduce" or not one.get("algbw_GBps") or float(one["message_bytes"]) < 1 << 28:
        return stated
    ratio = float(one["busbw_GBps"]) / float(one["algbw_GBps"])
    printed = round(2 / (2 - ratio)) if ratio < 2 else stated
    return printed if abs(printed / stated - 1) > 0.2 else stated


def _per_host(system: str, accelerator: str) -> int:
    by_name = re.search(r"nodes? x ?(\d+) GPUs", system)
    return int(by_name[1]) if by_name else 4 if accelerator in ("GB200", "GB300", "GH200") else 8


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
