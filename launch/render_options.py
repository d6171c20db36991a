"""Render a run configuration as options of the rank program: for scripts that people read, and for other hosts."""

import math
from itertools import pairwise

from collbench.collectives.cases import catalog
from collbench.collectives.cases.case import size_range
from collbench.collectives.options import RunConfig
from collbench.collectives.records.record import Policy

__all__ = ["rank_arguments", "render_options"]

_UNITS = (("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10))
_FACTOR_DIGITS = 4      # decimals of a size factor to try


def rank_arguments(config: RunConfig, *, seed: bool = True) -> list[str]:
    """All arguments of `python -m collbench.rank` for `config`; parsing them gives `config` again.

    For what no option can express (such as `policy.block_s`) there is `--config`.
    """
    resume = {"never": [], "same": ["--resume"], "anyway": ["--resume-anyway"]}[config.resume]
    return [*render_options(config, seed=seed), "--transport", config.transport, "--out", str(config.journal.parent),
            *resume]


def render_options(config: RunConfig, *, seed: bool = True) -> list[str]:
    """The options that say what and how to measure, without transport, directory and resume.

    Operations and sizes are always spelled out, anything else only where it differs from the default. With `seed`
    False, a random seed is left for the ranks to draw at each start.
    """
    sweep, policy, default = config.sweep, config.policy, Policy()
    fixed = policy.min_samples == policy.max_samples
    words = ["--ops", _operations(sweep.ops), *_sizes(sweep.sizes)]
    if sweep.seed is None:
        words += ["--in-order"]
    elif seed:
        words += ["--seed", str(sweep.seed)]
    for option, value, usual in (
            ("--device", config.device, "auto"),
            ("--device-stride", str(config.device_stride), "1"),
            ("--backend", config.backend or "", ""),
            ("--device-sizes", ",".join(map(_size, config.device_sizes)), ""),
            ("--dtypes", ",".join(sweep.dtypes), "float32"),
            ("--redops", ",".join(sweep.redops), "sum"),
            ("--traffic", ",".join(sweep.traffics), "linear"),
            ("--sequence", ",".join(str(one.source) for one in config.lists), ""),
            ("--tokens", ",".join(map(str, sweep.tokens)), ""),
            ("--place", "both" if len(sweep.places) > 1 else "in" if sweep.places[0] else "out", "both"),
            ("--group-ranks", ",".join(map(str, sweep.ranks)), ""),
            ("--modes", ",".join(policy.modes), ",".join(default.modes)),
            ("--precision", _number(policy.precision), _number(default.precision)),
            ("--case-seconds", _number(policy.case_s), _number(default.case_s)),
            ("--samples", str(policy.min_samples) if fixed else "", ""),
            ("--warmup", "" if policy.warmup is None else str(policy.warmup), ""),
            ("--min-samples", str(policy.min_samples), str(policy.min_samples if fixed else default.min_samples)),
            ("--alignment", policy.alignment, default.alignment),
            ("--loop", policy.loop, default.loop),
            ("--cache", policy.cache, default.cache),
            ("--budget", _number(config.budget_s), ""),
            ("--case-limit", _number(config.case_limit_s), ""),
            ("--rendezvous-seconds", _number(config.rendezvous_s), ""),
            ("--expected-ranks", str(config.expected_ranks or ""), ""),
            ("--settled", ",".join(config.settled), ""),
            ("--library-log-to", str(config.library_log_to or ""), ""),
            ("--library-log-from", str(config.library_log_from or ""), ""),
            ("--display", config.display, "auto")):
        words += [option, value] if value != usual else []
    flags = (("--persistent", policy.persistent), ("--graph", policy.graph), ("--echo-journal", config.echo_journal))
    return [*words, *(option for option, is_set in flags if is_set)]


def _operations(ops: tuple[str, ...]) -> str:
    """Names separated by commas, groups by their name; the rank program adds `noop` in front of any other list."""
    groups = catalog.GROUPS
    rest = ops[1:] if len(ops) > 1 and ops[0] == "noop" and ops[:len(groups["all"])] != groups["all"] else ops
    words = []
    while rest:
        name, length = next(((name, len(names)) for name, names in groups.items() if rest[:len(names)] == names),
                            (rest[0], 1))
        words.append(name)
        rest = rest[length:]
    return ",".join(words)


def _sizes(sizes: tuple[int, ...]) -> list[str]:
    """As a range where they are one."""
    if len(sizes) > 2:
        ratio, step = sizes[-1] / sizes[-2], sizes[1] - sizes[0]
        factors = dict.fromkeys(round(ratio, digits) for digits in range(_FACTOR_DIGITS + 1))
        ends = ["-b", _size(sizes[0]), "-e", _size(sizes[-1])]
        growth = math.log(sizes[-1] / sizes[0])
        for factor in factors:
            plausible = factor > 1 and growth / math.log(factor) < 2 * len(sizes)
            if plausible and size_range(sizes[0], sizes[-1], factor) == sizes:
                return [*ends, "-f", _number(factor)]
        if all(after - before == step for before, after in pairwise(sizes)):
            return [*ends, "-i", str(step)]
    return ["--sizes", ",".join(map(_size, sizes))]


def _size(size: int) -> str:
    """With the largest unit that divides it: 4K, 100."""
    return next((f"{size // unit}{suffix}" for suffix, unit in _UNITS if size % unit == 0), str(size))


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if value == int(value) else repr(value)
