"""The five claims. A claimed number is stated here; every figure about it is computed from the shipped data."""

import numpy as np

from ..projection.monte_carlo import Floats
from ..workload.answer import Interval, Outcome
from ..workload.calls import EXCHANGES
from ..workload.exchange import NETWORK, curve_at
from .claim import CONTRADICTS, OPEN, SUPPORTS, Claim, Figure, against, range_of, span_of
from .figures import EXAMPLE, PAIR, domain, nominal, projected, settles, step, workload_command

__all__ = ["all_claims"]

_UNITS = {"per accelerator": "GB/s", "per FLOP": "B a kFLOP", "per watt": "GB/s a kW", "per domain": "TB/s"}
_DECODE = ("deepseek-r1", "decode")
_HOSTS = "hgx_h100_8"        # 8 GPUs to a host, a 400 Gb/s card each
_PUBLISHED = "measured (published)"
_CITED = "assumed (cited)"


def all_claims() -> list[Claim]:
    """Every claim with its figures."""
    return [_petaflops(), _matches_h100(), _tokens(), _thirty_times(), _one_gpu()]


def _petaflops() -> Claim:
    claimed = {"nvl72": 180.0, "cm384": 300.0}
    figures, follow = [], True
    for key, value in claimed.items():
        facts = domain(key)
        assert facts.accelerators is not None
        assert facts.dense_bf16_flops is not None
        sums = [facts.accelerators.value * each / 1e15 for each in facts.dense_bf16_flops.all_values()]
        follow &= min(sums) * 0.95 <= value <= max(sums) * 1.05
        figures.append(Figure(f"{key}: dense BF16 peaks, summed", f"{range_of(sums)} PFLOPS", _CITED,
                              f"collbench domains {key}"))
    figures += [Figure(f"nominal link rate one way, {measure}, nvl72 against cm384",
                       " against ".join(range_of(nominal(key)[measure]) for key in PAIR), _CITED, "collbench domains")
                for measure in nominal("nvl72")]
    for line in projected():
        command = f"collbench project {EXAMPLE} --ops {line.op} --sizes 512M"
        for measure, unit in _UNITS.items():
            first, second, chance = *line.figures[measure], line.ahead[measure]
            if first is not None and second is not None and chance is not None:
                figures.append(Figure(
                    f"{line.op} of 512 MiB, bus bandwidth {measure}, nvl72 against cm384",
                    f"{span_of(Interval(*first))} against {span_of(Interval(*second))} {unit}; nvl72 ahead in "
                    f"{100 * chance:.0f} % of draws", "projected", command))
    training = ("llama-70b", "training", "tp=8,fsdp=8", 8192)
    pair = [step(*training, key) for key in PAIR]
    ratio = _rate(pair[1], "per domain") / _rate(pair[0], "per domain")
    figures.append(Figure("Llama 70B training, tokens/s a domain that communication allows, nvl72 over cm384",
                          f"{span_of(1 / ratio)} times", _kinds(pair), workload_command(*training, PAIR)))
    stated = claimed["cm384"] / claimed["nvl72"]
    return Claim(
        "300 against 180 PFLOPS", "Huawei and the press, of CloudMatrix 384 against GB200 NVL72: BF16, not sparse",
        tuple(figures),
        ((SUPPORTS if follow else CONTRADICTS, "the sums: they follow from the cited peaks within 5 %"),
         (against(ratio, stated), f"that a domain of 384 does at least {stated:.2g} times as much as one of 72 where "
          "communication limits the training of a dense model"),
         (OPEN, "which interconnect is better: it depends on the operation and on what it is divided by")),
        settles(training, PAIR))


def _matches_h100() -> Claim:
    figures = []
    for key, file, where, sizes in (
            ("cm384", "exchange_a3.csv", "DeepEP-Ascend on dies of a CloudMatrix 384", "7M,14M"),
            (NETWORK, "exchange_cx7.csv", "DeepEP on H800, a 400 Gb/s card each", "7392K,14M")):
        curves = [curve_at(key, domain(key) if key != NETWORK else None, op, 32) for op in EXCHANGES]
        times = [f"{1e6 * curve.middle_s[0]:.0f}" for curve in curves if curve is not None]
        figures.append(Figure(f"dispatch and combine of 128 tokens a rank over 32 ranks, {where}",
                              f"{' and '.join(times)} µs", _PUBLISHED,
                              f"collbench extrapolate analysis/data/workload/{file} --to 32 --sizes {sizes}"))
    keys, verdicts = ("cm384", _HOSTS), []
    decode = (*_DECODE, "ep=64", 128)
    for job, what, verdict in (
            (decode, "DeepSeek-R1 decode over 64 ranks", "that exchanges between experts allow an NPU of two dies at "
             "least as many tokens/s as an H100 whose exchange leaves its host"),
            (("llama-70b", "decode", "tp=8", 64), "Llama 70B decode over 8 ranks", "the same of the all-reduces of a "
             "dense model inside a host")):
        pair = [step(*job, key) for key in keys]
        ratio = _rate(pair[0], "per accelerator") / _rate(pair[1], "per accelerator")
        figures.append(Figure(f"{what}, tokens/s an accelerator that communication allows, cm384 over hosts of 8 H100",
                              f"{span_of(ratio)} times", _kinds(pair), workload_command(*job, keys)))
        verdicts.append((against(ratio, 1.0), verdict))
    return Claim(
        "Matches H100", "Huawei, of inference on CloudMatrix 384. The table behind it (arXiv:2506.12708, as quoted) is "
        "about H800, with 200 GB/s instead of 450, counts dies as ranks, and prints 163 and 318 µs for DeepEP over 8 "
        "ranks, where DeepEP's own page has 77 and 114", tuple(figures),
        (*verdicts, (OPEN, "all but communication: arithmetic, memory and precision")), settles(decode, keys))


def _tokens() -> Claim:
    claimed, per_token_s = 1920.0, 50e-3
    job = (*_DECODE, "ep=320", 48)
    found, command = step(*job, "cm384"), workload_command(*job, ("cm384",))
    assert found.communication_s is not None
    rate = _rate(found, "per accelerator")
    return Claim(
        "1,920 tokens/s", "SiliconFlow and Huawei, April 2025, of DeepSeek-R1 on CloudMatrix 384, for each NPU, "
        "without conditions; later 1,943 with 96 requests an NPU at 49.4 ms a token (arXiv:2506.12708, as quoted)",
        (Figure("communication of a step, 96 requests an NPU over 320 dies",
                f"{span_of(found.communication_s, 1e-3)} ms", found.kind, command),
         Figure("its share of a step of 50 ms", f"{span_of(found.communication_s / per_token_s, 0.01)} %", found.kind,
                command),
         Figure("tokens/s an NPU that communication alone allows", span_of(rate), found.kind, command)),
        ((against(rate, claimed), "that the links allow it at 50 ms a token"),
         (OPEN, "whether computation fits into the rest of the step: it is an input (--compute)")),
        settles(job, ("cm384",)))


def _thirty_times() -> Claim:
    job, keys = (*_DECODE, "ep=64", 128), ("nvl72", _HOSTS)
    pair, command = [step(*job, key) for key in keys], workload_command(*job, keys)
    inside, outside = (one.communication_s for one in pair)
    assert inside is not None
    assert outside is not None
    ratio = outside / inside
    return Claim(
        "30x faster inference", "NVIDIA, of GB200 NVL72 against as many H100 over InfiniBand, at another precision and "
        "one latency",
        (Figure("communication of a decode step of DeepSeek-R1 over 64 ranks, NVL72", f"{span_of(inside, 1e-3)} ms",
                pair[0].kind, command),
         Figure("the same, hosts of 8 H100 with a 400 Gb/s card for each GPU", f"{span_of(outside, 1e-3)} ms",
                pair[1].kind, command),
         Figure("the second over the first", f"{span_of(ratio)} times", _kinds(pair), command)),
        ((against(ratio, 30.0), "that the interconnect alone gives a factor of 30"),
         (against(ratio, 1.0), "that exchanges inside one domain take less time than over network cards"),
         (OPEN, "what gives the rest: precision, memory and the latency that is asked for are not separated")),
        settles(job, keys))


def _one_gpu() -> Claim:
    jobs = {ranks: (*_DECODE, f"ep={ranks}", 2048) for ranks in (8, 32, 72)}
    found = {ranks: step(*job, "nvl72") for ranks, job in jobs.items()}
    times = {ranks: one.communication_s for ranks, one in found.items() if one.communication_s is not None}
    figures = [Figure(f"exchanges of a decode step of DeepSeek-R1, 2,048 tokens a rank, over {ranks} GPUs",
                      f"{span_of(time, 1e-3)} ms", found[ranks].kind, workload_command(*jobs[ranks], ("nvl72",)))
               for ranks, time in times.items()]
    growth = times[72] / np.median(times[8])
    figures.append(Figure("the last of these over the middle of the first", f"{span_of(growth)} times", found[72].kind,
                          workload_command(*jobs[72], ("nvl72",))))
    facts = domain("nvl72")
    assert facts.hbm_Bps is not None
    assert facts.point_to_point_Bps is not None
    away = [facts.hbm_Bps.value / rate for rate in facts.point_to_point_Bps.all_values()]
    figures.append(Figure("bandwidth of local memory over that of another GPU's", f"{range_of(away)} times",
                          f"{_CITED}, {_PUBLISHED}", "collbench domains nvl72"))
    least = step(*_DECODE, "ep=72", 1, "nvl72")
    assert least.communication_s is not None
    figures.append(Figure("exchanges of a step with one token a rank over 72 GPUs, which one GPU has not",
                          f"{span_of(least.communication_s, 1e-3)} ms", least.kind,
                          workload_command(*_DECODE, "ep=72", 1, ("nvl72",))))
    return Claim(
        "A 72-GPU domain acts as one GPU", "NVIDIA, of GB200 NVL72", tuple(figures),
        ((CONTRADICTS if against(growth, 1.0) == SUPPORTS else OPEN, "that nothing takes longer with more ranks"),
         (CONTRADICTS if min(away) > 1 else OPEN, "that its memory is one: that of another GPU is slower")),
        settles(jobs[72], ("nvl72",)))


def _rate(outcome: Outcome, measure: str) -> Floats:
    return next(rate.overlapped for rate in outcome.rates if rate.measure == measure)


def _kinds(outcomes: list[Outcome]) -> str:
    return " and ".join(dict.fromkeys(one.kind for one in outcomes))
