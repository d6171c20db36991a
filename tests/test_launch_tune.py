"""Variants to tune: the tables, those of the user, how launches are shared, and a real race."""

import json
import os
import subprocess
import sys

import msgspec
import pytest

from collbench.analysis.tune.rules import open_mpi
from collbench.analysis.tune.winners import Choice
from collbench.collectives.cases import catalog
from collbench.collectives.errors import UsageError
from collbench.collectives.records.tuning import REFERENCE, Launch, Tuning, Variant, read_launches
from collbench.launch.launchers.mpirun import find_mpirun
from collbench.launch.tune.rounds import Rounds, write_tuning
from collbench.launch.tune.variants import lacking, reference, select, tables, user_variant

BASE = reference("mpi", None)
DYNAMIC = "OMPI_MCA_coll_tuned_use_dynamic_rules"


def test_every_row_of_every_table_names_operations_of_the_catalog_and_is_unique():
    for name, table in tables().items():
        names = [row.name for row in table.rows]
        assert len(set(names)) == len(names), name
        for row in table.rows:
            assert set(row.ops) <= set(catalog.OPERATIONS), f"{name}: {row.name}"
            assert row.settings or row.graph or row.transport, f"{name}: {row.name} changes nothing"


def test_all_algorithms_of_open_mpi_are_there_with_the_switch_that_they_need():
    chosen = select(["all"], "Open MPI", BASE, ("all_reduce", "all_to_all"), (2, 4, 8))
    for op, name, numbers in (("all_reduce", "allreduce", 6), ("all_to_all", "alltoall", 5)):
        variable = f"OMPI_MCA_coll_tuned_{name}_algorithm"
        own = [variant.settings for variant in chosen if variant.ops == (op,)]
        assert sorted(settings[variable] for settings in own) == [str(number) for number in range(1, numbers + 1)]
        assert all(settings[DYNAMIC] == "1" for settings in own)


def test_variants_without_effect_here_are_left_out():
    here, more = (select(["all"], "Open MPI", BASE, ("all_reduce", "all_to_all"), ranks, hosts)
                  for ranks, hosts in (((4, 8), 1), ((2, 4, 8), 2)))
    assert {variant.name for variant in more} - {variant.name for variant in here} == {
        "han", "han_off", "all_to_all/two_proc"}


def test_variants_are_named_by_patterns_and_by_table():
    names = [variant.name for variant in select(["all_reduce/r*", "gloo"], "Open MPI", BASE, ("all_reduce",), (8,))]
    assert names == ["all_reduce/recursive_doubling", "all_reduce/ring", "all_reduce/rabenseifner", "gloo"]
    with pytest.raises(UsageError, match="no variant 'all_reduce/rings': did you mean all_reduce/ring"):
        select(["all_reduce/rings"], "Open MPI", BASE, ("all_reduce",), (8,))


def test_a_variant_of_the_user_may_have_commas_in_a_value():
    assert user_variant("mine:NCCL_ALGO=Ring,Tree,NCCL_PROTO=LL", BASE).settings == {
        "NCCL_ALGO": "Ring,Tree", "NCCL_PROTO": "LL"}
    other = user_variant("mine:transport=torch,backend=gloo,graph=yes", BASE)
    assert (other.transport, other.backend, other.graph, other.settings) == ("torch", "gloo", True, {})


@pytest.mark.parametrize("text", ["mine", "default:A=1", "mine:A", "mine:transport=pigeon", "my variant:A=1",
                                  "mine:python=/nowhere/python"])
def test_a_malformed_variant_is_one_line(text):
    with pytest.raises(UsageError, match="--variant"):
        user_variant(text, BASE)


def test_a_setting_that_needs_another_one_is_noticed():
    alone = user_variant("mine:OMPI_MCA_coll_tuned_allreduce_algorithm=4", BASE)
    assert lacking(alone) == [f"its settings have no effect without {DYNAMIC}=1"]
    assert lacking(user_variant(f"mine:OMPI_MCA_coll_tuned_allreduce_algorithm=4,{DYNAMIC}=1", BASE)) == []


def rounds_of(tmp_path, *variants, ops=("all_reduce", "all_to_all")):
    asked = Tuning(variants=(BASE, *variants), ops=ops, sizes=(64, 1024), ranks=(2,), job_ranks=2, seed=1)
    write_tuning(tmp_path, asked)
    return Rounds(tmp_path, asked, 60.0, None, print)


def test_variants_of_different_operations_share_a_launch_and_others_do_not(tmp_path):
    one = Variant(name="one", transport="mpi", ops=("all_reduce",), settings={"A": "1"})
    two = Variant(name="two", transport="mpi", ops=("all_to_all",), settings={"B": "1"})
    rounds = rounds_of(tmp_path, one, two, Variant(name="clash", transport="mpi", ops=("all_to_all",),
                                                   settings={"A": "2"}),
                       Variant(name="whole", transport="mpi", settings={"C": "1"}))
    for number in range(1, 20):
        starts = rounds._starts(rounds._everything(), number)
        held = [{op: variant.name for op, variant in start.variants.items()} for start in starts]
        assert {"all_reduce": REFERENCE, "all_to_all": REFERENCE} in held
        assert {"all_reduce": "whole", "all_to_all": "whole"} in held
        assert {"all_to_all": "clash"} in held
        assert {"all_reduce": "one", "all_to_all": "two"} in held
        assert len(held) == 4


def test_a_line_that_was_cut_short_is_left_out(tmp_path):
    whole = Launch(number=1, round=1, variants={"all_reduce": REFERENCE}, status=0, wall_s=1.0)
    line = msgspec.json.encode(whole)
    (tmp_path / "launches.jsonl").write_bytes(line + b"\n" + line[:20])
    assert read_launches(tmp_path) == [whole]


@pytest.mark.needs("mpi")
def test_an_mpi_tells_which_settings_are_in_force():
    probe = ("import json, mpi4py; mpi4py.rc.initialize = False\n"
             "from collbench.collectives.transports.mpi_settings import settings_in_force\n"
             "from mpi4py import MPI\nprint(json.dumps([MPI.get_vendor()[0], settings_in_force()]))")
    asked = {DYNAMIC: "1", "OMPI_MCA_coll_tuned_allreduce_algorithm": "ring", "OMPI_MCA_coll_tunde_x": "1",
             "MPIR_CVAR_ALLREDUCE_SHORT_MSG_SIZE": "77"}
    done = subprocess.run([sys.executable, "-c", probe], env={**os.environ, **asked}, check=True, capture_output=True,
                          text=True)
    vendor, found = json.loads(done.stdout)
    if vendor == "Open MPI":
        assert found["OMPI_MCA_coll_tuned_allreduce_algorithm"] == "4 (ring)"
        assert found[DYNAMIC] == "1 (true)"
        assert found["OMPI_MCA_coll_tunde_x"] is None
    elif vendor == "MPICH":
        assert found["MPIR_CVAR_ALLREDUCE_SHORT_MSG_SIZE"] == "77"


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.needs("mpi")
def test_a_race_drops_the_slow_variant_names_the_misspelt_one_and_resumes(collbench, tmp_path):
    asked = ("tune", "--transport", "mpi", "--ranks", 2, "--ops", "all_reduce", "--sizes", "1K,1M", "--no-rules",
             "--variants", "none", "--variant", "slow:OMPI_MCA_btl=tcp,self,MPIR_CVAR_CH4_SHM_ENABLE=0", "--variant",
             "typo:OMPI_MCA_coll_tunde=1,MPIR_CVAR_TYPO=1", "--case-seconds", 0.02)
    first = collbench(*asked, "--budget", 5, "--out", "tuned")
    assert first.returncode == 0, first.stderr
    before = len(read_launches(tmp_path / "tuned"))
    again = collbench("tune", "--resume", "--out", "tuned", "--no-rules", "--budget", 25, "--json", "-")
    assert again.returncode == 0, again.stderr
    launches, found = read_launches(tmp_path / "tuned"), json.loads(again.stdout)
    assert len(launches) >= before
    assert "no such setting" in str(found["ignored"]["typo"])
    assert all({row["variant"] for row in case["ranking"]} == {REFERENCE, "slow", "typo"} for case in found["winners"])
    small = min(found["winners"], key=lambda case: case["message_bytes"])       # 4 to 6 times slower through sockets
    assert small["ranking"][-1]["variant"] == "slow"
    shown = collbench("tune", "tuned", "-v")
    assert shown.returncode == 0
    assert "no such setting" in shown.stdout


RULES_PROBE = """
import json
from mpi4py import MPI
import numpy as np
found = {}
for ranks in (3, 4):
    comm = MPI.COMM_WORLD.Split(MPI.COMM_WORLD.rank < ranks)
    if MPI.COMM_WORLD.rank < ranks:
        comm.Set_errhandler(MPI.ERRORS_RETURN)
        for size in (1200, 12288, 13200, 122880):
            block = size // ranks
            send, receive = np.zeros((2, block * ranks), np.uint8)
            try:
                comm.Alltoall([send, block, MPI.BYTE], [receive, block, MPI.BYTE])
                found[f"{ranks} {size}"] = True
            except MPI.Exception:
                found[f"{ranks} {size}"] = False
if MPI.COMM_WORLD.rank == 0:
    print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.needs("mpi")
def test_open_mpi_follows_the_rules_as_they_are_meant(tmp_path):
    """The algorithm for two ranks fails among four: so it shows where the library takes it."""
    mpirun = find_mpirun()
    if not mpirun.is_open_mpi:
        pytest.skip("SKIPPED: another MPI, which has no such rules")
    chosen = [Choice("all_to_all", 4, size, name) for size, name in ((1200, "own"), (12288, "two"), (122880, "own"))]
    asked = Tuning(variants=(BASE,), ops=("all_to_all",), sizes=(1200,), ranks=(4,), job_ranks=4)
    rules = tmp_path / "rules.conf"
    rules.write_text(open_mpi._text({"alltoall": open_mpi._by_ranks(chosen, {"own": 0, "two": 5}, False)}, asked))
    done = subprocess.run([mpirun.path, *(["--allow-run-as-root"] if mpirun.is_root else []), "--map-by",
                           ":OVERSUBSCRIBE", "--bind-to", "none", "-n", "5", sys.executable, "-c", RULES_PROBE],
                          env={**os.environ, DYNAMIC: "1", "OMPI_MCA_coll_tuned_dynamic_rules_filename": str(rules)},
                          check=True, capture_output=True, text=True)
    wrong = [where for where, right in json.loads(done.stdout).items() if not right]
    assert wrong == ["4 12288", "4 13200"]
