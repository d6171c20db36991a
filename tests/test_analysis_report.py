"""From a journal to a report: points, findings, domains, the page and the terminal, on journals with a known truth."""

import io
import json
import re
import shutil
import subprocess
import zlib

import msgspec
import numpy as np
import pytest
from rich.console import Console

from collbench.analysis.domains.facts import load_domains
from collbench.analysis.findings.collect import collect_findings
from collbench.analysis.forecast import extrapolate
from collbench.analysis.frames.load import load
from collbench.analysis.report import terminal
from collbench.analysis.report.openmetrics import openmetrics
from collbench.analysis.report.page_data import fitted_lines
from collbench.analysis.report.story import build_story
from collbench.analysis.report.write import write_report
from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.errors import CollbenchError, UsageError
from collbench.collectives.records.journal import Journal, JournalError, seal
from collbench.collectives.records.record import SCHEMA, Clock, Mismatch, Policy, Record, Run, Timing, Verification

SWEEP = Sweep(ops=("all_reduce", "all_gather", "ping_pong", "barrier", "noop"), sizes=(8, 4096, 1 << 20),
              ranks=(2, 4, 8), places=(False,))
OVERHEAD_S, ALPHA_S, RATE_BPS = 5e-6, 2e-6, 10e9


def truth_s(case):
    """A ring where there is one, else one step."""
    n, rounds = case.ranks, {"all_reduce": 2, "all_gather": 1}.get(case.op, 0)
    if case.op == "noop":
        return 1e-7
    steps, share = (rounds * (n - 1), rounds * (n - 1) / n) if rounds else (1, 1)
    return OVERHEAD_S + steps * ALPHA_S + share * case.bytes / RATE_BPS


def a_run(host="node-1", cores=64, transport="torch", alignment="agreed"):
    return Run(schema=SCHEMA, id=f"{transport}-{alignment}", started="2026-01-02T03:04:05Z", transport=transport,
               library="lib 1.0, build 7", device="cpu", world=8, clock=Clock(kind="shared"),
               policy=Policy(alignment=alignment), sweep=SWEEP, command=("collbench", "run"),
               provenance={"host": host, "hosts": [host] * 8, "cores": [cores] * 8, "versions": {"python": "3"}})


def a_timing(case, mode, rng, late=0, samples=30, alignment="agreed"):
    """Samples whose makespan is `truth_s` a message, rank `late` ending last and the others 3 % before it."""
    calls = 1 if mode == "isolated" else 8
    total_ns = truth_s(case) * 1e9 * calls * case.operation.messages * np.exp(rng.normal(0, 0.01, 3 + samples))
    total_ns[:3] *= 5
    elapsed = np.tile(total_ns * 0.97, (case.ranks, 1))
    elapsed[late % case.ranks] = total_ns
    return Timing(mode=mode, calls=calls, warmup=3, alignment=alignment,
                  span="makespan" if alignment == "agreed" else "slowest rank",
                  begin_ns=np.zeros_like(elapsed, int).tolist(),
                  elapsed_ns=elapsed.round().astype(int).tolist(), precision=None, stopped_by="samples")


def a_record(run, case, asked, rng, status="ok", late=0):
    fault = Mismatch(rank=1, index=7, expected="3.0", found="nan", when="after timing") if status == "wrong" else None
    return Record(run=run.id, case=case, status=status, asked_bytes=asked, reproduce="collbench run " + case.op,
                  reason=None if status == "ok" else f"was {status}",
                  timings=tuple(a_timing(case, mode, rng, late, alignment=run.policy.alignment)
                                for mode in ("isolated", "streamed")),
                  verification=Verification(checks=8, wrong=int(status == "wrong"), fault=fault))


def a_journal(folder, *runs, status=lambda case: "ok", late=lambda case: zlib.crc32(case.label().encode())):
    rng = np.random.default_rng(1)
    with Journal(folder / "journal.jsonl") as journal:
        for run in runs or (a_run(),):
            journal.append(run)
            for case, asked in SWEEP.cases().items():
                journal.append(a_record(run, case, asked, rng, status(case), late(case)))
    return folder


def test_points_are_what_went_in(tmp_path):
    points = load(a_journal(tmp_path)).points
    assert len(points) == 2 * len(SWEEP.cases())
    one = points[(points["op"] == "all_reduce") & (points["ranks"] == 8) & (points["message_bytes"] == 1 << 20)].iloc[0]
    expected = truth_s(Case(op="all_reduce", ranks=8, bytes=1 << 20, dtype="float32", redop="sum"))
    assert one["time_s"] == pytest.approx(expected, rel=0.02)
    assert one["rank_min_s"] == pytest.approx(0.97 * one["rank_max_s"], rel=1e-3)
    assert one["algbw_Bps"] == pytest.approx((1 << 20) / one["time_s"])
    assert one["busbw_Bps"] == pytest.approx(one["algbw_Bps"] * 1.75)
    assert one["busbw_lo_Bps"] < one["busbw_Bps"] < one["busbw_hi_Bps"]
    assert (one["samples"], one["time_kind"], one["system"]) == (30, "makespan", "node-1")
    assert (one["last_rank"], one["last_share"]) == (zlib.crc32(one["label"].encode()) % 8, 1.0)
    assert one["overhead_s"] == pytest.approx(1e-7, rel=0.05)
    assert not points["oversubscribed"].any()


def test_only_ranks_with_a_stopwatch_count_and_messages_divide(tmp_path):
    case = Case(op="ping_pong", ranks=4, bytes=8, dtype="float32")
    nonsense = [[10**9] * 8] * 2
    timing = Timing(mode="isolated", calls=1, warmup=1, begin_ns=None, precision=None, stopped_by="samples",
                    elapsed_ns=[[9000] + [4000] * 7, [9000] + [6000] * 7, *nonsense])
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append(a_run())
        journal.append(Record(run=a_run().id, case=case, status="ok", timings=(timing,)))
    point = load(tmp_path).points.iloc[0]
    assert (point["time_s"], point["time_kind"]) == (pytest.approx(3e-6), "slowest rank")
    assert (point["rank_min_s"], point["last_rank"]) == (pytest.approx(2e-6), 1)


def test_without_a_common_start_the_slowest_rank_counts(tmp_path):
    points = load(a_journal(tmp_path, a_run(alignment="none"))).points
    assert set(points["time_kind"]) == {"slowest rank"}


def test_the_later_record_of_a_case_counts(tmp_path):
    run, rng = a_run(), np.random.default_rng(2)
    case = next(iter(SWEEP.cases()))
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append(run)
        journal.append(a_record(run, case, 8, rng, "failed"))
        journal.append(a_record(run, case, 8, rng))
    loaded = load(tmp_path)
    assert loaded.records["status"].tolist() == ["ok"]
    assert len(loaded.points) == 2


def test_damaged_and_foreign_files(tmp_path):
    path = a_journal(tmp_path) / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-40] + b"\n")
    assert any("truncated" in warning for warning in load(path).warnings)
    path.write_text("size time busbw\n8 1 2\n")
    with pytest.raises(JournalError, match="not a collbench journal"):
        load(path)
    with pytest.raises(JournalError, match="cannot be read"):
        load(tmp_path / "absent")


def test_a_newer_schema_is_refused(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(seal(msgspec.structs.replace(a_run(), schema=SCHEMA + 1)))
    with pytest.raises(UsageError, match="newer"):
        load(path)


def test_findings_say_what_is_there_and_nothing_else(tmp_path):
    assert collect_findings(load(a_journal(tmp_path))) == []


def test_findings_are_ranked_and_name_their_evidence(tmp_path):
    a_journal(tmp_path, a_run(cores=4),
              status=lambda case: "wrong" if case.op == "ping_pong" else
              "unsupported" if case.op == "barrier" else "ok")
    found = collect_findings(load(tmp_path))
    words = [finding.words for finding in found]
    assert [finding.severity for finding in found] == sorted((finding.severity for finding in found),
                                                             key=["error", "warning", "note"].index)
    assert words[0].startswith("9 cases of 33 gave wrong results")
    assert "rank 1, element 7" in words[0]
    assert found[0].evidence[0].startswith("ping_pong")
    assert any("with 8 ranks there were more ranks on a host than cores" in text for text in words)
    assert words[-1].startswith("3 cases of 33 not supported here (was unsupported)")


def test_shipped_domains_are_72_and_384_with_sources():
    domains = load_domains()
    assert [domains[key].accelerators.value for key in ("nvl72", "cm384")] == [72, 384]
    for key in ("nvl72", "cm384"):
        assert all(tier.rate_Bps.source and tier.rate_Bps.value > 1e9 for tier in domains[key].tiers)
    assert [other.value for other in domains["cm384"].tiers[-1].rate_Bps.alternatives] == [350e9]


@pytest.mark.parametrize(("text", "message"), [
    ("[x", "own.toml"), ("[x]\nname = 3", "domain x: Expected `str`, got `int` - at `$.name`"),
    ("[x]\nnmae = 'typo'", "unknown field `nmae`"),
    ("[x]\nname='a'\naccelerator='b'\nfabric='c'\naccelerators={value=9,source='s',grade='primary'}\n"
     "tiers=[{name='t',accelerators=8}]",
     "innermost out"),
])
def test_a_bad_domain_file_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(message)) as raised:
        load_domains(path)
    assert "\n" not in str(raised.value)


def test_the_line_over_payloads_is_the_latency_and_the_rate(tmp_path):
    lines = fitted_lines(build_story(a_journal(tmp_path)).shown)
    assert set(lines["op"]) == {"all_reduce", "all_gather", "ping_pong"}
    mine = lines[lines["op"].eq("all_reduce") & lines["ranks"].eq(8) & lines["mode"].eq("isolated")]
    truth = OVERHEAD_S + 14 * ALPHA_S + 14 / 8 * mine["message_bytes"] / RATE_BPS
    assert mine["time_s"].to_numpy() == pytest.approx(truth.to_numpy(), rel=0.02)
    assert mine["busbw_Bps"].to_numpy() == pytest.approx((14 / 8 * mine["message_bytes"] / truth).to_numpy(), rel=0.02)


def test_terminal_tells_the_same_story(tmp_path):
    out = io.StringIO()
    terminal.show(build_story(a_journal(tmp_path)), Console(file=out, width=120), verbose=True)
    text = " ".join(out.getvalue().split())
    for words in ("All 33 cases checked and right", "72 ranks", "384 ranks", "extrapolated", "not extrapolated",
                  "not a forecast", "all_gather, measured, 8 ranks", "NVL72"):
        assert words in text


def test_of_many_operations_the_terminal_has_tables_of_few_and_a_line_each_of_the_others(tmp_path, monkeypatch):
    story = build_story(a_journal(tmp_path))

    def shown(**ops):
        out = io.StringIO()
        terminal.show(story, Console(file=out, width=120), **ops, verbose=True)
        return out.getvalue()
    whole = shown()
    assert "other operations" not in whole
    monkeypatch.setattr(terminal, "_MOST_TABLES", 2)
    brief = shown()
    tables = [op for op in SWEEP.ops if f"{op}, measured, 8 ranks" in brief]
    assert tables == ["all_reduce", "all_gather"]
    others = brief[brief.index("The other operations"):]
    assert re.search(r"ping_pong 8 ranks +8 B [67]\.\d\d µs .*1 MiB \d+\.\d+ GB/s", others)
    assert re.search(r"barrier 8 ranks +[67]\.\d+ µs", others)
    one = shown(ops=["barrier"])
    assert "barrier, measured, 8 ranks" in one
    assert "all_reduce, measured" not in one
    assert all(line in whole for line in brief.splitlines()[:4])


def test_a_flag_that_a_journal_brings_is_no_markup():
    assert terminal._flags({"flags isolated": "[/]", "flags streamed": None}) == r"\[/] (isolated)"


def test_terminal_shows_predictions_with_their_model_and_cautions(tmp_path):
    out = io.StringIO()
    points = load(a_journal(tmp_path)).points
    terminal.show_predictions(extrapolate(points, [8, 72]), Console(file=out, width=140))
    text = " ".join(out.getvalue().split())
    for words in ("measured", "extrapolated", "ring: overhead", "speculative: 9 times", "warning: involves pairs"):
        assert words in text


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report whose names try to break out of the page, of two transports."""
    folder = tmp_path_factory.mktemp("hostile")
    host = "<script>alert(1)</script>\"'&{{7*7}}"
    a_journal(folder, a_run(host=host), a_run(host=host, transport="mpi", cores=4))
    return write_report(build_story(folder, page=True), folder / "out").parent


def test_report_is_whole(report):
    names = {path.name for path in report.iterdir()}
    assert names == {"report.html", "figures", "points.csv", "predictions.csv", "predictions.json", "curve.csv",
                     "report.json"}
    kinds = {row["kind"] for row in json.loads((report / "predictions.json").read_text())["predictions"]}
    assert kinds == {"extrapolated", "refused"}
    assert [path.name for path in (report / "figures").iterdir()] == ["data"]
    charts = {path.stem for path in (report / "figures/data").iterdir()}
    assert {"all_reduce-time-ranks", "all_reduce-time-size-2", "headline-all_reduce"} <= charts


def test_page_loads_nothing_and_escapes_everything(report):
    page = (report / "report.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", page)[0]
    markup = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href|action)\s*=\s*["']?(https?:)?//""", markup)
    assert "@import" not in page
    assert "url(" not in page.partition("</style>")[0]


def test_characters_that_move_a_cursor_or_that_xml_has_not_are_escaped_in_every_file(tmp_path):
    """In the names of a log; all but the last two of them abort the library that draws figures."""
    strange = "x\x07\x0b\x1b[2J\ufffe\uffff\x85\u202ey"
    head = "system,library,collective,algorithm,dtype,n_ranks,message_bytes,time_us\n"
    (tmp_path / "data.csv").write_text(head + "".join(
        f"{strange},NCCL {number}{strange},all_reduce,{strange},half,{ranks},{size},{ranks + size / 1e4}\n"
        for number in (1, 2) for ranks in (2, 4, 8) for size in (1024, 1 << 20)))
    told = []
    story = build_story(tmp_path / "data.csv", page=True)
    out = write_report(story, tmp_path / "out", told.append, figures=True).parent
    assert told == []
    files = [path for path in out.rglob("*") if path.suffix in (".html", ".svg", ".csv", ".json")]
    assert {path.suffix for path in files} == {".html", ".svg", ".csv", ".json"}
    drawn = {path.name: path.stat().st_size for path in (out / "figures").iterdir() if path.is_file()}
    assert set(drawn) == {f"{path.stem}.{kind}" for path in (out / "figures/data").iterdir() for kind in ("png", "svg")}
    assert min(drawn.values()) > 1000
    shown = r"x\x07\x0b\x1b[2J\ufffe\uffff\x85\u202ey"
    for path in files:
        text = re.sub(r"<script>.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert text.replace("\n", "").isprintable(), path
    assert shown in (out / "report.html").read_text()
    assert shown in (out / "points.csv").read_text()
    assert shown in story.overview.title


def test_report_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(CollbenchError, match="cannot be written"):
        write_report(build_story(a_journal(tmp_path), page=True), tmp_path / "taken")


def test_report_of_a_journal_without_a_single_point(tmp_path):
    a_journal(tmp_path, status=lambda case: "failed")
    page = write_report(build_story(tmp_path, page=True), tmp_path / "out").read_text()
    assert "Nothing was measured" in page


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    """The metrics of a report, by family; labels that hold what has to be escaped."""
    parser = pytest.importorskip("prometheus_client.openmetrics.parser",
                                 reason="SKIPPED: pip install prometheus-client")
    path = tmp_path_factory.mktemp("metrics") / "journal.jsonl"
    rng = np.random.default_rng(1)
    run = msgspec.structs.replace(a_run(), library='lib "1.0" \\ n')
    with Journal(path) as journal:
        journal.extend([run, *(a_record(run, case, asked, rng) for case, asked in SWEEP.cases().items())])
    story = build_story(path)
    text = openmetrics(story)
    from prometheus_client.parser import text_string_to_metric_families
    assert list(text_string_to_metric_families(text))
    return text, story, {family.name: family for family in parser.text_string_to_metric_families(text)}


def test_metrics_hold_every_figure_with_its_interval_and_what_it_is(metrics):
    _, story, families = metrics
    time, low, high = (families[f"collbench_{name}_seconds"].samples for name in ("time", "time_lower", "time_upper"))
    by_labels = [{tuple(sorted(sample.labels.items())): sample.value for sample in samples}
                 for samples in (time, low, high)]
    assert by_labels[0].keys() == by_labels[1].keys() == by_labels[2].keys()
    assert all(by_labels[1][key] <= value <= by_labels[2][key] for key, value in by_labels[0].items())
    kinds = [dict(key)["kind"] for key in by_labels[0]]
    assert kinds.count("measured") == len(story.shown)
    assert kinds.count("extrapolated") == story.predictions["time_s"].notna().sum() > 0
    assert {dict(key)["library"] for key in by_labels[0]} == {'lib "1.0" \\ n'}
    assert families["collbench_results_right"].samples[0].value == 1
    assert families["collbench_run_started_timestamp_seconds"].samples[0].value == 1767323045


def test_promtool_accepts_the_metrics(metrics):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("SKIPPED: no promtool, which comes with Prometheus")
    done = subprocess.run([promtool, "check", "metrics"], input=metrics[0], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
