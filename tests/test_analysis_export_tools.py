"""Cost tables in the formats of planners and simulators."""

import random

import pytest

from collbench.analysis.export import nccl_tuner
from collbench.analysis.export.nccl_tuner import ALGORITHMS, ANY_SIZE, COLLECTIVES, PROTOCOLS, Rule, first_match, parse
from collbench.collectives.errors import UsageError

# The examples of nccl_tuner.conf in NVIDIA/nccl (Apache-2.0), with 8 to 10 fields.
EXAMPLE = """# Comment
allreduce,0,65536,tree,simple,2,1,-1,-1,1

allreduce,65537,1048576,ring,simple,4,4,32,1,0
broadcast,0,32768,tree,simple,-1,1,-1
reduce , 0,\t4294967295,collnet_direct,ll128,-1,-1,-1,4
"""


def test_the_examples_of_the_plugin_are_read():
    rules = parse(EXAMPLE)
    assert rules[0] == Rule("all_reduce", 0, 65536, "tree", "simple", 2, nodes=1, registered=True)
    assert rules[1] == Rule("all_reduce", 65537, 2**20, "ring", "simple", 4, 4, 32, 1, False)
    assert rules[2] == Rule("broadcast", 0, 32768, "tree", "simple", None, 1)
    assert rules[3] == Rule("reduce", 0, 2**32 - 1, "collnet_direct", "ll128", pipe_ops=4)


def test_any_rules_survive_writing_and_reading():
    draw = random.Random(1)
    number = lambda: draw.choice([None, 1, 2, 1000])    # noqa: E731
    rules = []
    for _ in range(200):
        least, most = sorted(draw.choice([0, 1, 4096, 2**33, ANY_SIZE]) for _ in range(2))
        rules.append(Rule(draw.choice(list(COLLECTIVES)), least, most, draw.choice(ALGORITHMS), draw.choice(PROTOCOLS),
                          number(), number(), number(), number(), draw.choice([None, False, True])))
    assert parse(nccl_tuner.render(rules, ["long comment " * 40, "two\nlines", ""])) == rules


@pytest.mark.parametrize(("line", "reason"), [
    ("collective_type,min_bytes,max_bytes,algorithm,protocol,channels,nNodes,nRanks", "collective 'collective_type'"),
    ("alltoall,0,1,ring,simple,-1,-1,-1", "collective 'alltoall'"),
    ("allreduce,0,1,rings,simple,-1,-1,-1", "algorithm 'rings'"),
    ("allreduce,0,1,ring,LL,-1,-1,-1", "protocol 'LL'"),
    ("allreduce,0,1,ring,ll,-1,-1", "7 fields"),
    ("allreduce,0,1,ring,ll,-1,-1,-1,-1,-1,-1", "11 fields"),
    ("allreduce,,1,ring,ll,-1,-1,-1,-1", "min_bytes is empty"),
    ("allreduce,2,1,ring,ll,-1,-1,-1", "the smaller one first"),
    ("allreduce,0,64K,ring,ll,-1,-1,-1", "max_bytes '64K'"),
    ("allreduce,0,18446744073709551616,ring,ll,-1,-1,-1", "2^64"),
    ("allreduce,0,1,ring,ll,0,-1,-1", "channels 0"),
    ("allreduce,0,1,ring,ll,-1,any,-1", "nNodes 'any'"),
    ("allreduce,0,1,ring,ll,-1,-1,-1,-1,2", "regBuff '2'"),
    ("allreduce,0,1,ring,ll,-1,-1,-1\r", "carriage return"),
    ("  ", "otherwise empty"),
    ("# " + "x" * 260, "two lines"),
])
def test_what_the_plugin_would_misread_is_refused_with_its_line(line, reason):
    with pytest.raises(UsageError) as caught:
        parse(f"# first\n{line}\n", "mine.conf")
    assert str(caught.value).startswith("mine.conf:2: ")
    assert reason in str(caught.value)


def test_the_first_rule_that_matches_counts():
    rules = parse("allreduce,0,1000,tree,ll,2,-1,8\nallreduce,500,2000,ring,simple,4,1,-1\n")
    assert first_match(rules, "all_reduce", 700, 1, 8) is rules[0]
    assert first_match(rules, "all_reduce", 1000, 1, 4) is rules[1]
    assert first_match(rules, "all_reduce", 2001, 1, 8) is None
    assert first_match(rules, "broadcast", 700, 1, 8) is None
    assert first_match(parse("allreduce,0,9,tree,ll,2,-1,-1,-1,1\n"), "all_reduce", 5, 1, 8) is None, "unregistered"
