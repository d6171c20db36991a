"""What a report says first: verdict, headline results, and their outlook at 72 and 384, as values."""

import json
from pathlib import Path

import pytest

from collbench.analysis.report.answer_words import figure
from collbench.analysis.report.brief import MOST_LINES, brief
from collbench.analysis.report.json_document import document
from collbench.analysis.report.story import build_story

HEAD = "system,device,library,op,dtype,ranks,ranks_per_node,message_bytes,time_us\n"


def written(path, *rows):
    """A tidy CSV of (op, ranks, ranks per node, bytes, time in µs) of one library on CPUs."""
    path.write_text(HEAD + "".join(f"a,CPU,gloo 1,{row[0]},float32,{','.join(map(str, row[1:]))}\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def h100(request):
    return build_story(request.config.rootpath / "docs" / "examples" / "hgx-h100-8.csv")


def test_each_operation_is_listed_once_the_most_telling_first_at_its_largest_message(h100):
    results = h100.answer.results
    assert [result.op for result in results] == ["all_reduce", "all_to_all", "all_gather", "reduce_scatter"]
    assert {(result.ranks, result.message_bytes, result.mode, result.library) for result in results} == \
        {(8, 512 << 20, "streamed", "NCCL")}
    first = results[0]
    assert first.busbw_Bps == pytest.approx(1.75 * (512 << 20) / first.time_s)
    assert first.plus_minus is None


def test_beyond_a_host_the_number_stands_beside_the_network_that_it_assumes(h100):
    (at_72, at_384) = h100.answer.results[0].outlook
    assert (at_72.ranks, at_72.kind, at_72.assumption) == (72, "extrapolated", "9 hosts x 8x400G cards")
    assert (at_384.ranks, at_384.assumption) == (384, "48 hosts x 8x400G cards")
    value, low, high = at_72.busbw_Bps
    assert low <= value <= high <= 10 * low


def test_an_interval_too_wide_is_no_answer_but_says_what_to_measure(tmp_path):
    rows = [("all_reduce", ranks, ranks, size, ranks * 10 + size / 1000 * (1 + ranks % 3))
            for ranks in (2, 4) for size in (32, 1 << 20)]
    (result,) = build_story(written(tmp_path / "few.csv", *rows)).answer.results
    for outlook in result.outlook:
        assert (outlook.kind, outlook.time_s, outlook.busbw_Bps) == ("not known", None, None)
        assert (outlook.measure, outlook.why[:12]) == ((8, 16), "its interval")
        assert outlook.command == "collbench launch --launcher slurm --nodes 4 --ranks-per-node 4"


def test_pairs_are_not_extrapolated_and_no_measurement_would_change_that(tmp_path):
    rows = [("ping_pong", ranks, ranks, 1 << 20, 100.0) for ranks in (2, 4)]
    (result,) = build_story(written(tmp_path / "pairs.csv", *rows)).answer.results
    assert {(outlook.kind, outlook.measure, outlook.command) for outlook in result.outlook} == {("not known", (), "")}


def test_the_figure_of_a_message_rate_is_that_of_the_smallest_message(tmp_path):
    rows = [("message_rate", 8, 8, size, time_us) for size, time_us in ((8, 0.5), (1 << 20, 100.0))]
    story = build_story(written(tmp_path / "rates.csv", *rows))
    (result,) = story.answer.results
    assert (result.message_bytes, result.messages_per_s) == (8, pytest.approx(8e6))        # 4 pairs, 0.5 us a message
    assert any("8.00 M messages/s" in line.plain for line in brief(story, 80))
    assert figure(result) == "8.00 M messages/s"
    bandwidth = build_story(written(tmp_path / "few.csv", ("bandwidth", 8, 8, 8, 0.5))).answer.results[0]
    assert bandwidth.messages_per_s is None


def test_of_several_halves_the_slowest_are_the_headline(tmp_path):
    path = tmp_path / "halves.csv"
    path.write_text(HEAD.strip() + ",traffic\n" + "".join(
        f"a,CPU,MPI 2,bisection,float32,8,8,1024,{time_us},{traffic}\n"
        for traffic, time_us in (("random-halves:1", 7.0), ("halves", 9.0), ("random-halves:2", 8.0))))
    (result,) = build_story(path).answer.results
    assert result.time_s == pytest.approx(9e-6)
    assert result.busbw_Bps == pytest.approx(8 * 1024 / 9e-6)       # 4 pairs, both directions


def test_one_slow_result_makes_the_verdict_low_and_a_baseline_is_named(tmp_path):
    def rows(slower):
        return [(op, 4, 4, size, (10 + size / 1000) * (slower if op == "all_to_all" else 1))
                for op in ("all_reduce", "all_to_all") for size in (32, 1 << 20) for _ in range(6)]
    before = written(tmp_path / "before.csv", *rows(1))
    answer = build_story(written(tmp_path / "after.csv", *rows(3)), baseline=before).answer
    assert answer.verdict.word == "low"
    assert [(result.op, result.reference.word, result.reference.basis.split()[0]) for result in answer.results] == [
        ("all_reduce", "normal", "baseline"), ("all_to_all", "low", "baseline")]


def test_the_document_carries_the_answer_and_no_value_that_is_not_known(h100):
    told = json.loads(json.dumps(document(h100), allow_nan=False))["answer"]
    assert told["verdict"] == h100.answer.verdict._asdict()
    first = told["results"][0]
    assert first["outlook"][0]["busbw_Bps"] == list(h100.answer.results[0].outlook[0].busbw_Bps)
    assert (first["plus_minus"], first["outlook"][0]["command"]) == (None, None)


def two_libraries(folder):
    """Two libraries, four operations and two rank counts, whose curves predict little."""
    path = folder / "two.csv"
    rows = [f"a,CPU,{library},{op},float32,{ranks},{ranks},{size},{ranks * 10 + size / 1000 * (1 + ranks % 3)}\n"
            for library in ("gloo 1", "MPI 2") for op in ("all_reduce", "all_to_all", "reduce_scatter", "ping_pong")
            for ranks in (2, 4) for size in (32, 1 << 20)]
    path.write_text(HEAD + "".join(rows))
    return build_story(path)


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_says_it_in_ten_lines_that_fit(h100, tmp_path, width):
    for story, telling in ((h100, ["72 ranks: all_reduce ", "9 and 48 hosts x 8x400G cards"]),
                           (two_libraries(tmp_path), ["gloo", "MPI", "measure 8 and 16 ranks:"])):
        lines = [line.plain for line in brief(story, width, "results/20261129-123903-host/report.html")]
        assert len(lines) <= MOST_LINES == 10
        assert all(len(line) <= width for line in lines)
        assert lines[0].startswith(f"{story.answer.verdict.word}: ")
        assert lines[-1].startswith("report: results/20261129-123903-host/report.html")
        for words in telling:
            assert any(words in line for line in lines), (words, lines)


def test_a_table_without_checks_is_not_called_checked_though_no_size_is_known():
    path = Path(__file__).parent / "log_excerpts" / "aiconfigurator_moe_a2a.txt"
    assert build_story(path).answer.verdict.sentence.startswith("12 cases ok according to their log: no result was "
                                                                "checked")


def test_an_empty_call_is_never_a_result(tmp_path):
    assert not build_story(written(tmp_path / "noop.csv", ("noop", 2, 2, 0, 1))).answer.results
