"""Cases, sweeps, sizes, traffic patterns and run configurations: round trips, limits and messages."""

import hashlib
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import click
import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from collbench.collectives.cases import catalog, link_rounds, moe_workload
from collbench.collectives.cases.case import Case, Sweep, format_size, parse_size, rank_counts, size_range
from collbench.collectives.cases.traffic import (
    PATTERNS,
    Parameter,
    Traffic,
    TrafficPattern,
    busiest,
    is_traffic,
    parse_traffic,
    spellings,
    weights,
)
from collbench.collectives.errors import UsageError
from collbench.collectives.options import RunConfig, config_from, measuring_options
from collbench.collectives.program import rank as rank_program
from collbench.collectives.records.record import Policy

OPS = tuple(catalog.OPERATIONS)
WITH_PAYLOAD = tuple(name for name, row in catalog.OPERATIONS.items() if row.has_payload)


OWN_TRAFFIC = {"incast": ("fan:1", "fan:3"), "outcast": ("fan:1", "fan:3"), "permutation": ("permutation:0",),
               "bisection": ("random-halves:9",), "halo_exchange": ("torus:2", "torus:3x4", "torus:2x2x2", "torus:4"),
               **dict.fromkeys(catalog.GROUPS["moe"], ("zipf:1.2:hidden=64:via=two-stage", "ragged:seed=7:topk=2"))}


@st.composite
def traffics(draw):
    """Any pattern with any values of its parameters."""
    pattern = draw(st.sampled_from(tuple(PATTERNS.values())))
    return Traffic(pattern, tuple(
        draw(st.integers(int(row.least), int(row.most)).map(Decimal) if row.whole
             else st.decimals(row.least, row.most, places=3)) for row in pattern.parameters))


@st.composite
def cases(draw):
    op = draw(st.sampled_from(OPS))
    row, ranks = catalog.OPERATIONS[op], draw(st.integers(2 if catalog.OPERATIONS[op].linked else 1, 400))
    if not row.has_payload:
        return Case(op=op, ranks=ranks, bytes=0)
    dtype = draw(st.sampled_from(list(filter(row.takes, catalog.DTYPES))))
    traffic = draw(traffics()).text if row.uneven else None
    if row.linked:
        traffic = draw(st.sampled_from((*link_rounds.round_names(min(ranks, 40), True), link_rounds.single_pair(1, 0))))
    elif row.grammar and not row.uneven:
        traffic = draw(st.sampled_from((*catalog.traffics(row, min(ranks, 40), ()), *OWN_TRAFFIC.get(op, ()))))
    size = catalog.round_up(op, draw(st.integers(1, 1 << 24)), min(ranks, 40), dtype, traffic)
    return Case(op=op, ranks=min(ranks, 40), bytes=size, dtype=dtype, traffic=traffic,
                redop=draw(st.sampled_from(catalog.REDOPS)) if row.reduces else None,
                in_place=row.has_in_place and draw(st.booleans()))


@given(op=st.sampled_from(WITH_PAYLOAD), size=st.integers(1, 1 << 32), ranks=st.integers(1, 384),
       dtype=st.sampled_from(moe_workload.DTYPES))
def test_sizes_round_up_to_the_next_that_divides_and_never_to_nothing(op, size, ranks, dtype):
    traffic = (catalog.traffics(catalog.OPERATIONS[op], ranks, ("linear",)) or (None,))[0]
    true = catalog.round_up(op, size, ranks, dtype, traffic)
    unit = catalog.round_up(op, 1, ranks, dtype, traffic)
    assert true >= size
    assert true - size < unit
    assert true % unit == 0
    assert catalog.round_up(op, true, ranks, dtype, traffic) == true


@given(cases())
def test_every_piece_that_is_received_was_sent(case):
    assume(catalog.why_not(case) is None)
    for rank in {0, 1 % case.ranks, case.ranks - 1}:
        for piece in catalog.received(case, rank):
            if piece.source is None:
                assert piece.start + piece.count <= case.count
            else:
                assert piece in [catalog.Piece(*sent) for sent in catalog.sent(case, piece.source)]


@given(cases())
def test_the_options_of_a_case_measure_that_case_and_no_other(case):
    sweep = config_from(options_of(*case.options()), Path("x"), ()).sweep
    beside = case.composition.beside(case) if case.composition and not catalog.why_not(case) else ()
    assert {found for found in sweep.cases() if found.op != "noop" or case.op == "noop"} == {case, *beside}


@pytest.mark.parametrize(("text", "size"), [("8", 8), ("4K", 4096), ("4k", 4096), ("1M", 1 << 20), ("2GiB", 2 << 30),
                                            ("3 MB", 3 << 20)])
def test_size_suffixes_are_binary(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-4", "1.5K", "K", "4X", "1e6", "9" * 30, "4K4"])
def test_a_bad_size_is_refused_with_what_was_given(text):
    with pytest.raises(UsageError, match="size"):
        parse_size(text)


@given(st.integers(1, 1 << 50))
def test_sizes_are_printed_exactly(size):
    assert parse_size(format_size(size)) == size


def test_sizes_are_those_of_nccl_tests():
    assert size_range(8, 128) == (8, 16, 32, 64, 128)
    assert size_range(8, 1000, factor=10) == (8, 80, 800)
    assert size_range(100, 400, step=100) == (100, 200, 300, 400)
    assert size_range(5, 5) == (5,)


@pytest.mark.parametrize(("begin", "end", "factor", "step"), [
    (8, 4, None, None), (8, 64, 1.0, None), (8, 64, float("nan"), None), (8, 64, 2.0, 8), (1, 1 << 30, None, 1)])
def test_ranges_that_make_no_sense_are_refused(begin, end, factor, step):
    with pytest.raises(UsageError):
        size_range(begin, end, factor, step)


def test_the_curve_is_powers_of_two_and_the_whole_world():
    assert rank_counts(2) == (2,)
    assert rank_counts(8) == (2, 4, 8)
    assert rank_counts(72) == (2, 4, 8, 16, 32, 64, 72)
    assert rank_counts(1) == (1,)


def test_shuffling_changes_the_order_and_nothing_else():
    recipe = dict(ops=OPS, sizes=(64, 4096), ranks=(2, 4))
    plain, one, same, other = (list(Sweep(**recipe, seed=seed).cases()) for seed in (None, 1, 1, 2))
    assert one == same != plain
    assert one != other
    assert sorted(map(str, one)) == sorted(map(str, plain)) == sorted(map(str, other))


@given(traffics())
def test_the_text_of_a_traffic_pattern_reads_back_and_is_canonical(traffic):
    again = parse_traffic(traffic.text)
    assert again == traffic
    assert again.text == traffic.text


@pytest.mark.parametrize(("text", "canonical"), [
    ("zipf:1", "zipf"), ("zipf:1.20", "zipf:1.2"), ("zipf:exponent=1.2:seed=3", "zipf:1.2:seed=3"),
    ("zipf:seed=3:exponent=0", "zipf:0:seed=3"), ("zipf:seed=0", "zipf"), ("linear", "linear")])
def test_other_spellings_of_a_traffic_pattern_have_one_canonical_text(text, canonical):
    assert parse_traffic(text).text == canonical
    sweep = Sweep(ops=("all_to_all_v",), sizes=(64,), ranks=(4,), traffics=(text, canonical), places=(False,))
    assert [case.traffic for case in sweep.cases()] == [canonical]
    if text != canonical:
        with pytest.raises(UsageError, match=f"canonical text is '{canonical}'"):
            Case(op="all_to_all_v", ranks=4, bytes=4 * busiest(text, 4), dtype="float32", traffic=text)


@pytest.mark.parametrize("text", ["", "rush hour", "Zipf", "zipf:", "zipf:x", "zipf:nan", "zipf:-1", "zipf:9",
                                  "zipf:1e0", "zipf:1:2", "zipf:1:exponent=1", "zipf:seed=1.5", "zipf:seed=-1",
                                  "zipf:sneed=1", "zipf:1:", "linear:2", "linear:seed=2", ":", "zipf=1",
                                  "round-1", "9" * 5000])
def test_a_bad_traffic_pattern_is_refused_with_the_valid_choices(text):
    assert not is_traffic(text)
    with pytest.raises(UsageError) as caught:
        parse_traffic(text)
    message = str(caught.value)
    assert message.endswith(f"known are {spellings()}")
    assert "\n" not in message
    assert len(message) < 300


@given(traffics(), st.integers(1, 40))
def test_what_ranks_send_of_a_traffic_pattern_is_what_ranks_receive(traffic, ranks):
    rows = weights(traffic.text, ranks)
    assert [len(row) for row in rows] == [ranks] * ranks
    assert all(isinstance(weight, int) and weight >= 0 for row in rows for weight in row)
    most = busiest(traffic.text, ranks)
    assert most == max(max(sum(row) for row in rows), max(sum(row[to] for row in rows) for to in range(ranks))) > 0
    case = Case(op="all_to_all_v", ranks=ranks, bytes=8 * most, dtype="float32", traffic=traffic.text)
    outgoing, incoming = ([list(pieces(case, rank)) for rank in range(ranks)]
                          for pieces in (catalog.sent, catalog.received))
    for source in range(ranks):
        for to in range(ranks):
            sent = [piece for piece in outgoing[source] if piece.block == to]
            assert sent == [piece for piece in incoming[to] if piece.source == source]
            assert [piece.count for piece in sent] == [2 * rows[source][to]] * (rows[source][to] > 0)


@given(exponent=st.decimals(0, 8, places=2), seed=st.integers(0, 2**31 - 1), ranks=st.integers(1, 100))
def test_zipf_totals_follow_the_power_law(exponent, seed, ranks):
    """Equal totals of the sources; totals of the destinations within 1 of their exact shares, in float arithmetic."""
    rows = weights(parse_traffic(f"zipf:{exponent}:seed={seed}").text, ranks)
    assert len(set(map(sum, rows))) == 1
    received = sorted((sum(row[to] for row in rows) for to in range(ranks)), reverse=True)
    power = [(k + 1) ** -float(exponent) for k in range(ranks)]
    for found, share in zip(received, power, strict=True):
        assert found == pytest.approx(sum(received) * share / sum(power), abs=1.01)


def test_zipf_seeds_change_who_is_popular_and_nothing_else():
    hottest = set()
    for seed in range(40):
        rows = weights(f"zipf:1.2:seed={seed}" if seed else "zipf:1.2", 8)
        received = [sum(row[to] for row in rows) for to in range(8)]
        hottest.add(received.index(max(received)))
        assert max(received) == pytest.approx(8 * 64, abs=8)
    assert hottest == set(range(8))


def test_weights_are_the_same_in_any_process_whatever_its_decimal_context():
    """Frozen values: journals refer to these patterns by name, so their weights must never change."""
    def digest(text, ranks):
        return hashlib.sha256(repr(weights(text, ranks)).encode()).hexdigest()[:16]
    assert weights("even", 3) == ((1, 1, 1), (1, 1, 1), (1, 1, 1))
    assert weights("linear", 3) == ((1, 2, 3), (2, 3, 1), (3, 1, 2))
    assert weights("hot", 3) == ((4, 1, 1), (4, 1, 1), (4, 1, 1))
    assert weights("zipf:1.2", 4) == ((28, 12, 64, 17), (28, 12, 64, 17), (28, 12, 64, 17), (27, 12, 64, 18))
    assert digest("zipf:1.2:seed=3", 72) == "b736630f6aca4410"
    code = ("import decimal, hashlib; decimal.getcontext().prec = 3\n"
            "from collbench.collectives.cases.traffic import weights\n"
            "print(hashlib.sha256(repr(weights('zipf:1.2:seed=3', 72)).encode()).hexdigest()[:16])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest("zipf:1.2:seed=3", 72)


def test_a_pattern_is_one_row(monkeypatch):
    """A new row is all that options, sweeps, labels and reproduction need."""
    def shares(ranks, base):
        return tuple(tuple(int(base) + (to == 0) for to in range(ranks)) for _ in range(ranks))
    row = TrafficPattern("bump", shares, (Parameter("base", Decimal(1), Decimal(1), Decimal(9), whole=True),))
    monkeypatch.setattr("collbench.collectives.cases.traffic.PATTERNS", {**PATTERNS, "bump": row})
    case = Case(op="all_to_all_v", ranks=2, bytes=4 * 8, dtype="float32", traffic="bump:3")
    assert catalog.traffic_counts(case) == [[4, 3], [4, 3]]
    assert "bump:3" in case.label()
    assert "bump:3" in case.options()


@given(st.lists(traffics(), min_size=1, max_size=4))
def test_the_traffic_option_takes_a_list_of_patterns(wanted):
    texts = tuple(dict.fromkeys(traffic.text for traffic in wanted))
    assert options_of("--ops", "all_to_all_v", "--traffic", ",".join(texts))["traffic"] == texts


@pytest.mark.parametrize(("text", "words"), [
    ("rush hour", "no operation has it; the help of --traffic"), ("hot-rnk", "did you mean hot-rank"),
    ("linear:3", r"it has none; known are even, linear, hot, zipf\[:EXPONENT\]"), ("victim=x", "unknown victim 'x'")])
def test_the_traffic_option_says_what_is_wrong_and_what_to_do(text, words):
    with pytest.raises(click.BadParameter, match=words):
        options_of("--traffic", f"linear,{text}")


def options_of(*words):
    caught = {}

    @click.command()
    @measuring_options
    def command(**values):
        caught.update(values)
    command.main(list(words), standalone_mode=False)
    return caught


@given(cases(), st.booleans())
def test_a_configuration_survives_its_file(tmp_path_factory, case, resume):
    words = [*case.options(), *(["--resume"] if resume else []), "--budget", "60", "--settled", "a,b"]
    config = config_from(options_of(*words), Path("results/ünï code"), ("collbench", "run", "x y"))
    path = tmp_path_factory.mktemp("config") / "run.json"
    config.write(path)
    assert RunConfig.read(path) == config


@pytest.mark.parametrize(("content", "what"), [
    (None, "cannot be read: No such file"), (b"{", "not a run configuration"), (b"{}", "missing required field"),
    ({"transport": "pigeon"}, "unknown transport 'pigeon': known are torch, mpi"),
    ({"sweep": {"ops": ["all_redcue"], "sizes": [8], "ranks": []}}, "unknown operation 'all_redcue'"),
    ({"policy": {"alignment": "crooked"}}, "unknown alignment 'crooked'"), ({"resume": "perhaps"}, "resume")])
def test_a_bad_configuration_file_is_one_clear_line(tmp_path, content, what):
    path = tmp_path / "run.json"
    if isinstance(content, dict):
        config = RunConfig(transport="torch", sweep=Sweep(ops=("barrier",), sizes=(8,), ranks=()), policy=Policy(),
                           journal=Path("j"))
        config.write(path)
        content = msgspec.json.encode({**msgspec.json.decode(path.read_bytes()), **content})
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=what) as caught:
        RunConfig.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_rank_program_runs_a_configuration_file_and_no_options_beside_it(tmp_path, monkeypatch):
    config = config_from(options_of("--ops", "barrier", "--seed", "7"), tmp_path, ("collbench",))
    path = tmp_path / "run.json"
    config.write(path)
    ran = []
    monkeypatch.setattr(rank_program, "run_rank", lambda config, place: ran.append(config) or 0)
    with pytest.raises(SystemExit) as done:
        rank_program.main(["--config", str(path)])
    assert (done.value.code, ran) == (0, [config])
    code = subprocess.run([sys.executable, "-m", "collbench.rank", "--config", str(path), "--ops", "barrier"],
                          capture_output=True, text=True, check=False)
    assert code.returncode == 2
    assert code.stderr == "collbench: --config cannot be combined with other options: ops\n"


def test_the_public_names_of_the_room_are_imported_on_first_use():
    code = ("import sys, collbench.collectives as room\n"
            "assert not {'msgspec', 'numpy', 'click'} & set(sys.modules), 'eager'\n"
            "assert set(room.__all__) <= set(dir(room))\n"
            "from collbench.collectives import Case, Policy, Record, Sweep, read_journal\n"
            "print(*(thing.__module__.rpartition('.')[2] for thing in (Case, Policy, Record, Sweep, read_journal)))\n"
            "room.nothing")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["case", "record", "record", "case", "journal"]
    assert done.stderr.endswith("module 'collbench.collectives' has no attribute 'nothing'\n")


def test_types_that_are_only_moved_are_left_out_of_reductions_and_never_silently():
    cases = Sweep(ops=("all_gather", "all_reduce"), sizes=(64,), ranks=(2,), dtypes=("uint8", "int8")).cases()
    assert {(case.op, case.dtype) for case in cases} == {("all_gather", "uint8"), ("all_gather", "int8"),
                                                         ("all_reduce", "int8")}
    with pytest.raises(UsageError, match=r"element type uint8, fp8_e4m3 for all_reduce: .* float32"):
        Sweep(ops=("all_reduce",), sizes=(64,), ranks=(2,), dtypes=("uint8", "fp8_e4m3")).cases()
    with pytest.raises(UsageError, match="element type uint8 for all_reduce"):
        Case(op="all_reduce", ranks=2, bytes=64, dtype="uint8", redop="sum")
