"""Findings about the log of the communication library: a fabric that is there and is not used."""

import io

import msgspec
import pytest
from rich.console import Console

from collbench.analysis.findings.library import find_unused_fabric
from collbench.analysis.report import terminal
from collbench.analysis.report.story import build_story
from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.library_log import LibraryFacts
from collbench.collectives.records.journal import Journal
from collbench.collectives.records.record import SCHEMA, Clock, Policy, Record, Run, Timing

NETWORK = "NET/IB/GDRDMA"


def a_run(hosts, transport_of, *, domain=None, name="nvl72", device="NVIDIA GB200", link="NV18", **facts):
    """`hosts` x 4 ranks, with the transport of each pair by whether it stays on its host."""
    ranks = 4 * hosts
    pairs = [(a, b, transport_of(a // 4 == b // 4)) for a in range(ranks) for b in range(ranks) if a != b]
    counts = {}
    for *_, transport in pairs:
        counts[transport] = counts.get(transport, 0) + 1
    usual = {"local_ranks": 4, "channels": 24, "nvls_channels": 16, "mnnvl": hosts > 1, "link": "NVL"}
    told = LibraryFacts(library="NCCL", version="2.27.3", logs=ranks, ranks=ranks, pairs=pairs, transports=counts,
                        **usual | facts)
    topology = {"words": f"4 x {device}", "domain_name": name, "domains": [domain] * ranks,
                "devices": [{"name": device, "fabric": "NVLink 5", "switched": True}] * 4,
                "links": [["X" if a == b else link for b in range(4)] for a in range(4)]}
    return Run(schema=SCHEMA, id="a-run", started="2026-01-02T03:04:05Z", transport="torch", library="nccl 2.27.3",
               device=f"cuda:{device}", world=ranks, clock=Clock(kind="shared"), policy=Policy(),
               sweep=Sweep(ops=("all_reduce",), sizes=(8,), ranks=(ranks,)), command=("collbench", "bench"),
               provenance={"host": "tray1", "hosts": [f"tray{rank // 4}" for rank in range(ranks)],
                           "cores": [64] * ranks, "topology": topology,
                           "library_log": {"words": told.words(), **msgspec.to_builtins(told)}})


def two_racks():
    run = a_run(2, lambda same: "P2P/MNNVL" if same else NETWORK)
    run.provenance["topology"]["domains"] = ["rack.1"] * 4 + ["rack.2"] * 4
    return run


def found(run):
    return list(find_unused_fabric({run.id: run}))


@pytest.mark.parametrize("run", [
    a_run(2, lambda same: "P2P/MNNVL", domain="rack.1"),
    two_racks(),
    a_run(1, lambda same: "P2P/CUMEM", domain="rack.1", mnnvl=False),
    a_run(1, lambda same: "P2P/CUMEM", name="hgx_h100_8", device="NVIDIA H100 80GB HBM3"),
    a_run(2, lambda same: "P2P/CUMEM" if same else NETWORK, name="hgx_h100_8", mnnvl=False),    # each host a domain
    a_run(1, lambda same: "SHM", link="PHB", name=None, device="NVIDIA L40S", nvls_channels=0),
    a_run(1, lambda same: "P2P/CUMEM", name="dgx_a100_8", nvls_channels=0),     # switches that do not reduce
    a_run(1, lambda same: "P2P/CUMEM", name="hgx_h100_8", nvls_channels=0, local_ranks=2),
    a_run(1, lambda same: "P2P/CUMEM", name="hgx_h100_8", nvls_channels=None),
], ids=["rack", "racks", "tray", "board", "boards", "PCIe", "A100", "two", "unknown"])
def test_nothing_is_found_where_all_is_well(run):
    assert found(run) == []


def test_a_rack_that_talks_over_its_network_is_no_rack():
    finding, = found(a_run(2, lambda same: "P2P/CUMEM" if same else NETWORK, domain="rack.1", mnnvl=False))
    assert finding.severity == "error"
    assert finding.words.startswith("this is not an NVIDIA GB200 NVL72: the hosts share the domain rack.1, but NCCL "
                                    "2.27.3 did not use its fabric between them (MNNVL is off and 32 of 56 pairs of "
                                    f"ranks go over {NETWORK})")
    assert finding.effect == 32 / 56


def test_mnnvl_off_is_enough_and_so_are_pairs_over_the_network():
    off, = found(a_run(2, lambda same: "P2P/CUMEM", domain="rack.1", mnnvl=False))
    old, = found(a_run(2, lambda same: "P2P/CUMEM" if same else "NET/Socket", domain="rack.1", mnnvl=None))
    assert "(MNNVL is off)" in off.words
    assert "(32 of 56 pairs of ranks go over NET/Socket)" in old.words


def test_pairs_of_a_host_outside_its_fabric():
    finding, = found(a_run(1, lambda same: "SHM", name="hgx_h100_8"))
    assert (finding.severity, finding.effect) == ("warning", 1.0)
    assert finding.words.startswith("inside a host, 12 of 12 pairs of ranks go over SHM, although NVLink 5 connects")


def test_rings_over_pcie_beside_a_fabric():
    run = a_run(1, lambda same: "P2P/IPC", name="hgx_h100_8")
    run.provenance["library_log"]["link"] = "PHB"
    finding, = found(run)
    assert finding.words.startswith("NCCL 2.27.3 planned its rings inside a host over PCIe (PHB), although NVLink 5")


def test_switches_that_could_reduce():
    finding, = found(a_run(1, lambda same: "P2P/CUMEM", name="hgx_h100_8", nvls_channels=0))
    assert finding.severity == "warning"
    assert finding.words.startswith("NVLS is off: the switches of an NVIDIA HGX H100")


@pytest.mark.parametrize("log", [None, 3, {}, {"library": "NCCL"}, {"library": "NCCL", "logs": 1, "pairs": [[1]]}])
def test_a_foreign_log_says_nothing(log):
    run = a_run(2, lambda same: NETWORK, domain="rack.1", mnnvl=False)
    run.provenance["library_log"] = log
    assert found(run) == []


def test_the_report_shows_the_data_path_and_does_not_take_the_run_for_a_rack(tmp_path):
    def words(run, folder):
        (tmp_path / folder).mkdir()
        timing = Timing(mode="isolated", calls=1, warmup=0, begin_ns=None, elapsed_ns=[[3000] * 30] * 8,
                        precision=None, stopped_by="samples")
        case = Case(op="all_reduce", ranks=8, bytes=8, dtype="float32", redop="sum", in_place=True)
        with Journal(tmp_path / folder / "journal.jsonl") as journal:
            journal.append(run)
            journal.append(Record(run=run.id, case=case, status="ok", timings=(timing,)))
        story = build_story(tmp_path / folder)
        out = io.StringIO()
        terminal.show(story, Console(file=out, width=400), verbose=True)
        return story, out.getvalue()
    good, text = words(a_run(2, lambda same: "P2P/MNNVL", domain="rack.1"), "good")
    assert good.home[0] == "nvl72"
    assert "Data path: NCCL 2.27.3: 56 pairs over P2P/MNNVL, 24 channels, NVLS, MNNVL" in text
    bad, text = words(a_run(2, lambda same: "P2P/CUMEM" if same else NETWORK, domain="rack.1", mnnvl=False), "bad")
    assert bad.home is None
    assert "Domain: none: the fabric between the hosts was not used" in text
    assert f"Data path: NCCL 2.27.3: 32 pairs over {NETWORK}, 24 pairs over P2P/CUMEM" in text
    assert "this is not an NVIDIA GB200 NVL72" in text
