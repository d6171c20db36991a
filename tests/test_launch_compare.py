"""`collbench compare` and `collbench check` as CI and a job prologue run them: real files, exit status, JSON."""

import json

HEAD = "system,library,collective,algorithm,dtype,n_ranks,ranks_per_node,message_bytes,time_us\n"


def repeats(folder, name, factor):
    """Ten launches of two sizes that differ slightly; their names, comma-separated."""
    for launch in range(10):
        rows = [f"x,y,all_reduce,,float32,4,2,{size},{size / 100 * factor * (1 + launch / 1000)}\n"
                for size in (1024, 65536)]
        (folder / f"{name}{launch}.csv").write_text(HEAD + "".join(rows))
    return ",".join(f"{name}{launch}.csv" for launch in range(10))


def test_compare_fails_over_its_threshold_and_not_below(collbench, tmp_path):
    a, b = repeats(tmp_path, "a", 1.0), repeats(tmp_path, "b", 1.1)
    named = ("--ops", "all_reduce", "--sizes", "64K")
    done = collbench("compare", a, b, "--max-slowdown", 5, *named, "--json", "-", "--html", "page.html")
    assert done.returncode == 1, done.stderr
    assert [case["verdict"] for case in json.loads(done.stdout)["cases"]] == ["slower"]
    assert "slower than the baseline by more than 5 %" in done.stderr
    assert "1.10x the time" in done.stderr
    assert "a slowdown is noticed from 1.05x" in done.stderr
    assert "slower" in (tmp_path / "page.html").read_text()
    assert collbench("compare", a, b, "--max-slowdown", 20, *named).returncode == 0


def test_compare_requires_named_cases_that_exist(collbench, tmp_path):
    a, b = repeats(tmp_path, "a", 1.0), repeats(tmp_path, "b", 1.1)
    assert "named cases" in collbench("compare", a, b, "--max-slowdown", 5).stderr
    done = collbench("compare", a, b, "--max-slowdown", 5, "--ops", "all_reduce", "--sizes", "64K,8M")
    assert done.returncode == 2
    assert "8 MiB" in done.stderr
    done = collbench("compare", a, "b1.csv,a3.csv", "--max-slowdown", 5, "--ops", "all_reduce", "--sizes", "64K")
    assert done.returncode == 2
    assert "on both sides" in done.stderr


def test_one_algorithm_against_two_is_not_a_slowdown(collbench, tmp_path):
    """The side without `algorithm` is ambiguous: status 2, never 1, which means slower."""
    head = "collective,n_ranks,message_bytes,dtype"
    (tmp_path / "a.csv").write_text(f"{head},time_us\nall_reduce,8,2097152,float32,100\n")
    (tmp_path / "b.csv").write_text(f"{head},algorithm,time_us\nall_reduce,8,2097152,float32,ring,101\n"
                                    "all_reduce,8,2097152,float32,tree,120\n")
    for words in (("compare", "a.csv", "b.csv", "--max-slowdown", "10", "--ops", "all_reduce", "--sizes", "2M"),
                  ("check", "--baseline", "a.csv", "--data", "b.csv")):
        done = collbench(*words)
        assert done.returncode == 2, done
        assert done.stderr.count("\n") == 1
        assert "does not state algorithm" in done.stderr
