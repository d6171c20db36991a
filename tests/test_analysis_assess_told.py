"""What was found is told in the same order by terminal, page and document, each with its evidence."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from collbench.analysis.assess import LOW, NORMAL
from collbench.analysis.findings.finding import Finding, sort_findings
from collbench.analysis.frames.load import load
from collbench.analysis.frames.record_id import record_ids
from collbench.analysis.report.story import build_story
from collbench.collectives.errors import UsageError

HEADER = ("system,library,collective,algorithm,dtype,n_ranks,ranks_per_node,message_bytes,native_size_bytes,variant,"
          "time_us,source,statistic")


def test_the_most_important_finding_goes_first():
    found = [Finding("note", "n", effect=0.9), Finding("warning", "b", effect=0.1), Finding("warning", "c"),
             Finding("warning", "a", effect=0.5), Finding("error", "e", effect=0.01)]
    assert [finding.words for finding in sort_findings(found)] == ["e", "a", "b", "c", "n"]


def write_log(path, *rows):
    """A log of nccl-tests from 8 H100, as that tool prints it: rows of log2 of the size and busbw in GB/s."""
    lines = ["# nThread 1 nGpus 8 minBytes 67108864 maxBytes 8589934592 step: 2(factor) warmup iters: 5 iters: 20 agg "
             "iters: 1 validation: 1 graph: 0", "#", "# Using devices",
             *(f"#  Rank  {rank} Group  0 Pid  10 on  node-1 device  {rank} [0x00] NVIDIA H100 80GB HBM3"
               for rank in range(8)), "#",
             "#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   "
             "busbw #wrong", "#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            "
             "(us)  (GB/s)  (GB/s)"]
    for power, busbw in rows:
        size, cells = 1 << power, []
        for _ in range(2):
            time_us = size * 1.75 / busbw / 1e3
            cells.append(f"{time_us:9.1f} {size / time_us / 1e3:7.2f} {busbw:7.2f} {0:6d}")
        lines.append(f"{size:13d} {size // 4:13d} {'float':>9} {'sum':>7} {-1:7d} {cells[0]} {cells[1]}")
    path.write_text("\n".join([*lines, "# Out of bounds values : 0 OK", ""]))
    return path


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A log with one size far below what was published."""
    return write_log(tmp_path_factory.mktemp("h100") / "log.txt", (26, 380), (27, 200), (29, 440), (33, 478))


@pytest.fixture(scope="module")
def report(log):
    """The report on it: what the terminal said, the document, the folder."""
    folder = log.parent / "out"
    done = subprocess.run([Path(sys.executable).parent / "collbench", "report", log, "-v", "-o", folder, "--json",
                           log.parent / "report.json"], capture_output=True, text=True, timeout=240, check=True)
    return done.stdout, json.loads((log.parent / "report.json").read_text()), folder


def test_terminal_page_and_document_tell_the_same_findings_in_the_same_order(report):
    told, document, folder = report
    words = [finding["words"] for finding in document["findings"]]
    assert [finding["severity"] for finding in document["findings"]] == ["warning", "warning", "note"]
    slower, dip, reduction = sorted(words)[0], sorted(words)[2], sorted(words)[1]
    assert "2 of 8 points are slower than published runs" in slower
    assert "128 MiB" in slower
    assert "200 GB/s, against 380 GB/s at 64 MiB and 440 GB/s at 512 MiB" in dip
    assert "in-network reduction" in reduction
    assert "273 GB/s" in reduction
    text, page = " ".join(told.split()), " ".join((folder / "report.html").read_text().split())
    for medium in (text, page):
        at = [medium.index(sentence) for sentence in words]
        assert at == sorted(at)
        assert "450 GB/s one way per accelerator" in medium
    assert text.index(document["verdict"]) < text.index(words[0]) < text.index("Measured here, and extrapolated") \
        < text.index("Is it normal?") < text.rindex("normal: All 8 cases checked and right; largest")


def test_the_document_holds_verdict_expectations_answer_and_evidence_that_can_be_found_again(log, report):
    _, document, folder = report
    assert (document["document"], document["schema"], document["domain"]) == ("collbench report", 2, "hgx_h100_8")
    assert document["on"]["Devices"] == "8 ranks on 1 host, NVIDIA H100 80GB HBM3"
    largest = document["expected"][0]
    assert (largest["message_bytes"], largest["verdict"], largest["basis"]) == (1 << 33, NORMAL, "published")
    assert largest["wire_Bps"] == pytest.approx(478e9 / 1.75, rel=1e-3)
    assert largest["why"].startswith("in-network reduction")
    assert {(row["ranks"], row["kind"]) for row in document["headline"]} == \
        {(8, "measured"), (72, "extrapolated"), (384, "extrapolated")}
    assert all(row["busbw_lo_Bps"] <= row["busbw_Bps"] <= row["busbw_hi_Bps"]
               for row in document["headline"] if row["kind"] == "extrapolated")
    points = pd.read_csv(folder / "points.csv")
    evidence = document["findings"][0]["evidence"]
    assert set(points.loc[points["verdict"] == LOW, "record"]) == {one["record"] for one in evidence}
    assert record_ids(load(log).points) == points["record"].tolist()


def test_the_verdict_is_that_of_the_headline_and_its_sentence_names_the_lowest_of_the_others(log):
    answer = build_story(log).answer
    assert {result.reference.word for result in answer.results} == {NORMAL}
    assert answer.verdict == (NORMAL, "All 8 cases checked and right; largest messages normal; 2 of 7 other points low "
                              "against published runs, worst all_reduce 128 MiB.")
    slow = write_log(log.parent / "slow.txt", (26, 380), (27, 200), (29, 440), (33, 48))
    assert build_story(slow).answer.verdict == (LOW, "All 8 cases checked and right; of 8 points compared with "
                                                "published runs, 4 are normal, 4 low, worst all_reduce 8 GiB, 128 MiB.")


def test_a_baseline_without_a_common_case_is_refused(log):
    other = Path(__file__).parent.parent / "docs" / "examples" / "hgx-h100-8.csv"
    with pytest.raises(UsageError, match=r"log\.txt cannot be compared: they have no case in common"):
        build_story(log, baseline=other)


def test_each_system_of_a_file_is_held_against_its_own_domain(tmp_path):
    rows = [f"{system},NCCL 2.29,all_gather,default,half,8,8,{1 << 29},{1 << 29},,{time_us},s,"
             "nccl-tests mean over ranks" for system, time_us in (("8x A100", 2300), ("8x H100", 1400))]
    (tmp_path / "both.csv").write_text("\n".join([HEADER, *rows, ""]))
    points = build_story(tmp_path / "both.csv").points.set_index("system")
    assert points["ceiling_Bps"].to_dict() == {"8x A100": 300e9, "8x H100": 450e9}
    assert set(points["verdict"]) == {NORMAL}


def test_a_document_alone_writes_no_page(log, collbench, tmp_path):
    other = collbench("report", str(log), "--json", "-", "--measured-on", "hgx_h200_8")
    assert (other.returncode, other.stderr, list(tmp_path.iterdir())) == (0, "", [])
    assert json.loads(other.stdout)["on"]["Domain"].endswith("--measured-on: hgx_h200_8")


@pytest.mark.parametrize(("time_us", "word"), [(1400, NORMAL), (14000, LOW)])
def test_a_single_case_is_told_in_the_singular(tmp_path, time_us, word):
    row = f"8x H100,NCCL 2.29,all_gather,default,half,8,8,{1 << 29},{1 << 29},,{time_us},s,nccl-tests mean over ranks"
    (tmp_path / "one.csv").write_text(f"{HEADER}\n{row}\n")
    overview = build_story(tmp_path / "one.csv").overview
    assert overview.measured.endswith("1 case, 1 measured point")
    assert overview.trust == "1 case ok according to its log: no result was checked"
    assert overview.judgement.startswith("the only ")
    assert word in overview.judgement
