"""The workload of a mixture-of-experts exchange: how it is written, and what its tokens consist of.

Its text is PATTERN[:VALUE][:NAME=VALUE]..., for example `zipf:1.2` or `zipf:1.2:hidden=4096:via=gather`. Canonical text
has parameters in a fixed order and leaves out those at their default; it is what `Case.traffic` and every key hold.
`routing` computes which ranks the tokens go to.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from ..errors import UsageError
from . import moe_recorded
from .moe_patterns import PATTERNS, RoutingPattern
from .parameters import read_parameters
from .traffic import Parameter

__all__ = ["BLOCK", "COMMON", "DTYPES", "VIAS", "Workload", "combine_dtype", "extended", "is_workload",
           "parse_workload", "reads_as_workload", "spellings", "token_bytes"]

BLOCK = 128         # values that share a scale in fp8, as in DeepSeek-V3 (arXiv:2412.19437, section 3.3.2)
_SCALE_BYTES = 4    # a scale is a float32
_ITEMSIZES = MappingProxyType({"float32": 4, "float16": 2, "bfloat16": 2, "fp8_e4m3": 1, "int8": 1})
DTYPES = tuple(_ITEMSIZES)      # of tokens
_SUMMED = ("float32", "float16", "bfloat16")
VIAS = ("counts", "gather", "two-stage")
_PLACEMENTS = ("block", "round-robin")


def _whole(name: str, default: int, least: int, most: int) -> Parameter:
    return Parameter(name, Decimal(default), Decimal(least), Decimal(most), whole=True)


# Parameters of every pattern, in the order of the canonical text.
COMMON = (_whole("seed", 0, 0, 2**31 - 1), _whole("steps", 4, 1, 64), _whole("hidden", 7168, 1, 2**20),
          _whole("topk", 8, 1, 1024), _whole("experts", 256, 1, 2**14), _whole("redundant", 0, 0, 2**14),
          _whole("group", 8, 1, 2**16))
_CHOICES = MappingProxyType({"placement": _PLACEMENTS, "via": VIAS})


class Workload(NamedTuple):
    """A pattern with a value for each parameter.

    Args:
        values: those of the pattern itself.
        seed: which experts and ranks are the popular ones, and which experts each token selects.
        steps: calls with routings of their own, after which they repeat.
        hidden: values of a token.
        topk: experts that each token selects, all different.
        experts: experts of the layer.
        redundant: further replicas of the experts that are expected to be the most loaded.
        group: ranks of a node, for the implementation in two stages.
        placement: which rank holds expert e of E, over n ranks: floor(e n / E), or e mod n for round-robin.
        via: the implementation: see `docs/moe.md`.
    """

    pattern: RoutingPattern
    values: tuple[Decimal | moe_recorded.Recording, ...]
    seed: int
    steps: int
    hidden: int
    topk: int
    experts: int
    redundant: int
    group: int
    placement: str
    via: str

    @property
    def text(self) -> str:
        """The canonical text, which `parse_workload` reads back."""
        words = [self.pattern.name]
        for number, value in enumerate(self.values):
            if isinstance(value, moe_recorded.Recording):
                words += [value.name, *([f"digest={value.digest}"] if value.digest else [])]
                continue
            parameter = self._parameters()[number]
            if value != parameter.default:
                named = "" if parameter is self.pattern.first else f"{parameter.name}="
                words.append(f"{named}{value.normalize():f}")
        words += [f"{each.name}={getattr(self, each.name)}" for each in COMMON
                  if getattr(self, each.name) != each.default]
        words += [f"{name}={getattr(self, name)}" for name, choices in _CHOICES.items()
                  if getattr(self, name) != choices[0]]
        return ":".join(words)

    def _parameters(self) -> tuple[Parameter, ...]:
        return (*([self.pattern.first] if self.pattern.first else []), *self.pattern.more)


def spellings() -> str:
    """All patterns with their own parameters, for help texts and messages."""
    return ", ".join(pattern.spelling() for pattern in PATTERNS.values())


@lru_cache(maxsize=1024)
def parse_workload(text: str) -> Workload:
    """The workload that `text` names, with parameters in any order. UsageError with the valid choices otherwise."""
    name, *words = text.split(":")
    pattern = PATTERNS.get(name)
    try:
        if pattern is None:
            raise ValueError(f"there is no pattern {name!r:.40}; known are {spellings()}")
        return _workload(pattern, _given(pattern, words))
    except ValueError as error:
        raise UsageError(f"traffic pattern {text!r:.200}: {error}") from None


def reads_as_workload(text: object) -> bool:
    """Whether `text` names a workload."""
    try:
        return isinstance(text, str) and bool(parse_workload(text))
    except UsageError:
        return False


def is_workload(text: object) -> bool:
    """Whether `text` names a workload whose routing can be computed here: a recorded table may be elsewhere."""
    if not isinstance(text, str) or not reads_as_workload(text):
        return False
    try:
        return all(moe_recorded.counts(value) for value in parse_workload(text).values
                   if isinstance(value, moe_recorded.Recording))
    except ValueError:
        return False


def extended(texts: Iterable[str], parameters: Sequence[str], vias: Sequence[str]) -> tuple[str, ...]:
    """Each of these workloads with further parameters, `name=value`, in each implementation. UsageError as above."""
    ways = [f"via={via}" for via in vias] or [""]
    return tuple(dict.fromkeys(parse_workload(":".join(filter(None, (text, *parameters, way)))).text
                               for text in texts for way in ways))


def _given(pattern: RoutingPattern, words: list[str]) -> dict[str, str]:
    first = pattern.first.name if pattern.first else "name" if pattern.recorded else None
    known = [*([first] if first else []), *(parameter.name for parameter in (*pattern.more, *COMMON)), *_CHOICES,
             *(["digest"] if pattern.recorded else [])]
    return read_parameters(pattern.name, words, known, first)


def _workload(pattern: RoutingPattern, given: Mapping[str, str]) -> Workload:
    whole = {each.name: int(_value(each, given)) for each in COMMON}
    chosen = {name: _choice(name, given.get(name, choices[0])) for name, choices in _CHOICES.items()}
    if pattern.recorded:
        if "name" not in given:
            raise ValueError(f"recorded needs the name of a table ({', '.join(moe_recorded.shipped())}) or a file that "
                             "ends in .csv")
        recording = moe_recorded.find(given["name"], given.get("digest"))
        if "digest" not in given:
            columns = len(moe_recorded.counts(recording)[0])
            whole["experts"] = whole["experts"] if "experts" in given else columns
            if whole["experts"] != columns:
                raise ValueError(f"{recording.name} has counts of {columns} experts, not of {whole['experts']}")
        values: tuple[Decimal | moe_recorded.Recording, ...] = (recording,)
    else:
        values = tuple(_value(each, given) for each in (*([pattern.first] if pattern.first else []), *pattern.more))
    if whole["topk"] > whole["experts"]:
        raise ValueError(f"topk={whole['topk']} of {whole['experts']} experts: a token selects different experts")
    if chosen["via"] != "two-stage":
        whole["group"] = 8      # without effect; one text for one workload
    return Workload(pattern, values, **whole, placement=chosen["placement"], via=chosen["via"])


def _value(parameter: Parameter, given: Mapping[str, str]) -> Decimal:
    return parameter.parse(given[parameter.name]) if parameter.name in given else parameter.default


def _choice(name: str, value: str) -> str:
    if value not in _CHOICES[name]:
        raise ValueError(f"{name} must be one of {', '.join(_CHOICES[name])}, not {value!r:.40}")
    return value


def token_bytes(work: Workload, dtype: str) -> int:
    """Bytes of a token on its way to the experts: its values, and the scales of a quantised one.

    fp8 has a scale for each `BLOCK` values, int8 one for the token; UsageError for a type that tokens do not have.
    """
    if dtype not in _ITEMSIZES:
        raise UsageError(f"element type {dtype} for tokens: known are {', '.join(_ITEMSIZES)}")
    scales = {"fp8_e4m3": -(-work.hidden // BLOCK), "int8": 1}.get(dtype, 0)
    return work.hidden * _ITEMSIZES[dtype] + scales * _SCALE_BYTES


def combine_dtype(dtype: str) -> str:
    """The element type in which the experts' results come back: the same if it can be summed, else bfloat16."""
    return dtype if dtype in _SUMMED else "bfloat16"
