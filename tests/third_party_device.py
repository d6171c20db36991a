"""The rank program on an out-of-tree torch accelerator. Not a test.

    python third_party_device.py LIBRARY [OPTION...]

LIBRARY is the compiled third_party_device.cpp. OPTIONs are those of the rank program; instead of them, `device` prints
what the product's device code makes of the device, and `switches` what the device does, both as JSON. With
DEMO_LOCAL_RANKS=0,1,... it forks a rank for each number, which is its local rank; the status is 1 if any of them fails.

The device has the awkward properties that real ones were seen with. The environment sets them; the defaults are the
awkward end:

    DEMO_VISIBLE    devices that a rank sees (1): with 1, each rank has one of its own, and all are called demo:0
    DEMO_UUID       zero (all zeros for every device), none, or own
    DEMO_BYTES      memory of a device (1 GiB)
    DEMO_CACHING    1: freed memory stays with the process and is not counted as free until its cache is emptied
    DEMO_MEMORY     module: torch.accelerator raises when asked about memory, and the module of the device answers;
                    accelerator: the other way round
    DEMO_INIT_S     seconds that it takes to make a communicator (0.4): in a group's first call, and for each pair of
                    ranks in its first message that is not batched; in new_group, if that has a device_id
    DEMO_CALL_S     seconds that a collective or a message takes on the device (5e-6)
    DEMO_HOST_S     seconds that it takes the host to queue one (20e-6)
    DEMO_COPY_BPS   rate of asynchronous copies in B/s (2e9)

Whatever the environment, a group without a device_id raises where real libraries hang or take the wrong device: when
not all ranks take part in its first call, and in a barrier that guesses the device.
"""

import importlib.util
import json
import os
import sys
import time
import uuid
from functools import partial
from types import SimpleNamespace

import torch
import torch.distributed as dist

NAME, LIBRARY_NAME, VERSION = "demo", "democcl", (2, 3, 1)


def number(name, default):
    return float(os.environ.get(f"DEMO_{name}", default))


SETTINGS = {"copy_Bps": number("COPY_BPS", 2e9), "call_s": number("CALL_S", 5e-6), "host_s": number("HOST_S", 20e-6),
            "init_s": number("INIT_S", 0.4), "devices": int(number("VISIBLE", 1)),
            "memory": int(number("BYTES", 1 << 30)), "caching": bool(number("CACHING", 1)),
            "neutral": os.environ.get("DEMO_MEMORY") == "accelerator"}


def properties(device=None):
    """Without an index, those of the current device."""
    index = torch.device(NAME if device is None else device).index
    index = torch.accelerator.current_device_index() if index is None else index
    kind = os.environ.get("DEMO_UUID", "zero")
    known = {"name": "Demo 1", "total_memory": SETTINGS["memory"]}
    if kind != "none":
        physical = index if SETTINGS["devices"] > 1 else os.environ.get("LOCAL_RANK", 0)
        known["uuid"] = uuid.UUID(int=0) if kind == "zero" else uuid.uuid5(uuid.NAMESPACE_OID, f"demo {physical}")
    return SimpleNamespace(**known)


def prepare(path):
    """Register the device and its collective library with torch, as `import torch_npu` does."""
    torch.utils.rename_privateuse1_backend(NAME)
    spec = importlib.util.spec_from_file_location("demo_device", path)
    library = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(library)
    library.configure(**SETTINGS)
    module = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: SETTINGS["devices"], is_initialized=lambda: True,
        current_device=torch._C._accelerator_getDeviceIndex, get_device_name=lambda device=None: "Demo 1",
        get_device_properties=properties, _is_in_bad_fork=lambda: False,
        **{LIBRARY_NAME: SimpleNamespace(version=lambda: VERSION)})
    if not SETTINGS["neutral"]:
        module.mem_get_info = lambda device=None: library.mem_get_info()
        module.empty_cache = library.empty_cache
    torch._register_device_module(NAME, module)

    def open_group(options, _):
        gloo = dist.ProcessGroupGloo(options.store, options.group_rank, options.group_size, options.timeout)
        return library.library(gloo, options.store, dist.get_rank())

    dist.Backend.register_backend(LIBRARY_NAME, open_group, extended_api=True, devices=[NAME])
    return library


class Tape:
    """Stands for a captured graph: logs begin and end of the capture, and replays."""

    log, calls = [], []

    def capture_begin(self):
        self.log.append(("begin", torch.accelerator.current_stream().stream_id != 0))

    def capture_end(self):
        self.log.append(("end", len(self.calls)))

    def replay(self):
        self.log.append(("replay", len(self.calls)))


def device_answers(library):
    """Results of the product's device code on this device, for the tests to compare."""
    from collbench.collectives.cases.case import Case
    from collbench.collectives.cases.catalog import GROUPS
    from collbench.collectives.loop.timing import QueuedBlock
    from collbench.collectives.transports import torch_device
    from collbench.collectives.transports.torch_copies import CopyMemory, copy_calls
    from collbench.collectives.transports.torch_memory import drain, find_device
    device = find_device("auto", 3)
    stopwatch = torch_device.find_stopwatch(device)
    hold = torch_device.Filler(device, stopwatch)
    times_s = {}
    for op in GROUPS["copies"]:
        case = Case(op=op, ranks=1, bytes=1 << 20, dtype="float32")
        calls = copy_calls(case, CopyMemory(case, 4, device), 4, device)
        block = QueuedBlock(calls, time.perf_counter_ns, drain(device), stopwatch, hold, lambda: None)
        spans = [block(0) for _ in range(5)]
        begin = time.perf_counter_ns()
        for call in calls:
            call()
        queued_ns = time.perf_counter_ns() - begin
        drain(device)()
        times_s[op] = [min(end - begin for begin, end in spans) / 4e9, queued_ns / 4e9]
    room = torch_device.room_bytes(device, 5)
    free, total = library.mem_get_info()
    refused = torch_device.graph_reason(device)
    torch.accelerator.Graph = Tape
    replay = torch_device.captured([lambda: Tape.calls.append(1)] * 4, device)
    replay()
    evict = torch_device.evictor(device)
    evict()
    return {"device": str(device), "times_s": times_s, "room": room, "free": free, "total": total,
                      "graph": refused, "log": Tape.log, "stream": torch.accelerator.current_stream().stream_id,
                      "evicted": free - library.mem_get_info()[0]}


def raised(step):
    try:
        step()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return None


def group_answers(library, device):
    """How many communicators each step makes in how many seconds, and what is refused. Two ranks."""
    rank, group = dist.get_rank(), None
    data, received = torch.ones(4, device=device), torch.zeros(4, device=device)
    answers = {"sums": [], "received": [], "refused": {}}

    def create(**bound):
        nonlocal group
        group = dist.new_group([0, 1], backend=LIBRARY_NAME, **bound)

    def collect():
        dist.all_reduce(data, group=group)

    def send():
        (dist.send if rank == 0 else dist.recv)(data if rank == 0 else received, 1 - rank, group)

    def send_alone():
        if rank == 0:
            dist.batch_isend_irecv([dist.P2POp(dist.isend, data, 1, group)])

    def made(step):
        before, begin = library.communicators(), time.monotonic()
        step()
        torch.accelerator.synchronize(device)
        return library.communicators() - before, time.monotonic() - begin

    for name, bound in ("lazy", {}), ("eager", {"device_id": device}):
        answers[name] = [made(partial(create, **bound)), made(collect), made(send), made(send)]
        answers["sums"].append(data[0].item())
        answers["received"].append(received[0].item())
        create(**bound)
        answers["refused"][f"{name} barrier"] = raised(lambda: dist.barrier(group))
        create(**bound)
        answers["refused"][f"{name} lone message"] = None if bound else raised(send_alone)
    return answers


def clock_answers(library, device, group):
    """The device's time of four calls, and whether they were over when the host had queued them."""
    data = torch.ones(4, device=device)
    first, last = (torch.Event(device, enable_timing=True) for _ in range(2))
    answers = {}
    for name, costs in ("slow device", {"call_s": 0.05, "host_s": 0}), ("slow host", {"call_s": 0, "host_s": 0.05}):
        library.configure(**SETTINGS | costs)
        first.record()
        for _ in range(4):
            dist.all_reduce(data, group=group)
        last.record()
        over = last.query()
        torch.accelerator.synchronize(device)
        answers[name] = [first.elapsed_time(last) / 1e3, over]
    library.configure(**SETTINGS)
    return answers


def memory_answers(library):
    """Free MiB: at first, with a tensor of 64 MiB, after it, and when the cache was emptied; who answers; the limit."""
    def free():
        return library.mem_get_info()[0] >> 20

    library.empty_cache()
    answers = [free()]
    held = torch.empty(64 << 20, dtype=torch.uint8, device=NAME)
    answers.append(free())
    del held
    answers.append(free())
    library.empty_cache()
    answers.append(free())
    return {"free": answers, "accelerator": raised(lambda: torch.accelerator.get_memory_info(0)),
            "accelerator cache": raised(torch.accelerator.empty_cache),
            "module": hasattr(torch.get_device_module(NAME), "mem_get_info"),
            "too large": raised(lambda: torch.empty(SETTINGS["memory"] + 1, dtype=torch.uint8, device=NAME))}


def switch_answers(library):
    """What the device does, with the settings of the environment. Two ranks, each on the other's device."""
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    device = torch.device(NAME, (1 - rank) % SETTINGS["devices"])
    torch.accelerator.set_device_index(device.index)
    answers = {"rank": rank, "devices": torch.accelerator.device_count(),
               "uuid": str(getattr(properties(device), "uuid", None)),
               "groups": group_answers(library, device), "memory": memory_answers(library)}
    group = dist.new_group([0, 1], backend=LIBRARY_NAME, device_id=device)
    answers["clock"] = clock_answers(library, device, group)
    dist.barrier()
    dist.destroy_process_group()
    return answers


def fork_ranks(local_ranks):
    """Return in each rank. Forked because importing torch takes longer than most runs."""
    children = []
    for rank, local_rank in enumerate(local_ranks):
        children.append(os.fork())
        if children[-1] == 0:
            count = str(len(local_ranks))
            os.environ.update(RANK=str(rank), WORLD_SIZE=count, LOCAL_RANK=local_rank, LOCAL_WORLD_SIZE=count)
            return
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(f"exit statuses of the ranks: {statuses}", file=sys.stderr)
    sys.exit(any(statuses))


if __name__ == "__main__":
    loaded, PROGRAMS = prepare(sys.argv.pop(1)), {"device": device_answers, "switches": switch_answers}
    if "DEMO_LOCAL_RANKS" in os.environ:
        fork_ranks(os.environ["DEMO_LOCAL_RANKS"].split(","))
    if sys.argv[1] in PROGRAMS:
        os.write(1, json.dumps(PROGRAMS[sys.argv[1]](loaded)).encode() + b"\n")      # in one piece: ranks share it
    else:
        from collbench.collectives.program.rank import main
        main(prog_name="third-party device")
