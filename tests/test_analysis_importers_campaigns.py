"""benchmarks/log_campaigns.py on the excerpts of real logs: a part of each campaign, and all of them when slow."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "log_campaigns.py"
SPEC = importlib.util.spec_from_file_location("log_campaigns", SCRIPT)
campaigns = importlib.util.module_from_spec(SPEC)
sys.modules["log_campaigns"] = campaigns
SPEC.loader.exec_module(campaigns)

LOGS = [*campaigns.sources(None)]
FEW = ("", "nan", "-1", "1 2", "0|")


def test_every_tool_has_logs():
    names = {log.name.partition("/")[2].partition("_")[0] for log in LOGS}
    assert {"hccl", "imb", "inspector", "mscclpp", "nccl", "nccom", "nvbandwidth", "oneccl", "osu", "perftest",
            "superbench", "ucc", "umd"} <= names


def test_a_disguise_of_each_kind(tmp_path):
    """Every disguise on a log, which take turns."""
    module = campaigns.log_disguises()
    names = [*module.DISGUISES, *module.CUTS]
    for at, name in enumerate(names):
        tally = campaigns.disguises([LOGS[at % len(LOGS)]], tmp_path / "a.log", exactly=name)
        assert (tally.tried, tally.faults) == (1, [])


def test_a_prefix_that_nobody_knows_changes_no_log(tmp_path):
    tally = campaigns.disguises(LOGS, tmp_path / "a.log", exactly="unknown")
    assert (tally.tried, tally.faults) == (len(LOGS), [])


def test_garbled_cells(tmp_path):
    for at, log in enumerate(LOGS):
        tally = campaigns.cells([log], tmp_path / "a.log", rows=1, garbles=(FEW[at % len(FEW)], "12.3us"))
        assert not tally.faults
        assert tally.tried


def test_mutations(tmp_path):
    tally = campaigns.mutations(LOGS, tmp_path / "a.log", 120, seed=7)
    assert (tally.tried, tally.faults) == (120, [])


def test_a_fault_is_seen(tmp_path):
    """The judge itself: a lost figure, another operation, an impossible time, and a crash."""
    plain = campaigns.attempt(tmp_path / "a.log", LOGS[0].text, LOGS[0].hints)
    (line, figure), *_ = plain.figures
    lost = campaigns.Outcome(plain.figures[1:], plain.warnings)
    told = campaigns.Outcome(plain.figures[1:], plain.warnings + campaigns.Counter({f"a.log:{line}: left out": 1}))
    other = campaigns.Outcome([(line, figure._replace(op="reduce")), *plain.figures[1:]], plain.warnings)
    fast = campaigns.Outcome(plain.figures, plain.warnings, impossible=[figure._replace(time_s=1e-12)])
    for found, fault in ((plain, False), (lost, True), (told, False), (other, True), (fast, True),
                         (campaigns.Outcome(crashed="IndexError: x"), True)):
        assert bool(campaigns.fault_of(plain, found, line)) == fault
    assert not campaigns.possible(figure._replace(time_s=-1.0))
    assert not campaigns.possible(figure._replace(time_s=float("nan")))
    assert campaigns.possible(figure)


@pytest.mark.slow
def test_all_disguises_and_cells(tmp_path):
    assert campaigns.disguises(LOGS, tmp_path / "a.log").faults == []
    assert campaigns.cells(LOGS, tmp_path / "a.log").faults == []
