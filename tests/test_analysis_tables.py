"""Selections for people: the usual variant of an operation, both modes in one row, few payloads of many."""

import numpy as np
import pandas as pd

from collbench.analysis.frames.representative import fabrics, headline, operation_table, representative, with_fabric

SHOWN = ("time_s", "time_lo_s", "time_hi_s", "p99_s", "algbw_Bps", "busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps")


def points(*rows, **columns):
    """A frame as `with_fabric` gives it, of (op, mode, ranks, bytes, µs)."""
    frame = pd.DataFrame(rows, columns=["op", "mode", "ranks", "message_bytes", "time_s"])
    frame = frame.assign(**dict.fromkeys(SHOWN, frame["time_s"] / 1e6), asked_bytes=frame["message_bytes"], samples=30,
                         flags="", dtype="float32", redop=None, place="out-of-place", traffic=None, algorithm=None,
                         last_rank=0, last_share=0.5, overhead_s=1e-7, system="here", transport="mpi", library="L 1, b",
                         device="cpu").assign(**columns)
    return with_fabric(frame, fabrics(frame))


def test_the_usual_variant_stands_for_an_operation_and_few_payloads_of_many():
    sizes = [1 << 10, *range(5000, 5200), 1 << 20]
    usual = points(*(("all_reduce", "isolated", 2, size, 9) for size in sizes))
    in_place = usual.assign(place="in-place")
    others = [in_place, usual.assign(dtype="int8"), in_place.assign(op="broadcast")]
    shown = representative(pd.concat([usual, *others], ignore_index=True))
    assert set(zip(shown["op"], shown["place"], shown["dtype"], strict=True)) \
        == {("all_reduce", "out-of-place", "float32"), ("broadcast", "in-place", "float32")}
    kept = shown.loc[shown["op"] == "all_reduce", "asked_bytes"]
    assert len(kept) <= 48
    assert {1 << 10, 1 << 20} < set(kept)


def test_both_modes_stand_in_one_row_and_the_later_of_two_measurements_counts():
    table = operation_table(points(("all_reduce", "streamed", 4, 64, 7), ("all_reduce", "isolated", 2, 8, 3),
                                   ("all_reduce", "isolated", 4, 64, 8), ("all_reduce", "isolated", 4, 64, 9)))
    assert table["message_bytes"].tolist() == [8, 64]
    assert table["time_s isolated"].tolist() == [3e-6, 9e-6]
    np.testing.assert_array_equal(table["time_s streamed"], [np.nan, 7e-6])


def test_the_headline_has_the_predictions_of_the_same_case_nearest_in_payload():
    measured = points(("all_gather", "isolated", 2, 8, 3), ("all_gather", "isolated", 4, 8, 4),
                      ("all_gather", "isolated", 4, 64, 5), ("all_gather", "streamed", 4, 64, 2))
    said = points(("all_gather", "isolated", 72, 288, 50), ("all_gather", "isolated", 72, 144, 40),
                  ("all_gather", "streamed", 72, 144, 20)).assign(kind="extrapolated", reason=None, distance=18.0,
                                                                  holdout_error=0.1, level=0.9, track_record=None)
    answer = headline(measured, pd.concat([said, said.assign(dtype="int8", time_s=1.0)]), (72,))
    rows = answer[["quantity", "ranks", "message_bytes", "time_s", "kind"]].itertuples(index=False, name=None)
    assert list(rows) == [("time", 4, 8, 4e-6, "measured"), ("time", 72, 144, 40e-6, "extrapolated"),
                          ("busbw", 4, 64, 2e-6, "measured"), ("busbw", 72, 144, 20e-6, "extrapolated")]
