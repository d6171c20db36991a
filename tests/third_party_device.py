"""The rank program on an out-of-tree torch accelerator. Not a test.

    python third_party_device.py LIBRARY [OPTION...]

LIBRARY is the compiled third_party_device.cpp. Its collectives stage through the host: gloo between two copies. With
LIBRARY alone, the program queries the device and prints JSON.
"""

import ctypes
import json
import os
import sys
import time
from types import SimpleNamespace

import torch
import torch.distributed as dist

NAME, LIBRARY_NAME = "demo", "democcl"
HOST = torch.device("cpu")


class Waiting(dist.Work):
    """Work that is complete once the host operation is, and the result has been copied to the device."""

    def __init__(self, work, after=lambda: None):
        super().__init__()
        self.work, self.after = work, after

    def wait(self, timeout=None):
        if self.work is not None:
            self.work.wait()
            self.after()
            self.work = None
        return True

    def is_completed(self):
        return self.work is None


class Staged(dist.ProcessGroup):
    """Every operation by gloo on copies in host memory."""

    def __init__(self, store, rank, size, timeout):
        super().__init__(rank, size)
        self.gloo = dist.ProcessGroupGloo(store, rank, size, timeout)

    def getBackendName(self):
        return LIBRARY_NAME

    def _staged(self, call, received, sent=()):
        copies = {id(tensor): tensor.to(HOST) for tensor in (*received, *sent)}
        work = call(lambda tensor: copies[id(tensor)])

        def after():
            for tensor in received:
                tensor.copy_(copies[id(tensor)])
        return Waiting(work, after)

    def allreduce(self, tensors, options=None):
        return self._staged(lambda at: self.gloo.allreduce([at(tensors[0])], options), tensors)

    def broadcast(self, tensors, options=None):
        return self._staged(lambda at: self.gloo.broadcast([at(tensors[0])], options), tensors)

    def reduce(self, tensors, options=None):
        return self._staged(lambda at: self.gloo.reduce([at(tensors[0])], options), tensors)

    def _allgather_base(self, output, data, options=None):
        return self._staged(lambda at: self.gloo._allgather_base(at(output), at(data), options or
                                                                 dist.AllgatherOptions()), [output], [data])

    def _reduce_scatter_base(self, output, data, options=None):
        return self._staged(lambda at: self.gloo._reduce_scatter_base(at(output), at(data), options), [output], [data])

    all_gather_single, reduce_scatter_single = _allgather_base, _reduce_scatter_base      # names since torch 2.13

    def gather(self, outputs, data, options=None):
        received = outputs[0] if outputs else []
        return self._staged(lambda at: self.gloo.gather([[at(part) for part in received]] if received else [],
                                                        [at(data[0])], options), received, data)

    def scatter(self, outputs, data, options=None):
        sent = data[0] if data else []
        return self._staged(lambda at: self.gloo.scatter([at(outputs[0])], [[at(part) for part in sent]] if sent
                                                         else [], options), outputs, sent)

    def alltoall_base(self, output, data, output_sizes, input_sizes, options=None):
        return self._staged(lambda at: self.gloo.alltoall_base(at(output), at(data), output_sizes, input_sizes,
                                                               options or dist.AllToAllOptions()), [output], [data])

    def barrier(self, opts=None):
        return Waiting(self.gloo.barrier())

    def send(self, tensors, target, tag):
        return self._staged(lambda at: self.gloo.send([at(tensors[0])], target, tag), [], tensors)

    def recv(self, tensors, source, tag):
        return self._staged(lambda at: self.gloo.recv([at(tensors[0])], source, tag), tensors)


def prepare(library, rate_Bps=2e9):
    """Register the device and its collective library with torch, as `import torch_npu` does."""
    torch.utils.rename_privateuse1_backend(NAME)
    torch._register_device_module(NAME, SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 2, current_device=torch._C._accelerator_getDeviceIndex,
        get_device_name=lambda device=None: "Demo 1", _is_in_bad_fork=lambda: False, is_initialized=lambda: True))
    torch.ops.load_library(library)
    loaded = ctypes.CDLL(library)
    loaded.demo_set_rate.argtypes = [ctypes.c_double]
    loaded.demo_set_rate(rate_Bps)
    dist.Backend.register_backend(LIBRARY_NAME, lambda store, rank, size, timeout: Staged(store, rank, size, timeout),
                                  devices=[NAME])
    return loaded


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
    prepare(sys.argv.pop(1), float(os.environ.get("DEMO_RATE", 2e9)))
    if sys.argv[1:]:
        from collbench.collectives.program.rank import main
        main(prog_name="third-party device")
    ask()
