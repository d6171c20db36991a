"""A run configuration rendered as options, and parsed again, is the same configuration."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collbench.collectives.cases import catalog
from collbench.collectives.cases.case import size_range
from collbench.collectives.options import config_from
from collbench.collectives.program.rank import main
from collbench.launch.bench import PROFILES
from collbench.launch.presets import PRESETS
from collbench.launch.render_options import rank_arguments, render_options
from collbench.launch.workload import CPU_SIZES, DEVICE_SIZES, Workload


def parsed(words, command=()):
    """The configuration that the rank program makes of its arguments."""
    params = main.make_context("rank", list(words)).params
    return config_from(params, params["out"], command)


def assert_same(config):
    assert parsed(rank_arguments(config), config.command) == config


def subset(names):
    return st.lists(st.sampled_from(sorted(names)), min_size=1, unique=True).map(",".join)


NUMBER = st.floats(1e-6, 1e6).map(repr) | st.integers(1, 1000).map(str)
VALUES = {
    "--transport": st.sampled_from(["torch", "mpi"]), "--ops": subset(catalog.OPERATIONS) | subset(catalog.GROUPS),
    "--dtypes": subset(catalog.DTYPES), "--redops": subset(catalog.REDOPS), "--device": st.sampled_from(["cpu", "npu"]),
    "--traffic": st.sampled_from(["linear", "round-1", "pair-0-3", "round-2-back,linear"]),
    "--place": st.sampled_from(["both", "in", "out"]), "--modes": subset(["isolated", "streamed"]),
    "--group-ranks": st.lists(st.integers(1, 99), min_size=1).map(lambda counts: ",".join(map(str, counts))),
    "--precision": st.floats(0, 1).map(repr), "--case-seconds": NUMBER, "--min-samples": st.integers(1, 999).map(str),
    "--samples": st.integers(1, 999).map(str), "--warmup": st.integers(0, 99).map(str),
    "--alignment": st.sampled_from(["auto", "barrier", "none"]), "--cache": st.sampled_from(["warm", "cold"]),
    "--seed": st.integers(-2**63, 2**63 - 1).map(str), "--budget": st.integers(1, 9999).map(str),
    "--case-limit": st.integers(1, 999).map(str), "--rendezvous-seconds": st.integers(1, 999).map(str),
    "--library-log-to": st.sampled_from(["log", "a b"]), "--library-log-from": st.sampled_from(["log", "-x"]),
    "--device-stride": st.integers(1, 99).map(str), "--expected-ranks": st.integers(1, 999).map(str),
    "--settled": st.sampled_from(["a", "a,b"]), "--display": st.sampled_from(["plain", "live", "quiet"])}
FLAGS = st.sets(st.sampled_from(["--in-order", "--graph", "--resume", "--resume-anyway"]))
SIZES = st.one_of(
    st.just([]), st.lists(st.integers(1, 1 << 40), min_size=1, max_size=9).map(
        lambda sizes: ["--sizes", ",".join(map(str, sizes))]),
    st.tuples(st.integers(1, 5000), st.integers(5000, 1 << 40), st.floats(1.2, 9)).map(
        lambda range_: ["-b", str(range_[0]), "-e", str(range_[1]), "-f", repr(range_[2])]),
    st.tuples(st.integers(1, 50), st.integers(50, 500), st.integers(1, 99)).map(
        lambda range_: ["-b", str(range_[0]), "-e", str(range_[1]), "-i", str(range_[2])]))


@given(st.fixed_dictionaries({}, optional=VALUES), FLAGS, SIZES, st.sampled_from(["r", "a b/ü", "-x", "it's"]))
def test_options_survive_a_round_trip(values, flags, sizes, out):
    words = [word for pair in values.items() for word in pair]
    config = parsed([*words, *sorted(flags), *sizes, f"--out={out}"])
    assert_same(config)


def test_options_and_spellings_of_nccl_tests_are_understood():
    words = ("-b 8 -e 128M -f 2 -n 20 -w 5 -c 1 -d half,BF16 -o SUM,average --ops AllReduce,reduce-scatter,alltoall "
             "--backend NCCL --out r")
    config = parsed(words.split(" "))
    assert config.sweep.ops == ("noop", "all_reduce", "reduce_scatter", "all_to_all")
    assert (config.sweep.dtypes, config.sweep.redops) == (("float16", "bfloat16"), ("sum", "avg"))
    assert (config.policy.min_samples, config.policy.max_samples, config.policy.warmup) == (20, 20, 5)
    assert config.backend == "nccl"
    assert parsed(["-d", "all", "-o", "all", "--out", "r"]).sweep.redops == catalog.REDOPS


def test_a_backend_survives_too():
    assert_same(parsed(["--transport", "torch", "--backend", "gloo", "--out", "r"]))


@pytest.mark.parametrize("loop", ["auto", "native", "python"])
def test_options_of_the_compiled_loop_survive_too(loop):
    assert_same(parsed(["--transport", "mpi", "--loop", loop, "--persistent", "--out", "r"]))


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("on_device", [False, True])
def test_what_bench_measures_survives(name, on_device):
    for workload in PROFILES[name].workloads:
        assert_same(workload.config("torch", Path("r"), on_device=on_device, budget_s=28.3, resume=True))


@pytest.mark.parametrize("job", PRESETS.values(), ids=lambda job: job.name)
def test_a_preset_leaves_the_seed_to_each_start(job):
    words = rank_arguments(job.config, seed=False)
    assert "--seed" not in words
    sweep = msgspec.structs.replace(parsed(words).sweep, seed=job.config.sweep.seed)
    assert sweep == job.config.sweep


@pytest.mark.parametrize(("sizes", "words"), [
    (size_range(1 << 10, 1 << 30, 4), ["-b", "1K", "-e", "1G", "-f", "4"]), ((4096,), ["--sizes", "4K"]),
    ((8, 12, 18), ["-b", "8", "-e", "18", "-f", "1.5"]), ((10, 13, 16, 19), ["-b", "10", "-e", "19", "-i", "3"]),
    ((8, 100, 1 << 20), ["--sizes", "8,100,1M"]),
    ((1, 10_000, 10_001), ["--sizes", "1,10000,10001"])])
def test_sizes_are_rendered_as_a_person_would_type_them(sizes, words):
    config = Workload(ops=("all_reduce",), sizes=sizes).config("torch", Path("r"), on_device=False)
    assert render_options(msgspec.structs.replace(config, display="auto"), seed=False) == [
        "--ops", "all_reduce", *words]


def test_sizes_that_the_user_did_not_choose_suit_the_buffers():
    choices = {(on_device, device): Workload().config("mpi", Path("r"), on_device=on_device, device=device)
               for on_device, device in ((False, "auto"), (False, "cpu"), (True, "auto"))}
    sizes = {(key, place): config.for_device(place).sweep.sizes for key, config in choices.items()
             for place in ("cpu", "cuda:H100")}
    assert sizes == {((False, "auto"), "cpu"): CPU_SIZES, ((False, "auto"), "cuda:H100"): DEVICE_SIZES,
                     ((False, "cpu"), "cpu"): CPU_SIZES, ((False, "cpu"), "cuda:H100"): CPU_SIZES,
                     ((True, "auto"), "cpu"): DEVICE_SIZES, ((True, "auto"), "cuda:H100"): DEVICE_SIZES}
