"""A fleet of hosts that are network namespaces: the slow one is named, a healthy one raises no alarm."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from collbench.collectives.records.journal import read_journal
from collbench.launch.launchers.mpirun import find_mpirun

from .test_launch_hosts import Hosts, ip

NODES, SLOW = 8, 5
MBIT = 8            # of each wire: slow enough that the wire decides, not the cores of this machine
pytestmark = [pytest.mark.slow, pytest.mark.ranks, pytest.mark.needs("mpi")]


@pytest.fixture
def fleet(tmp_path):
    """Eight shaped hosts, and a ninth for the command, whose wire is not shaped."""
    if os.geteuid() or not shutil.which("ip") or not shutil.which("unshare"):
        pytest.skip("SKIPPED: hosts are network namespaces, which need root and iproute2")
    made = Hosts(NODES + 1, f"cf{os.getpid()}", tmp_path)
    try:
        ip("netns", "add", f"{made.tag}sw")
    except OSError as error:
        pytest.skip(f"SKIPPED: no network namespaces here: {error}")
    try:
        made.build()
        for host in range(NODES):
            limit(made, host, MBIT)
        yield made
    finally:
        made.clear()


def limit(hosts, host, mbit):
    """The rate of a host's wire, in both directions."""
    words = ("tbf", "rate", f"{mbit}mbit", "burst", "8k", "latency", "2s")
    if not hosts.shape(host, *words):
        pytest.skip("SKIPPED: this kernel has no tbf queue")
    subprocess.run(["ip", "netns", "exec", f"{hosts.tag}sw", "tc", "qdisc", "replace", "dev", f"port{host}", "root",
                    *words], check=True)


def sweep(hosts, *options):
    """Exit status, output and the JSON document of `collbench fleet` on the ninth host."""
    process, out = begun(hosts, *options)
    status, said = hosts.end(process, 600)
    document = out.with_suffix(".json")
    return status, said, json.loads(document.read_text()) if document.exists() else {}


def begun(hosts, *options):
    """The process of `collbench fleet` on the ninth host, and its directory."""
    mpirun = find_mpirun()
    agent = hosts.agent()
    reach = {"PRTE_MCA_plm_ssh_agent": str(agent)} if mpirun.is_open_mpi else {
        "HYDRA_LAUNCHER": "ssh", "HYDRA_LAUNCHER_EXEC": str(agent), "HYDRA_IFACE": "eth0"}
    out = hosts.folder / f"sweep{len(hosts.started)}"
    names = ",".join(hosts.address(host) for host in range(NODES))
    process = hosts.run(NODES, sys.executable, "-m", "collbench", "fleet", "--hosts", names, "--sizes", "256K",
                        "--case-seconds", "0.1", "--out", out, "--json", out.with_suffix(".json"), *options, **reach)
    return process, out


def test_one_slow_node_of_eight_is_named_in_three_rounds(fleet):
    limit(fleet, SLOW, MBIT / 2)
    status, said, document = sweep(fleet)
    assert status == 1, said
    verdicts = {node["node"]: node for node in document["nodes"]}
    slow = verdicts.pop(fleet.address(SLOW))
    assert (slow["verdict"], {node["verdict"] for node in verdicts.values()}) == ("slow", {"good"}), said
    assert 1.5 < slow["factor_lo"] <= slow["factor"] <= slow["factor_hi"] < 3, said
    assert max(pair["round"] for pair in document["pairs"]) <= 3
    assert re.search(rf"{re.escape(fleet.address(SLOW))}: slow: [\d.]+x", said)


def test_a_healthy_fleet_raises_no_alarm_and_an_absent_node_is_broken(fleet):
    status, said, document = sweep(fleet)
    assert (status, {node["verdict"] for node in document["nodes"]}) == (0, {"good"}), said
    ip("-n", f"{fleet.tag}sw", "link", "set", f"port{SLOW}", "down")
    status, said, document = sweep(fleet, "--pair-seconds", "40")
    assert status == 1, said
    assert {node["node"] for node in document["nodes"] if node["verdict"] != "good"} == {fleet.address(SLOW)}, said
    assert next(node for node in document["nodes"] if node["verdict"] != "good")["verdict"] == "broken"


def test_after_an_interrupt_the_journals_are_there_and_can_be_judged(fleet):
    process, out = begun(fleet, "--case-seconds", "30", "--rounds", "1")
    deadline = time.monotonic() + 240
    while len(list(out.glob("round-1/*/journal.jsonl"))) < NODES // 2:
        assert process.poll() is None, fleet.end(process)[1]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    status, said = fleet.end(process)
    assert status == 130, said
    for journal in out.glob("round-1/*/journal.jsonl"):
        assert read_journal(journal)[2] == []
    again = fleet.run(NODES, sys.executable, "-m", "collbench", "fleet", out)
    assert fleet.end(again)[0] in (0, 4)
