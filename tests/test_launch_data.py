"""DATA of the reading commands: many logs or a folder just work, and the user is asked for what they do not say."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from collbench.analysis.domains.candidates import candidates
from collbench.analysis.domains.facts import load_domains

NCCL = """# nThread 1 nGpus 1 minBytes 1048576 maxBytes 1048576 step: 2(factor) warmup iters: 5 iters: 20 validation: 1
#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
     1048576        262144     float     sum      -1  {0:.2f}  {1:.2f}  {2:.2f}      0  {0:.2f}  {1:.2f}  {2:.2f}     0
"""


def logs(folder):
    """All-reduces over 2, 4 and 8 ranks, whose logs name neither device nor rank count."""
    folder.mkdir()
    for ranks, time_us in ((2, 20.0), (4, 30.0), (8, 40.0)):
        rate = 1.048576e6 / time_us / 1e3
        (folder / f"n{ranks}.log").write_text(NCCL.format(time_us, rate, rate * 2 * (ranks - 1) / ranks))
    (folder / "notes.md").write_text("the logs are of our cluster\n")
    return folder


def test_many_logs_and_a_folder_of_logs_are_reported_without_any_option(collbench, tmp_path):
    folder = logs(tmp_path / "mine")
    named = collbench("extrapolate", *sorted(folder.glob("*.log")), "--to", "8,16", "--json", "-")
    assert {row["ranks"]: row["kind"] for row in json.loads(named.stdout)["predictions"]}[16] == "extrapolated"
    whole = collbench("report", "mine")
    assert whole.returncode == 0, whole.stderr
    assert "report: mine-report/report.html" in whole.stdout
    assert set(pd.read_csv(tmp_path / "mine-report" / "points.csv")["ranks"]) == {2, 4, 8}
    assert whole.stderr.count("--measured-on") == 1
    assert "hgx_h100_8" in whole.stderr
    assert "notes.md" in (tmp_path / "mine-report" / "report.html").read_text(), "it is no log"
    (tmp_path / "other-report").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.log").write_text((folder / "n8.log").read_text())
    refused = collbench("report", "other")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "-o" in refused.stderr


@pytest.mark.parametrize(("answer", "words"), [("hgx_h200_8\n", "H200"), ("\n", "not given")])
def test_on_a_terminal_the_accelerator_is_asked_for(tmp_path, answer, words):
    log = logs(tmp_path / "mine") / "n8.log"
    ours, theirs = pty.openpty()
    command = subprocess.Popen([Path(sys.executable).parent / "collbench", "extrapolate", log, "--to", "8,16", "--json",
                                "p.json"], stdin=theirs, stderr=theirs, stdout=subprocess.DEVNULL, cwd=tmp_path)
    os.close(theirs)
    os.write(ours, answer.encode())
    said = b""
    try:
        while got := os.read(ours, 1 << 16):
            said += got
    except OSError:     # the terminal is closed when the command has ended
        pass
    assert command.wait(240) == 0, said
    assert b"hgx_h200_8       H200" in said
    assert ("hgx_h200_8" in (tmp_path / "p.json").read_text()) == (words == "H200")


def test_candidates_have_the_library_and_links_that_are_fast_enough():
    domains = load_domains()

    def of(library, busbw_GBps, device="not stated"):
        return candidates(pd.DataFrame({"library": [library], "transport": ["log"], "device": [device],
                                        "busbw_Bps": [busbw_GBps * 1e9]}), domains)
    assert of("NCCL 2.27", 600)[:2] == ["hgx_h100_8", "hgx_h200_8"], "480 GB/s of NVLink SHARP are usual"
    assert "dgx_a100_8" in of("NCCL 2.27", 200)
    assert "dgx_a100_8" not in of("NCCL 2.27", 400)
    assert set(of("RCCL", 500)) == {"mi350x_8"}
    assert of("HCCL, version not stated", 300, "npu") == ["cm384"]
    assert of("MPI, version not stated", 1) == of("NCCL 2.27", 1, "Tesla K80") == []


def test_extrapolate_says_the_headline_and_what_was_measured(collbench, tmp_path):
    head = "system,library,collective,dtype,n_ranks,message_bytes,time_us"
    rows = [f"H100 SXM,NCCL 2.27,{op},float32,{ranks},{size},{10 * ranks + size / 4e5}"
            for op in ("all_reduce", "broadcast") for ranks in (2, 4, 8) for size in (1 << 20, 1 << 26)]
    (tmp_path / "mine.csv").write_text("\n".join([head, *rows]) + "\n")
    done = collbench("extrapolate", "mine.csv", "--to", "4,6,16", "--ops", "AllReduce", "--sizes", "64M",
                     "--json", "p.json")
    assert done.returncode == 0, done.stderr
    assert "broadcast" not in done.stdout
    assert done.stdout.count("all_reduce 64 MiB") == 1
    heads = [line.split() for line in done.stdout.splitlines() if "message size" in line]
    assert heads == [["message", "size", "8", "ranks", "measured", "fewer", "ranks,", "predicted", "extrapolated"]]
    found = json.loads((tmp_path / "p.json").read_text())["predictions"]
    assert {row["ranks"]: row["kind"] for row in found} == {4: "measured", 6: "extrapolated", 16: "extrapolated"}
    assert {(row["op"], row["asked_bytes"]) for row in found} == {("all_reduce", 1 << 26)}
    assert found[0]["time_s"] == pytest.approx((40 + (1 << 26) / 4e5) / 1e6)
    refused = collbench("extrapolate", "mine.csv", "--ops", "gather")
    assert refused.returncode == 2
    assert refused.stderr == "collbench: --ops: not in the data, which contain all_reduce, broadcast\n"
    whole = collbench("extrapolate", "mine.csv", "--to", "16", "-v", "--json", "all.json").stdout
    assert "hold-out error" in whole
    every = json.loads((tmp_path / "all.json").read_text())["predictions"]
    same = [row for row in every if (row["op"], row["asked_bytes"]) == ("all_reduce", 1 << 26)]
    assert same == [row for row in found if row["ranks"] == 16], "a selection changes no figure"
