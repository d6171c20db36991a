"""The back-test: splits, contract, what is left out of what was learned, and errors on data with a known truth."""

import json
import math
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collbench.analysis.backtest import backtest, load_rows, summarise
from collbench.analysis.backtest.learn import main as learn_main
from collbench.analysis.backtest.show import as_json, table
from collbench.analysis.domains.facts import load_domains
from collbench.analysis.forecast import extrapolate
from collbench.analysis.frames.load import load
from collbench.analysis.models.calibration import load_calibration
from collbench.analysis.models.regime import Category
from collbench.analysis.models.series import series_of
from collbench.analysis.projection import home_of
from collbench.collectives.errors import CollbenchError, UsageError


@pytest.fixture
def tidy(tmp_path):
    """A ring over 2 to 64 ranks with 2 % noise, as a tidy CSV."""
    rng = np.random.default_rng(3)
    rows = [("here", "NCCL 2.30", "allreduce", "ring", "float32", n, 8, size,
             1e6 * (6e-6 + 2 * (n - 1) * 2e-6 + 2 * (n - 1) / n * size / 40e9) * np.exp(rng.normal(0, 0.02)))
            for n in (2, 4, 8, 16, 32, 64) for size in (1 << k for k in range(10, 28, 2))]
    path = tmp_path / "ring.csv"
    pd.DataFrame(rows, columns=["system", "library", "collective", "algorithm", "dtype", "n_ranks", "ranks_per_node",
                                "message_bytes", "time_us"]).to_csv(path, index=False)
    return path


def test_contract_of_the_json(tidy):
    points = backtest(load_rows([tidy]), 16)
    found = json.loads(json.dumps(as_json(points, summarise(points)), allow_nan=False))
    wanted = {"system", "library", "op", "algorithm", "message_bytes", "train_max_ranks", "ranks", "distance",
              "actual_s", "predicted_s", "lo_s", "hi_s", "refused", "baselines"}
    assert all(wanted <= set(point) for point in found["points"])
    assert {(point["train_max_ranks"], point["ranks"]) for point in found["points"]} == {(16, 32), (16, 64)}
    assert found["points"][0]["op"] == "all_reduce"
    assert "last value scaled by busbw factor" in found["points"][0]["baselines"]


def test_every_admissible_split_by_default(tidy):
    points = backtest(load_rows([tidy]))
    assert {point.train_max_ranks for point in points} == {2, 4, 8, 16, 32}
    assert all(point.distance > 1 for point in points)


def test_predictions_never_see_what_they_predict(tidy):
    rows = load_rows([tidy])
    spoiled = rows.assign(time_s=rows["time_s"].where(rows["ranks"] <= 16, 1.0))
    honest, other = (backtest(frame, 16) for frame in (rows, spoiled))
    assert [point.predicted_s for point in honest] == [point.predicted_s for point in other]


def test_a_known_algorithm_is_predicted_well(tidy):
    near = summarise(backtest(load_rows([tidy])))[0]
    assert near.median_error < 0.04
    assert near.coverage > 0.85
    assert near.refused == 0


def test_table_has_the_baselines_and_no_gaps(tidy):
    words = table(summarise(backtest(load_rows([tidy]))))
    assert "power law" in words
    assert len({line.count("|") for line in words.splitlines()}) == 1


def test_a_full_node_continues_the_series_of_full_nodes(tidy):
    rows = load_rows([tidy])
    rows = rows.assign(ranks_per_node=rows["ranks"].clip(upper=8))
    assert [len(np.unique(points.ranks)) for _, points in series_of(rows)] == [6]


def test_a_file_without_measurements_is_one_clear_line(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(CollbenchError, match=r"other\.csv"):
        load_rows([path])


def test_backtest_reads_what_every_other_command_reads(tmp_path):
    """One reader and one table of names: a sparse CSV, whatever its suffix, gives the points that extrapolate uses."""
    rows = [f"psum,{ranks},{size},{10 + ranks + size / 1000}" for ranks in (2, 4, 8, 16) for size in (1024, 65536)]
    text = "collective,n_ranks,message_bytes,time_us\n" + "\n".join(rows) + "\n"
    for name in ("sparse.csv", "sparse.txt"):
        (tmp_path / name).write_text(text)
    one, other = (load_rows([tmp_path / name]) for name in ("sparse.csv", "sparse.txt"))
    assert one["op"].unique().tolist() == ["all_reduce"] == load(tmp_path / "sparse.csv").points["op"].unique().tolist()
    columns = ["op", "ranks", "asked_bytes", "message_bytes", "time_s", "variant"]
    assert one[columns].equals(other[columns])
    assert [point.predicted_s for point in backtest(one)] == [point.predicted_s for point in backtest(other)]


def test_nothing_to_test_is_said(tidy):
    with pytest.raises(UsageError, match="nothing to test"):
        backtest(load_rows([tidy]), 64)


def test_tokens_per_rank_are_sizes_where_a_table_states_no_bytes(tmp_path):
    """An expert-parallel table: each token count is a size of its own, in backtest and in extrapolate alike."""
    rows = [f"moe_dispatch,{ranks},,num_tokens_per_rank={tokens};hidden=7168,{tokens * math.log2(ranks)}"
            for ranks in (4, 8, 16) for tokens in (8, 64, 512)]
    (tmp_path / "moe.csv").write_text("collective,n_ranks,message_bytes,variant,time_us\n" + "\n".join(rows) + "\n")
    series = [points for _, points in series_of(load(tmp_path / "moe.csv").points)]
    assert [sorted(set(points.size)) for points in series] == [[8, 64, 512]]


def test_what_is_validated_is_what_extrapolate_shows(tidy):
    """Median and interval of each point are those that `extrapolate` gives for the same training data."""
    frame = load_rows([tidy])
    for point in backtest(frame):
        if point.size > 1 << 14:
            continue
        shown = extrapolate(frame[frame["ranks"] <= point.train_max_ranks], [point.ranks])
        row = shown[shown["asked_bytes"] == point.size].iloc[0]
        assert (row["time_s"], row["time_lo_s"], row["time_hi_s"]) == (point.predicted_s, point.lo_s, point.hi_s)


def shipped(name):
    return Path(resources.files("collbench.analysis").joinpath("data", "validation", f"{name}.csv"))


@pytest.mark.slow
def test_learning_from_the_data_that_ship_gives_the_files_that_ship(tmp_path):
    """Two sets learned again, the statistics of the others taken over: byte for byte what is in the repository."""
    folder = Path(resources.files("collbench.analysis").joinpath("data", "experience"))
    learn_main([*map(str, map(shipped, ("meta_ctran_gb200_ib_ring_srd", "oci_gb200_b300_mi355x_collectives"))),
                "--others", str(folder), "-o", str(tmp_path)])
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == sorted({path.name for path in folder.iterdir()} - {"machines.csv"})
    assert [name for name in written if (tmp_path / name).read_bytes() != (folder / name).read_bytes()] == []


def test_inside_one_switched_domain_no_forecast_is_worse_than_constant_bus_bandwidth():
    """From 4 and 8 GPUs of an NVL72 to 64, as published; the error by operation, the interval, and its record."""
    points = load_rows([shipped("oci_gb200_b300_mi355x_collectives")])
    inside = [point for point in backtest(points) if point.category and point.category.regime == "switched"
              and point.train_max_ranks >= 4 and point.ranks == 64]
    assert {point.op for point in inside} == {"all_reduce", "all_to_all"}
    for op in ("all_reduce", "all_to_all"):
        ours, simple = (np.median([abs(math.log(time(point) / point.actual_s)) for point in inside if point.op == op])
                        for time in (lambda point: point.predicted_s,
                                     lambda point: point.baselines["last value scaled by busbw factor"]))
        assert ours <= simple + 0.005, op
    assert all(point.lo_s <= point.actual_s <= point.hi_s for point in inside)
    assert np.median([point.hi_s / point.lo_s for point in inside]) < 3


def test_distance_does_not_widen_the_interval_of_a_large_message_inside_one_switched_domain():
    frame = load_rows([shipped("oci_gb200_b300_mi355x_collectives")])
    frame = frame[(frame["ranks"] <= 8) & (frame["op"] == "all_to_all") & frame["system"].str.contains("GB200")]
    found = extrapolate(frame, [32, 64], ("nvl72", load_domains()["nvl72"]))
    ratio = found.assign(width=found["time_hi_s"] / found["time_lo_s"]).groupby("ranks")["width"].median()
    assert ratio[64] == pytest.approx(ratio[32], rel=0.02)


def test_what_was_learned_from_the_same_machine_is_left_out():
    category = Category(2, 0, "hosts", "mpi", "all_reduce")
    whole, without = load_calibration(), load_calibration("NASA Pleiades (see source README for node type)")
    size = np.array([1024.0])
    assert whole.offsets.typical(category) != without.offsets.typical(category)
    assert whole.offsets.drift(category, size) != without.offsets.drift(category, size)
    assert whole.record.of(category) != without.record.of(category)
    assert load_calibration("no such machine").record.of(category) == whole.record.of(category)


def test_every_forecast_carries_the_record_of_such_forecasts(tidy):
    said = extrapolate(load_rows([tidy]), [128])["track_record"]
    assert said.str.fullmatch(r"on \d+ public series of \d+ systems \(NCCL and RCCL, .*up to 2x, .*\): "
                              r"median error \d+ %, \d+ % inside the interval").all()


def test_links_that_were_not_used_do_not_make_a_domain():
    known = load_domains()
    homes = {name: home_of(pd.DataFrame({"system": [name]}), known) for name in
             ("Meta GB200, NVLink disabled (nolocal), IB", "Meta GB200, 4 GPUs per node", "OCI BM.GPU.MI355X.8")}
    assert list(homes.values()) == [None, "nvl72", "mi350x_8"]
