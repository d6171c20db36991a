"""Contributed journals: an honest one is accepted, each defect is named; frozen predictions are those of the pages."""

import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from collbench.analysis.contributed.check import defects
from collbench.analysis.contributed.frozen import frozen
from collbench.analysis.contributed.personal import personal_data, scrub
from collbench.analysis.contributed.score import scores
from collbench.analysis.contributed.show import page
from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.errors import UsageError
from collbench.collectives.records.digest import digest
from collbench.collectives.records.journal import Journal, read_lines
from collbench.collectives.records.record import SCHEMA, Clock, Imported, Policy, Record, Run, Timing, Verification
from collbench.launch.commands.contributed import command

ROOT = Path(__file__).parent.parent
RANKS = 72
LARGE = 466034 * 1152       # 512 MiB, rounded up to what divides among 72 ranks
SIZES = (1152, LARGE)
EDIT = msgspec.structs.replace


def a_run(**changes):
    """On the 72 GPUs of one NVL72."""
    hosts = [f"host{1 + rank // 4}" for rank in range(RANKS)]
    facts = {"host": "host1", "hosts": hosts, "cpu": "Grace", "versions": {"collbench": "0.1.0", "python": "3.11.7"},
             "topology": {"domain_name": "nvl72", "domains": ["rack.1"] * RANKS}, "cores": [72] * RANKS}
    run = Run(schema=SCHEMA, id="a-run", started="2026-12-01T08:00:00+00:00", transport="torch",
              library="nccl 2.29.2", device="cuda:NVIDIA GB200", world=RANKS, clock=Clock(kind="synchronised"),
              policy=Policy(), sweep=Sweep(ops=("all_gather",), sizes=SIZES, ranks=(RANKS,)),
              command=("collbench", "run"), provenance=facts)
    return EDIT(run, **changes)


def with_facts(**facts):
    return a_run(provenance={**a_run().provenance, **facts})


def a_record(size, time_s, samples=9, op="all_gather", asked=0):
    case = Case(op=op, ranks=RANKS, bytes=size, dtype="float16", redop="sum" if op == "all_reduce" else None)
    timing = Timing(mode="streamed", calls=4, warmup=1, begin_ns=[[0] * (samples + 1)] * RANKS, clock_error_s=1e-7,
                    span="makespan", precision=0.01, stopped_by="precision",
                    elapsed_ns=[[round(4e9 * time_s * (1 + 0.001 * n)) for n in range(samples + 1)]] * RANKS)
    return Record(run="a-run", case=case, status="ok", asked_bytes=asked or size, timings=(timing,),
                  digests=(digest(case, timing, 0.02),), verification=Verification(checks=RANKS, wrong=0))


def records():
    """An all_gather of 1 KiB within the frozen interval, and one of 512 MiB that is slower."""
    return [a_record(1152, 80e-6, asked=1024), a_record(LARGE, 4e-3)]


def written(folder, lines):
    path = folder / "submitted.jsonl"
    with Journal(path) as journal:
        journal.extend(lines)
    return path


def test_an_honest_journal_is_accepted_and_scored(tmp_path):
    path = written(tmp_path, [a_run(), *records()])
    assert defects(path) == []
    small, large = scores([path])
    assert (small.prediction.op, small.prediction.message_bytes, small.inside) == ("all_gather", 1024, True)
    assert small.measured_s == pytest.approx(80e-6, rel=0.01)
    assert (large.prediction.message_bytes, large.inside) == (512 << 20, False)
    shown = page([small, large], [path.name])
    assert "| [projections-2026-11-24](projections-2026-11-24.md) | nvl72 | 72 | 24 | 2 | 1 |" in shown
    assert "| 72 | 74.6 µs [42.3 µs to 139 µs] | 80.4 µs | 9 | inside |" in shown
    assert "| 72 | 1.24 ms [691 µs to 2.57 ms] | 4.02 ms | 9 | slower |" in shown


@pytest.mark.parametrize(("time_s", "inside"), [(41e-6, False), (43e-6, True), (138e-6, True), (140e-6, False)])
def test_a_prediction_holds_within_both_ends_of_its_interval(tmp_path, time_s, inside):
    (one,) = scores([written(tmp_path, [a_run(), a_record(1152, time_s, asked=1024)])])
    assert one.inside is inside


@pytest.mark.parametrize("run", [with_facts(topology={"domain_name": "nvl72", "domains": ["rack.1", "rack.2"] * 36}),
                                 with_facts(topology={"domain_name": "gb300_nvl72", "domains": ["rack.1"] * 72}),
                                 a_run(library="gloo, torch 2.13.0")])
def test_a_prediction_is_scored_by_its_own_domain_and_library_only(tmp_path, run):
    assert scores([written(tmp_path, [run, *records()])]) == []


def test_a_prediction_of_a_machine_is_scored_by_a_run_of_that_name(tmp_path):
    run = with_facts(cluster="Perlmutter A100", topology={})
    gather = a_record(576 << 20, 8.6e-3)
    found = scores([written(tmp_path, [run, gather])])
    assert [(one.prediction.system, one.inside) for one in found] == [("Perlmutter A100", True)]


def no_samples(record):
    return EDIT(record, timings=())


def other_digest(record):
    """Twice as fast as its samples."""
    return EDIT(record, digests=(EDIT(record.digests[0], calls=2 * record.digests[0].calls),))


IMPORTED = Imported(run="a-run", op="all_reduce", ranks=8, message_bytes=8, mode="streamed", time_s=1e-5,
                    time_kind="mean of ranks", statistic="mean", status="ok", source="a.log:1")
FIRST, SECOND = records()
DEFECTS = {
    "damaged line": ([a_run(), FIRST, SECOND], "1 damaged line, first line 2: line skipped: truncated"),
    "digest": ([a_run(), other_digest(FIRST), SECOND], "1 case with digests that do not follow from the samples"),
    "no samples": ([a_run(), no_samples(FIRST), SECOND], "1 case with fewer than 5 samples"),
    "few samples": ([a_run(), a_record(1152, 80e-6, samples=4), SECOND], "1 case with fewer than 5 samples"),
    "unverified": ([a_run(), EDIT(FIRST, verification=None), SECOND], "1 case with a result that was not verified"),
    "wrong": ([a_run(), EDIT(FIRST, verification=Verification(checks=72, wrong=1)), SECOND],
              "1 case with a wrong result"),
    "wires": ([a_run(), FIRST, a_record(LARGE, 300e-6)], "1 figure with more bandwidth than the links of nvl72"),
    "physics": ([a_run(), FIRST, a_record(LARGE, 1e-6)], "is impossible: no memory is that fast"),
    "host": ([with_facts(hosts=["host1"]), *records()], "provenance lacks the host of each of the 72 ranks"),
    "versions": ([with_facts(versions={}), *records()], "lacks the version of collbench, the version of python;"),
    "device": ([a_run(device="unknown"), *records()], "lacks the device;"),
    "clock": ([a_run(clock=Clock(kind="local")), *records()], "2 cases with times across ranks whose clocks"),
    "domain": ([a_run(device="cuda:NVIDIA H100 80GB HBM3"), *records()],
               "its domain is nvl72, and its device cuda:NVIDIA H100 80GB HBM3 that of hgx_h100_8"),
    "library": ([a_run(library="hccl 8.0"), *records()], "its domain nvl72 has nccl, and its library is hccl 8.0"),
    "another tool": ([a_run(), *records(), IMPORTED], "1 result of another tool, without samples"),
    "nothing": ([a_run()], "no case was measured"),
    "personal": ([a_run(command=("collbench", "run", "--out", "/home/alice/mine")), *records()],
                 "holds paths (/home/alice/mine); --scrub OUT writes a copy without"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_is_one_clear_line(tmp_path, defect):
    lines, words = DEFECTS[defect]
    path = written(tmp_path, lines)
    if defect == "damaged line":
        raw = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(raw[0] + raw[1].replace(b'"checks":72', b'"checks":73') + raw[2])
    found = defects(path)
    assert len(found) == (2 if defect == "no samples" else 1), found
    assert found[-1].startswith(f"{path}: ")
    assert any(words in line for line in found), found


def test_what_is_no_journal_is_refused_in_one_line():
    (words,) = defects(ROOT / "README.md")
    assert words.startswith(f"{ROOT / 'README.md'}: not a collbench journal")


def test_personal_data_are_named_and_removed_and_nothing_else(tmp_path):
    facts = {"host": "nid17.example.org", "hosts": ["nid17.example.org"] * 36 + ["nid18.example.org"] * 36,
             "settings": {"NCCL_ALGO (/home/alice/.nccl.conf)": "Ring", "NCCL_TOPO_FILE": "/etc/topo.xml"},
             "versions": {"collbench": "0.1.0", "python": "3.11.7", "cuDNN": "9.1.0.70"}}
    run = EDIT(with_facts(**facts), command=(
        "torchrun", "--rdzv-endpoint", "nid17:29500", "--out", "/scratch/alice/x", "--tag=alice", "bob@example.org",
        "tcp://10.1.2.3:400", "-b", "1K"))
    first = EDIT(FIRST, reproduce="mpirun --host nid18 collbench run")
    path, out = written(tmp_path, [run, first, SECOND]), tmp_path / "out.jsonl"
    assert personal_data([run, first]) == {
        "host names": ("nid17.example.org", "nid18.example.org", "nid17", "nid18"),
        "paths": ("/home/alice/.nccl.conf", "/scratch/alice/x"),
        "user names": ("alice", "bob@example.org"), "addresses": ("10.1.2.3",)}
    scrub(path, out, "Machine 7")
    assert defects(out) == []
    clean, *others = read_lines(out, [])
    assert clean.command == ("torchrun", "--rdzv-endpoint", "host1:29500", "--out", "PATH", "--tag=USER", "LOGIN",
                             "tcp://ADDRESS:400", "-b", "1K")
    assert clean.provenance == {**run.provenance, "cluster": "Machine 7", "host": "host1",
                                "hosts": ["host1"] * 36 + ["host2"] * 36,
                                "settings": {"NCCL_ALGO (PATH)": "Ring", "NCCL_TOPO_FILE": "/etc/topo.xml"}}
    assert others == [EDIT(first, reproduce="mpirun --host host2 collbench run"), SECOND]
    with pytest.raises(UsageError, match="exists already"):
        scrub(path, out)


def test_the_frozen_predictions_are_those_of_the_pages():
    """Times, intervals, payloads and ranks, read from the Markdown by another way than by the loader."""
    of_page = {}
    for one in frozen():
        of_page.setdefault(one.page, []).append(one)
    for name, kept in of_page.items():
        assert sorted(map(of_prediction, kept)) == sorted(of_rows((ROOT / "docs" / f"{name}.md").read_text())), name
    assert sum(map(len, of_page.values())) == 114


def of_prediction(one):
    size = f"{one.tokens} tokens" if one.message_bytes is None else three(one.message_bytes)
    return (one.op, one.system, one.dtype, one.ranks, size,
            *map(three, (one.time_s, one.time_lo_s, one.time_hi_s)))


def three(value):
    return f"{value:.3g}"


def quantity(text):
    scale = {"s": 1, "ms": 1e-3, "µs": 1e-6, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    number, unit = text.split()
    return three(float(number) * scale[unit])


def interval(text):
    low, high = text.split(" to ")
    return quantity(low if " " in low else f"{low} {high.split()[1]}"), quantity(high)


def of_rows(text):
    op = None
    for line in text.splitlines():
        op = line[3:] if line.startswith("## ") else op
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not any(re.match(r"\d[\d.]* (s|ms|µs)\b", cell) for cell in cells):
            continue
        if len(cells) == 7:
            tokens = re.sub(r"(\d+ token).*", r"\1s", cells[2])
            yield cells[1], "", "", int(cells[3]), tokens, quantity(cells[5]), *interval(cells[6])
        elif len(cells) == 10:
            yield (cells[2], cells[0], cells[3], int(cells[5]), quantity(cells[4]), quantity(cells[7]),
                   *interval(cells[8]))
        else:
            for ranks, cell in ((72, cells[1]), (384, cells[4])):
                middle, ends = re.fullmatch(r"(.*) \((.*)\)", cell).groups()
                yield op, "", "float16", ranks, quantity(cells[0]), quantity(middle), *interval(ends)


def test_the_page_is_up_to_date():
    journals = sorted((ROOT / "contributed").glob("*.jsonl"))
    assert [defects(path) for path in journals] == [[]] * len(journals)
    made = page(scores(journals), [path.name for path in journals])
    assert made == (ROOT / "docs" / "contributed.md").read_text(), "run make contributed"


def test_the_command_checks_scrubs_and_writes_the_page(collbench, tmp_path):
    path = written(tmp_path, [with_facts(host="n1", hosts=["n1"] * RANKS), *records()])
    refused = CliRunner().invoke(command, [str(path), "--markdown", str(tmp_path / "page.md")])
    assert (refused.exit_code, refused.stdout, (tmp_path / "page.md").exists()) == (1, "", False)
    assert refused.stderr == f"{path}: holds host names (n1); --scrub OUT writes a copy without\n"
    done = collbench("contributed", path, "--scrub", "clean.jsonl", "--markdown", "page.md")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "clean.jsonl: can be submitted"
    assert done.stdout.splitlines()[-1] == "1 of 2 predictions inside the 90 % interval"
    assert "| clean.jsonl | 2 |" in (tmp_path / "page.md").read_text()
