"""collbench's loop over gloo and a bare one, in turn on the same processes, groups and connections.

    python gloo_loop.py RANKS SECONDS ROUNDS OPS SIZES

Between two launches gloo's times differ by more than the loops do, so both run in one. The bare loop shares no code
with collbench: the call before a sample is the same one, ranks meet in a barrier, and nothing else happens but the
calls and two readings of the clock. Prints a JSON line for each round, case and mode: the medians over samples of the
slowest rank's time of one call, in us.
"""

import json
import mmap
import os
import socket
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.distributed as dist

from collbench.collectives.cases.case import Case
from collbench.collectives.loop.clock import SAME
from collbench.collectives.loop.measure import measure
from collbench.collectives.ranks.rendezvous import Place
from collbench.collectives.records.record import MODES, Mode, Policy
from collbench.collectives.transports.torch_dist import TorchCommunicator, open_transport


def bind(op: str, send: torch.Tensor, recv: torch.Tensor, rank: int, size: int,
         group: dist.ProcessGroup) -> Callable[[], object]:
    """A function that makes one call of the operation."""
    if op == "all_reduce":
        return lambda: dist.all_reduce(recv, group=group)
    if op == "all_to_all":
        return lambda: dist.all_to_all_single(recv, send, group=group)
    peer = (rank + size // 2) % size
    first, second = (dist.send, send), (dist.recv, recv)
    if rank >= size // 2:
        first, second = second, first

    def exchange() -> None:
        first[0](first[1], peer, group)
        second[0](second[1], peer, group)
    return exchange


def bare_us(op: str, size_bytes: int, calls: int, rows: int, seconds: float, comm: TorchCommunicator) -> float:
    """Median time of one call, on the slowest of the timed ranks; each has one of `rows` buffers, or all the same."""
    half = -(-size_bytes // 64) * 64
    pages = mmap.mmap(-1, 2 * half * rows, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory = np.frombuffer(pages, np.uint8).reshape(rows, 2 * half)
    memory[:] = 1       # pages never written are all the same page of zeros, which stays in the first-level cache
    bound = [bind(op, torch.from_numpy(row[:size_bytes]).view(torch.float32),
                  torch.from_numpy(row[half:half + size_bytes]).view(torch.float32), comm.rank, comm.size, comm.timed)
             for row in memory] * (calls // rows)
    share, timed = (0.5, comm.rank < comm.size // 2) if op == "ping_pong" else (1.0, True)
    worst, go_on = [], torch.ones(1)
    deadline = time.perf_counter() + seconds
    while go_on.item():
        if rows == 1:
            bound[0]()
        else:
            memory[:] = 0
        dist.barrier(comm.control)
        begin = time.perf_counter_ns()
        for call in bound:
            call()
        end = time.perf_counter_ns()
        figures = torch.tensor([(end - begin) / 1e3 / calls * share if timed else 0.0,
                                float(time.perf_counter() < deadline)], dtype=torch.float64)
        dist.all_reduce(figures, dist.ReduceOp.MAX, group=comm.control)
        worst.append(figures[0].item())
        go_on = figures[1:]
    return statistics.median(worst[3:] or worst)


def our_us(case: Case, mode: Mode, seconds: float, comm: TorchCommunicator) -> tuple[float, int, int]:
    """The same figure from collbench's loop, the calls of a sample, and the buffers that they have."""
    policy = Policy(modes=(mode,), alignment="barrier", loop="python", case_s=seconds, precision=0.0)
    outcome = measure(case, comm, SAME, policy, seconds, comm.size)
    if outcome.status != "ok":
        raise SystemExit(f"{case.name}: {outcome.status}: {outcome.reason}")
    taken = outcome.modes[0]
    timed = comm.rank in case.operation.timed(case)
    worst = comm.all_max(taken.elapsed_ns if timed else [0] * len(taken.elapsed_ns))[taken.warmup:]
    return (statistics.median(worst) / 1e3 / taken.calls / case.operation.messages, taken.calls,
            1 if taken.cache == "warm" else taken.calls)


def rank_main(rank: int, port: int, words: list[str]) -> None:
    """Everything that one rank does."""
    size, seconds, rounds = int(words[0]), float(words[1]), int(words[2])
    transport = open_transport(Place("none", rank, size, rank, size, ("127.0.0.1", port)), "cpu")
    comm = transport.communicator(size)
    assert comm is not None
    for op in words[3].split(","):
        for size_bytes in map(int, words[4].split(",")):
            case = Case(op=op, ranks=size, bytes=size_bytes, dtype="float32",
                        redop="sum" if op == "all_reduce" else None, in_place=op == "all_reduce")
            for mode in MODES:
                for _ in range(rounds):
                    ours, calls, rows = our_us(case, mode, seconds, comm)
                    bare = bare_us(op, size_bytes, calls, rows, seconds, comm)
                    if rank == 0:
                        print(json.dumps({"op": op, "bytes": size_bytes, "mode": mode, "ours_us": ours,
                                          "theirs_us": bare}), flush=True)
    transport.close()


def main() -> None:
    """Start the ranks by fork, as collbench does."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    children = []
    for rank in range(int(sys.argv[1])):
        pid = os.fork()
        if pid == 0:
            rank_main(rank, port, sys.argv[1:])
            os._exit(0)
        children.append(pid)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))


if __name__ == "__main__":
    main()
