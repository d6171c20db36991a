"""The mixture-of-experts exchange on ranks that are threads: right results pass, wrong ones are caught."""


from collbench.collectives.cases import catalog
from collbench.collectives.cases.case import Case
from collbench.collectives.cases.families import moe
from collbench.collectives.loop.clock import SAME
from collbench.collectives.loop.measure import measure
from collbench.collectives.records.record import Policy
from collbench.collectives.transports.loopback import run_ranks

QUICK = Policy(alignment="barrier", case_s=0.001, min_samples=5, max_samples=5)
OPS = ("moe_dispatch", "moe_combine", "moe_pair")
SMALL = "hidden=130:topk=4:experts=12"


def case_of(op, traffic="zipf:1.2", ranks=4, tokens=5, dtype="bfloat16", via="counts"):
    text = moe._GRAMMAR.parse(f"{traffic}:{SMALL}:via={via}:group=2")
    return Case(op=op, ranks=ranks, dtype=dtype, traffic=text,
                bytes=tokens * catalog.round_up(op, 1, ranks, dtype, text))


def measured(case, fault=None):
    """Outcomes of all ranks of `case` on the loopback transport."""
    def program(transport, place):
        communicator = transport.communicator(case.ranks)
        outcome = measure(case, communicator, SAME, QUICK, QUICK.case_s, 1)
        return communicator.gather(outcome)
    return run_ranks(case.ranks, program, fault)


def possible(case):
    return not catalog.why_not(case) and not ("gather" in case.traffic and case.op != "moe_dispatch"
                                              and moe.combine_dtype(case.dtype) == "bfloat16")


def test_right_results_pass_in_every_implementation_and_element_type():
    todo = [case for op in OPS for via in ("counts", "gather", "two-stage")
            for dtype in ("bfloat16", "float32", "float16", "fp8_e4m3", "int8")
            if possible(case := case_of(op, via=via, dtype=dtype))]
    assert len(todo) > 30
    for case in todo:
        outcomes = measured(case)
        assert {outcome.status for outcome in outcomes} == {"ok"}, (case.label(), outcomes)
        assert min(outcome.checks for outcome in outcomes) > 5
