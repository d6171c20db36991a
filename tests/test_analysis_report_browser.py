"""The real pages in a real browser, as wide as a desk and as a phone: whole, silent, and within their width.

A page stands in a frame, since a window cannot be as narrow as a phone. A probe at its end tells the frame's owner
what it sees, who writes that into a document which the browser then prints.
"""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from collbench.analysis.report.story import build_story
from collbench.analysis.report.write import write_report
from collbench.collectives.cases.case import Sweep
from collbench.collectives.records.journal import Journal
from collbench.collectives.records.record import SCHEMA, Clock, Policy, Record, Run, Timing, Verification

pytestmark = pytest.mark.browser

RANKS, SAMPLES = 4, 40
SWEEP = Sweep(ops=("all_reduce", "noop", "link_latency"), sizes=(8, 4096, 1 << 20), ranks=(2, RANKS), places=(False,))
PROBE = """<script>
(async () => {
  const started = Date.now(), charts = document.querySelectorAll(".chart").length;
  while (charts && !document.documentElement.dataset.drawn && Date.now() - started < 15000)
    await new Promise((done) => setTimeout(done, 50));
  const shown = () => [...document.querySelectorAll(".choice")].filter(
    (one) => getComputedStyle(one).visibility === "visible").map((one) => one.dataset.choice);
  const seen = { width: innerWidth, needs: document.documentElement.scrollWidth, charts,
    drawn: document.querySelectorAll(".chart svg .mark-symbol, .chart svg .mark-rect").length,
    empty: [...document.querySelectorAll(".chart")].filter((one) => !one.querySelector("svg")).map((one) => one.id),
    wide: [...document.querySelectorAll(".chart svg")].filter((one) => one.getBoundingClientRect().right > innerWidth)
      .map((one) => one.closest(".chart").id),
    fetched: performance.getEntriesByType("resource").map((one) => one.name), first: shown(), dark: matchMedia(
      "(prefers-color-scheme: dark)").matches,
    answer: document.querySelector(".front td + td")?.getBoundingClientRect().bottom };
  const dot = document.querySelector(".chart svg .role-mark.mark-symbol path");
  const tip = () => document.querySelector(".vg-tooltip");
  if (dot) {
    dot.scrollIntoView({ block: "center" });
    const at = dot.getBoundingClientRect();
    dot.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: at.x + 1, clientY: at.y + 1 }));
    for (let tries = 0; !tip() && tries < 20; tries++) await new Promise((done) => setTimeout(done, 50));
    const box = tip().getBoundingClientRect(), page = getComputedStyle(document.documentElement);
    seen.hover = { text: tip().innerText, inside: box.left >= 0 && box.right <= innerWidth && box.bottom <= innerHeight,
      like_page: getComputedStyle(tip()).backgroundColor === page.backgroundColor };
  }
  const select = document.getElementById("pick-calls");
  if (select) {
    select.value = "2";
    select.dispatchEvent(new Event("change"));
    seen.second = shown();
  }
  parent.postMessage(JSON.stringify(seen), "*");
})();
</script>"""
FRAME = """<!doctype html><pre id="seen"></pre>
<script>onmessage = (told) => document.getElementById("seen").textContent = told.data;</script>
<iframe src="probed.html" width="WIDTH" height="900" style="border: 0"></iframe>"""


@pytest.fixture(scope="session")
def chromium():
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("SKIPPED: no Chromium here, so the pages were not opened")
    return found


@pytest.fixture
def look(chromium, tmp_path):
    """Open a page at a width: what the probe saw, what the page asked the network for, what the console said."""
    def look(page, width, *more):
        body, end, rest = page.read_text().rpartition("</body>")
        (tmp_path / "probed.html").write_text(body + PROBE + end + rest)
        frame = tmp_path / "frame.html"
        frame.write_text(FRAME.replace("WIDTH", str(width)))
        net = tmp_path / "net.json"
        done = subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             f"--user-data-dir={tmp_path / f'profile-{width}'}", "--window-size=1400,1000", "--hide-scrollbars",
             "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0", f"--log-net-log={net}",
             "--virtual-time-budget=20000", *more, "--dump-dom", frame.as_uri()],
            capture_output=True, text=True, timeout=120, check=True)
        # What the browser asks for on its own account has no page to belong to.
        asked = [line for line in net.read_text().splitlines() if '"network_isolation_key":"file:' in line]
        seen = json.loads(re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL).group(1))
        return seen | {"asked": [url for line in asked for url in re.findall(r'"url":"([^"]*)"', line)],
                       "console": [line for line in done.stderr.splitlines() if "CONSOLE" in line]}
    return look


def is_whole_and_silent(seen, width):
    assert seen["width"] == width
    assert seen["needs"] <= width, "the page scrolls sideways"
    assert {name: seen[name] for name in ("empty", "wide", "fetched", "asked", "console")} == {
        "empty": [], "wide": [], "fetched": [], "asked": [], "console": []}


def a_journal(folder, seed=1):
    rng = np.random.default_rng(seed)

    def timing(case, mode):
        calls = 1 if mode == "isolated" else 8
        nominal = 1e3 * (20 + case.bytes / 1024) * calls * case.operation.messages
        elapsed = (nominal * np.exp(rng.normal(0, 0.05, (case.ranks, SAMPLES)))).astype(int)
        return Timing(mode=mode, calls=calls, warmup=3, span="makespan", precision=None, stopped_by="samples",
                      begin_ns=rng.integers(0, 9000, elapsed.shape).tolist(), elapsed_ns=elapsed.tolist())
    run = Run(schema=SCHEMA, id=f"run{seed}", started="2026-01-02T03:04:05Z", transport="torch", library="lib 1",
              world=RANKS, device="NVIDIA H100 80GB HBM3", clock=Clock(kind="shared"), policy=Policy(), sweep=SWEEP,
              command=("collbench", "run", "--out", "a/long/path/" * 12), provenance={
                  "host": "a-host-with-quite-a-long-name.cluster.example", "hosts": ["n1", "n1", "n2", "n2"],
                  "cores": [64] * RANKS})
    with Journal(folder / "journal.jsonl") as journal:
        journal.append(run)
        journal.extend([Record(run=run.id, case=case, status="ok", asked_bytes=asked,
                               verification=Verification(checks=RANKS, wrong=0),
                               timings=tuple(timing(case, mode) for mode in ("isolated", "streamed")))
                        for case, asked in SWEEP.cases().items()])
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return write_report(build_story(a_journal(folder), page=True), folder / "out")


@pytest.mark.parametrize(("width", "more"), [(1280, ()), (390, ("--blink-settings=preferredColorScheme=0",))])
def test_report_is_whole_silent_and_fits(look, page, width, more):
    seen = look(page, width, *more)
    is_whole_and_silent(seen, width)
    assert seen["charts"] == len(list((page.parent / "figures").glob("*.svg")))
    assert seen["drawn"] >= seen["charts"]
    assert (seen["first"], seen["second"]) == (["1"], ["2"])
    assert seen["dark"] == bool(more)
    assert seen["answer"] < 844, "a phone's first screen ends before the answer"
    told = seen["hover"].pop("text")
    assert seen["hover"] == {"inside": True, "like_page": True}
    assert re.search(r"message size\s+8 B\s+time\s+[0-9.]+ µs\s+interval of time\s+[0-9.]+ µs to [0-9.]+ µs",
                     told), told


def test_comparison_is_whole_silent_and_fits(look, collbench, tmp_path):
    for seed, name in ((1, "one"), (2, "other")):
        (tmp_path / name).mkdir()
        a_journal(tmp_path / name, seed)
    done = collbench("compare", "one", "other", "--html", "page.html")
    assert (tmp_path / "page.html").exists(), done.stderr
    for width in (1280, 390):
        is_whole_and_silent(look(tmp_path / "page.html", width), width)


def test_a_page_that_is_neither_is_caught(look, tmp_path):
    """The tests above can fail."""
    (tmp_path / "bad.html").write_text('<body><p style="width: 1300px">x</p><img src="http://example.invalid/x.png">'
                                       '<script>console.error("no")</script></body>')
    seen = look(tmp_path / "bad.html", 1280)
    assert seen["needs"] > 1280
    assert "http://example.invalid/x.png" in seen["asked"]
    assert any("no" in line for line in seen["console"])
