"""The registry against schedules carried out message by message: steps, bytes of the busiest rank, nodes crossed.

Every algorithm of the registry is written down here a second time, as rounds of messages between ranks that each hold
blocks with the contributions in them. A schedule that leaves a block incomplete proves nothing about its counts, so
completeness is checked too.
"""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collbench.analysis.cost.algorithms import ALGORITHMS, algorithm_named, canonical_name, profile
from collbench.collectives.cases.catalog import GROUPS

EVERY = "everything"


class Machine:
    """Ranks holding blocks; a block is the set of ranks whose contribution it has. Rank number `ranks` is a switch."""

    def __init__(self, ranks, blocks, held):
        self.ranks, self.blocks = ranks, blocks
        self.held = [{block: held(rank, block) for block in range(blocks)} for rank in range(ranks)]
        self.held.append({block: set() for block in range(blocks)})
        self.rounds = []

    def round(self, messages):
        """Carry out (from, to, blocks) at once; the receiver adds what comes to what it has."""
        sent = [(there, {block: self.held[here][block] for block in blocks}) for here, there, blocks in messages]
        for there, blocks in sent:
            for block, given_ in blocks.items():
                self.held[there][block] = self.held[there][block] | given_
        self.rounds.append([(here, there, Fraction(len(blocks), self.blocks)) for here, there, blocks in messages])

    def counted(self, node, by_link=False):
        """Rounds and bytes of the busiest rank, [inside a node, across nodes]; `by_link`: of its busier link.

        One link of a rank leads to the other ranks of its node, another one out of the node.
        """
        steps, shares = [0, 0], [Fraction(0), Fraction(0)]
        for messages in self.rounds:
            sends = {}
            for here, there, share in messages:
                if here < self.ranks:
                    link = here, by_link and here // node == there // node
                    sends[link] = sends.get(link, Fraction(0)) + share
            level = self.ranks > node and any(here // node != there // node or self.ranks in (here, there)
                                              for here, there, _ in messages)
            steps[level] += 1
            shares[level] += max(sends.values(), default=Fraction(0))
        return steps, shares

    def everywhere(self):
        return all(block == set(range(self.ranks)) for mine in self.held[:-1] for block in mine.values())

    def each_has_its_block(self):
        return all(self.held[rank][rank] == set(range(self.ranks)) for rank in range(self.ranks))

    def gathered(self, *ranks):
        return all(self.held[rank][block] == {block} for rank in ranks for block in range(self.ranks))

    def told(self):
        return all(block == {EVERY} for mine in self.held[:-1] for block in mine.values())


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
    return machine, machine.each_has_its_block()


def gather_bruck(n):
    machine = bruck_gather(n)
    return machine, machine.gathered(*range(n))


def gather_ring(n):
    machine = Machine(n, n, mine_only)
    for step in range(n - 1):
        machine.round([(rank, (rank + 1) % n, [(rank - step) % n]) for rank in range(n)])
    return machine, machine.gathered(*range(n))


def reduce_scatter_ring(n):
    machine = Machine(n, n, own)
    for step in range(n - 1):
        machine.round([(rank, (rank + 1) % n, [(rank - step - 1) % n]) for rank in range(n)])
    return machine, machine.each_has_its_block()


def broadcast_tree(n):
    machine = Machine(n, 1, root_only)
    for distance in reversed(log_rounds(n)):
        machine.round([(rank, rank + distance, [0]) for rank in range(0, n - distance, 2 * distance)])
    return machine, machine.told()


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
    return machine, machine.each_has_its_block()


def broadcast_linear(n):
    machine = Machine(n, 1, root_only)
    for rank in range(1, n):
        machine.round([(0, rank, [0])])
    return machine, machine.told()


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


def barrier_ring(n):
    machine = Machine(n, 1, own)
    for _ in range(n - 1):
        machine.round([(rank, (rank + 1) % n, [0]) for rank in range(n)])
    return machine, machine.everywhere()


def tree_up_and_down(n):
    machine, _ = reduce_tree(n)
    for distance in reversed(log_rounds(n)):
        machine.round([(rank, rank + distance, [0]) for rank in range(0, n - distance, 2 * distance)])
    return machine, machine.everywhere()


def everything_to_all(n):
    machine = Machine(n, 1, own)
    machine.round([(rank, there, [0]) for rank in range(n) for there in range(n) if there != rank])
    return machine, machine.everywhere()


def scatter_round(machine, n):
    machine.round([(rank, there, [there]) for rank in range(n) for there in range(n) if there != rank])


def gather_round(machine, n):
    machine.round([(rank, there, [rank]) for rank in range(n) for there in range(n) if there != rank])


def direct_all_reduce(n):
    machine = Machine(n, n, own)
    scatter_round(machine, n)
    gather_round(machine, n)
    return machine, machine.everywhere()


def direct_gather(n):
    machine = Machine(n, n, mine_only)
    gather_round(machine, n)
    return machine, machine.gathered(*range(n))


def direct_reduce_scatter(n):
    machine = Machine(n, n, own)
    scatter_round(machine, n)
    return machine, machine.each_has_its_block()


def in_switch(n):
    """The switch reduces what all ranks send and sends the result to all of them."""
    machine = Machine(n, 1, own)
    machine.round([(rank, n, [0]) for rank in range(n)])
    machine.round([(n, rank, [0]) for rank in range(n)])
    return machine, machine.everywhere()


def gather_doubling(n):
    if n & (n - 1):
        return gather_bruck(n)
    machine = Machine(n, n, mine_only)
    for bit in log_rounds(n):
        machine.round([(rank, rank ^ bit, [block for block in range(n) if block // bit == rank // bit])
                       for rank in range(n)])
    return machine, machine.gathered(*range(n))


def binomial_gather(machine, n):
    for distance in log_rounds(n):
        machine.round([(rank + distance, rank, list(range(rank + distance, min(rank + 2 * distance, n))))
                       for rank in range(0, n - distance, 2 * distance)])


def binomial_scatter(machine, n):
    for distance in reversed(log_rounds(n)):
        machine.round([(rank, rank + distance, list(range(rank + distance, min(rank + 2 * distance, n))))
                       for rank in range(0, n - distance, 2 * distance)])


def gather_binomial(n):
    machine = Machine(n, n, mine_only)
    binomial_gather(machine, n)
    return machine, machine.gathered(0)


def gather_linear(n):
    machine = Machine(n, n, mine_only)
    for rank in range(1, n):
        machine.round([(rank, 0, [rank])])
    return machine, machine.gathered(0)


def scatter_binomial(n):
    machine = Machine(n, n, root_only)
    binomial_scatter(machine, n)
    return machine, all(machine.held[rank][rank] == {EVERY} for rank in range(n))


def scatter_linear(n):
    machine = Machine(n, n, root_only)
    for rank in range(1, n):
        machine.round([(0, rank, [rank])])
    return machine, all(machine.held[rank][rank] == {EVERY} for rank in range(n))


def reduce_then_scatter(n):
    machine = Machine(n, n, own)
    for distance in log_rounds(n):
        machine.round([(rank + distance, rank, list(range(n))) for rank in range(0, n - distance, 2 * distance)])
    binomial_scatter(machine, n)
    return machine, machine.each_has_its_block()


def scatter_then_gather(n):
    machine = Machine(n, n, root_only)
    binomial_scatter(machine, n)
    for step in range(n - 1):
        machine.round([(rank, (rank + 1) % n, [(rank - step) % n]) for rank in range(n)])
    return machine, machine.told()


def reduce_scatter_then_gather(n):
    machine, _ = reduce_scatter_halving(n)
    binomial_gather(machine, n)
    return machine, all(block == set(range(n)) for block in machine.held[0].values())


def reduce_linear(n):
    machine = Machine(n, 1, own)
    for rank in range(1, n):
        machine.round([(rank, 0, [0])])
    return machine, machine.held[0][0] == set(range(n))


def exchange_direct(n):
    return exchange(n, [[(rank, there, [rank * n + there]) for rank in range(n) for there in range(n)
                         if there != rank]])


def exchange_hypercube(n):
    """One dimension a round, lowest first: by then, lower bits of the rank are the receiver's, others the sender's."""
    if n & (n - 1):
        return exchange_bruck(n)
    return exchange(n, [[(rank, rank ^ bit, [source * n + to for source in range(n) for to in range(n)
                                             if source // bit == rank // bit and to % bit == rank % bit
                                             and (to ^ rank) & bit])
                         for rank in range(n)] for bit in log_rounds(n)])


def neighbour_shift(n):
    machine = Machine(n, 1, own)
    machine.round([(rank, (rank + 1) % n, [0]) for rank in range(n)])
    return machine, all(machine.held[(rank + 1) % n][0] >= {rank} for rank in range(n))


def fan_in(n):
    """Each of the others has a block for rank 0."""
    machine = Machine(n, n - 1, own)
    for rank in range(1, n):
        machine.round([(rank, 0, [rank - 1])])
    return machine, all(machine.held[0][rank - 1] >= {rank} for rank in range(1, n))


def fan_out(n):
    machine = Machine(n, n - 1, root_only)
    for rank in range(1, n):
        machine.round([(0, rank, [rank - 1])])
    return machine, all(machine.held[rank][rank - 1] == {EVERY} for rank in range(1, n))


CARRIED_OUT = {
    ("all_reduce", "ring"): ring_all_reduce,
    ("all_reduce", "recursive doubling"): doubling_all_reduce,
    ("all_reduce", "rabenseifner"): halving_doubling_all_reduce,
    ("all_reduce", "reduce and broadcast trees"): tree_up_and_down,
    ("all_reduce", "direct"): direct_all_reduce,
    ("all_reduce", "in-switch"): in_switch,
    ("all_reduce", "all to all ranks"): everything_to_all,
    ("all_reduce", "non-uniform hierarchical ring"): halves_then_gather,
    ("all_gather", "ring"): gather_ring,
    ("all_gather", "bruck"): gather_bruck,
    ("all_gather", "direct"): direct_gather,
    ("all_gather", "recursive doubling"): gather_doubling,
    ("reduce_scatter", "ring"): reduce_scatter_ring,
    ("reduce_scatter", "recursive halving"): reduce_scatter_halving,
    ("reduce_scatter", "direct"): direct_reduce_scatter,
    ("reduce_scatter", "reduce and scatter"): reduce_then_scatter,
    ("reduce_scatter", "non-uniform hierarchical ring"): reduce_scatter_log,
    ("broadcast", "binomial tree"): broadcast_tree,
    ("broadcast", "scatter and all-gather"): scatter_then_gather,
    ("broadcast", "linear"): broadcast_linear,
    ("reduce", "binomial tree"): reduce_tree,
    ("reduce", "reduce-scatter and gather"): reduce_scatter_then_gather,
    ("reduce", "linear"): reduce_linear,
    ("gather", "binomial tree"): gather_binomial,
    ("gather", "linear"): gather_linear,
    ("scatter", "binomial tree"): scatter_binomial,
    ("scatter", "linear"): scatter_linear,
    **{(op, name): carry_out for op in ("all_to_all", "all_to_all_v") for name, carry_out in
       (("pairwise", exchange_pairwise), ("direct", exchange_direct), ("bruck", exchange_bruck),
        ("hypercube", exchange_hypercube))},
    ("barrier", "dissemination"): barrier_dissemination,
    ("barrier", "tree up and down"): tree_up_and_down,
    ("barrier", "ring"): barrier_ring,
    ("send_recv", "neighbour shift"): neighbour_shift,
    ("halo_exchange", "neighbour shift"): neighbour_shift,
    ("permutation", "one message"): neighbour_shift,
    ("incast", "one after another"): fan_in,
    ("outcast", "one after another"): fan_out,
    ("all_reduce_one_shot", "all to all ranks"): everything_to_all,
}

FOLDS = ("recursive doubling", "rabenseifner", "recursive halving", "reduce-scatter and gather")
# One message at a time, most of which stay in the node of the root; the registry counts all of them as leaving it.
ONE_BY_ONE = ("linear", "one after another", "one message")
# The registry spreads the bytes of a binomial scatter or gather evenly over its rounds.
EVEN_ROUNDS = ("reduce and scatter", "scatter and all-gather", "reduce-scatter and gather")


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


@pytest.mark.parametrize("key", [key for key in CARRIED_OUT if key[1] not in ONE_BY_ONE], ids=" by ".join)
@settings(max_examples=12, deadline=None)
@given(ranks=st.integers(2, 28), node=st.sampled_from([2, 4, 8]))
def test_a_step_belongs_to_the_node_level_that_some_message_of_it_crosses(key, ranks, node):
    machine, _ = CARRIED_OUT[key](ranks)
    steps, shares = machine.counted(node)
    found = profile(algorithm_named(*key), ranks, (node,))
    if key[1] not in FOLDS or ranks % 2 == 0:       # the pairs of an odd number of ranks may or may not lie in one node
        assert found.steps == tuple(steps)
        if key[0] not in ("barrier", "gather", "scatter") and key[1] not in EVEN_ROUNDS:
            assert found.shares == pytest.approx(tuple(map(float, shares)))


def ring_inside(machine, nodes, size, sent):
    """Each node's ranks in a ring; `sent`: (node, local rank, step) -> blocks."""
    for step in range(size - 1):
        machine.round([(node * size + local, node * size + (local + 1) % size, sent(node, local, step))
                       for node in range(nodes) for local in range(size)])


def ring_across(machine, nodes, size, sent):
    """Ranks of the same place in their nodes in a ring; `sent` as above."""
    for step in range(nodes - 1):
        machine.round([(node * size + local, (node + 1) % nodes * size + local, sent(node, local, step))
                       for node in range(nodes) for local in range(size)])


def hierarchical_all_reduce(nodes, size):
    """Part p of the payload consists of blocks p * nodes to (p + 1) * nodes - 1."""
    machine = Machine(nodes * size, nodes * size, own)

    def part(number):
        return [number % size * nodes + at for at in range(nodes)]
    ring_inside(machine, nodes, size, lambda node, local, step: part(local - step))
    # Rank `local` now has part local + 1 of its node.
    ring_across(machine, nodes, size, lambda node, local, step: [(local + 1) % size * nodes + (node - step) % nodes])
    ring_across(machine, nodes, size, lambda node, local, step: [(local + 1) % size * nodes
                                                                 + (node + 1 - step) % nodes])
    ring_inside(machine, nodes, size, lambda node, local, step: part(local + 1 - step))
    return machine, machine.everywhere()


def hierarchical_gather(nodes, size):
    machine = Machine(nodes * size, nodes * size, mine_only)
    ring_across(machine, nodes, size, lambda node, local, step: [(node - step) % nodes * size + local])
    ring_inside(machine, nodes, size, lambda node, local, step: [other * size + (local - step) % size
                                                                 for other in range(nodes)])
    return machine, machine.gathered(*range(nodes * size))


def hierarchical_exchange(nodes, size):
    """First to the rank of one's own node that has the place of the receiver in its node, then to its node."""
    n = nodes * size
    across = [[(rank, (rank + step * size) % n, [(rank - rank % size + local) * n + (rank + step * size) % n
                                                 for local in range(size)])
               for rank in range(n)] for step in range(1, nodes)]
    inside = [[(rank, rank - rank % size + (rank % size + step) % size,
                [rank * n + other * size + (rank % size + step) % size for other in range(nodes)])
               for rank in range(n)] for step in range(1, size)]
    return exchange(n, [*inside, *across])


BY_NODES = {("all_reduce", "hierarchical"): hierarchical_all_reduce,
            ("all_gather", "hierarchical"): hierarchical_gather,
            ("all_to_all", "hierarchical"): hierarchical_exchange,
            ("all_to_all_v", "hierarchical"): hierarchical_exchange}


@pytest.mark.parametrize("key", BY_NODES, ids=" by ".join)
@settings(max_examples=12, deadline=None)
@given(nodes=st.integers(1, 6), size=st.integers(2, 6))
def test_hierarchical_schedules_take_steps_and_bytes_of_either_level(key, nodes, size):
    machine, complete = BY_NODES[key](nodes, size)
    assert complete
    steps, shares = machine.counted(size)
    found = profile(algorithm_named(*key), nodes * size, (size,))
    assert found.steps == tuple(steps)
    assert found.shares == pytest.approx(tuple(map(float, shares)))


def pipelined(machine, stages, chunks):
    """Chunk i of either half goes through the stages, each a list of (from, to, half), i rounds after the first one."""
    for now in range(len(stages) + chunks - 1):
        machine.round([(here, there, [half * chunks + now - at]) for at, stage in enumerate(stages)
                       if 0 <= now - at < chunks for here, there, half in stage])


def backwards(stages):
    return [[(there, here, half) for here, there, half in stage] for stage in reversed(stages)]


def double_tree(members):
    """From members[0] to two binary trees of all others, one for each half; who forwards in one is a leaf of the other.

    After Sanders, Speck and Traeff (2009).
    """
    others = members[1:]
    stages = [[] for _ in range(len(others).bit_length())]
    for half, tree in enumerate((others, others[::-1])):
        for at, there in enumerate(tree):
            here = tree[(at - 1) // 2] if at else members[0]
            stages[(at + 1).bit_length() - 1].append((here, there, half))
    return stages


def chain(n):
    return [[(rank, rank + 1, 0)] for rank in range(n - 1)]


def pipelined_broadcast(n, node, chunks):
    machine = Machine(n, 2 * chunks, root_only)
    pipelined(machine, double_tree(list(range(n))), chunks)
    return machine, machine.told()


def pipelined_reduce(n, node, chunks):
    machine = Machine(n, 2 * chunks, own)
    pipelined(machine, backwards(double_tree(list(range(n)))), chunks)
    return machine, all(block == set(range(n)) for block in machine.held[0].values())


def chain_broadcast(n, node, chunks):
    machine = Machine(n, chunks, root_only)
    pipelined(machine, chain(n), chunks)
    return machine, machine.told()


def chain_reduce(n, node, chunks):
    machine = Machine(n, chunks, own)
    pipelined(machine, backwards(chain(n)), chunks)
    return machine, all(block == set(range(n)) for block in machine.held[0].values())


def pipelined_all_reduce(n, node, chunks, stages=None):
    stages = stages or double_tree(list(range(n)))
    machine = Machine(n, 2 * chunks, own)
    pipelined(machine, backwards(stages), chunks)
    pipelined(machine, stages, chunks)
    return machine, machine.everywhere()


def chain_and_tree(n, node, chunks):
    """As NCCL: a double tree over the first ranks of the nodes, and a chain from there through the other ranks."""
    down = [[(rank, rank + 1, half) for rank in range(local, n - 1, node) for half in (0, 1)]
            for local in range(min(n, node) - 1)]
    return pipelined_all_reduce(n, node, chunks, double_tree(list(range(0, n, node))) + down)


PIPELINED = {("all_reduce", "pipelined tree"): pipelined_all_reduce, ("all_reduce", "chain and tree"): chain_and_tree,
             ("broadcast", "pipelined tree"): pipelined_broadcast, ("broadcast", "pipelined chain"): chain_broadcast,
             ("reduce", "pipelined tree"): pipelined_reduce, ("reduce", "pipelined chain"): chain_reduce}


@pytest.mark.parametrize("key", PIPELINED, ids=" by ".join)
@settings(max_examples=12, deadline=None)
@given(ranks=st.integers(2, 40), node=st.sampled_from([2, 4, 8]))
def test_a_pipeline_takes_the_steps_of_one_chunk_and_the_bytes_of_a_full_pipeline(key, ranks, node):
    """With one chunk the rounds are the steps. Each further chunk costs `factor` times its bytes."""
    shape = algorithm_named(*key)
    in_chunks = {}
    for chunks in (1, 40, 41):
        machine, complete = PIPELINED[key](ranks, node, chunks)
        assert complete
        steps, shares = machine.counted(node, by_link=key[1] == "chain and tree")
        in_chunks[chunks] = chunks * sum(shares)
        if chunks == 1:
            assert shape.steps(ranks, node) == sum(steps)
            if key[1] == "chain and tree":
                assert profile(shape, ranks, (node,)).steps == tuple(steps)
    assert shape.factor(ranks, node) == in_chunks[41] - in_chunks[40]


def test_every_algorithm_of_the_registry_is_carried_out():
    carried_out = [*CARRIED_OUT, *BY_NODES, *PIPELINED]
    own = {op: shapes for op, shapes in ALGORITHMS.items() if op not in GROUPS["communicators"]}
    assert sorted(carried_out) == sorted((op, shape.name) for op, shapes in own.items() for shape in shapes)
    for op in GROUPS["communicators"]:
        assert ALGORITHMS[op] is ALGORITHMS["barrier"]


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


@pytest.mark.parametrize(("op", "spelling", "name"), [
    ("all_reduce", "default-ring", "ring"), ("all_reduce", "nccl_ring", "ring"), ("all_reduce", "ctring", "ring"),
    ("all_gather", "ring_ompi", "ring"), ("all_reduce", "Ring(selected RING/SIMPLE)", "ring"),
    ("broadcast", "binomialtreebcast", "binomial tree"),
    ("all_reduce", "recursive_doubling_mpich", "recursive doubling"),
    ("reduce", "rabenseifner_mpich", "reduce-scatter and gather"), ("all_reduce", "Tree", "chain and tree"),
    ("all_reduce", "NVLS", "in-switch"), ("all_reduce", "NVLSTree", None), ("all_gather", "sparbit_over", None),
    ("all_gather", "ring over binomial trees", None), ("broadcast", None, None), ("all_reduce", "", None)])
def test_names_of_algorithms_are_known_in_every_spelling(op, spelling, name):
    found = algorithm_named(op, spelling)
    assert (found and found.name) == name
    assert canonical_name(op, spelling) == (name or spelling)
