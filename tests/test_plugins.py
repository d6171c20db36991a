"""collbench inside other tools: run by them where they are installed, their files' own commands where they are not."""

import importlib.util
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PLUGINS, BESIDE = ROOT / "plugins", Path(sys.executable).parent


def loaded(name, **modules):
    """A plug-in as a module, with stand-ins for what it imports."""
    spec = importlib.util.spec_from_file_location(name, PLUGINS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    kept = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        spec.loader.exec_module(module)
    finally:
        for name, old in kept.items():
            sys.modules.pop(name)
            if old:
                sys.modules[name] = old
    return module


def environment(**more):
    return {**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, **more,
            "PATH": f"{BESIDE}:{os.environ['PATH']}"}


def shell(script, folder, **variables):
    return subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True,
                          env=environment(**variables), timeout=240, check=False)


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.needs("mpi")
@pytest.mark.parametrize(("least", "status"), [(None, 0), (1e-6, 0), (900.0, 1)])
def test_reframe_runs_the_check_and_holds_it_to_its_references(tmp_path, least, status):
    reframe = shutil.which("reframe", path=str(BESIDE)) or shutil.which("reframe")
    if reframe is None:
        pytest.skip("SKIPPED: no ReFrame: pip install reframe-hpc")
    options = ["-S", "transport=mpi", "-S", "ops=all_reduce", "-S", "sizes=64K", "-S",
               "more_options=--case-seconds 0.05"]
    if least:
        (tmp_path / "reference.py").write_text(
            f"reference = {{'*': {{'all_reduce_2_65536_busbw': ({least}, -0.1, None, 'GB/s')}}}}\n")
        options += ["-S", f"reference_file={tmp_path}/reference.py"]
    done = subprocess.run([reframe, "-c", PLUGINS / "reframe_collbench.py", "-r", "--prefix", tmp_path, *options],
                          capture_output=True, text=True, env=environment(HOME=str(tmp_path)), cwd=tmp_path,
                          timeout=240, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert "all_reduce_2_65536_busbw" in done.stdout
    assert ("failed to meet reference" in done.stdout) == bool(status)


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.needs("torch")
def test_ray_actors_are_ranks(tmp_path):
    pytest.importorskip("ray", reason="SKIPPED: pip install ray")
    done = subprocess.run([sys.executable, PLUGINS / "ray_collbench.py", "--ranks", "2", "--", "--ops", "all_reduce",
                           "--sizes", "1K", "--case-seconds", "0.05", "--out", tmp_path / "r"], capture_output=True,
                          text=True, env=environment(HOME=str(tmp_path)), timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "torch: 3 cases: 3 ok" in done.stdout or "torch: 2 cases: 2 ok" in done.stdout
    assert (tmp_path / "r" / "journal.jsonl").exists()


class Benchmark:
    """What SuperBench's base class does for the plug-in."""

    def __init__(self, name, parameters=""):
        import argparse
        self._parser, self._commands, self.results = argparse.ArgumentParser(), [], {}
        self._result = types.SimpleNamespace(add_result=self.results.__setitem__, add_raw_data=lambda *_: None,
                                             set_return_code=lambda code: self.results.__setitem__("code", code))
        self._words = parameters.split()

    def add_parser_arguments(self):
        self._parser.add_argument("--log_raw_data", action="store_true")

    def _preprocess(self):
        self.add_parser_arguments()
        self._args = self._parser.parse_args(self._words)
        return True


@pytest.mark.ranks
@pytest.mark.needs("mpi")
def test_superbench_runs_the_command_and_reads_what_it_prints(tmp_path):
    registered = {}
    fake = types.ModuleType("superbench.benchmarks")
    fake.BenchmarkRegistry = types.SimpleNamespace(register_benchmark=registered.__setitem__)
    fake.ReturnCode = types.SimpleNamespace(MICROBENCHMARK_RESULT_PARSING_FAILURE=33)
    micro = types.ModuleType("superbench.benchmarks.micro_benchmarks")
    utils = types.ModuleType("superbench.common.utils")
    micro.MicroBenchmarkWithInvoke = Benchmark
    utils.logger = types.SimpleNamespace(error=lambda words: None)
    loaded("superbench_collbench", **{"superbench": types.ModuleType("superbench"), "superbench.benchmarks": fake,
                                      "superbench.benchmarks.micro_benchmarks": micro,
                                      "superbench.common": types.ModuleType("superbench.common"),
                                      "superbench.common.utils": utils})
    benchmark = registered["collbench"]("collbench", "--ops all_reduce --sizes 1K --ranks 2 --transport mpi "
                                                     "--more_options=--case-seconds=0.05")
    assert benchmark._preprocess()
    (command,) = benchmark._commands
    done = shell(f"{command} --out {tmp_path}/r", tmp_path)
    assert done.returncode == 0, done.stderr
    assert benchmark._process_raw_result(0, done.stdout)
    assert set(benchmark.results) == {"all_reduce_2_1024_busbw", "all_reduce_2_1024_time"}
    assert 0 < benchmark.results["all_reduce_2_1024_time"] < 1e5
    assert not benchmark._process_raw_result(0, "no output")
    assert benchmark.results["code"] == 33


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.needs("torch")
def test_the_commands_of_skypilot_measure_and_report(tmp_path):
    task = yaml.safe_load((PLUGINS / "skypilot.yaml").read_text())
    assert {"name", "num_nodes", "resources", "setup", "run"} <= set(task)
    done = shell(task["run"], tmp_path, SKYPILOT_NODE_IPS="127.0.0.1", SKYPILOT_NUM_GPUS_PER_NODE="2",
                 SKYPILOT_NUM_NODES="1", SKYPILOT_NODE_RANK="0", HOME=str(tmp_path), OPS="all_reduce",
                 SIZES="--sizes 1K")
    assert done.returncode == 0, done.stderr
    assert "report:" in done.stdout
    assert "collbench-journal" in done.stdout


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.needs("mpi")
def test_the_steps_of_the_action_measure_report_and_compare(tmp_path):
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    given = {name: row["default"] for name, row in action["inputs"].items()} | {
        "sizes": "1K", "ops": "all_reduce", "out": "r", "baseline": "before"}
    summary = tmp_path / "summary.md"
    measured = shell("collbench run --transport mpi --ranks 2 --ops all_reduce --sizes 1K --out before", tmp_path)
    assert measured.returncode == 0, measured.stderr
    for step in action["runs"]["steps"][1:]:
        assert step["shell"] == "bash"
        script = step["run"]
        for name, value in given.items():
            script = script.replace(f"${{{{ inputs.{name} }}}}", value)
        assert "${{" not in script
        done = shell(script, tmp_path, GITHUB_STEP_SUMMARY=str(summary))
        assert done.returncode == 0, done.stdout + done.stderr
    assert "2 ranks" in summary.read_text()
