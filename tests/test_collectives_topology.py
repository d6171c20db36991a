"""Topology discovery on this machine, from recorded npu-smi tables, PCI trees, and NVML's bindings.

NVML itself needs a driver; what stands in for its bindings here answers as NVML's reference says that the hardware
does. Tables of an 8-card 910B3 host: modelscope/ms-swift, docs/source/BestPractices/NPU-support.md (Apache-2.0).
"""

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from collbench.analysis.domains.facts import load_domains
from collbench.analysis.findings.collect import collect_findings
from collbench.analysis.frames.load import load
from collbench.analysis.importers import read_log
from collbench.collectives.cases.case import Sweep
from collbench.collectives.options import RunConfig
from collbench.collectives.program import session, sweep
from collbench.collectives.ranks.host_facts import HostFacts, describe_host, differences
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import Policy
from collbench.collectives.topology import Topology, accelerators_present, describe, find_accelerators, usable_cores
from collbench.collectives.topology.device_identity import RankDevice, locate
from collbench.collectives.topology.driver_versions import driver_versions
from collbench.collectives.topology.health import HostHealth, read_health
from collbench.collectives.topology.host_files import System
from collbench.collectives.topology.known_domains import _KNOWN
from collbench.collectives.transports.loopback import run_ranks

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
    assert locate(RankDevice(device="npu:3", devices=8), found.devices).bus == "0000:82:00.0"
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
    system = ascend(root, topo, mapping, pod="\tSDID : 16777216\n\tSuper Pod Size : 384\n"
                    "\tSuper Pod ID : 3\n\tServer Index : 4\n")
    found = describe(system)
    assert (found.domain, found.domain_name) == ("superpod 3", "cm384")
    assert [device.package for device in found.devices] == [0, 0, 1, 1]
    assert [(tier.name, tier.members) for tier in found.tiers] == [("dies of a card", 2), ("HCCS, switched", 4)]
    second = locate(RankDevice(device="npu:1", devices=2, mask="2,3"), found.devices)
    assert (second.index, second.domain) == (3, "superpod 3")


@pytest.mark.parametrize(("pod", "expected"), [
    ("Super Pod Size : 384\nSuper Pod ID : 0\n", ("superpod 0", "cm384")),
    ("Super Pod Size : 2\nSuper Pod ID : 0\n", (None, None)),             # this server alone
    ("Super Pod Size : 384\nSuper Pod ID : 4294967295\n", (None, None)),
    ("Super Pod Size : 128\nSuper Pod ID : 5\n", ("superpod 5", None)),
    ("Super Pod ID : 5\n", ("superpod 5", None))])
def test_a_server_with_a_super_pod_id_is_a_supernode_only_if_it_is_larger(tmp_path, pod, expected):
    root = tree(tmp_path, devices=["davinci0", "davinci1"])
    found = describe(ascend(root, "Phy-ID0 X SIO\nPhy-ID1 SIO X\n", "0 0 0 0 Ascend910\n0 1 1 1 Ascend910\n", pod=pod))
    assert (found.domain, found.domain_name) == expected


def test_ascend_without_npu_smi_is_a_note(tmp_path):
    found = describe(System(tree(tmp_path, devices=["davinci0"]), lambda command: None, lambda name: None))
    assert (found.devices, found.domain) == ([], None)
    assert "npu-smi" in found.notes[0]


class Nvml:
    """As pynvml: numbers and names of NVML's reference; a GPU has 18 links of NVLink `version` to switches.

    GPUs in `lost` have fallen off the bus; NVML functions in `absent` are unknown to these bindings or this driver.
    """

    NVML_NVLINK_MAX_LINKS = 18
    NVMLError = type("NVMLError", (Exception,), {})

    def __init__(self, name, count, version=7, cluster=None, clique=0, switched=True, links=18, lost=(), absent=()):
        self.name, self.count, self.version, self.links = name, count, version, links
        self.cluster, self.clique, self.switched = cluster or uuid.UUID(int=0), clique, switched
        self.lost, self.absent = lost, absent
        self.throttled_ns, self.ecc_errors, self.link_errors = {}, {}, {}

    def __getattribute__(self, name):
        if name.startswith("nvml") and name in self.absent:
            raise AttributeError(name)
        return super().__getattribute__(name)

    def nvmlInit(self):
        pass

    nvmlShutdown = nvmlInit

    def nvmlDeviceGetCount(self):
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index):
        if index in self.lost:
            raise self.NVMLError("GPU is lost")
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
        """As the driver: it checks the version, and writes the structure of nvml.h whatever the bindings declare."""
        at = ctypes.addressof(pointer._obj)
        if ctypes.string_at(at, 4) != (0x02000024).to_bytes(4, "little"):
            raise self.NVMLError("Argument version mismatch")
        return self.write(at + 4, "16siIB3xI", 0)

    def nvmlDeviceGetGpuFabricInfo(self, handle, pointer):
        return self.write(ctypes.addressof(pointer._obj), "16siIB")

    def nvmlSystemGetDriverVersion(self):
        return b"580.65.06"

    def nvmlSystemGetCudaDriverVersion(self):
        return 13000

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return {1: 1980, 2: 2619}[kind]

    def nvmlDeviceGetPowerUsage(self, handle):
        return 120_500

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):
        return 700_000

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return 41 + handle

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return 0x1 | 0x4

    def nvmlDeviceGetViolationStatus(self, handle, policy):
        if policy > 1:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(referenceTime=1, violationTime=self.throttled_ns.get((handle, policy), 0))

    def nvmlDeviceGetEccMode(self, handle):
        return [1, 1]

    def nvmlDeviceGetTotalEccErrors(self, handle, kind, counter):
        return self.ecc_errors.get((handle, kind), 0)

    def nvmlDeviceGetNvLinkErrorCounter(self, handle, link, counter):
        if counter > 3:
            raise self.NVMLError("Invalid Argument")
        return self.link_errors.get((handle, link, counter), 0)

    def nvmlDeviceGetMigMode(self, handle):
        raise self.NVMLError("Not Supported")

    def nvmlDeviceGetPersistenceMode(self, handle):
        return 1

    def write(self, at, layout, *rest):
        data = struct.pack(layout, self.cluster.bytes, 0, self.clique, 3, *rest)
        ctypes.memmove(at, data, len(data))
        return 0


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


@pytest.mark.parametrize("absent", [(), ("nvmlDeviceGetGpuFabricInfoV",)], ids=["since 12.555", "12.535"])
@pytest.mark.parametrize("cluster", [uuid.UUID(bytes=bytes(range(1, 17))), uuid.UUID(bytes=bytes(range(16)))],
                         ids=["no zero byte", "a zero byte"])
def test_the_domain_is_read_through_old_and_new_bindings(tmp_path, absent, cluster):
    found = describe(nvidia(tmp_path, Nvml("NVIDIA GB200", 4, 7, cluster, 32766, absent=absent)))
    assert (found.domain, found.domain_name, found.notes) == (f"{cluster}.32766", "nvl72", [])


def test_a_lost_gpu_is_a_note_and_the_others_are_described(tmp_path):
    found = describe(nvidia(tmp_path, Nvml("NVIDIA H100 80GB HBM3", 8, 6, lost=(3,))))
    assert [device.index for device in found.devices] == [0, 1, 2, 4, 5, 6, 7]
    assert found.notes == ["NVML: GPU 3: GPU is lost"]
    assert found.domain_name is None        # seven GPUs are not the domain of eight
    assert found.links[0] == ["X", *["NV18"] * 6]


@pytest.mark.parametrize("absent", [("nvmlInit",), ("nvmlDeviceGetCount",), ("nvmlDeviceGetUUID",), tuple(
    name for name in dir(Nvml) if name.startswith("nvmlDevice"))], ids=["init", "count", "uuid", "all"])
def test_bindings_that_lack_functions_end_no_run(tmp_path, absent):
    found = describe(nvidia(tmp_path, Nvml("NVIDIA H100 80GB HBM3", 2, 6, absent=absent)))
    assert found.devices == []
    assert found.notes[0].startswith("NVML: ")


def test_a_probe_that_fails_is_a_note(tmp_path):
    def fail(name):
        raise RuntimeError("of no known kind")
    found = describe(System(tree(tmp_path, {"sys/devices/system/node/node0/cpulist": "0-x"}, devices=["nvidia0"]),
                            lambda command: None, fail))
    assert found.notes == ["nvml: RuntimeError: of no known kind",
                           "NUMA nodes: ValueError: invalid literal for int() with base 10: 'x'"]


@pytest.mark.parametrize(("name", "count", "links", "switched", "domain"), [
    ("NVIDIA H100 80GB HBM3", 8, 18, True, "hgx_h100_8"), ("NVIDIA H100 80GB HBM3", 4, 18, True, None),
    ("NVIDIA H100 80GB HBM3", 1, 18, True, None), ("NVIDIA H100 NVL", 2, 12, False, None),
    ("NVIDIA H100 NVL", 8, 12, False, None), ("NVIDIA H100 PCIe", 1, 0, False, None),
    ("NVIDIA H200", 8, 18, True, "hgx_h200_8"), ("NVIDIA H200 NVL", 8, 18, True, None),
    ("NVIDIA H20", 8, 18, True, None), ("NVIDIA B200", 8, 18, True, "hgx_b200_8"),
    ("NVIDIA B300 SXM6 AC", 8, 18, True, None), ("NVIDIA A100-SXM4-80GB", 8, 12, True, "dgx_a100_8"),
    ("NVIDIA A100-PCIE-40GB", 8, 12, False, None)])
def test_a_board_is_named_by_model_form_and_count(tmp_path, name, count, links, switched, domain):
    version = 7 if "B" in name.split()[1] else 6
    assert describe(nvidia(tmp_path, Nvml(name, count, version, links=links, switched=switched))).domain_name == domain


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
    assert found.domain_name is None


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


def kfd_tree(root, partitions=1, model=29857, link_type=11):
    """Eight MI300X, each linked to the other seven; names and numbers as the driver of ROCm 6 shows them."""
    nodes = [(card, part) for card in range(8) for part in range(partitions)]
    files = {"sys/class/kfd/kfd/topology/nodes/0/properties": "cpu_cores_count 96\nsimd_count 0\nvendor_id 0",
             "sys/class/kfd/kfd/topology/nodes/1/properties": "cpu_cores_count 96\nsimd_count 0\nvendor_id 0"}
    for number, (card, part) in enumerate(nodes, 2):
        where = f"sys/class/kfd/kfd/topology/nodes/{number}"
        location = (part << 28) + (16 * card + 5 << 8)
        files[f"{where}/properties"] = (
            f"cpu_cores_count 0\nsimd_count 1216\nio_links_count 8\nvendor_id 4098\ndevice_id {model}\n"
            f"location_id {location}\ndomain 0\nhive_id 10631624818852212319\n"
            f"unique_id {4376936076086227261 + card}\nnum_xcc 8")
        files[f"{where}/io_links/0/properties"] = f"type 2\nnode_from {number}\nnode_to {card // 4}\nweight 20"
        for link, other in enumerate((other for other in range(2, 2 + len(nodes)) if other != number), 1):
            files[f"{where}/io_links/{link}/properties"] = (
                f"type {link_type}\nnode_from {number}\nnode_to {other}\nweight 15\nmax_bandwidth 64000")
        bus = f"0000:{location >> 8 & 0xff:02x}:00.0"
        files |= {f"sys/bus/pci/devices/{bus}/numa_node": str(card // 4),
                  f"sys/bus/pci/devices/{bus}/class": "0x120000"}
    return System(tree(root, files), lambda command: None, lambda name: None)


def test_eight_mi300x_are_a_mesh_of_xgmi_links(tmp_path):
    found = describe(kfd_tree(tmp_path))
    assert (found.source, found.domain, found.domain_name) == ("kfd", None, "mi300x_8")
    assert found.devices[0].name == "AMD Instinct MI300X"
    assert found.devices[0].identity == "GPU-3cbe002bd3b6313d"
    assert [device.bus for device in found.devices[:2]] == ["0000:05:00.0", "0000:15:00.0"]
    assert [device.numa for device in found.devices] == [0, 0, 0, 0, 1, 1, 1, 1]
    (tier,) = found.tiers
    assert (tier.name, tier.members, tier.rate_Bps) == ("xGMI, direct", 8, 448e9)
    assert found.links[0] == ["X", *["XGMI"] * 7]
    assert found.notes == []


def test_partitions_of_mi300x_are_devices_of_one_package(tmp_path):
    found = describe(kfd_tree(tmp_path, partitions=8))
    assert len(found.devices) == len({device.identity for device in found.devices}) == 64
    assert found.domain_name == "mi300x_8"
    assert [device.package for device in found.devices[6:10]] == [0, 0, 1, 1]
    assert found.links[0][:9] == ["X", *["GPU"] * 7, "XGMI"]
    assert found.devices[0].links == 7


def test_amd_gpus_without_xgmi_meet_on_pcie(tmp_path):
    found = describe(kfd_tree(tmp_path, link_type=2))
    assert (found.devices[0].fabric, found.domain_name, found.links[0][:2]) == (None, None, ["X", "PHB"])
    assert found.tiers[0].name.startswith("PCIe (")


def test_graphics_and_gpus_of_other_containers_are_no_accelerators(tmp_path):
    system = kfd_tree(tmp_path)
    tree(tmp_path, {"sys/bus/pci/devices/0000:05:00.0/class": "0x030000"})
    (tmp_path / "sys/class/kfd/kfd/topology/nodes/3/properties").write_text("")
    found = describe(system)
    assert [device.bus for device in found.devices][:2] == ["0000:25:00.0", "0000:35:00.0"]
    assert (len(found.devices), found.domain_name) == (6, None)


def test_accelerators_are_seen_without_asking_their_drivers(tmp_path):
    def fail(*words):
        raise AssertionError(words)
    for name, files, devices, present in (
            ("a", {}, ["nvidia0"], True), ("b", {}, ["davinci3"], True), ("c", {}, ["dri"], False),
            ("d", {"sys/bus/pci/devices/0000:05:00.0/class": "0x120000",
                   "sys/bus/pci/devices/0000:05:00.0/vendor": "0x1002"}, ["kfd"], True),
            ("f", {"sys/bus/pci/devices/0000:05:00.0/class": "0x120000",
                   "sys/bus/pci/devices/0000:05:00.0/vendor": "0x1002"}, [], False),    # of another container
            ("e", {"sys/bus/pci/devices/0000:05:00.0/class": "0x030000",
                   "sys/bus/pci/devices/0000:05:00.0/vendor": "0x1002"}, ["kfd"], False)):
        (tmp_path / name).mkdir()
        assert accelerators_present(System(tree(tmp_path / name, files, devices), fail, fail)) == present


def test_an_amd_gpu_that_nobody_knows_is_named_by_its_number(tmp_path):
    found = describe(kfd_tree(tmp_path, model=0x9999))
    assert (found.devices[0].name, found.devices[0].rate_Bps) == ("AMD 1002:9999", None)
    assert found.domain_name is None


def test_the_state_of_gpus_is_read_query_by_query(tmp_path):
    nvml = Nvml("NVIDIA H100 80GB HBM3", 2, 6)
    nvml.link_errors = {(1, 0, 0): 3, (1, 17, 0): 4, (1, 5, 2): 1}
    found = read_health(nvidia(tmp_path, nvml))
    assert (found.driver, found.cuda, found.notes) == ("580.65.06", "13.0", [])
    first, second = found.devices
    assert (first.sm_Hz, first.memory_Hz, first.most_sm_Hz) == (1.98e9, 2.619e9, None)
    assert (first.power_W, first.power_limit_W, second.temperature_C) == (120.5, 700, 42)
    assert (first.throttled_by, first.throttled_ns) == (["idle", "power cap"], {"power": 0, "thermal": 0})
    assert (first.ecc, first.ecc_corrected, first.mig, first.persistence) == (True, 0, None, True)
    assert second.nvlink_errors == {"replay": 7, "recovery": 0, "CRC flit": 1, "CRC data": 0}


def test_the_state_of_gpus_that_tell_nothing_is_unknown_and_not_zero(tmp_path):
    nvml = Nvml("NVIDIA H100 PCIe", 2, links=0, lost=(1,), absent=tuple(
        name for name in dir(Nvml) if name.startswith(("nvmlDeviceGet", "nvmlSystem")) and name not in (
            "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetName", "nvmlDeviceGetUUID",
            "nvmlDeviceGetPciInfo")))
    found = read_health(nvidia(tmp_path, nvml))
    (only,) = found.devices
    told = {name for name in only.__struct_fields__ if getattr(only, name) is not None}
    assert told == {"index", "identity", "bus"}
    assert (found.driver, found.notes) == (None, ["NVML: GPU 1: GPU is lost"])
    assert read_health(System(tmp_path / "none")) == HostHealth()


def test_a_run_records_its_gpus_at_start_and_end_and_warns_of_what_rose(tmp_path, monkeypatch, capsys):
    """Two ranks on GPU 1 and 2 of four; during the run GPU 1 is throttled and GPU 2 has errors."""
    nvml = Nvml("NVIDIA H100 80GB HBM3", 4, 6)
    nvml.link_errors = {(2, 0, 0): 5}
    system = nvidia(tmp_path / "host", nvml)
    asked = []

    def at_end():
        asked.append(len(asked))
        nvml.throttled_ns = {(1, 1): 2_500_000_000, (2, 1): 50_000_000, (0, 0): 9_000_000_000}
        nvml.ecc_errors = {(2, 1): 1}
        nvml.link_errors = {(2, 0, 0): 17}
        return read_health(system)
    monkeypatch.setattr(session, "describe_host", lambda: describe_host(system))
    monkeypatch.setattr(sweep, "read_health", at_end)
    request = RunConfig(transport="loopback", journal=tmp_path / "journal.jsonl", policy=Policy(
        case_s=0.001, min_samples=2, alignment="barrier"), sweep=Sweep(ops=("all_reduce",), sizes=(8,), ranks=(2,)))

    def program(transport, place):
        number = place.rank + 1
        transport.own_device = RankDevice(device=f"cuda:{place.rank}", devices=2, mask="1,2", identity=f"{number}",
                                          bus=f"0000:0{number + 1}:00.0", name="NVIDIA H100 80GB HBM3")
        return sweep.run_sweep(request, transport, place)
    assert run_ranks(2, program) == 0
    assert asked == [0]     # by one rank of the host

    runs, records, warnings = read_journal(tmp_path / "journal.jsonl")
    (run,) = runs.values()
    assert (records[-1].status, warnings) == ("ok", [])
    assert run.provenance["versions"]["NVIDIA driver"] == "580.65.06"
    assert run.provenance["versions"]["CUDA of the driver"] == "13.0"
    devices = run.provenance["devices"]
    assert [(one["index"], one["identity"], one["bus"]) for one in devices] == [
        (1, "GPU-1", "0000:02:00.0"), (2, "GPU-2", "0000:03:00.0")]
    assert devices[0]["instance"] is None
    assert len(read_log(tmp_path / "journal.jsonl").runs) == 1
    health = run.provenance["health"]
    (start,), (end,) = health["start"], health["end"]
    assert (start["host"], start["driver"]) == (run.provenance["host"], "580.65.06")
    assert [one["nvlink_errors"]["replay"] for one in (start["devices"][2], end["devices"][2])] == [5, 17]
    assert "devices in doubt" not in run.provenance
    host = run.provenance["host"]
    assert health["warnings"] == [
        f"rank 0 (GPU 1, 0000:02:00.0, GPU-1 of {host}): its clocks were lowered for 2.5 s (thermal)",
        f"rank 1 (GPU 2, 0000:03:00.0, GPU-2 of {host}): 12 NVLink errors (replay); 1 uncorrected memory error"]
    printed = capsys.readouterr().out
    assert all(f"# warning: {words}\n" in printed for words in health["warnings"])
    found = [finding.words for finding in collect_findings(load(tmp_path)) if finding.severity == "warning"]
    assert set(health["warnings"]) <= set(found)


def test_ranks_that_may_share_a_device_are_noted_in_the_record(tmp_path):
    request = RunConfig(transport="loopback", journal=tmp_path / "journal.jsonl", display="quiet", policy=Policy(
        case_s=0.001, min_samples=2, alignment="barrier"), sweep=Sweep(ops=("all_reduce",), sizes=(8,), ranks=(2,)))

    def program(transport, place):
        transport.own_device = RankDevice(device="npu:0", devices=1)
        return sweep.run_sweep(request, transport, place)
    assert run_ranks(2, program) == 0
    (run,) = read_journal(tmp_path / "journal.jsonl")[0].values()
    assert run.provenance["devices in doubt"].startswith("ranks 0-1 may share a device")
    assert run.provenance["devices in doubt"] in [finding.words for finding in collect_findings(load(tmp_path))]
    assert "health" not in run.provenance


def test_hosts_that_are_not_alike_are_named():
    def host(name, driver, **settings):
        return HostFacts(host=name, topology=Topology(source="sysfs"), drivers={"NVIDIA driver": driver},
                         settings={"SLURM_JOB_ID": name, **settings})
    known = {0: host("a", "580"), 8: host("b", "580"), 16: host("c", "570", NCCL_ALGO="Ring")}
    assert differences(known) == ["NVIDIA driver differs between hosts: 580 on a and 1 more, 570 on c",
                                  "NCCL_ALGO differs between hosts: none on a and 1 more, Ring on c"]
    assert differences({0: known[0], 8: known[8]}) == []


def test_a_gpu_that_is_lost_before_the_run_is_named_at_once(tmp_path, monkeypatch, capsys):
    system = nvidia(tmp_path / "host", Nvml("NVIDIA H100 80GB HBM3", 4, 6, lost=(3,)))
    monkeypatch.setattr(session, "describe_host", lambda: describe_host(system))
    request = RunConfig(transport="loopback", journal=tmp_path / "journal.jsonl", policy=Policy(
        case_s=0.001, min_samples=2, alignment="barrier"), sweep=Sweep(ops=("all_reduce",), sizes=(8,), ranks=(1,)))

    def program(transport, place):
        transport.own_device = RankDevice(device="cuda:0", devices=3, identity="0")
        return sweep.run_sweep(request, transport, place)
    assert run_ranks(1, program) == 0
    words = f"NVML: GPU 3: GPU is lost ({socket.gethostname()})"
    assert f"# warning: {words}\n" in capsys.readouterr().out
    assert words in [finding.words for finding in collect_findings(load(tmp_path))]


def test_versions_of_drivers_are_those_of_their_files(tmp_path):
    machine = os.uname().machine
    root = tree(tmp_path, {
        "sys/module/nvidia/version": "580.65.06", "opt/rocm/.info/version": "6.4.1-83",
        "usr/local/Ascend/driver/version.info": "Version=25.0.rc1\nascendhal_version=7.35",
        f"opt/cann/{machine}-linux/ascend_toolkit_install.info": "package_name=Ascend-cann-toolkit\nversion=8.2.RC1",
        f"usr/local/Ascend/cann/{machine}-linux/ascend_toolkit_install.info": "version=8.5.0"})
    expected = {"NVIDIA driver": "580.65.06", "Ascend driver": "25.0.rc1", "ROCm": "6.4.1-83", "CANN": "8.5.0"}
    assert driver_versions(System(root), {}) == expected
    assert driver_versions(System(root), {"ASCEND_HOME_PATH": "/opt/cann"}) == {**expected, "CANN": "8.2.RC1"}
    assert driver_versions(System(tmp_path / "none"), {}) == {}


@pytest.mark.parametrize(("own", "index"), [
    (RankDevice(), None), (RankDevice(device="cuda:0", devices=4, identity="3"), 3),
    (RankDevice(device="cuda:0", devices=1, identity="unknown", bus="0000:03:00.0"), 2),
    (RankDevice(device="cuda:0", devices=1, bus="0000:ff:00.0"), None),
    (RankDevice(device="npu:1", devices=4), 1), (RankDevice(device="npu:0", devices=1, mask="2"), 2),
    (RankDevice(device="npu:0", devices=1, mask="GPU-9"), None), (RankDevice(device="npu:7", devices=8), None)])
def test_a_ranks_device_is_found_among_those_of_the_driver(tmp_path, own, index):
    found = locate(own, describe(nvidia(tmp_path, Nvml("NVIDIA H100 80GB HBM3", 4, 6))).devices)
    assert (found and found.index) == index


def test_hips_spelling_of_the_drivers_number_is_understood(tmp_path):
    """HIP's uuid is the driver's unique_id, 3cbe002bd3b6313d for the first GPU, in ASCII."""
    found = describe(kfd_tree(tmp_path)).devices
    own = RankDevice(device="cuda:0", devices=1, identity="33636265-3030-3262-6433-623633313365")
    assert locate(own, found).identity == "GPU-3cbe002bd3b6313e"
    assert locate(own, found).index == 1


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


BIND = """
import json, os, sys
from pathlib import Path
from collbench.collectives.topology import bind_near
from collbench.collectives.topology.host_files import System
done = bind_near(sys.argv[2] or None, System(Path(sys.argv[1])))
print(json.dumps([done.numa, done.cores, done.unbound, sorted(os.sched_getaffinity(0))]))
"""


def test_a_process_is_bound_to_the_cores_near_its_device(tmp_path):
    mine = usable_cores()
    if len(mine) < 2:
        pytest.skip("one core: nothing to choose from")
    root = tree(tmp_path, {"sys/devices/system/node/node0/cpulist": "4000-4003",
                           "sys/devices/system/node/node1/cpulist": f"{mine[-1]},4004",
                           "sys/devices/system/node/node2/cpulist": ",".join(map(str, mine)),
                           **{f"sys/bus/pci/devices/0000:0{bus}:00.0/numa_node": str(numa)
                              for bus, numa in ((1, 1), (2, 0), (3, 2), (4, -1))}})

    def bound(bus):
        done = subprocess.run([sys.executable, "-c", BIND, root, bus], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)
    assert bound("0000:01:00.0") == [1, mine[-1:], None, mine[-1:]]
    assert bound("0000:02:00.0") == [0, mine, "this process may use no core of NUMA node 0", mine]
    assert bound("0000:03:00.0") == [2, mine, "all its cores are of NUMA node 2 already", mine]
    assert bound("0000:04:00.0") == [None, mine, "sysfs has no cores near 0000:04:00.0", mine]
    assert bound("") == [None, mine, "the PCI address of the device is unknown", mine]


def test_every_known_domain_is_in_the_domain_table():
    known = load_domains()
    for looks in _KNOWN:
        stated = known[looks.key].accelerators.value
        assert looks.packages in (None, stated)
        assert not looks.sizes or stated in looks.sizes


def test_an_empty_file_system_is_described(tmp_path):
    found = describe(System(Path(tmp_path), lambda command: None, lambda name: None))
    assert (found.devices, found.numa, found.cache_bytes, found.domain) == ([], [], None, None)
    assert found.words() == "no accelerators; 0 cores share memory"
