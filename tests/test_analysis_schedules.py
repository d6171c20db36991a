"""The registry against schedules carried out message by message: steps, bytes of the busiest rank, nodes crossed.

Every algorithm is written down here a second time, as rounds of messages between ranks that each hold blocks with
the contributions in them. A schedule that leaves a block incomplete proves nothing about its counts: checked too.
"""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collbench.analysis.cost.algorithms import algorithm_named, profile

EVERY = "everything"


class Machine:
    """Ranks holding blocks; a block is the set of ranks whose contribution it has."""

    def __init__(self, ranks, blocks, held):
        self.ranks, self.blocks = ranks, blocks
        self.held = [{block: held(rank, block) for block in range(blocks)} for rank in range(ranks)]
        self.rounds = []

    def round(self, messages):
        """Carry out (from, to, blocks) at once; the receiver adds what comes to what it has."""
        sent = [(there, {block: self.held[here][block] for block in blocks}) for here, there, blocks in messages]
        for there, blocks in sent:
            for block, given_ in blocks.items():
                self.held[there][block] = self.held[there][block] | given_
        self.rounds.append([(here, there, Fraction(len(blocks), self.blocks)) for here, there, blocks in messages])

    def counted(self, node):
        """Rounds and bytes of the busiest rank, [inside a node, across nodes]."""
        steps, shares = [0, 0], [Fraction(0), Fraction(0)]
        for messages in self.rounds:
            sends = {}
            for here, _, share in messages:
                sends[here] = sends.get(here, Fraction(0)) + share
            level = any(here // node != there // node for here, there, _ in messages)
            steps[level] += 1
            shares[level] += max(sends.values())
        return steps, shares

    def everywhere(self):
        return all(block == set(range(self.ranks)) for mine in self.held for block in mine.values())


def own(rank, block):
    return {rank}


def mine_only(rank, block):
    return {rank} if rank == block else set()


def root_only(rank, block):
    return set() if rank else {EVERY}


def core_of(ranks):
    core = 1 << ranks.bit_length() - 1
    extra = ranks - core
    return core, extra, [2 * i + 1 for i in range(extra)] + list(range(2 * extra, ranks))


def ring_all_reduce(n):
    machine = Machine(n, n, own)
    for step in range(n - 1):
        machine.round([(rank, (rank + 1) % n, [(rank - step) % n]) for rank in range(n)])
    for step in range(n - 1):
        machine.round([(rank, (rank + 1) % n, [(rank + 1 - step) % n]) for rank in range(n)])
    return machine, machine.everywhere()


def doubling_all_reduce(n):
    core, extra, members = core_of(n)
    machine = Machine(n, 1, own)
    if extra:
        machine.round([(2 * i, 2 * i + 1, [0]) for i in range(extra)])
    for bit in range(core.bit_length() - 1):
        machine.round([(members[i], members[i ^ 1 << bit], [0]) for i in range(core)])
    if extra:
        machine.round([(2 * i + 1, 2 * i, [0]) for i in range(extra)])
    return machine, machine.everywhere()


def halving_doubling_all_reduce(n):
    core, extra, members = core_of(n)
    machine = Machine(n, core, own)
    every = list(range(core))
    if extra:
        machine.round([(2 * i, 2 * i + 1, every) for i in range(extra)])
    bits = list(reversed(range(core.bit_length() - 1)))

    def part(i, bit):           # the blocks of those that agree with i in all bits from `bit` on
        return [block for block in every if block >> bit == i >> bit]
    for bit in bits:
        machine.round([(members[i], members[i ^ 1 << bit], part(i ^ 1 << bit, bit)) for i in range(core)])
    for bit in reversed(bits):
        machine.round([(members[i], members[i ^ 1 << bit], part(i, bit)) for i in range(core)])
    if extra:
        machine.round([(2 * i + 1, 2 * i, every) for i in range(extra)])
    return machine, machine.everywhere()


def log_rounds(n):
    return [1 << bit for bit in range((n - 1).bit_length())]


def bruck_gather(n, machine=None):
    machine = machine or Machine(n, n, mine_only)
    for distance in log_rounds(n):
        many = min(distance, n - distance)
        machine.round([((rank + distance) % n, rank, [(rank + distance + j) % n for j in range(many)])
                       for rank in range(n)])
    return machine


def log_halving(n):
    machine = Machine(n, n, own)
    for distance in reversed(log_rounds(n)):
        many = min(distance, n - distance)
        machine.round([(rank, (rank + distance) % n, [(rank + distance + j) % n for j in range(many)])
                       for rank in range(n)])
    return machine


def halves_then_gather(n):
    machine = log_halving(n)
    bruck_gather(n, machine)
    return machine, machine.everywhere()


def reduce_scatter_log(n):
    machine = log_halving(n)
    return machine, all(machine.held[rank][rank] == set(range(n)) for rank in range(n))


def gather_bruck(n):
    machine = bruck_gather(n)
    return machine, all(machine.held[rank][block] == {block} for rank in range(n) for block in range(n))


def gather_ring(n):
    machine = Machine(n, n, mine_only)
    for step in range(n - 1):
        machine.round([(rank, (rank + 1) % n, [(rank - step) % n]) for rank in range(n)])
    return machine, all(machine.held[rank][block] == {block} for rank in range(n) for block in range(n))


def reduce_scatter_ring(n):
    machine = Machine(n, n, own)
    for step in range(n - 1):
        machine.round([(rank, (rank + 1) % n, [(rank - step - 1) % n]) for rank in range(n)])
    return machine, all(machine.held[rank][rank] == set(range(n)) for rank in range(n))


def broadcast_tree(n):
    machine = Machine(n, 1, root_only)
    for distance in reversed(log_rounds(n)):
        machine.round([(rank, rank + distance, [0]) for rank in range(0, n - distance, 2 * distance)])
    return machine, all(mine[0] == {EVERY} for mine in machine.held)


def reduce_tree(n):
    machine = Machine(n, 1, own)
    for distance in log_rounds(n):
        machine.round([(rank + distance, rank, [0]) for rank in range(0, n - distance, 2 * distance)])
    return machine, machine.held[0][0] == set(range(n))


def reduce_scatter_halving(n):
    """Ranks that fold in leave their block to the rank that they fold into; the others halve what is theirs."""
    core, extra, members = core_of(n)
    machine = Machine(n, n, own)
    if extra:
        machine.round([(2 * i, 2 * i + 1, list(range(n))) for i in range(extra)])
    blocks = [[2 * i, 2 * i + 1] if i < extra else [i + extra] for i in range(core)]
    for bit in reversed(range(core.bit_length() - 1)):
        machine.round([(members[i], members[i ^ 1 << bit], [block for other in range(core)
                                                             if other >> bit == (i ^ 1 << bit) >> bit
                                                             for block in blocks[other]]) for i in range(core)])
    if extra:
        machine.round([(2 * i + 1, 2 * i, [2 * i]) for i in range(extra)])
    return machine, all(machine.held[rank][rank] == set(range(n)) for rank in range(n))


def broadcast_linear(n):
    machine = Machine(n, 1, root_only)
    for rank in range(1, n):
        machine.round([(0, rank, [0])])
    return machine, all(mine[0] == {EVERY} for mine in machine.held)


def exchange(n, rounds):
    """Blocks are (from, to) pairs; a rank's payload is n of them."""
    machine = Machine(n, n * n, lambda rank, block: {EVERY} if block // n == rank else set())
    for messages in rounds:
        machine.round(messages)
    machine.rounds = [[(here, there, share * n) for here, there, share in messages] for messages in machine.rounds]
    return machine, all(machine.held[to][source * n + to] for source in range(n) for to in range(n))


def exchange_pairwise(n):
    return exchange(n, [[(rank, (rank + step) % n, [rank * n + (rank + step) % n]) for rank in range(n)]
                        for step in range(1, n)])


def exchange_bruck(n):
    """A block for the rank at distance d travels the distances of the bits of d, lowest first."""
    return exchange(n, [[(rank, (rank + bit) % n,
                          [source * n + (source + d) % n for d in range(n) if d & bit
                           for source in [(rank - (d & (bit - 1))) % n]]) for rank in range(n)]
                        for bit in log_rounds(n)])


def barrier_dissemination(n):
    machine = Machine(n, 1, own)
    for distance in log_rounds(n):
        machine.round([(rank, (rank + distance) % n, [0]) for rank in range(n)])
    return machine, machine.everywhere()


CARRIED_OUT = {
    ("all_reduce", "ring"): ring_all_reduce,
    ("all_reduce", "recursive doubling"): doubling_all_reduce,
    ("all_reduce", "rabenseifner"): halving_doubling_all_reduce,
    ("all_reduce", "non-uniform hierarchical ring"): halves_then_gather,
    ("all_gather", "ring"): gather_ring,
    ("all_gather", "bruck"): gather_bruck,
    ("reduce_scatter", "ring"): reduce_scatter_ring,
    ("reduce_scatter", "non-uniform hierarchical ring"): reduce_scatter_log,
    ("reduce_scatter", "recursive halving"): reduce_scatter_halving,
    ("broadcast", "binomial tree"): broadcast_tree,
    ("broadcast", "linear"): broadcast_linear,
    ("reduce", "binomial tree"): reduce_tree,
    ("all_to_all", "pairwise"): exchange_pairwise,
    ("all_to_all", "bruck"): exchange_bruck,
    ("barrier", "dissemination"): barrier_dissemination,
}


@pytest.mark.parametrize("key", CARRIED_OUT, ids=" by ".join)
@settings(max_examples=12, deadline=None)
@given(ranks=st.integers(2, 40))
def test_carrying_a_schedule_out_takes_the_steps_and_bytes_that_the_registry_says(key, ranks):
    machine, complete = CARRIED_OUT[key](ranks)
    assert complete
    steps, shares = machine.counted(ranks)
    shape = algorithm_named(*key)
    assert shape.steps(ranks) == steps[0]
    if key[0] != "barrier":
        assert shape.factor(ranks) == shares[0]


@pytest.mark.parametrize("key", [key for key in CARRIED_OUT if key != ("broadcast", "linear")], ids=" by ".join)
@settings(max_examples=12, deadline=None)
@given(ranks=st.integers(2, 28), node=st.sampled_from([2, 4, 8]))
def test_a_step_belongs_to_the_node_level_that_some_message_of_it_crosses(key, ranks, node):
    machine, _ = CARRIED_OUT[key](ranks)
    steps, shares = machine.counted(node)
    found = profile(algorithm_named(*key), ranks, (node,))
    folds = key[1] in ("recursive doubling", "rabenseifner", "recursive halving")
    if not folds or ranks % 2 == 0:           # the pairs of an odd number of ranks may or may not lie in one node
        assert found.steps == tuple(steps)
        if key[0] != "barrier":
            assert found.shares == pytest.approx(tuple(map(float, shares)))


# Seconds by SimGrid/SMPI over 8 nodes of 8 (392 GB/s and 0.3 us a link, 0.3 us an uplink of 3136 GB/s), 256 MiB, in us.
TWO_TIERS_US = {("all_reduce", "ring"): 1499.976, ("all_reduce", "recursive doubling"): 4114.708,
                ("all_reduce", "rabenseifner"): 1359.572, ("all_to_all", "pairwise"): 750.289,
                ("all_to_all", "bruck"): 2062.155}


@pytest.mark.parametrize("key", TWO_TIERS_US, ids=" by ".join)
def test_two_tiers_agree_with_an_independent_simulator(key):
    """A message inside a node passes two links, one between nodes two links and two uplinks."""
    found = profile(algorithm_named(*key), 64, (8,))
    latency_us = found.steps[0] * 0.6 + found.steps[1] * 1.2
    assert latency_us + sum(found.shares) * (1 << 28) / 392e3 == pytest.approx(TWO_TIERS_US[key], rel=3e-3)
