"""The real pages in a real browser, as wide as a desk and as a phone: whole, silent, and within their width.

A page stands in a frame, since a window cannot be as narrow as a phone. A probe at its end tells the frame's owner
what it sees, who writes that into a document which the browser then prints.
"""

import json
import re
import shutil
import subprocess
from html import unescape
from xml.etree import ElementTree

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
  const all = (query) => [...document.querySelectorAll(query)], one = (query) => document.querySelector(query);
  const until = async (done, ms = 15000) => {
    for (const end = Date.now() + ms; !done() && Date.now() < end;) await new Promise((go) => setTimeout(go, 50));
  };
  const drawn = (places) => places.filter((place) => !place.querySelector("svg")).map((place) => place.id);
  const visible = () => all(".chart").filter((place) => place.offsetParent !== null);
  await until(() => !drawn(visible()).length);
  const seen = { width: innerWidth, needs: document.documentElement.scrollWidth, title: document.title,
    screens: document.documentElement.scrollHeight / innerHeight, open: all("details[open]").map((part) => part.id),
    beyond: [".verdict", ".hero svg", ".number:last-child .value", ".number:last-child .note"].filter((query) => {
      const place = one(query); return !place || place.getBoundingClientRect().bottom > innerHeight; }),
    numbers: all(".number").map((number) => number.innerText), fetched: performance.getEntriesByType("resource").map(
      (entry) => entry.name), dark: matchMedia("(prefers-color-scheme: dark)").matches };

  const levels = all("h1, h2, h3, h4").map((heading) => Number(heading.tagName[1]));
  seen.skipped = levels.filter((level, at) => level > (levels[at - 1] ?? 0) + 1);
  seen.nameless = all("button, select, a").filter((place) => !(place.textContent.trim() || place.ariaLabel ||
    place.labels?.length)).length;
  const light = (colour) => {
    const [r, g, b] = colour.match(/[0-9.]+/g).map((part) => part / 255).map((part) =>
      part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const paper = light([document.documentElement, document.body].map((part) => getComputedStyle(part).backgroundColor)
    .find((colour) => colour !== "rgba(0, 0, 0, 0)") ?? "rgb(255, 255, 255)");
  seen.faint = all("a, p, h1, h2, h3, summary, .hint, .word, td, th, button").filter((place) => {
    const ink = light(getComputedStyle(place).color); return Math.max(ink / paper, paper / ink) < 4.5; }).map((place) =>
      `${place.tagName} ${place.className} ${getComputedStyle(place).color}`).slice(0, 5);

  one(".bar a[href='#expected'], .bar a[href='#files']")?.click();
  await until(() => one("#expected, #files")?.open, 2000);
  seen.led_to = all("details[open]").map((part) => part.id);
  one("#open-all")?.click();
  await until(() => !drawn(visible()).length);
  seen.charts = all(".chart").length;
  seen.shown = visible().length;
  seen.marks = all(".chart svg .mark-symbol, .chart svg .mark-rect").length;
  seen.empty = drawn(visible());
  seen.wide = visible().filter((place) => place.querySelector("svg")?.getBoundingClientRect().right > innerWidth).map(
    (place) => place.id);
  seen.needs_open = document.documentElement.scrollWidth;

  const dot = one(".chart svg .role-mark.mark-symbol path"), tip = () => one(".vg-tooltip");
  if (dot) {
    dot.scrollIntoView({ block: "center" });
    const at = dot.getBoundingClientRect();
    dot.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: at.x + 1, clientY: at.y + 1 }));
    await until(tip, 1000);
    const box = tip().getBoundingClientRect(), page = getComputedStyle(document.documentElement);
    seen.hover = { text: tip().innerText, inside: box.left >= 0 && box.right <= innerWidth && box.bottom <= innerHeight,
      like_page: getComputedStyle(tip()).backgroundColor === page.backgroundColor };
  }

  const choices = (select) => [...select.closest(".picked").querySelector(":scope > .choices").children].filter(
    (choice) => choice.offsetParent !== null).map((choice) => choice.dataset.choice);
  seen.picked = all(".pick select").slice(0, 2).map((select) => {
    const before = choices(select);
    select.value = "2";
    select.dispatchEvent(new Event("change"));
    return [before, choices(select)];
  });
  await until(() => !drawn(visible()).length);
  seen.empty.push(...drawn(visible()));

  const table = one("#operations table.sortable");
  if (table) {
    const header = table.tHead.rows[0].cells[0], column = () => [...table.tBodies[0].rows].map((row) =>
      Number(row.cells[0].dataset.v));
    seen.sorted = [1, 2].map(() => { header.querySelector("button").click(); return [header.ariaSort, column()]; });
  }

  const saved = [];
  HTMLAnchorElement.prototype.click = function () { saved.push([this.download, this.href]); };
  for (const button of all(".hero [data-save]")) button.click();
  await until(() => saved.length === all(".hero [data-save]").length, 5000);
  seen.saved = await Promise.all(saved.sort().map(async ([file, url]) =>
    [file, url.slice(0, 14), url.startsWith("blob:") ? await (await fetch(url)).text() : ""]));
  parent.postMessage(JSON.stringify(seen), "*");
})();
</script>"""
FRAME = """<!doctype html><pre id="seen"></pre>
<script>onmessage = (told) => document.getElementById("seen").textContent = told.data;</script>
<iframe src="probed.html" width="WIDTH" height="HEIGHT" style="border: 0"></iframe>"""
HEIGHTS = {390: 844, 1280: 800}


@pytest.fixture(scope="session")
def chromium():
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("SKIPPED: no Chromium here, so the pages were not opened")
    return found


@pytest.fixture(scope="module")
def look(chromium, tmp_path_factory):
    """Open a page at a width: what the probe saw, what the page asked the network for, what the console said."""
    tmp_path = tmp_path_factory.mktemp("look")

    def look(page, width, *more):
        body, end, rest = page.read_text().rpartition("</body>")
        (tmp_path / "probed.html").write_text(body + PROBE + end + rest)
        frame = tmp_path / "frame.html"
        frame.write_text(FRAME.replace("WIDTH", str(width)).replace("HEIGHT", str(HEIGHTS[width])))
        net = tmp_path / "net.json"
        done = subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             f"--user-data-dir={tmp_path / f'profile-{width}'}", "--window-size=1400,1000", "--hide-scrollbars",
             "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0", f"--log-net-log={net}",
             "--virtual-time-budget=40000", *more, "--dump-dom", frame.as_uri()],
            capture_output=True, text=True, timeout=240, check=True)
        # What the browser asks for on its own account has no page to belong to.
        asked = [line for line in net.read_text().splitlines() if '"network_isolation_key":"file:' in line]
        seen = json.loads(unescape(re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL).group(1)))
        return seen | {"asked": [url for line in asked for url in re.findall(r'"url":"([^"]*)"', line)],
                       "console": [line for line in done.stderr.splitlines() if "CONSOLE" in line]}
    return look


def is_whole_and_silent(seen, width):
    assert seen["width"] == width
    assert max(seen["needs"], seen["needs_open"]) <= width, "the page scrolls sideways"
    assert {name: seen[name] for name in ("empty", "wide", "fetched", "asked", "console")} == {
        "empty": [], "wide": [], "fetched": [], "asked": [], "console": []}
    assert {name: seen[name] for name in ("skipped", "nameless", "faint")} == {
        "skipped": [], "nameless": 0, "faint": []}


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


@pytest.fixture(scope="module", params=[(1280, ()), (390, ("--blink-settings=preferredColorScheme=0",))],
                ids=["wide", "phone, dark"])
def opened(request, look, page):
    """What the probe saw of the page; its width."""
    width, more = request.param
    seen = look(page, width, *more)
    assert seen["dark"] == bool(more)
    return seen, width


def test_report_is_whole_silent_and_fits(opened, page):
    seen, width = opened
    is_whole_and_silent(seen, width)
    assert seen["charts"] == len(list((page.parent / "figures/data").glob("*.csv")))
    assert seen["marks"] >= seen["shown"] > 10


def test_the_first_screen_has_verdict_chart_and_three_numbers_and_the_rest_is_folded(opened):
    seen, _ = opened
    assert seen["beyond"] == []
    titles = [re.match(r"\d+ ranks", number)[0] for number in seen["numbers"]]
    assert titles == ["4 ranks", "72 ranks", "384 ranks"]
    assert "measured" in seen["numbers"][0]
    assert all("extrapolated" in number or "not known" in number for number in seen["numbers"][1:])
    assert seen["title"] == "a-host-with-quite-a-long-name.cluster.example, 2026-01-02: collbench report"
    assert seen["open"] == ["links"]
    assert seen["screens"] < 6
    assert seen["led_to"] == ["expected", "links"]


def test_charts_have_values_to_hover_over_choices_and_files(opened):
    seen, _ = opened
    told = seen["hover"].pop("text")
    assert seen["hover"] == {"inside": True, "like_page": True}
    assert re.search(r"message size\s+8 B\s+busbw\s+[0-9.]+ [kM]B/s\s+interval\s+[0-9.]+ [kM]B/s to", told), told
    assert seen["picked"] == [[["1"], ["2"]]] * 2
    png, svg = seen["saved"]
    assert png[:2] == ["headline-all_reduce.png", "data:image/png"]
    assert svg[0] == "headline-all_reduce.svg"
    assert "currentColor" not in svg[2]
    assert ElementTree.fromstring(svg[2]).tag.endswith("svg")


def test_a_table_is_sorted_by_the_header_that_is_pressed(opened):
    (up, ascending), (down, descending) = opened[0]["sorted"]
    assert (up, down) == ("ascending", "descending")
    assert ascending == sorted(ascending) == descending[::-1]
    assert len(set(ascending)) == 3


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
