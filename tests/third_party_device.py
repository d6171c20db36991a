"""The rank program on an out-of-tree torch accelerator. Not a test.

    python third_party_device.py LIBRARY [OPTION...]

LIBRARY is the compiled third_party_device.cpp. With LIBRARY alone, the program queries the device and prints JSON.
The environment says how awkward the device is:

    DEMO_COPY_BPS   rate of its asynchronous copies in B/s (2e9)
    DEMO_CALL_S     seconds that a collective or a message takes on the device (5e-6)
    DEMO_HOST_S     seconds that it takes the host to queue one (20e-6)
    DEMO_INIT_S     seconds that it takes to make a communicator (0.4): in a group's first call, and for each pair of
                    ranks in its first message that is not batched; in new_group, if that has a device_id
"""

import importlib.util
import json
import os
import sys
import time
from types import SimpleNamespace

import torch
import torch.distributed as dist

NAME, LIBRARY_NAME = "demo", "democcl"


def setting(name, default):
    return float(os.environ.get(f"DEMO_{name}", default))


def prepare(library):
    """Register the device and its collective library with torch, as `import torch_npu` does."""
    torch.utils.rename_privateuse1_backend(NAME)
    torch._register_device_module(NAME, SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 2, current_device=torch._C._accelerator_getDeviceIndex,
        get_device_name=lambda device=None: "Demo 1", _is_in_bad_fork=lambda: False, is_initialized=lambda: True))
    spec = importlib.util.spec_from_file_location("demo_device", library)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    loaded.configure(copy_Bps=setting("COPY_BPS", 2e9), call_s=setting("CALL_S", 5e-6),
                     host_s=setting("HOST_S", 20e-6), init_s=setting("INIT_S", 0.4))
    dist.Backend.register_backend(
        LIBRARY_NAME, lambda store, rank, size, timeout: loaded.library(dist.ProcessGroupGloo(store, rank, size,
                                                                                              timeout)),
        devices=[NAME])


class Tape:
    """Stands for a captured graph: logs begin and end of the capture, and replays."""

    log, calls = [], []

    def capture_begin(self):
        self.log.append(("begin", torch.accelerator.current_stream().stream_id != 0))

    def capture_end(self):
        self.log.append(("end", len(self.calls)))

    def replay(self):
        self.log.append(("replay", len(self.calls)))


def ask():
    """Results of the product's device code on this device, for the tests to compare."""
    from collbench.collectives.cases.case import Case
    from collbench.collectives.cases.catalog import GROUPS
    from collbench.collectives.loop.timing import queued_block
    from collbench.collectives.transports import torch_device
    from collbench.collectives.transports.torch_copies import CopyMemory, copy_calls
    from collbench.collectives.transports.torch_memory import drain, find_device
    device = find_device("auto", 3)
    stopwatch = torch_device.find_stopwatch(device)
    times_s = {}
    for op in GROUPS["copies"]:
        case = Case(op=op, ranks=1, bytes=1 << 20, dtype="float32")
        calls = copy_calls(case, CopyMemory(case, 4, device), 4, device)
        block = queued_block(calls, time.perf_counter_ns, drain(device), stopwatch)
        spans = [block(0) for _ in range(5)]
        begin = time.perf_counter_ns()
        for call in calls:
            call()
        queued_ns = time.perf_counter_ns() - begin
        drain(device)()
        times_s[op] = [min(end - begin for begin, end in spans) / 4e9, queued_ns / 4e9]
    room = torch_device.room_bytes(device, 5)
    free, total = torch.accelerator.get_memory_info(device)
    refused = torch_device.graph_reason(device)
    torch.accelerator.Graph = Tape
    replay = torch_device.captured([lambda: Tape.calls.append(1)] * 4, device)
    replay()
    evict = torch_device.evictor(device)
    evict()
    print(json.dumps({"device": str(device), "times_s": times_s, "room": room, "free": free, "total": total,
                      "graph": refused, "log": Tape.log, "stream": torch.accelerator.current_stream().stream_id,
                      "evicted": free - torch.accelerator.get_memory_info(device)[0]}))


if __name__ == "__main__":
    prepare(sys.argv.pop(1))
    if sys.argv[1:]:
        from collbench.collectives.program.rank import main
        main(prog_name="third-party device")
    ask()
