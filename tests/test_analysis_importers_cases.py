"""Cases from public reports, with figures of our own: each gives the right figures, or one line that says why not.

`log_cases` has an input for each kind of fault; `hostile` are inputs on which reports once crashed.
"""

from pathlib import Path

import pytest

from collbench.analysis.export import FORMATS, export
from collbench.analysis.findings.collect import collect_findings
from collbench.analysis.frames.load import load
from collbench.analysis.importers import LogHints, import_logs, read_log
from collbench.analysis.report.story import build_story
from collbench.collectives.errors import CollbenchError

CASES = Path(__file__).parent / "log_cases"

# File; results; operations and ranks; smallest and largest message in bytes, with their times in us, out of place;
# number of warnings, and words of the first.
EXPECTED = [
    ("01-osu-allreduce-no-datatype.txt", 3, {("all_reduce", 8)}, (4, 5.10), (1 << 20, 410.0), 0, ""),
    ("02-summary-time-in-ms.txt", 3, {("all_reduce", 8)}, (1 << 20, 35.1), (1 << 30, 7307.0), 0, ""),
    ("03-nccom-two-runs.txt", 2, {("all_reduce", 4), ("all_gather", 32)}, (1 << 20, 100.0), (1 << 20, 200.0), 0, ""),
    ("04-allgather-rows-end-with-bar.txt", 12, {("all_gather", 4)}, (1024, 20.03), (32768, 20.82), 0, ""),
    ("05-broadcast-root3-extra-word.txt", 12, {("broadcast", 8)}, (262144, 18.74), (8 << 20, 289.6), 1,
     "1 field more than the heading names: left out (and 5 more lines)"),
    ("06-osu-latency-after-bandwidth.txt", 6, {("bandwidth", 2), ("ping_pong", 2)}, (256, 0.182857), (1 << 20, 98.0), 0,
     ""),
    ("07-osu-annotated-row.txt", 4, {("ping_pong", 2)}, (256, 0.36), (4096, 8.55), 2,
     ":4: left out behind a row: '<- jumps here'"),
    ("08-osu-indented-by-tab.txt", 3, {("ping_pong", 2)}, (256, 0.36), (1024, 0.50), 0, ""),
    ("09-allgather-of-2019.txt", 2, {("all_gather", 4)}, (1 << 25, 12000.0), (1 << 25, 12000.0), 1,
     "it already includes the factor (n-1)/n"),
    ("10-nccom-mpirun-tag.txt", 2, {("all_reduce", 8)}, (1 << 20, 100.0), (1 << 22, 200.0), 0, ""),
    ("10-ucc-srun-label.txt", 2, {("all_to_all", 8)}, (8 * 65536, 60.0), (8 * 131072, 105.0), 0, ""),
    ("12-prefix-kubectl-prefix.txt", 8, {("all_reduce", 4)}, (1024, 20.05), (8192, 20.41), 0, ""),
    ("12-prefix-pals.txt", 8, {("all_reduce", 4)}, (1024, 20.05), (8192, 20.41), 0, ""),
    ("12-prefix-torchrun.txt", 8, {("all_reduce", 4)}, (1024, 20.05), (8192, 20.41), 0, ""),
    ("13-one-busbw-misprinted.txt", 20, {("all_gather", 4)}, (1024, 20.03), (524288, 33.11), 1,
     "busbw is not algbw times 0.75 in 1 of 20 places"),
    ("14-oneccl-benchmark.txt", 2, {("all_reduce", 2)}, (4, 30.50), (4096, 40.60), 0, ""),
    ("15-dsbench-GBps.txt", 1, {("all_reduce", 8)}, (1 << 20, 61.17), (1 << 20, 61.17), 0, ""),
    ("15-dsbench-raw.txt", 1, {("all_reduce", 8)}, (1 << 20, 61.17), (1 << 20, 61.17), 0, ""),
    ("16-nccom-stats.txt", 2, {("all_gather", 8)}, (65536, 11.31), (524288, 14.83), 0, ""),
    ("16-nccom.json", 1, {("all_gather", 32)}, (65536, 8.19), (65536, 8.19), 0, ""),
    ("17-one-size-4x-slower-out-of-place.txt", 26, {("all_reduce", 64)}, (1 << 20, 86.45), (1 << 32, 26504.0), 0, ""),
    ("18-wrapped-at-80.txt", 8, {("all_reduce", 8)}, (1024, 20.06), (8192, 20.48), 0, ""),
    ("19-nul-bytes-in-front.txt", 8, {("all_reduce", 4)}, (1024, 20.05), (8192, 20.41), 0, ""),
    ("21-two-runs-of-one-case-3x-apart.txt", 4, {("bandwidth", 2)}, (1 << 20, 11.9156), (1 << 22, 103.054), 0, ""),
    ("22-aiconfigurator-garbled.txt", 2, {("all_reduce", 8)}, (1024, 12.5), (1 << 20, 23.5), 5,
     ":3: row skipped: latency '12.5us': expected a number above zero"),
    ("22-vidur-garbled.txt", 2, {("all_reduce", 8)}, (2048, 37.0), (1 << 20, 111.0), 3,
     ":3: row skipped: median '' of 'all_reduce': expected a number above zero"),
]
ASKED = {"02-summary-time-in-ms.txt": LogHints(ranks=8), "16-nccom.json": LogHints(op="all_gather"),
         **dict.fromkeys((path.name for path in CASES.glob("hostile/*")), LogHints(8, "all_reduce"))}


def test_every_case_gives_its_figures():
    assert {name for name, *_ in EXPECTED} == {path.name for path in CASES.iterdir() if path.is_file()}
    for name, results, ops, first, last, warnings, words in EXPECTED:
        found = read_log(CASES / name, ASKED.get(name))
        placed = [figure for figure in found.results if not figure.in_place]
        assert len(found.results) == results, name
        assert {(figure.op, figure.ranks) for figure in found.results} == ops, name
        assert all(figure.status == "ok" for figure in found.results), name
        ends = [(figure.message_bytes, figure.time_s * 1e6) for figure in (placed[0], placed[-1])]
        assert ends == [(size, pytest.approx(time_us, rel=1e-4)) for size, time_us in (first, last)], name
        assert (len(found.warnings), words in "\n".join(found.warnings)) == (warnings, True), (name, found.warnings)


def test_what_a_log_does_not_say_is_one_question():
    with pytest.raises(CollbenchError, match=r"16-nccom.json:3: the operation is not in the log.*--log-op NAME$"):
        read_log(CASES / "16-nccom.json")


def test_runs_of_one_case_that_differ_are_kept_and_told(tmp_path):
    slow = [words for words in findings(tmp_path, CASES / "pairs") if "do not agree" in words]
    assert "10 runs" in slow[0]
    assert "slow: pair-1-3.log" in slow[0]
    twice = CASES / "21-two-runs-of-one-case-3x-apart.txt"
    assert [round(rate / 1e9, 1) for rate in load(twice).points["busbw_Bps"]] == [88.0, 135.0, 35.0, 40.7]
    assert any("2 runs of bandwidth over 2 ranks" in words for words in findings(tmp_path, twice))


def findings(tmp_path, path):
    out = tmp_path / f"{path.stem}.jsonl"
    import_logs([path], out, LogHints())
    return [found.words for found in collect_findings(load(out))]


@pytest.mark.parametrize("path", sorted(CASES.glob("hostile/*")), ids=lambda path: path.name)
def test_hostile_inputs_give_no_impossible_figure(path):
    found = load(path, ASKED[path.name])
    assert len(found.points)
    assert found.points["time_s"].between(1e-9, 1e6).all()
    assert all(text.isprintable() for text in found.points["system"].dropna())
    for form in FORMATS:
        export(found, form)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(path for path in CASES.rglob("*.*")), ids=lambda path: path.name)
def test_every_case_can_be_reported_directly_and_as_a_journal(tmp_path, path):
    import_logs([path], tmp_path / "x.jsonl", ASKED.get(path.name, LogHints()))
    for data in (path, tmp_path / "x.jsonl"):
        assert build_story(data, asked=ASKED.get(path.name), page=True)
