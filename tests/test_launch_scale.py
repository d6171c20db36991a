"""As many ranks as an NVL72 has, on the cores of this host: they meet, measure, are verified, and end."""

import os
import resource
import subprocess
import sys

import pytest

from collbench.collectives.cases.case import rank_counts
from collbench.collectives.ranks.host_limits import open_files_needed
from collbench.collectives.records.journal import read_journal

FORK = "collbench.collectives.program.fork"

pytestmark = [pytest.mark.scale, pytest.mark.ranks, pytest.mark.needs("torch")]
RANKS = 72


def fork(folder, ranks, *options, limit=None):
    def lower():
        if limit:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([sys.executable, "-m", FORK, str(ranks), "--group-ranks", str(ranks), "--modes",
                           "isolated", "--case-seconds", "0.001", "--min-samples", "1", "--out", str(folder / "r"),
                           *options], cwd=folder, env={**clean, "PYTHONSAFEPATH": "1"}, preexec_fn=lower, text=True,
                          capture_output=True, timeout=240, check=False)


@pytest.mark.slow
def test_72_ranks_start_measure_and_end(tmp_path):
    """With a soft limit on open files that is too low: it is raised."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    done = fork(tmp_path, RANKS, "--ops", "all_reduce,all_to_all", "--sizes", str(RANKS * 64), limit=(128, hard))
    assert done.returncode == 0, done.stdout + done.stderr
    runs, records, warnings = read_journal(tmp_path / "r" / "journal.jsonl")
    assert warnings == []
    assert next(iter(runs.values())).world == RANKS
    good = {record.case.op: record for record in records if record.status == "ok"}
    assert set(good) == {"noop", "all_reduce", "all_to_all"}
    for op in ("all_reduce", "all_to_all"):
        assert good[op].verification.checks >= RANKS
        assert good[op].verification.wrong == 0


def test_a_hard_limit_that_cannot_do_is_said_once_with_the_number_that_could(tmp_path):
    done = fork(tmp_path, 4, "--ops", "all_reduce", "--sizes", "1K", limit=(100, 100))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "allows 100 open files" in done.stderr
    assert "Traceback" not in done.stderr


def test_sockets_of_a_rank_grow_with_the_ranks_and_not_faster():
    """Groups double, so that all of them together have less than three times the ranks of the largest."""
    for ranks in (8, 72, 384, 4096):
        assert sum(rank_counts(ranks)) < 3 * ranks
        assert open_files_needed(ranks) < 100 + 8 * ranks
