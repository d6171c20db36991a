"""Rules of NCCL's CSV tuner plugin, which RCCL reads by itself: algorithm, protocol and channels by operation and size.

Grammar: plugins/tuner/example/plugin.c of NVIDIA/nccl 5067397 (2.30) and src/plugin/tuner/csv_tuner.cc of RCCL:

    collective,min_bytes,max_bytes,algorithm,protocol,channels,nNodes,nRanks[,numPipeOps[,regBuff]]

The first rule that matches counts. The plugin accepts nearly anything: an unknown algorithm is a ring, an unknown
collective an all-reduce, a heading without `#` a rule, an empty field moves the later ones to the left, a line of more
than 254 characters is two lines. `parse` refuses all of these.

Give `channels` wherever it is known. NCCL's plugin (unlike RCCL, which corrected it in ROCm/rccl#1985) sets one channel
before it looks for a rule, so that one channel is used by every call that no rule matches, and by rules with -1.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from types import MappingProxyType

from collbench.collectives.errors import UsageError

__all__ = ["ALGORITHMS", "ANY_SIZE", "COLLECTIVES", "PROTOCOLS", "Rule", "first_match", "parse", "render"]

COLLECTIVES: MappingProxyType[str, str] = MappingProxyType({
    "all_reduce": "allreduce", "all_gather": "allgather", "reduce_scatter": "reducescatter", "broadcast": "broadcast",
    "reduce": "reduce"})
ALGORITHMS = ("tree", "ring", "collnet_direct", "collnet_chain", "nvls", "nvls_tree", "pat")
PROTOCOLS = ("ll", "ll128", "simple")
ANY_SIZE = 2**64 - 1        # of size_t; the 4294967295 of the plugin's example ends below 4 GiB

_OPS = {word: op for op, word in COLLECTIVES.items()}
_FIELDS = ("collective", "min_bytes", "max_bytes", "algorithm", "protocol", "channels", "nNodes", "nRanks",
           "numPipeOps", "regBuff")
_REQUIRED = 8
_LONGEST = 254
_WHOLE = re.compile(r"\d{1,20}")


@dataclass(frozen=True)
class Rule:
    """What to use for calls of `op` with min_bytes to max_bytes, both included.

    Args:
        op: operation, a key of COLLECTIVES.
        min_bytes, max_bytes: message size as in collbench, which is what NCCL compares: of all_gather and
            reduce_scatter the total over ranks.
        algorithm, protocol: one of ALGORITHMS and PROTOCOLS.
        channels: how many; None leaves it to the library (but see above).
        nodes, ranks: of the communicator; None matches any.
        pipe_ops: operations of the group call; None matches any.
        registered: whether the buffers are registered; None matches both.

    Raises:
        UsageError: a value that the plugin would misread.
    """

    op: str
    min_bytes: int
    max_bytes: int
    algorithm: str
    protocol: str
    channels: int | None = None
    nodes: int | None = None
    ranks: int | None = None
    pipe_ops: int | None = None
    registered: bool | None = None

    def __post_init__(self) -> None:
        for what, value, known in (("operation", self.op, COLLECTIVES), ("algorithm", self.algorithm, ALGORITHMS),
                                   ("protocol", self.protocol, PROTOCOLS)):
            if value not in known:
                raise UsageError(f"{what} {value!r}: a tuner file knows {', '.join(known)}")
        if not 0 <= self.min_bytes <= self.max_bytes <= ANY_SIZE:
            raise UsageError(f"sizes {self.min_bytes} to {self.max_bytes}: expected 0 to 2^64 - 1, the smaller one "
                             "first")
        for what, number in (("channels", self.channels), ("nNodes", self.nodes), ("nRanks", self.ranks),
                             ("numPipeOps", self.pipe_ops)):
            if number is not None and not 1 <= number < 2**31:
                raise UsageError(f"{what} {number}: expected 1 or more, or none for any")

    def matches(self, op: str, size_bytes: int, nodes: int, ranks: int) -> bool:
        """Whether the plugin uses this rule for such a call, of one operation on unregistered buffers."""
        return (self.op == op and self.min_bytes <= size_bytes <= self.max_bytes and self.nodes in (None, nodes)
                and self.ranks in (None, ranks) and self.pipe_ops in (None, 1) and not self.registered)


def render(rules: Iterable[Rule], comments: Iterable[str] = ()) -> str:
    """The tuner file of `rules`, in their order, after `comments`."""
    lines = [f"# {part}".rstrip() for comment in comments for part in wrap(comment, 100) or [""]]
    lines.append(f"# {','.join(_FIELDS)}")
    return "\n".join([*lines, *map(_line, rules), ""])


def _line(rule: Rule) -> str:
    numbers = (rule.channels, rule.nodes, rule.ranks, rule.pipe_ops,
               None if rule.registered is None else int(rule.registered))
    return ",".join([COLLECTIVES[rule.op], f"{rule.min_bytes}", f"{rule.max_bytes}", rule.algorithm, rule.protocol,
                     *("-1" if number is None else f"{number}" for number in numbers)])


def parse(text: str, name: str = "tuner file") -> list[Rule]:
    """The rules of a tuner file.

    Args:
        text: its content.
        name: the file, for messages.

    Raises:
        UsageError: a line that the plugin would not read as it is meant; the message has file, line and reason.
    """
    rules = []
    for number, line in enumerate(text.split("\n"), 1):
        if len(line.encode()) > _LONGEST:
            raise UsageError(f"{name}:{number}: over {_LONGEST} characters, which the plugin reads as two lines")
        if line and not line.startswith("#"):
            try:
                rules.append(_rule(line))
            except UsageError as error:
                raise UsageError(f"{name}:{number}: {error}") from None
    return rules


def first_match(rules: Sequence[Rule], op: str, size_bytes: int, nodes: int, ranks: int) -> Rule | None:
    """The rule that the plugin uses for a call, or None: then NCCL's plugin uses one channel."""
    return next((rule for rule in rules if rule.matches(op, size_bytes, nodes, ranks)), None)


def _rule(line: str) -> Rule:
    if not line.strip() or "\r" in line:
        raise UsageError("blanks or a carriage return on an otherwise empty line" if not line.strip() else
                         "ends with a carriage return; lines end with a line feed alone")
    fields = [field.strip(" \t") for field in line.split(",")]
    if not _REQUIRED <= len(fields) <= len(_FIELDS):
        raise UsageError(f"{len(fields)} fields; expected {_REQUIRED} to {len(_FIELDS)}: {','.join(_FIELDS)}")
    if empty := [name for name, field in zip(_FIELDS, fields, strict=False) if not field]:
        raise UsageError(f"{empty[0]} is empty: the plugin would take the next field for it")
    op = _OPS.get(fields[0])
    if op is None:
        raise UsageError(f"collective {fields[0]!r}: the plugin knows {', '.join(_OPS)}, and takes any other word for "
                         "allreduce")
    least, most = (_bytes(name, field) for name, field in zip(_FIELDS[1:3], fields[1:3], strict=True))
    numbers = [_number(name, field) for name, field in zip(_FIELDS[5:9], fields[5:9], strict=False)]
    channels, nodes, ranks, pipe_ops = [*numbers, None][:4]
    return Rule(op, least, most, fields[3], fields[4], channels, nodes, ranks, pipe_ops, _flag(fields[9:]))


def _bytes(name: str, field: str) -> int:
    if not _WHOLE.fullmatch(field):
        raise UsageError(f"{name} {field!r}: expected a whole number of bytes")
    return int(field)


def _number(name: str, field: str) -> int | None:
    if field == "-1":
        return None
    if not _WHOLE.fullmatch(field):
        raise UsageError(f"{name} {field!r}: expected a whole number, or -1 for any")
    return int(field)


def _flag(fields: list[str]) -> bool | None:
    words = {"-1": None, "0": False, "1": True}
    if fields and fields[0] not in words:
        raise UsageError(f"regBuff {fields[0]!r}: expected 0, 1, or -1 for both")
    return words[fields[0]] if fields else None
