"""The command line takes anything a person may type, and any file: it is done, or refused in one line.

What is refused has created nothing and changed nothing. No rank is started here, nor anything else: a command that gets
so far counts as having taken what it was given, and what it would start must be something that the ranks take too.
"""

import contextlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path

import click
import msgspec
import pytest

from collbench.analysis import domains
from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.errors import CollbenchError
from collbench.collectives.records.digest import digest
from collbench.collectives.records.journal import _SEAL, seal
from collbench.collectives.records.record import (
    SCHEMA,
    Clock,
    Imported,
    Mismatch,
    Policy,
    Record,
    Run,
    Timing,
    Verification,
)
from collbench.launch.cli import cli, main
from collbench.launch.job import Job

# tune and fleet are left out: what is not refused starts many launches.
SUBCOMMANDS = [name for name in cli.list_commands(None)
               if cli.get_command(None, name).params and name not in ("fleet", "tune")]
# What every subcommand needs, or a file that it refuses last; each option in turn is given every value of its kind.
VALID = {
    "backtest": {"files": "text"}, "bench": {}, "claims": {}, "contributed": {"files": "text"},
    "history": {"db": "new.db", "data": "good.csv"}, "workload": {"name": "deepseek-r1"},
    "check": {"baseline": "text", "data": "text"},
    "compare": {"a": "text", "b": "good.csv"}, "doctor": {}, "domains": {"name": "nvl72"}, "links": {}, "run": {},
    "expect": {"ops": "all_reduce", "ranks": "8", "name": "nvl72"}, "export": {"data": "good.csv", "form": "csv"},
    "extrapolate": {"data": "text"}, "import": {"logs": "good.csv", "out": "new.jsonl"},
    "launch": {"launcher": "slurm", "dry_run": None},
    "project": {"data": "text"}, "report": {"data": "text", "out": "new"}, "simulate": {"name": "nvl72"},
    "summary": {"data": "text"}}
ANYTHING = ["", " ", ",", "all,all", "--", "-", "--help", "=1+1", "\x9b2J\x07", "a\nb", "١٢", "\udcff\udcfe", "\u202e",
            "x" * 5000, "../..", "%s{0}$(id)`id`;'\"", "<script>"]
NUMBERS = ["0", "-1", "1", "1.5", "1e400", "-1e400", "nan", "inf", "9" * 400, "9" * 5000, "1_000", "0x10", "1e-400",
           "2,,4", "1K", "1Q", "9" * 30 + "T", "1.0000000000000002", str(2**63), "00:00", "1-99:99:99"]
WARNINGS = (": line skipped: ", "the job asks Slurm for no devices")      # may come before a reason to refuse
GOOD = "system,library,collective,algorithm,dtype,n_ranks,ranks_per_node,message_bytes,time_us\n" + "".join(
    f"s,NCCL,all_reduce,ring,float32,{ranks},8,4096,{5 + ranks}\n" for ranks in (2, 4, 8, 16))
PATHS = ["nowhere", "no/where", "folder", "/", "text", "text/under", "nothing", "bytes", "latin.csv", "zeros",
         "cut.jsonl", "broken.jsonl", "deep.json", "good.toml", "loop", "/proc/self/mem", "/dev/full", "good.jsonl",
         "\x9b2J\x07"]


def a_journal():
    """Two ranks of one host: collectives, links, copies, and cases that did not end well."""
    rng = random.Random(3)
    run = Run(schema=SCHEMA, id="r", started="2026-01-02T03:04:05Z", transport="torch", library="gloo", device="cpu",
              world=2, clock=Clock(kind="shared"), policy=Policy(), command=("collbench", "run"),
              sweep=Sweep(ops=("all_reduce", "links"), sizes=(1024,), ranks=(2,)),
              provenance={"host": "node-1", "hosts": ["node-1"] * 2, "cores": [2, 2], "versions": {"python": "3"}})
    lines = [seal(run)]
    for op, more in (("noop", {}), ("barrier", {}), ("all_reduce", {"redop": "sum"}), ("all_reduce", {"redop": "max"}),
                     ("all_gather", {"in_place": True}), ("send_recv", {}), ("copy", {}),
                     ("link_latency", {"traffic": "round-1"}), ("link_bandwidth", {"traffic": "round-1"}),
                     ("link_bi_bandwidth", {"traffic": "pair-0-1"})):
        case = Case(op=op, ranks=2, bytes=0 if op in ("noop", "barrier") else 1024,
                    dtype=None if op in ("noop", "barrier") else "float32", **more)
        timings = tuple(Timing(mode=mode, calls=1, warmup=1, begin_ns=[[0] * 8] * 2, precision=0.1, stopped_by="time",
                               elapsed_ns=[[rng.randrange(900, 1100) for _ in range(8)] for _ in range(2)])
                        for mode in ("isolated", "streamed"))
        status = "wrong" if more == {"redop": "max"} else "ok"
        fault = None if status != "wrong" else Mismatch(rank=1, index=7, expected="3.0", found="nan",
                                                        when="after timing")
        digests = tuple(digest(case, timing, 0.02) for timing in timings) if len(lines) % 2 else ()
        lines.append(seal(Record(run="r", case=case, status=status, asked_bytes=1024, timings=timings, reproduce="run",
                                 digests=digests,
                                 notes=("a note",), reason=fault and "was wrong",
                                 verification=Verification(checks=4, wrong=int(status == "wrong"), fault=fault))))
    return b"".join(lines)


JOURNAL = a_journal()


class Started(BaseException):
    """A command got as far as starting something: what it was given is valid."""


def refuse(*words, **options):
    """Instead of starting ranks: check that they would understand their options, and could store them."""
    from collbench.collectives.options import RunConfig, config_from
    from collbench.collectives.program.rank import main as rank
    for job in words:
        if isinstance(job, Job):
            parsed = config_from(rank.make_context("rank", job.arguments()).params, job.out, job.config.command)
            assert parsed == job.rank_config
            with tempfile.TemporaryDirectory() as folder:
                job.config.write(Path(folder) / "config.json")
                assert RunConfig.read(Path(folder) / "config.json") == job.config
    raise Started


def absent(*words, **options):
    raise FileNotFoundError(2, "No such file or directory")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A directory of files that are not what a command wants, and of some that are."""
    folder = tmp_path_factory.mktemp("pristine") / "things"
    folder.mkdir()
    for name, content in {
            "good.csv": GOOD.encode(), "good.jsonl": JOURNAL, "text": b"hello\n", "nothing": b"",
            "bytes": bytes(range(256)), "latin.csv": GOOD.replace("s,", "\xe9,").encode("latin-1"), "zeros": b"\0" * 99,
            "cut.jsonl": JOURNAL[:-40], "broken.jsonl": JOURNAL.replace(b"1", b"2"), "deep.json": b"[" * 100_000,
            "good.toml": b'[mine]\nname = "x"\nfabric = "f"\n', "\x9b2J\x07": b"x"}.items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    return folder


@pytest.fixture
def things(monkeypatch, tmp_path, pristine):
    """Its copy is where we are, and nothing can be started: no rank, no simulation, no probe; nor a page drawn."""
    import collbench.analysis.report.write as write
    import collbench.analysis.simulate as simulate
    import collbench.launch.bench as bench
    import collbench.launch.doctor.run_checks as run_checks
    import collbench.launch.library_log as library_log
    import collbench.launch.supervise as supervise
    from collbench.collectives.topology import find_accelerators
    find_accelerators()
    for module, name, stand_in in (
            (supervise, "run_job", refuse), (supervise, "run_through_faults", refuse),
            (bench, "run_job", refuse), (library_log, "run_job", refuse), (run_checks, "examine", refuse),
            (os, "fork", refuse), (subprocess, "Popen", absent), (simulate, "run_cases", refuse),
            (simulate, "version", str), (write, "write_report", refuse)):
        monkeypatch.setattr(module, name, stand_in)
    folder = tmp_path / "things"
    shutil.copytree(pristine, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def kind(parameter):
    """Values to try for an option or an argument; None for a flag."""
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return [None]
    if isinstance(parameter.type, click.IntRange | click.FloatRange) or parameter.type in (click.INT, click.FLOAT):
        return NUMBERS + ANYTHING[:12]
    if isinstance(parameter.type, click.Path) or isinstance(parameter, click.Argument):
        return PATHS + ANYTHING
    return ANYTHING + NUMBERS


def words_of(name, given):
    """The command line of a subcommand from values by parameter."""
    known = {parameter.name: parameter for parameter in cli.get_command(None, name).params}
    words = [name]
    for key, value in given.items():
        if isinstance(known[key], click.Option):
            words += [known[key].opts[-1], *([] if value is None else [value])]
    return [*words, "--", *(given[key] for key, one in known.items()
                            if isinstance(one, click.Argument) and key in given)]


def attempt(words):
    """Exit status, standard output, and what was said on standard error; None where something would be started."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors)
                for errors in ("strict", "backslashreplace"))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as end:
            status = int(end.code or 0)
        except Started:
            status = None
    for stream in (out, err):
        stream.flush()
    return status, out.buffer.getvalue().decode(), err.buffer.getvalue().decode()


def state(folder):
    return {path.relative_to(folder): (path.lstat().st_mtime_ns, path.lstat().st_size)
            for path in folder.rglob("*")}


def held(words, folder, pristine):
    """What is promised of every command line; the folder is then as it was. Its status."""
    before = state(folder)
    status, _, said = attempt(words)
    after = state(folder)
    # Of several logs, not all could be read; a submission is refused; a history has too few runs.
    some = words[0] in ("import", "contributed", "history") and status == 1
    assert status in (0, 2, None) or "/dev/full" in words or some, (words, said)
    if status == 2:
        # They seem writable; what was added before stays.
        late = words[0] == "history" and {"/proc/self/mem", "/dev/full"} & {*words}
        assert after == before or late, words
        *warnings, reason = said.splitlines()
        assert reason.startswith("collbench: "), (words, said)
        assert all(line.startswith("collbench: ") for line in warnings), (words, said)
        assert all(any(map(line.count, WARNINGS)) for line in warnings), (words, said)
    assert said.replace("\n", "").isprintable(), (words, said)
    assert len(said) < 2000 * (1 + said.count("\n")), words
    if after != before:
        shutil.rmtree(folder)
        shutil.copytree(pristine, folder, symlinks=True)
        os.chdir(folder)
    return status


QUICK = ("domains", "run")       # tried in every run of the tests; the others among the slow ones


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
                                  for name in SUBCOMMANDS])
def test_every_option_takes_or_refuses_every_value(things, pristine, name):
    taken = refused = 0
    for parameter in cli.get_command(None, name).params:
        if name == "launch" and parameter.name in {one.name for one in cli.get_command(None, "run").params}:
            continue        # the same options
        for value in kind(parameter):
            status = held(words_of(name, {**VALID[name], parameter.name: value}), things, pristine)
            taken, refused = taken + (status != 2), refused + (status == 2)
    assert taken or name in ("backtest", "check", "compare")
    assert refused > 10


@pytest.mark.parametrize("name", ["launch", "run", "simulate", "compare"])
def test_options_that_contradict_each_other(things, pristine, name):
    rng = random.Random(20261124)
    options = cli.get_command(None, name).params
    for _ in range(100):
        given = {one.name: rng.choice([*kind(one), *("1", "2", "4", "8") * 5])
                 for one in rng.sample(options, rng.randint(2, 4)) if kind(one) != [None]}
        held(words_of(name, {**given, **VALID[name]}), things, pristine)


# journals that are whole, with contents that no run has

HOSTILE = [None, 0, -1, 1, 2, 2**31, 2**63 - 1, -2**63, 1e308, -1.5, 1e-300, "", "x", "\x9b2J\x07", "a\nb", "=1+1",
           "<script>alert(1)</script>", "\u202e", True, [], {}, [[]], [1], [[0, 0], [0, 0]], "all_reduce",
           "link_latency", "round-1", "noop", "failed", "isolated", {"a": 1}, "[/]"]
READERS = (("extrapolate", "{}"), ("project", "{}", "--json", "-"), ("export", "{}", "--format", "csv"),
           ("export", "{}", "--format", "nccl-tests"), ("compare", "good.jsonl", "{}"),
           ("compare", "{}", "{}", "--html", "-"), ("links", "{}"),
           ("check", "--baseline", "{}", "--data", "good.jsonl"), ("backtest", "{}"))


def leaves(node, path=()):
    """Paths of everything in a document; of a list only the first few."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node[:4])):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from leaves(value, (*path, key))


def changed(lines, rng):
    """The journal with one to three values replaced or taken away, and its checksums made right again."""
    documents = [json.loads(line) for line in lines]
    for _ in range(rng.choice((1, 1, 2, 3))):
        document = rng.choice(documents[:1] * len(documents) + documents * 3)
        document.pop("crc32", None)
        *path, last = rng.choice(list(leaves(document)))
        node = document
        for key in path:
            node = node[key]
        if rng.random() < 0.1:
            del node[last]
        else:
            node[last] = rng.choice(HOSTILE)
    return sealed(documents)


def sealed(documents):
    """Lines of a journal."""
    bodies = [json.dumps({key: value for key, value in document.items() if key != "crc32"}, ensure_ascii=False,
                         separators=(",", ":")).encode()[:-1] for document in documents]
    return b"".join(body + _SEAL % zlib.crc32(body) for body in bodies)


def test_journals_with_contents_that_no_run_has(things):
    from collbench.analysis.report.story import build_story
    from collbench.analysis.report.terminal import show
    rng, lines = random.Random(7), JOURNAL.splitlines()
    for _ in range(6):
        (things / "strange").write_bytes(changed(lines, rng))
        for command in READERS:
            status, shown, said = attempt([word.format("strange") for word in command])
            assert status in (0, 1, 2), (command, said)
            assert (status == 2) <= said.startswith("collbench: "), (command, said)
            plain = said if command[0] == "export" or "--html" in command else shown + said
            assert plain.replace("\n", "").isprintable(), command
            assert "<script>alert" not in shown or "--html" not in command
        with contextlib.suppress(CollbenchError), contextlib.redirect_stdout(io.StringIO()) as shown:
            show(build_story(things / "strange"))
        assert shown.getvalue().replace("\n", "").isprintable()


def mutated(rng, number):
    """A journal, a table or a log with something in it that cannot be, and the name of its file."""
    kind = rng.randrange(3)
    if number < len(CERTAIN):       # whatever else is drawn
        return "strange.jsonl", imported_with(CERTAIN[number], rng)
    if kind == 0:
        return "strange.jsonl", changed(JOURNAL.splitlines(), rng)
    if kind == 1:
        return "strange.csv", table_with(rng.randrange(10), rng.choice(IMPOSSIBLE), rng)
    lines = LOG.splitlines()
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        word = rng.choice([*re.finditer(r"\S+", lines[at])])
        lines[at] = lines[at][:word.start()] + rng.choice(IMPOSSIBLE) + lines[at][word.end():]
    return "strange.log", "\n".join(lines).encode("utf-8", "surrogatepass")


def table_with(column, value, rng):
    """A table with `value` in a third of the rows of a column."""
    rows = [line.split(",") for line in TABLE.splitlines()]
    for row in rows[1:]:
        if rng.random() < 0.3:
            row[column] = value
    return "\n".join(map(",".join, rows)).encode("utf-8", "surrogatepass")


def imported_with(change, rng):
    """A journal of the table, with `change` in a third of the results: no importer has looked at them."""
    first = json.loads(JOURNAL.splitlines()[0])
    results = [Imported(run="r", op=row[2], ranks=int(row[5]), message_bytes=int(row[7]), dtype=row[4], mode="streamed",
                        time_s=float(row[8]) / 1e6, statistic="mean", time_kind="mean over ranks", source="a.log:1")
               for row in (line.split(",") for line in TABLE.splitlines()[1:])]
    return sealed([first]) + b"".join(seal(msgspec.structs.replace(result, **change) if rng.random() < 0.3 else result)
                                      for result in results)


CERTAIN = [{"time_s": 1e-11}, {"message_bytes": 1 << 59}, {"ranks": 1_000_001}, {"time_s": -1.0},
           {"ranks_per_node": 0, "native_size_bytes": -1, "repeats": 1 << 62, "p99_s": -1.0}]
IMPOSSIBLE = ["0", "-1", "1", "2", "nan", "inf", "-inf", "1e400", "1e308", "1e-320", "9" * 18, "9" * 30, str(1 << 60),
              "1000000", "1000001", "1e-12", "0.001", "\x07", "\uffff", "\x1b[2J", "\udcff", "", "x", "barrier", "noop",
              "moe_combine", "all_to_all_v", "num_tokens_per_rank=0;", "num_tokens_per_rank=" + "9" * 20 + ";",
              "H100 NVL72", "NCCL 2.19.3", "=1+1", "ring"]
TABLE = "system,library,collective,algorithm,dtype,n_ranks,ranks_per_node,message_bytes,time_us,variant\n" + "".join(
    f"GB200 NVL72,NCCL 2.27.3,{op},default,bfloat16,{ranks},4,{size},{3 + ranks / 2 + size / 3e5},a=1\n"
    for op in ("all_reduce", "all_to_all") for ranks in (2, 4, 8) for size in (1024, 1 << 20))
LOG = """# nThread 1 nGpus 8 minBytes 8 maxBytes 16 step: 2(factor) warmup iters: 5 iters: 20 agg iters: 1 validation: 1
#  Rank  0 Group  0 Pid  1 on node0 device  0 [0000:1b:00] NVIDIA H100 80GB HBM3
#  Rank  1 Group  0 Pid  1 on node0 device  1 [0000:2b:00] NVIDIA H100 80GB HBM3
#       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw  #wrong
        8192          2048     float     sum      -1    20.00    0.41    0.41       0    20.00    0.41    0.41       0
     1048576        262144     float     sum      -1    40.00   26.21   26.21       0    40.00   26.21   26.21       0
   268435456      67108864     float     sum      -1  1000.00  268.44  268.44       0  1000.00  268.44  268.44       0
"""
EXAMPLES = 14        # each takes up to a second


@pytest.mark.slow
def test_what_cannot_be_reaches_no_model_whatever_reads_it(tmp_path):
    """Everything that computes from frames, in this process: what it does not refuse has figures that can be."""
    from collbench.analysis.backtest import backtest, load_rows, summarise
    from collbench.analysis.compare import compare, match, sides
    from collbench.analysis.domains.facts import load_domains
    from collbench.analysis.forecast import extrapolate
    from collbench.analysis.frames.load import load
    from collbench.analysis.importers import LogHints
    from collbench.analysis.importers.shared.limits import LEAST_S, MOST_BYTES, MOST_RANKS, MOST_S
    from collbench.analysis.projection import project
    from collbench.analysis.report import html
    from collbench.analysis.report.figures import build_charts
    from collbench.analysis.report.json_document import document
    from collbench.analysis.report.story import build_story
    from collbench.analysis.report.vega import library
    rng, known, used = random.Random(20261129), load_domains(), 0
    for number in range(EXAMPLES):
        name, content = mutated(rng, number)
        path, hints = tmp_path / name, LogHints(8, "all_reduce")
        path.write_bytes(content)
        try:
            points = load(path, hints).points
        except CollbenchError:
            continue
        times, used = points.loc[points["op"] != "noop", "time_s"], used + 1
        assert times.between(LEAST_S, MOST_S).all(), content
        assert points["ranks"].between(1, MOST_RANKS).all()
        assert points["message_bytes"].between(0, MOST_BYTES).all()
        for frame in (extrapolate(points, [3, 72, 100_000], None),
                      project(points, ["nvl72"], known, None, False, None)):
            ahead = frame.loc[frame["kind"] != "refused", ["time_s", "time_lo_s", "time_hi_s"]] if len(frame) else frame
            assert (ahead.dropna() > 0).all(axis=None), content
            assert not ahead.isin([float("inf")]).any(axis=None), content
        with contextlib.suppress(CollbenchError):
            summarise(backtest(load_rows([path])))
        with contextlib.suppress(CollbenchError):
            compare(match(sides(str(path), hints), sides(str(path), hints)))
        story = build_story(path, asked=hints, page=True)
        json.dumps(document(story), allow_nan=False)
        page = html.render(story, build_charts(story)).replace(library(), "")
        assert page.replace("\n", "").isprintable(), content
    assert used > EXAMPLES / 2


def test_a_case_that_went_wrong_is_compared_where_no_case_has_traffic(things):
    documents = [document for document in map(json.loads, JOURNAL.splitlines())
                 if "link_" not in document.get("case", {}).get("op", "")]
    (things / "wrong.jsonl").write_bytes(sealed(documents))
    for document in documents:
        document.pop("reason", None)
        document.update({"run": "s", "status": "ok"} if "case" in document else {"id": "s"})
    (things / "right.jsonl").write_bytes(sealed(documents))
    status, shown, _ = attempt(["compare", "right.jsonl", "wrong.jsonl"])
    assert status == 0
    assert "failed in B: all_reduce 1 KiB float32 max" in shown


PIECES = ["", "0", "-1", "1e400", "nan", "-inf", "9" * 30, "9" * 5000, '"', '""', "\x9b2J\x07", ",", ";", "\r", "1.5",
          "=1+1", "NA", "1e308", "1e-320", "٢", "barrier", "123", "true", "[]", "[[" * 2000, '"x"', "'''", "#"]


def scrambled(text, rng):
    """`text` with some of its words replaced."""
    words = [*filter(None, re.split(r"([\w.+-]+|\"[^\"\n]*\")", text))]
    for _ in range(rng.randint(1, 3)):
        words[rng.randrange(len(words))] = rng.choice(PIECES)
    return "".join(words)


@pytest.mark.parametrize(("command", "text"), [
    (("backtest", "{}.csv"), GOOD), (("extrapolate", "{}.csv"), GOOD), (("project", "{}.csv"), GOOD),
    (("compare", "good.csv", "{}.csv"), GOOD), (("check", "--baseline", "{}.csv", "--data", "good.csv"), GOOD),
    (("domains", "nvl72", "--domain-file", "{}.toml"), None),
    (("project", "good.csv", "--domain", "nvl72", "--domain-file", "{}.toml"), None),
    (("simulate", "--domain", "nvl72", "--domain-file", "{}.toml"), None)], ids=lambda value: str(value)[2:12])
def test_tables_and_domains_of_ones_own(things, command, text):
    rng = random.Random(11)
    if text is None:
        shipped = (Path(domains.__file__).parent / "domains.toml").read_text(encoding="utf-8")
        text = "[nvl72]" + shipped.partition("\n[nvl72]")[2].partition("\n[")[0]
        assert "accelerators" in text
    for _ in range(10):
        for suffix in ("csv", "toml"):
            (things / f"mine.{suffix}").write_text(scrambled(text, rng), encoding="utf-8")
        status, shown, said = attempt([word.format("mine") for word in command])
        assert status in (0, 1, 2, 4, None), (command, said)
        assert (status == 2) <= said.startswith("collbench: "), (command, said)
        assert (said + shown).replace("\n", "").isprintable()


@pytest.mark.parametrize("column", ["n_ranks", "ranks_per_node", "message_bytes", "time_us"])
def test_a_number_that_is_none_leaves_its_row_out(things, column):
    rows = [line.split(",") for line in GOOD.splitlines()]
    for value in ("-1", "1e400", "x", "9" * 400, "nan"):
        rows[2][rows[0].index(column)] = value
        (things / "mine.csv").write_text("\n".join(map(",".join, rows)))
        for command in ("backtest", "extrapolate"):
            status, _, said = attempt([command, "mine.csv"])
            assert status == 0, (command, value, said)


@pytest.mark.parametrize("words", [
    ("backtest", "mine.csv"), ("compare", "good.csv", "mine.csv"), ("export", "mine.csv", "--format", "csv"),
    ("extrapolate", "mine.csv"), ("project", "mine.csv"), ("summary", "mine.csv", "-v")], ids=lambda words: words[0])
def test_every_reader_tells_what_was_left_out(things, words):
    """Faster than any memory; the row is named with its file and line."""
    (things / "mine.csv").write_text(GOOD.replace(",4096,9", ",4096,1e-5"))
    status, shown, said = attempt(words)
    assert status == 0
    assert "mine.csv:3: 6.144e+05 GB/s in each rank is impossible" in " ".join((shown + said).split())
