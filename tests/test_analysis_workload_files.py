"""Workloads and lists of calls as files: read, written, and refused in one line."""

import pytest

from collbench.analysis.domains.facts import load_domains
from collbench.analysis.workload import Parallel, job_of, outcome_of, workload_named
from collbench.analysis.workload.price import OnDomain
from collbench.analysis.workload.sequence import call_list, sequence_text
from collbench.collectives.cases.call_files import read_calls
from collbench.collectives.errors import UsageError

DOMAINS = load_domains()


def job(name, phase="decode", parallel=None, **options):
    key, workload = workload_named(name)
    return job_of(key, workload, phase, Parallel.parse(parallel) if parallel else None, **options)


def counted(found):
    """Calls by operation and axis."""
    total = {}
    for call, _ in found.uses:
        total[call.op, call.axis] = total.get((call.op, call.axis), 0) + call.count
    return total


def system(key):
    return OnDomain(key, DOMAINS[key], 50)


OWN = """
title = "two calls"
[phases.step]
kind = "training"
tokens = 10
parallel = { tp = 4 }
source = "mine"
[[phases.step.calls]]
op = "all_reduce"
bytes = 1048576
axis = "tp"
count = 3
"""


def test_calls_of_ones_own_need_no_model(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(OWN)
    key, workload = workload_named(str(file))
    assert key == "mine"
    assert counted(job_of(key, workload, "step")) == {("all_reduce", "tp"): 3}
    found = priced(file)
    assert (found.priced[0].ranks, found.kind) == (4, "projected")


def test_a_list_of_calls_is_a_workload(tmp_path):
    file = tmp_path / "trace.csv"
    file.write_text("operation,bytes,axis,count,per_rank\nall_reduce,1M,tp,2,no\nall_gather,1K,,1,yes\n"
                    "all_reduce,1M,tp,3,no\n")
    key, workload = workload_named(str(file))
    found = job_of(key, workload, "step", Parallel.parse("tp=4,dp=2"))
    assert [(call.op, call.bytes, call.axis, call.count) for call, _ in found.uses] == \
        [("all_reduce", 1 << 20, "tp", 5), ("all_gather", 8 << 10, "all", 1)]
    assert [one.ranks for one in outcome_of(found, system("nvl72")).priced] == [4, 8]
    listed = tmp_path / "list.toml"
    listed.write_text(sequence_text(job("llama-70b", "training", "tp=4,fsdp=2"), "toml"))
    key, workload = workload_named(str(listed))
    again = job_of(key, workload, "step")
    assert again.parallel == Parallel(tp=4, fsdp=2)
    assert counted(again) == counted(job("llama-70b", "training", "tp=4,fsdp=2"))
    listed.write_text('mesh = "tp=4,dp=2"\n[[call]]\noperation = "all_reduce"\nbytes = 4\naxis = "tp"\n')
    with pytest.raises(UsageError, match="slowest first: pp, dp, fsdp, ep, tp"):
        workload_named(str(listed))


@pytest.mark.parametrize(("change", "words"), [
    (("tokens = 10", "tokens = 0"), "tokens and micro_batches must be at least 1"),
    (('axis = "tp"', 'axis = "cp"'), "axis must be one of tp, ep, fsdp, dp, pp, all"),
    (("parallel = { tp = 4 }", "parallel = { cp = 4 }"), "axes are tp, ep, fsdp, dp, pp, not cp"),
    (("count = 3", "count = 3\nsize = 4"), "unknown field `size`"), (("[phases.step]", "[phases."), "mine.toml"),
    (('op = "all_reduce"', 'op = "no_such_op"'), "no model knows its time"),
    (('op = "all_reduce"', 'op = "comm_init"'), "no model knows its time")])
def test_a_wrong_file_is_refused_in_one_line(tmp_path, change, words):
    file = tmp_path / "mine.toml"
    file.write_text(OWN.replace(*change))
    with pytest.raises(UsageError, match=words):
        priced(file)


def priced(file):
    key, workload = workload_named(str(file))
    return outcome_of(job_of(key, workload, "step"), system("nvl72"))


@pytest.mark.parametrize(("name", "phase", "parallel", "words"), [
    ("deepseek-r1", "decode", "ep=6,tp=4", "multiple of tp"), ("deepseek-r1", "decode", "ep=4,dp=2", "leave out dp"),
    ("llama-70b", "decode", "ep=8", "has no experts"), ("llama-70b", "decode", "tp=1", "needs no communication"),
    ("llama-70b", "decode", "tp=0", "at least 1"), ("llama-70b", "decode", "tp=8,tp=4", "at most"),
    ("llama-70b", "decode", "cp=8", "expected each of"), ("llama-70b", "training", "pp=81", "81 stages"),
    ("llama-70b", "decode", "tp=128", "64 heads"), ("llama-70b", "decode", "tp=2,dp=2", "do not communicate"),
    ("llama-70b", "prefill", "tp=2", "it has decode, training"),
    ("lama-70b", "decode", "tp=2", "did you mean llama-70b")])
def test_what_cannot_be_split_like_that_is_refused_in_one_line(name, phase, parallel, words):
    with pytest.raises(UsageError, match=words):
        job(name, phase, parallel)


def test_a_step_can_be_written_as_a_list_of_calls_and_read_back(tmp_path):

    found = job("llama-70b", "training", "tp=4,fsdp=2")
    for form in ("csv", "toml"):
        file = tmp_path / f"step.{form}"
        file.write_text(sequence_text(found, form))
        read = read_calls(file)
        assert [(call.op, call.bytes, call.axis, call.count, call.overlap) for call in read.calls] == \
            [(call.op, call.bytes, call.axis, call.count, call.overlap) for call, _ in found.uses]
    assert read.mesh == "fsdp=2,tp=4"
    experts = call_list(job("deepseek-r1", parallel="ep=8,tp=2"))
    assert (experts.mesh, {call.axis for call in experts.calls}) == ("groups=4,tp=2", {"tp", None})
    with pytest.raises(UsageError, match="only without pp"):
        call_list(job("deepseek-r1", parallel="ep=8,tp=2,pp=2"))
