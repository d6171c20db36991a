"""The calls of one step: operation, message size, axis, how often, and whether the model may compute meanwhile.

Derived from the sizes of a model. Tensor parallelism follows Megatron-LM (arXiv:1909.08053: two all-reduces a layer in
each direction), sharded data parallelism PyTorch FSDP (weights gathered for both directions, gradients reduced and
scattered), experts DeepSeek-V3 (arXiv:2412.19437: one dispatch and one combine a layer).
"""

from typing import NamedTuple

from collbench.collectives.cases.calls import Call
from collbench.collectives.errors import UsageError

from .model import Model, Phase, Workload
from .parallel import Group, Parallel

__all__ = ["EXCHANGES", "Job", "Use", "job_of"]

EXCHANGES = ("moe_dispatch", "moe_combine")
_LOSS_BYTES = 4      # float32, one number a token


class Use(NamedTuple):
    """Calls of one kind in a step, on the pipeline stage with most layers, and what they are for.

    The bytes of an exchange between experts are what the busiest rank sends: a copy of each token for each of its
    experts, those on the rank itself included. An axis is always given.
    """

    call: Call
    part: str


class Job(NamedTuple):
    """A step of a workload.

    Args:
        tokens: that one rank gets through in a step, on average over the ranks that share them.
        batch: tokens as the user states them.
    """

    name: str
    phase: str
    kind: str
    parallel: Parallel
    batch: int
    tokens: float
    uses: tuple[Use, ...]

    def group(self, call: Call) -> Group:
        """The ranks that a call is over."""
        return self.parallel.group(str(call.axis))


def job_of(name: str, workload: Workload, phase: str, parallel: Parallel | None = None, tokens: int | None = None,
           imbalance: float = 1.0, micro_batches: int | None = None) -> Job:
    """The calls of a step.

    Args:
        tokens: of a data-parallel rank (in training, of a micro-batch); None: that of the phase.
        imbalance: bytes of the busiest rank over those with balanced routing, of exchanges between experts.
        micro_batches: of a training step; None: that of the phase.

    Raises:
        UsageError: the phase is unknown, or the model cannot be split like that.
    """
    if phase not in workload.phases:
        raise UsageError(f"{name} has no phase {phase!r}; it has {', '.join(workload.phases)}")
    if not 1 <= imbalance < 1000:
        raise UsageError(f"--imbalance {imbalance:g}: the busiest rank's bytes over those with balanced routing, "
                         "from 1 to 1000, or a routing pattern such as zipf:1.2")
    what = workload.phases[phase]
    degrees = (parallel or Parallel(**what.parallel)).checked()
    batch = tokens or what.tokens
    many = micro_batches or what.micro_batches
    calls: list[Use] = []
    if workload.model is not None:
        _check(name, workload.model, what, degrees)
        calls = _training(workload.model, what, degrees, batch, many) if what.kind == "training" else \
            _serving(workload.model, what, degrees, batch, imbalance)
    calls += [_use(extra.op, extra.bytes * (degrees.group(extra.axis).ranks if extra.per_rank else 1), extra.axis,
                   extra.count, extra.overlap, extra.part) for extra in what.calls]
    calls = [use for use in calls if degrees.group(str(use.call.axis)).ranks > 1]
    if not calls:
        raise UsageError(f"{name}: {degrees} needs no communication: raise a degree with --parallel")
    # A rank of a tensor-parallel group has its share of the tokens; all stages of a pipeline are busy at once.
    return Job(name, phase, what.kind, degrees, batch, batch / degrees.tp * (many if what.kind == "training" else 1)
               / (degrees.pp if what.kind == "training" else 1), tuple(calls))


def _use(op: str, size: int, axis: str, count: int, overlap: bool, part: str) -> Use:
    return Use(Call(op, size, axis, count, overlap), part)


def _check(name: str, model: Model, phase: Phase, parallel: Parallel) -> None:
    if parallel.pp > model.layers.value:
        raise UsageError(f"{name}: {parallel.pp} stages for {model.layers.value:g} layers")
    if parallel.tp > model.heads.value:
        raise UsageError(f"{name}: tp={parallel.tp} for {model.heads.value:g} heads of attention")
    if parallel.ep > 1 and model.experts is None:
        raise UsageError(f"{name} has no experts: leave out ep")
    if phase.kind != "training" and parallel.fsdp * parallel.dp > 1:
        raise UsageError(f"{name}: copies of a model that serves do not communicate: leave out dp and fsdp")


def _serving(model: Model, phase: Phase, parallel: Parallel, tokens: int, imbalance: float) -> list[Use]:
    """One pass forward: attention and feed-forward parts each end in an all-reduce over tp."""
    layers, hidden = int(model.layers.value), model.hidden.value
    state = int(tokens * hidden * model.activation_bytes.value)
    overlapped = {axis: axis in phase.overlap for axis in Parallel._fields}
    experts = model.moe_layers if parallel.ep > 1 else 0
    calls = [_use("all_reduce", state, "tp", layers, overlapped["tp"], "attention"),
             _use("all_reduce", state, "tp", layers - experts, overlapped["tp"], "feed-forward"),
             _use("all_reduce", state, "tp", 1, overlapped["tp"], "embedding")]
    if phase.kind == "decode":
        logits = int(tokens * model.vocab.value * model.activation_bytes.value)
        calls.append(_use("all_gather", logits, "tp", 1, overlapped["tp"], "logits"))
    if experts and model.experts_per_token:
        copies = min(int(model.experts_per_token.value), parallel.ep)
        for op, width in zip(EXCHANGES, (phase.dispatch_bytes, phase.combine_bytes), strict=True):
            element = (width or model.activation_bytes).value
            busiest = int(tokens / parallel.tp * copies * hidden * element * imbalance)
            calls.append(_use(op, busiest, "ep", experts, overlapped["ep"], "experts"))
    if parallel.pp > 1:
        calls.append(_use("send_recv", state // parallel.tp, "pp", parallel.pp - 1, overlapped["pp"], "stages"))
    return [use for use in calls if use.call.count]


def _training(model: Model, phase: Phase, parallel: Parallel, tokens: int, micro_batches: int) -> list[Use]:
    """Forward and backward over all micro-batches, on the stage with most layers.

    The first stage has the embedding and the last one the head; both are counted, as if one stage had them.
    """
    many, layers = micro_batches, parallel.share_of_layers(model.layers.value)
    state = int(tokens * model.hidden.value * model.activation_bytes.value)
    weight, gradient = model.activation_bytes.value, (phase.gradient_bytes or model.activation_bytes).value
    overlapped = {axis: axis in phase.overlap for axis in Parallel._fields}
    layer, ends = (int(count / parallel.tp) for count in (model.layer_parameters, model.embedding_parameters))
    calls = [_use("all_reduce", state, "tp", 4 * layers * many, overlapped["tp"], "layers, both directions"),
             _use("all_reduce", state, "tp", 2 * many, overlapped["tp"], "embedding and head"),
             _use("all_reduce", _LOSS_BYTES * tokens, "tp", 3 * many, overlapped["tp"], "loss")]
    if parallel.fsdp > 1:
        gathers, scatters = (1, 1) if phase.gathered == "once" else (2 * many, many)
        calls += [_use("all_gather", int(layer * weight), "fsdp", layers * gathers, overlapped["fsdp"], "weights"),
                  _use("reduce_scatter", int(layer * gradient), "fsdp", layers * scatters, overlapped["fsdp"],
                       "gradients"),
                  _use("all_gather", int(ends * weight), "fsdp", 2 * gathers, overlapped["fsdp"],
                       "embedding and head"),
                  _use("reduce_scatter", int(ends * gradient), "fsdp", 2 * scatters, overlapped["fsdp"],
                       "embedding and head")]
    if parallel.dp > 1:
        calls += [_use("all_reduce", int(layer * gradient / parallel.fsdp), "dp", layers, overlapped["dp"],
                       "gradients"),
                  _use("all_reduce", int(ends * gradient / parallel.fsdp), "dp", 2, overlapped["dp"],
                       "embedding and head")]
    if parallel.pp > 1:
        calls.append(_use("send_recv", state // parallel.tp, "pp", 2 * many, overlapped["pp"], "stages"))
    return calls
