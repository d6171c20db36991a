"""Ranks do not grow while they measure; benchmarks/soak.py is the same for longer runs."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.needs("torch")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="SKIPPED: no /proc here")
def test_memory_descriptors_and_threads_stay_flat():
    script = Path(__file__).parent.parent / "benchmarks" / "soak.py"
    done = subprocess.run([sys.executable, script, "0.2", "2"], capture_output=True, text=True, timeout=240,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("rank ") == 2
