"""benchmarks/first_day.py: its stages on the CPU, its facts on the emulated device, and what it says when they fail."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCRIPT = HERE.parent / "benchmarks" / "first_day.py"
pytestmark = [pytest.mark.ranks, pytest.mark.needs("torch"),
              pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="SKIPPED: no /proc here")]

# Stages of its own in place of the real ones.
STAGES = """
import os, sys, time
import first_day
from first_day import Stage
def raises(task):
    raise RuntimeError("no such thing")
first_day.STAGES = (
    Stage("right", 30, lambda task: task.say("one and one", 2, "2", True)),
    Stage("wrong", 30, lambda task: task.say("one and two", 4, "3", False)),
    Stage("raises", 30, raises), Stage("dies", 30, lambda task: os._exit(7)),
    Stage("hangs", 1, lambda task: time.sleep(60)))
first_day.LEAST_S = 0.5
sys.argv[0] = "first_day.py"
sys.exit(first_day.main())
"""


def first_day(tmp_path, *words, program=(str(SCRIPT),), **environment):
    """The exit status, the facts as {stage: {name: fact}}, and all output."""
    done = subprocess.run(
        [sys.executable, *program, "--out", str(tmp_path / "out"), *words], cwd=tmp_path, capture_output=True,
        text=True, timeout=550, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(SCRIPT.parent)]), **environment})
    facts = {}
    found = tmp_path / "out" / "facts.json"
    for fact in json.loads(found.read_text()) if found.exists() else ():
        facts.setdefault(fact["stage"], {})[fact["name"]] = fact
    return done.returncode, facts, done.stdout + done.stderr


def verdicts(facts):
    return {fact["verdict"] for fact in facts.values()}


@pytest.mark.slow
def test_every_stage_passes_on_the_cpu(tmp_path):
    status, facts, output = first_day(tmp_path, "--cpu")
    assert status == 0, output
    for stage in facts.keys() - {"device", "graphs", "health"}:
        assert "PASS" in verdicts(facts[stage]), output
    assert {"facts", "copies", "one rank", "types", "cold caches", "four ranks", "gloo", "stopped rank", "plan",
            "main job"} <= facts.keys()
    for job in ("copies", "one-rank", "types", "cold", "four-ranks", "gloo", "stopped", "main-job"):
        assert (tmp_path / "out" / job / "journal.jsonl").stat().st_size
    assert " PASS, 0 FAIL, 0 SKIP in " in (tmp_path / "out" / "summary.txt").read_text().splitlines()[-1]


@pytest.mark.slow
def test_facts_and_plan_pass_on_the_emulated_device(device_variables, tmp_path):
    """It is faster than the interpreter, keeps freed memory, and takes 1.5 s to make a communicator."""
    status, facts, output = first_day(tmp_path, "--only", "facts,plan", **device_variables, DEMO_INIT_S="1.5")
    assert status == 0, output
    passed = " ".join(name for stage in ("facts", "plan") for name, fact in facts[stage].items()
                      if fact["verdict"] == "PASS")
    for words in ("forked after the import", "seconds to make a communicator", "to make patterns", "in payloads",
                  "50 ms of work", "turns of another thread", "streamed all_reduce of 1 KiB", "streamed copy of 1 KiB",
                  "as a program calls it", "used and freed", "on the same stream, after a capture that failed",
                  "main job plans"):
        assert words in passed, output


@pytest.mark.slow
def test_ranks_pass_on_the_emulated_device(device_variables, tmp_path):
    status, facts, output = first_day(tmp_path, "--only", "copies,one rank,four ranks,gloo,stopped rank",
                                      **device_variables, DEMO_INIT_S="0.4")
    assert status == 0, output
    for stage in ("copies", "one rank", "four ranks", "stopped rank"):
        assert "PASS" in verdicts(facts[stage]), output
    for name in ("streamed cases that are timed by the device's clock",
                 "streamed cases that are timed as called beside it",
                 "recorded seconds to set up communicators, by rank count"):
        assert facts["one rank"][name]["verdict"] == "PASS"
    assert "it takes tensors on" in facts["gloo"]["gloo: not possible here"]["found"]


@pytest.mark.slow
def test_what_fails_is_said_and_the_rest_goes_on(tmp_path):
    status, facts, output = first_day(tmp_path, "--cpu", program=("-c", STAGES))
    assert status == 1, output
    assert [verdicts(facts[stage]) for stage in ("right", "wrong", "raises", "dies", "hangs")] == [
        {"PASS"}, {"FAIL"}, {"FAIL"}, {"FAIL"}, {"FAIL"}]
    for words in ("PASS  one and one: 2   [expected: 2]", "FAIL  one and two: 4   [expected: 3]",
                  "status 1: RuntimeError: no such thing", "FAIL  dies: status 7", "ended at its limit of 1 s",
                  "1 PASS, 4 FAIL, 0 SKIP"):
        assert words in output


def test_stages_are_skipped_when_the_time_is_up(tmp_path):
    status, facts, _ = first_day(tmp_path, "--cpu", "--limit", "1e-9")
    assert status == 0
    assert facts.keys() - {"device"} == {"facts", "copies", "one rank", "types", "graphs", "cold caches", "four ranks",
                                         "gloo", "stopped rank", "plan", "main job"}
    assert {verdict for stage in facts.keys() - {"device"} for verdict in verdicts(facts[stage])} == {"SKIP"}


@pytest.mark.parametrize(("words", "said"), [
    (("--cpu", "--only", "facts,none"), "--only: no stage none; there are facts, copies"),
    (("--cpu",), "not empty")])
def test_a_wrong_command_line_is_refused(tmp_path, words, said):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "facts.json").write_text("[]")
    status, _, output = first_day(tmp_path, *words)
    assert status == 2
    assert said in output


@pytest.mark.skipif(any(Path("/dev").glob("nvidia*")) or any(Path("/dev").glob("davinci*")),
                    reason="SKIPPED: there is an accelerator")
def test_without_an_accelerator_the_cpu_must_be_asked_for(tmp_path):
    status, _, output = first_day(tmp_path)
    assert status == 2
    assert "torch finds no accelerator here; --cpu runs the same stages on the CPU" in output
