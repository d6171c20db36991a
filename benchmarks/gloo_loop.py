"""The minimal timing loop over gloo, a reference for the overhead of collbench. Shares no code with it.

    python gloo_loop.py RANKS SECONDS OP BYTES CALLS [OP BYTES CALLS ...]

Prints a line `OP BYTES isolated_us streamed_us` for each: medians over samples of the slowest rank's time.
"""

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


def bind(op: str, send: torch.Tensor, recv: torch.Tensor, rank: int, size: int) -> Callable[[], object]:
    """A function that makes one call of the operation."""
    if op == "all_reduce":
        return lambda: dist.all_reduce(recv)
    if op == "all_to_all":
        return lambda: dist.all_to_all_single(recv, send)
    peer = (rank + size // 2) % size
    first, second = (dist.send, send), (dist.recv, recv)
    if rank >= size // 2:
        first, second = second, first

    def exchange() -> None:
        first[0](first[1], peer)
        second[0](second[1], peer)
    return exchange


def measure(calls: list[Callable[[], object]], seconds: float, memory: np.ndarray, share: float, timed: bool,
            control: dist.ProcessGroup) -> float:
    """Median time of one call in us, on the slowest of the timed ranks."""
    worst = []
    deadline = time.perf_counter() + seconds
    go_on = torch.ones(1)
    while go_on.item():
        memory[:] = 0
        dist.barrier(control)
        begin = time.perf_counter_ns()
        for call in calls:
            call()
        end = time.perf_counter_ns()
        figures = torch.tensor([(end - begin) / 1e3 / len(calls) * share if timed else 0.0,
                                float(time.perf_counter() < deadline)], dtype=torch.float64)
        dist.all_reduce(figures, dist.ReduceOp.MAX, group=control)
        worst.append(figures[0].item())
        go_on = figures[1:]
    return statistics.median(worst[3:] or worst)


def rank_main(rank: int, size: int, port: int, seconds: float, cases: list[tuple[str, int, int]]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    control = dist.new_group(backend="gloo")
    for op, size_bytes, calls in cases:
        half = -(-size_bytes // 64) * 64
        memory = np.frombuffer(mmap.mmap(-1, 2 * half * calls), np.uint8).reshape(calls, 2 * half)
        slots = [(torch.from_numpy(row[:size_bytes]).view(torch.float32),
                  torch.from_numpy(row[half:half + size_bytes]).view(torch.float32)) for row in memory]
        bound = [bind(op, send, recv, rank, size) for send, recv in slots]
        share, timed = (0.5, rank < size // 2) if op == "ping_pong" else (1.0, True)
        times = [measure(chosen, seconds, memory, share, timed, control) for chosen in (bound[:1], bound)]
        if rank == 0:
            print(op, size_bytes, *(f"{t:.3f}" for t in times), flush=True)
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    size, seconds, rest = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    cases = [(rest[i], int(rest[i + 1]), int(rest[i + 2])) for i in range(0, len(rest), 3)]
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    children = []
    for rank in range(size):
        pid = os.fork()
        if pid == 0:
            rank_main(rank, size, port, seconds, cases)
            os._exit(0)
        children.append(pid)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))


if __name__ == "__main__":
    main()
