"""Debug output that is left out before a log is read: it changes nothing that is read."""

from hypothesis import given
from hypothesis import strategies as st

from collbench.analysis.importers.shared.debug_output import without_idle_output
from collbench.analysis.importers.shared.log import LogLine
from collbench.analysis.importers.shared.nccl_log import tables
from collbench.analysis.importers.shared.prefixes import without_prefix

HEAD = "node{host}:17:18 [{device}] NCCL INFO "
CALL = "AllReduce: {} Bytes -> Algo {} proto SIMPLE channel{{Lo..Hi}}={{0..15}}"
SAYS = (*(CALL.format(8, name) for name in ("RING", "NVLS", "RING")), CALL.format(16, "RING"),
        "Connected all rings, use ring PXN 0 GDR 1", "NCCL version 2.27.3+cuda12.9", "socket error, retrying",
        "8 Bytes -> Algo 1 proto 2 time 3.5", "AllReduce: 8 Bytes -> Algo TREE proto LL")
ROWS = ("", "8 2 float sum -1 10.0 0.00 0.00 0 10.0 0.00 0.00 0", "# Avg bus bandwidth : 0",
        "       16 4 float sum -1 10.0 1.6 1.6 0 10.0 1.6 1.6", "0node1:17:18 [0] NCCL INFO x")
DEBUG = st.builds(lambda task, words: task + HEAD.format(host=1, device=0) + words,
                  st.sampled_from(("", "[1,0]<stdout>:", " 3: ")), st.sampled_from(SAYS))


def as_read(lines):
    """What is read from the lines of each task, and from all of them."""
    found = [without_prefix(number, line) for number, line in enumerate(lines, 1)]
    return [_tables([line for line in found if task is None or line.task in (None, task)])
            for task in (None, "0", "3")]


def _tables(lines: list[LogLine]):
    faults: list[tuple[int, str]] = []
    return [(table.line, table.library, table.tuned, table.algorithm, table.failure, table.ended, table.closed,
             [(row.line, row.faults) for row in table.rows]) for table in tables(lines, faults)], faults


@given(st.lists(st.one_of(DEBUG, DEBUG, st.sampled_from(ROWS)), max_size=24))
def test_nothing_is_read_differently(lines):
    assert as_read(without_idle_output(lines)) == as_read(lines)


def test_most_of_a_long_log_is_left_out():
    lines = [HEAD.format(host=at % 4, device=at % 8) + SAYS[4] for at in range(100)]
    lines += [HEAD.format(host=at % 4, device=0) + SAYS[0] for at in range(100)]
    assert sum(map(bool, without_idle_output(lines))) == 4 + 1     # one of each host, and one choice


def test_a_task_keeps_its_own_choices_and_what_may_be_a_cell():
    said = [task + HEAD.format(host=1, device=0) + SAYS[0] for task in ("[1,0]<stdout>:", "[1,1]<stdout>:")] * 3
    assert without_idle_output(said) == [*said[:4], "", ""]
    glued = [HEAD.format(host=1, device=0) + SAYS[4], ROWS[-1], ROWS[-1]]
    assert without_idle_output(glued) == glued
