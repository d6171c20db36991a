"""Topology discovery on this machine, from recorded npu-smi tables, PCI trees, and NVML's bindings.

NVML itself needs a driver; what stands in for its bindings here answers as NVML's reference says that the hardware
does. Tables of an 8-card 910B3 host: modelscope/ms-swift, docs/source/BestPractices/NPU-support.md (Apache-2.0).
"""

import ctypes
import os
import uuid
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from collbench.analysis.domains.facts import load_domains
from collbench.collectives.topology import Topology, describe, domain_of_rank, find_accelerators, usable_cores
from collbench.collectives.topology.host_files import System
from collbench.collectives.topology.known_domains import _KNOWN

CARDS = (("C1", 6), ("C2", 6), ("81", 4), ("82", 4), ("01", 0), ("02", 0), ("41", 2), ("42", 2))


def tree(root, files=(), devices=(), links=()):
    for name, text in dict(files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    for name in devices:
        (root / "dev").mkdir(parents=True, exist_ok=True)
        (root / "dev" / name).touch()
    for name, target in dict(links).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(os.path.relpath(root / target, (root / name).parent))
    return root


def pci_tree(root, cards):
    """`cards`: (path below the host bridge, NUMA node, class, vendor, speed, width)."""
    for path, numa, kind, vendor, speed, width in cards:
        where, address = f"sys/devices/{path}", path.rpartition("/")[2]
        tree(root, {f"{where}/class": kind, f"{where}/vendor": vendor, f"{where}/device": "0x0001",
                    f"{where}/numa_node": str(numa), f"{where}/max_link_speed": speed,
                    f"{where}/max_link_width": str(width)}, links={f"sys/bus/pci/devices/{address}": where})
    return root


def test_this_machine_is_described_and_the_description_survives_a_journal():
    found = describe()
    assert sum(len(node.cores) for node in found.numa) >= len(usable_cores())
    assert msgspec.convert(msgspec.to_builtins(found), Topology) == found
    assert found.fingerprint == describe(System()).fingerprint
    assert len(found.devices) == 0 or find_accelerators() is not None or found.notes is not None
    assert found.words()
    for device, row in zip(found.devices, found.links, strict=False):
        assert row[device.index] == "X"


def ascend(root, topo, mapping, info="", pod=""):
    answers = {("info", "-m"): mapping, ("info", "-t", "topo"): topo, ("info",): info}

    def run(command):
        assert command[0] == "npu-smi"
        return pod if "spod-info" in command else answers.get(tuple(command[1:]))
    return System(root, run, lambda name: None)


def test_eight_910b_cards_are_a_mesh_that_ends_with_the_host(tmp_path):
    names = [f"NPU{k}" for k in range(8)]
    topo = "\t   " + "       ".join(names) + "       CPU Affinity\n" + "".join(
        f"{name}       " + "  ".join("X" if other == name else "HCCS" for other in names) + "       144-167\n"
        for name in names) + "\nLegend:\n\n  X    = Self\n  HCCS = Connection traversing HCCS.\n"
    info = "".join(
        f"| {card}     910B3               | OK            | 101.8       43                0    / 0             |\n"
        f"| 0                         | 0000:{bus}:00.0  | 0           0    / 0          3318 / 65536         |\n"
        for card, (bus, _) in enumerate(CARDS))
    mapping = "\tNPU ID   Chip ID   Chip Logic ID   Chip Name\n" + "".join(
        f"\t{card}   0   {card}   Ascend 910B3\n\t{card}   1   -   Mcu\n" for card in range(8))
    root = tree(tmp_path, {f"sys/bus/pci/devices/0000:{bus.lower()}:00.0/numa_node": str(numa)
                           for bus, numa in CARDS}, devices=[f"davinci{k}" for k in range(8)])
    found = describe(ascend(root, topo, mapping, info, pod="This device does not support querying spod-info."))
    assert (found.source, found.domain, found.domain_name) == ("npu-smi", None, "atlas_800_a2")
    assert [device.bus for device in found.devices] == [f"0000:{bus.lower()}:00.0" for bus, _ in CARDS]
    assert [device.numa for device in found.devices] == [numa for _, numa in CARDS]
    (tier,) = found.tiers
    assert (tier.name, tier.members, tier.rate_Bps) == ("HCCS, direct", 8, 196e9)
    assert domain_of_rank(3, ascend(root, topo, mapping, info), {}) is None
    assert found.links[0] == ["X", *["HCCS"] * 7]


def test_dies_of_910c_cards_are_devices_of_a_supernode(tmp_path):
    """Two cards of two dies: the matrix names physical numbers, SIO within a card and HCCS_SW between."""
    topo = """\
          Phy-ID0    Phy-ID1    Phy-ID2    Phy-ID3
Phy-ID0    X          SIO        HCCS_SW    HCCS_SW
Phy-ID1    SIO        X          HCCS_SW    HCCS_SW
Phy-ID2    HCCS_SW    HCCS_SW    X          SIO
Phy-ID3    HCCS_SW    HCCS_SW    SIO        X
"""
    mapping = ("NPU ID Chip ID Chip Logic ID Chip Phy-ID Chip Name\n0 0 0 0 Ascend910\n0 1 1 1 Ascend910\n"
               "0 2 - - Mcu\n1 0 2 2 Ascend910\n1 1 3 3 Ascend910\n1 2 - - Mcu\n")
    root = tree(tmp_path, devices=[f"davinci{k}" for k in range(4)])
    system = ascend(root, topo, mapping, pod="| Super Pod ID                 : 3          | Pod ID : 1      |\n")
    found = describe(system)
    assert (found.domain, found.domain_name) == ("superpod 3", "cm384")
    assert [device.package for device in found.devices] == [0, 0, 1, 1]
    assert [(tier.name, tier.members) for tier in found.tiers] == [("dies of a card", 2), ("HCCS, switched", 4)]
    assert domain_of_rank(5, system, {"ASCEND_RT_VISIBLE_DEVICES": "2,3"}) == "superpod 3"


def test_ascend_without_npu_smi_is_a_note(tmp_path):
    found = describe(System(tree(tmp_path, devices=["davinci0"]), lambda command: None, lambda name: None))
    assert (found.devices, found.domain) == ([], None)
    assert "npu-smi" in found.notes[0]


class Nvml:
    """As pynvml: numbers and names of NVML's reference; a GPU has 18 links of NVLink `version` to switches."""

    NVML_NVLINK_MAX_LINKS = 18
    NVMLError = type("NVMLError", (Exception,), {})

    class c_nvmlGpuFabricInfoV_t(ctypes.Structure):
        _fields_ = (("clusterUuid", ctypes.c_uint8 * 16), ("status", ctypes.c_uint), ("cliqueId", ctypes.c_uint32),
                    ("state", ctypes.c_uint))

    def __init__(self, name, count, version=7, cluster=None, clique=0, switched=True, links=18):
        self.name, self.count, self.version, self.links = name, count, version, links
        self.cluster, self.clique, self.switched = cluster, clique, switched

    def nvmlInit(self):
        pass

    nvmlShutdown = nvmlInit

    def nvmlDeviceGetCount(self):
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetName(self, handle):
        return self.name.encode()       # older bindings give bytes

    def nvmlDeviceGetUUID(self, handle):
        return f"GPU-{handle}"

    def nvmlDeviceGetPciInfo(self, handle):
        return SimpleNamespace(busId=f"00000000:{handle + 1:02X}:00.0")

    def nvmlDeviceGetNvLinkState(self, handle, link):
        if link >= self.links:
            raise self.NVMLError("Not Supported")
        return 1

    def nvmlDeviceGetNvLinkVersion(self, handle, link):
        return self.version

    def nvmlDeviceGetNvLinkRemoteDeviceType(self, handle, link):
        return 2 if self.switched else 0

    def nvmlDeviceGetNvLinkRemotePciInfo(self, handle, link):
        other = (handle + 1) % self.count
        return SimpleNamespace(busId=f"00000000:{0xA0 if self.switched else other + 1:02X}:00.0")

    def nvmlDeviceGetTopologyCommonAncestor(self, one, other):
        return 50

    def nvmlDeviceGetGpuFabricInfoV(self, handle, pointer):
        info = pointer._obj
        info.state, info.status, info.cliqueId = 3, 0, self.clique
        info.clusterUuid[:] = list((self.cluster or uuid.UUID(int=0)).bytes)


def nvidia(root, nvml):
    return System(tree(root, devices=[f"nvidia{k}" for k in range(nvml.count)]), lambda command: None,
                  {"pynvml": nvml}.get)


def test_trays_of_an_nvl72_are_one_domain_by_cluster_and_clique(tmp_path):
    cluster = uuid.uuid4()
    first = describe(nvidia(tmp_path / "a", Nvml("NVIDIA GB200", 4, 7, cluster, 32766)))
    second = describe(nvidia(tmp_path / "b", Nvml("NVIDIA GB200", 4, 7, cluster, 32766)))
    other = describe(nvidia(tmp_path / "c", Nvml("NVIDIA GB200", 4, 7, cluster, 1)))
    assert first.domain == second.domain == f"{cluster}.32766"
    assert other.domain != first.domain
    assert first.domain_name == "nvl72"
    (tier,) = first.tiers
    assert (tier.name, tier.members, tier.rate_Bps) == ("NVLink 5, switched", 4, 900e9)
    assert first.links[0] == ["X", "NV18", "NV18", "NV18"]
    assert first.fingerprint == second.fingerprint
    assert "member of domain" in first.words()


def test_a_board_of_eight_is_a_domain_that_ends_with_the_host(tmp_path):
    found = describe(nvidia(tmp_path, Nvml("NVIDIA H100 80GB HBM3", 8, 6)))
    assert (found.domain, found.domain_name) == (None, "hgx_h100_8")
    assert found.tiers[0].rate_Bps == 450e9


def test_gpus_without_nvlink_meet_on_pcie_and_are_no_known_domain(tmp_path):
    found = describe(nvidia(tmp_path, Nvml("NVIDIA H100 PCIe", 2, links=0)))
    assert found.domain_name is None
    assert found.links == [["X", "SYS"], ["SYS", "X"]]
    assert [tier.name for tier in found.tiers] == ["PCIe (SYS at most)"]
    assert found.devices[0].rate_Bps is None


def test_direct_links_are_counted_by_pair(tmp_path):
    found = describe(nvidia(tmp_path, Nvml("NVIDIA A100-SXM4", 2, 5, switched=False, links=12)))
    assert found.links == [["X", "NV12"], ["NV12", "X"]]
    assert found.tiers[0].name == "NVLink 3, direct"
    assert found.domain_name == "dgx_a100_8"


def test_nvidia_without_the_bindings_falls_back_to_the_pci_tree_and_says_so(tmp_path):
    root = pci_tree(tree(tmp_path, devices=["nvidia0"]),
                    [("pci0000:00/0000:00:01.0/0000:01:00.0", 0, "0x030200", "0x10de", "32.0 GT/s PCIe", 16)])
    found = describe(System(root, lambda command: None, lambda name: None))
    assert found.source == "pci"
    assert "nvidia-ml-py" in found.notes[0]
    assert found.devices[0].pcie_Bps == pytest.approx(63.0e9, rel=0.001)


def test_pci_relations_of_devices(tmp_path):
    switch = "pci0000:00/0000:00:01.0/0000:01:00.0"
    cards = [(f"{switch}/0000:02:00.0/0000:03:00.0", 0), (f"{switch}/0000:02:08.0/0000:04:00.0", 0),
             (f"{switch}/0000:02:10.0/0000:05:00.0/0000:06:00.0/0000:07:00.0", 0),
             ("pci0000:00/0000:00:02.0/0000:08:00.0", 0), ("pci0000:40/0000:40:01.0/0000:41:00.0", 0),
             ("pci0000:80/0000:80:01.0/0000:81:00.0", 1)]
    root = pci_tree(tmp_path, [(path, numa, "0x120000", "0x1002", "16.0 GT/s PCIe", 16) for path, numa in cards])
    found = describe(System(root, lambda command: None, lambda name: None))
    assert found.links[0] == ["X", "PIX", "PXB", "PHB", "NODE", "SYS"]
    assert found.links[5][:5] == ["SYS"] * 5
    assert all(found.links[a][b] == found.links[b][a] for a in range(6) for b in range(6))
    assert found.tiers[0].name == "PCIe (SYS at most)"
    assert found.tiers[0].rate_Bps == pytest.approx(31.5e9, rel=0.001)


def test_the_host_around_the_devices(tmp_path):
    found = describe(System(tree(tmp_path, {
        "sys/devices/system/node/node0/cpulist": "0-3,8-11", "sys/devices/system/node/node1/cpulist": "4-7",
        "sys/devices/system/node/node0/meminfo": "Node 0 MemTotal:       1048576 kB",
        "sys/devices/system/cpu/cpu0/cache/index0/size": "48K", "sys/devices/system/cpu/cpu0/cache/index3/size": "30M",
        "sys/class/infiniband/mlx5_0/ports/1/rate": "400 Gb/sec (4X NDR)", "sys/class/net/lo/speed": "-1",
        "sys/class/net/eth0/speed": "100000", "sys/class/net/eth0/device/numa_node": "-1"}),
        lambda command: None, lambda name: None))
    assert [node.cores for node in found.numa] == [[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7]]
    assert found.numa[0].memory_bytes == 1 << 30
    assert found.cache_bytes == 30 << 20
    assert [(network.name, network.rate_Bps) for network in found.networks] == [("mlx5_0:1", 50e9), ("eth0", 12.5e9)]


def test_every_known_domain_is_in_the_domain_table():
    assert {looks.key for looks in _KNOWN} <= set(load_domains())


def test_an_empty_file_system_is_described(tmp_path):
    found = describe(System(Path(tmp_path), lambda command: None, lambda name: None))
    assert (found.devices, found.numa, found.cache_bytes, found.domain) == ([], [], None, None)
    assert found.words() == "no accelerators; 0 cores share memory"
