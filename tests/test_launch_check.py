"""The gate for job prologues: its three exit statuses."""

import json

HEAD = "system,library,collective,algorithm,dtype,n_ranks,ranks_per_node,message_bytes,time_us\n"


def journal(path, factor, op="all_reduce"):
    """A log of several launches in one file has no repeats; the figures of one launch do for the exit status."""
    path.write_text(HEAD + f"x,y,{op},,float32,4,2,65536,{655 * factor}\n")
    return path


def test_check_says_sound_and_cannot_compare(collbench, tmp_path):
    healthy, now = journal(tmp_path / "healthy.csv", 1.0), journal(tmp_path / "now.csv", 1.0)
    done = collbench("check", "--baseline", healthy, "--data", now, "--json", "-")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == 0
    other = journal(tmp_path / "other.csv", 1.0, op="broadcast")
    assert collbench("check", "--baseline", healthy, "--data", other).returncode == 2
    assert collbench("check", "--baseline", "missing.jsonl").returncode == 2
    assert "nothing to do" in collbench("check").stderr


def test_check_keeps_a_baseline(collbench, tmp_path):
    now = journal(tmp_path / "now.csv", 1.0)
    assert collbench("check", "--data", now, "--save", "kept.csv").returncode == 0
    assert (tmp_path / "kept.csv").read_text() == now.read_text()
