"""Dynamic rules of Open MPI's coll_tuned, in the classic format that 4.1 and 5.0 read.

Grammar: ompi_coll_tuned_read_rules_config_file and ompi_coll_tuned_get_com_rule_ptr in ompi/mca/coll/tuned of Open MPI;
numbers of the operations: COLLTYPE in ompi/mca/coll/base/coll_base_functions.h. Numbers and blanks, with # before a
comment: how many operations; for each its number and how many communicator sizes; for each its size and how many
message sizes; for each the size, algorithm, fan-out, segment size. A rule holds up to the next larger size; below the
first communicator size, the first one holds. Algorithm 0 is the library's own decision.
"""

import re
from collections.abc import Sequence
from types import MappingProxyType

from collbench.collectives.records.tuning import Tuning, Variant

from ..winners import Choice, Found
from .rule_file import PATH, RuleFile, origin

__all__ = ["TITLE", "parse", "write"]

TITLE = "dynamic rules of Open MPI's coll_tuned"
_NUMBERS = MappingProxyType({
    "allgather": 0, "allreduce": 2, "alltoall": 3, "alltoallv": 4, "barrier": 6, "bcast": 7, "gather": 9, "reduce": 11,
    "reduce_scatter": 12, "reduce_scatter_block": 13, "scatter": 15})
_VARIABLE = re.compile(r"OMPI_MCA_coll_tuned_(\w+)_algorithm")
_SWITCH = "OMPI_MCA_coll_tuned_use_dynamic_rules"
_BLIND = ("alltoallv", "barrier")     # the library looks up size 0 for these, whatever the message size

_Rules = dict[int, list[tuple[int, int]]]     # communicator size -> (smallest message size, algorithm)


def write(found: Found, tuning: Tuning) -> RuleFile | None:
    """The rules file of what won; None if no choice is an algorithm of coll_tuned."""
    blocks: dict[str, _Rules] = {}
    ops = []
    for op in dict.fromkeys(choice.op for choice in found.choices):
        own = [choice for choice in found.choices if choice.op == op]
        named = {name: _algorithm(tuning.variant(name)) for name in {choice.variant for choice in own}}
        names = {known[0] for known in named.values() if known}
        if len(names) == 1 and (name := names.pop()) in _NUMBERS:
            blocks[name] = _by_ranks(own, {key: known[1] if known else 0 for key, known in named.items()},
                                     name in _BLIND)
            ops.append(op)
    if not blocks:
        return None
    return RuleFile("open_mpi_rules.conf", _text(blocks, tuning),
                    {_SWITCH: "1", "OMPI_MCA_coll_tuned_dynamic_rules_filename": PATH}, tuple(ops),
                    f"mpirun --mca coll_tuned_use_dynamic_rules 1 --mca coll_tuned_dynamic_rules_filename {PATH}")


def _algorithm(variant: Variant) -> tuple[str, int] | None:
    """Operation and algorithm as coll_tuned names and numbers them; None if the variant is anything else."""
    rest = {name: value for name, value in variant.settings.items() if name != _SWITCH}
    if len(rest) != 1:
        return None
    (name, value), = rest.items()
    match = _VARIABLE.fullmatch(name)
    return (match[1], int(value)) if match and value.isdecimal() else None


def _by_ranks(chosen: Sequence[Choice], algorithms: dict[str, int], blind: bool) -> _Rules:
    """Rules for the measured communicator sizes and message sizes, and the library's own decision elsewhere."""
    counts = sorted({choice.ranks for choice in chosen})
    rules: _Rules = {0: [(0, 0)]}
    for ranks in counts:
        sizes = [(0 if blind else choice.message_bytes, algorithms[choice.variant])
                 for choice in sorted(chosen, key=lambda choice: choice.message_bytes) if choice.ranks == ranks]
        after = [] if blind else [(sizes[-1][0] + 1, 0)]
        rules[ranks] = _merged([(0, 0), *sizes, *after])
        rules.setdefault(ranks + 1, [(0, 0)])
    return rules


def _merged(rules: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Without rules that change nothing; of two for one size, the later."""
    kept: list[tuple[int, int]] = []
    for size, algorithm in rules:
        if kept and kept[-1][0] == size:
            kept.pop()
        if not kept or kept[-1][1] != algorithm:
            kept.append((size, algorithm))
    return kept


def _text(blocks: dict[str, _Rules], tuning: Tuning) -> str:
    lines = [f"{len(blocks)} # operations; {origin(tuning)}"]
    for name, rules in blocks.items():
        lines += [f"{_NUMBERS[name]} # {name}", f"{len(rules)} # communicator sizes"]
        for ranks, sizes in sorted(rules.items()):
            lines += [f"{ranks} # ranks", f"{len(sizes)} # message sizes"]
            lines += [f"{size} {algorithm} 0 0" for size, algorithm in sizes]
    return "\n".join([*lines, ""])


def parse(text: str) -> dict[str, _Rules]:
    """The rules in such a file, read as Open MPI reads it, but to the end. ValueError if they are malformed."""
    words = iter([int(word) for line in text.splitlines() for word in line.partition("#")[0].split()])
    names = {number: name for name, number in _NUMBERS.items()}
    blocks: dict[str, _Rules] = {}
    try:
        for _ in range(next(words)):
            name, rules = names[next(words)], {}
            for _ in range(next(words)):
                ranks, count = next(words), next(words)
                rules[ranks] = [_rule(next(words), next(words), next(words), next(words)) for _ in range(count)]
                if not rules[ranks] or rules[ranks][0][0] != 0:
                    raise ValueError(f"{name}, {ranks} ranks: the first rule must be for message size 0")
            blocks[name] = rules
    except (StopIteration, KeyError) as error:
        raise ValueError(f"ends too early, or has an unknown operation: {error!r}") from None
    if next(words, None) is not None:
        raise ValueError("goes on after its last rule")
    return blocks


def _rule(size: int, algorithm: int, fan_out: int, segment: int) -> tuple[int, int]:
    if min(size, algorithm, fan_out, segment) < 0:
        raise ValueError(f"{size} {algorithm} {fan_out} {segment}: negative")
    return size, algorithm
