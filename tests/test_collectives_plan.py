"""Which sizes are planned in the time there is: what is left out, in which order, and on machines of every shape."""

from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from collbench.collectives.cases.case import Case, Sweep, format_size, rank_counts
from collbench.collectives.cases.catalog import DTYPES, GROUPS, REDOPS
from collbench.collectives.program.left_out import HEADLINE
from collbench.collectives.program.plan import ForecastProbe, make_plan
from collbench.collectives.records.record import Policy

HARDWARE = Path(__file__).parent.parent / "docs" / "hardware.md"
GIB = 1 << 30
SIZES = tuple(1 << k for k in range(5, 21))
OTHERS = ("broadcast", "gather", "all_to_all_v")


def planned(budget_s, ops=("all_reduce", "all_gather", *OTHERS), large_s=1e-2, touched_s_per_byte=0.7e-9):
    recipe = Sweep(ops=ops, sizes=SIZES, ranks=(2, 4, 8), seed=1)
    return make_plan(recipe, Policy(),
                     ForecastProbe(8, 1e-4, 1 << 20, large_s, 1e-4, 8, touched_s_per_byte=touched_s_per_byte),
                     lambda case: None, budget_s)


def sizes_of(plan, ops, ranks):
    return sorted({asked for case, asked in plan.cases.items() if case.op in ops and case.ranks in ranks})


def test_sampling_is_shortened_first_and_cases_left_out_only_then():
    plans = [planned(budget) for budget in (None, 300.0, 150.0, 8.0)]
    assert [not plan.left_out for plan in plans] == [True, True, True, False]
    assert plans[0].mode_s == 0.25 > plans[2].mode_s
    for plan, budget in zip(plans[1:3], (300.0, 150.0), strict=True):
        assert plan.expected_s <= budget * 1.001


def test_what_is_given_up_first_is_gone_before_anything_else_is_touched():
    """In-place twins, other operations, middle rank counts, middle sizes over fewer ranks, then over all ranks."""
    whole = planned(None).cases
    groups = [
        {case for case in whole if case.in_place},
        {case for case in whole if case.op in OTHERS},
        {case for case in whole if case.ranks == 4},
        {case for case in whole if case.ranks == 2 and whole[case] not in (SIZES[0], SIZES[-1])},
        {case for case in whole if case.ranks == 8 and whole[case] not in (SIZES[0], SIZES[-1])},
        {case for case in whole if case.ranks == 2},
        {case for case in whole if whole[case] == SIZES[0] and case.ranks == 8}]
    groups = [group - set().union(*groups[:at]) for at, group in enumerate(groups)]
    touched = set()
    for budget in np.geomspace(0.5, 100, 40).tolist():
        plan = planned(budget, large_s=2e-4, touched_s_per_byte=0.0)
        if "too long for the time" in plan.left_out:
            continue
        gone = {case for case in whole if case not in plan.cases}
        assert sum(plan.left_out.values()) == len(gone)
        last = max((at for at, group in enumerate(groups) if gone & group), default=0)
        assert set().union(*groups[:last]) <= gone, (budget, last)
        touched.add(last)
        largest = {case.op for case in plan.cases if case.ranks == 8 and plan.cases[case] == SIZES[-1]}
        assert largest >= {"all_reduce", "all_gather"}, "the largest size of a headline operation is never given up"
    assert touched >= set(range(4))


def test_sizes_are_thinned_evenly():
    seen = set()
    for budget in np.geomspace(0.5, 20, 40).tolist():
        kept = sizes_of(planned(budget, large_s=1.001e-4, touched_s_per_byte=0.0), HEADLINE, (8,))
        if len(kept) > 2:
            assert {kept[0], kept[-1]} == {SIZES[0], SIZES[-1]}
            gaps = np.diff(np.log2(kept))
            assert max(gaps) <= 2 * min(gaps)
        seen.add(len(kept))
    assert seen >= {4, 9, len(SIZES)}


def test_a_sweep_without_headline_operations_treats_all_alike():
    plan = planned(2.0, ops=OTHERS)
    assert {case.op for case in plan.cases} == set(OTHERS)
    assert "of other operations" not in plan.left_out


def test_what_matters_most_is_measured_before_the_time_can_be_up():
    cases = [case for case in planned(None).cases if case.op != "noop"]
    worth = [(case.op in HEADLINE, case.ranks == 8, not case.in_place) for case in cases]
    assert worth == sorted(worth, reverse=True)
    first = [case.bytes for case in cases[:2 * len(SIZES)]]
    assert first != sorted(first)       # otherwise the order is random


def test_a_case_too_long_for_the_time_does_not_cost_all_others():
    plan = planned(8.0, large_s=3.0)
    assert plan.left_out["too long for the time"] > 0
    assert max(sizes_of(plan, HEADLINE, (8,))) < SIZES[-1]
    assert len(plan.cases) > 20


def test_the_longest_case_takes_at_least_its_sampling_and_at_most_all_of_the_time():
    for plan in (planned(None), planned(100.0), planned(8.0), planned(None, large_s=60.0)):
        assert 2 * plan.mode_s < plan.longest_s < plan.expected_s
    assert plan.longest_s > 60


def test_one_size_of_every_headline_operation_is_left_however_short_the_time():
    plan = planned(1e-3)
    assert {(case.op, case.ranks, size) for case, size in plan.cases.items()} == {
        (op, 8, SIZES[0]) for op in ("all_reduce", "all_gather")}
    assert plan.expected_s > 1e-3


def planned_with_refusals(sweep, refuse):
    recipe = Sweep(sizes=(64,), ranks=(4,), **sweep)
    return make_plan(recipe, Policy(), ForecastProbe(8, 1e-4, 1 << 20, 1e-2, 1e-4, 8), refuse, None)


def test_what_the_library_cannot_do_is_planned_only_if_it_was_asked_for_by_name():
    def out_of_place(case):
        return "in place only" if not case.in_place and case.op == "all_reduce" else None

    def bfloat16(case):
        return "no bfloat16" if case.dtype == "bfloat16" else None

    def gather(case):
        return "no gather" if case.op == "gather" else None
    every = {"dtypes": tuple(DTYPES), "redops": REDOPS}
    for sweep, refuse, refused in (
            ({"ops": ("all_reduce",)}, out_of_place, 0),
            ({"ops": ("all_reduce",), "places": (False,)}, out_of_place, 1),
            ({"ops": ("send_recv",), **every}, bfloat16, 0),
            ({"ops": ("send_recv",), "dtypes": ("float32", "bfloat16")}, bfloat16, 1),
            ({"ops": GROUPS["all"]}, gather, 0),
            ({"ops": GROUPS["all"], "places": (False,)}, out_of_place, 1),
            ({"ops": ("gather",)}, gather, 2)):
        plan = planned_with_refusals(sweep, refuse)
        assert len(plan.refused) == refused, sweep
        assert set(plan.refused) <= set(plan.cases)
        assert not any(refuse(case) for case in plan.todo)


# Machines with the time of a call of 1 GiB from published bus bandwidths (8 x H100: 480 GB/s, GB200: 700 and 800,
# 910C: 150, PCIe: 20), of a small call and of the control path; preparing and checking at 100 GB/s on each device.
SHAPES = {
    "1 x H200": (1, 2e-5 + GIB / 2e12, 2e-5, 250e-6),
    "2 x H100": (2, GIB / 350e9, 45e-6, 250e-6),
    "4 x GB200": (4, 1.5 * GIB / 700e9, 45e-6, 250e-6),
    "8 x H100": (8, 1.75 * GIB / 480e9, 45e-6, 250e-6),
    "8 x PCIe": (8, 1.75 * GIB / 20e9, 45e-6, 250e-6),
    "16 x Ascend 910C": (16, 1.9 * GIB / 150e9, 80e-6, 250e-6),
    "72 x GB200": (72, 2 * GIB / 800e9, 45e-6, 1e-3),
}
BUDGET_S = 165.0        # of `make bench`, without starting and ending the ranks


def plan_for(shape):
    import torch

    from collbench.collectives.transports.torch_dist import TorchTransport
    from collbench.launch.bench import PROFILES
    world, large_s, small_s, control_s = SHAPES[shape]
    workload, = PROFILES["full"].workloads
    sweep = msgspec.structs.replace(workload.sweep(on_device=True, seed=1), ranks=rank_counts(world))
    probe = ForecastProbe(8, small_s, GIB, large_s, control_s, world, 3e-3, 1e-11, 512 << 20, 2,
                          dict.fromkeys(sweep.ranks, 1.5))
    on_device = SimpleNamespace(_context=SimpleNamespace(device=torch.device("cuda", 0)))
    return world, make_plan(sweep, Policy(), probe, lambda case: TorchTransport.why_not(on_device, case), BUDGET_S)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("shape", SHAPES)
def test_bench_measures_the_headline_operations_up_to_a_gibibyte_on_machines_of_this_shape(shape):
    world, plan = plan_for(shape)
    headline = {}
    for case in plan.todo:
        if case.op in HEADLINE and (case.ranks == world or case.operation.memories) and case.bytes:
            headline.setdefault(case.op, set()).add(plan.cases[case])
    assert headline
    for op, sizes in headline.items():
        too_long = {GIB} if (shape, op) == ("8 x PCIe", "bandwidth") else set()      # a window has 64 messages
        assert sizes | too_long == {1 << k for k in range(10, 31, 2)}, op
    assert plan.expected_s <= BUDGET_S * 1.001
    row = (f"| {shape} | {format_size(1 << 10)} to {format_size(GIB)}, 11 sizes | {len(plan.todo)} | "
           f"{sum(plan.left_out.values())} | {plan.mode_s * 1e3:.0f} | {plan.expected_s:.0f} |")
    assert row in HARDWARE.read_text(), row


def test_delays_of_a_busy_machine_count_once_for_all_messages_of_a_window():
    window = Case(op="bandwidth", ranks=8, bytes=1 << 20, dtype="float32")
    single = Case(op="all_reduce", ranks=8, bytes=1 << 20, dtype="float32", redop="sum")
    delayed = ForecastProbe(8, 1e-4, 1 << 20, 1e-1, 1e-4, 8)
    known = delayed._replace(further_s_per_byte=1e-3 / (1 << 20))
    assert known.call_s(single) == delayed.call_s(single) == pytest.approx(0.1, rel=1e-3)
    assert delayed.call_s(window) == pytest.approx(16 * 0.1, rel=1e-2)
    assert known.call_s(window) == pytest.approx(0.1 + 15 * 1e-3, rel=1e-2)
