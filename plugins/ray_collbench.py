"""Ranks of torch.distributed as Ray actors: one for each GPU or CPU of a Ray cluster.

    python ray_collbench.py --ranks 16 --gpus -- --ops all_reduce -b 1K -e 1G --out /shared/results/ray

What follows `--` are options of the rank program. Only rank 0 writes to --out, on its own host.
"""

import argparse
import os
import socket
import subprocess
import sys
from collections import Counter

import ray


@ray.remote
class Rank:
    """One rank: a process of its own, so that its end is not that of the actor."""

    def place(self):
        """The address of this host, by which the others reach it."""
        return ray.util.get_node_ip_address()

    def free_port(self):
        """A port that nothing listens on."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return probe.getsockname()[1]

    def run(self, variables, options):
        """Exit status and output of the rank."""
        done = subprocess.run([sys.executable, "-m", "collbench.rank", *options], env={**os.environ, **variables},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return done.returncode, done.stdout


def main(argv=None):
    """Start the ranks, wait for them, print what rank 0 printed; returns the worst exit status."""
    parser = argparse.ArgumentParser(description="Ranks of torch.distributed as Ray actors.")
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--gpus", action="store_true", help="one GPU for each rank; without it one CPU")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="-- and options of the rank program")
    args = parser.parse_args(argv)
    options = args.options[1:] if args.options[:1] == ["--"] else args.options
    needs = {"num_gpus": 1} if args.gpus else {"num_cpus": 1}
    ray.init(ignore_reinit_error=True, log_to_driver=False)
    actors = [Rank.options(**needs).remote() for _ in range(args.ranks)]
    hosts = ray.get([actor.place.remote() for actor in actors])
    actors, hosts = zip(*sorted(zip(actors, hosts, strict=True), key=lambda pair: hosts.index(pair[1])), strict=True)
    address, port = hosts[0], ray.get(actors[0].free_port.remote())
    options = ["--transport", "torch", "--expected-ranks", str(args.ranks), *options]
    seen, waits = Counter(), []
    for rank, (actor, host) in enumerate(zip(actors, hosts, strict=True)):      # ranks of a host are neighbours
        # Ray shows each actor its own GPU as the only one, so it is always the first.
        place = {"LOCAL_RANK": 0} if args.gpus else {"LOCAL_RANK": seen[host], "LOCAL_WORLD_SIZE": hosts.count(host)}
        seen[host] += 1
        variables = {"RANK": rank, "WORLD_SIZE": args.ranks, "MASTER_ADDR": address, "MASTER_PORT": port, **place}
        waits.append(actor.run.remote({name: str(value) for name, value in variables.items()}, options))
    results = ray.get(waits)
    print(results[0][1], end="")
    for rank, (status, said) in enumerate(results):
        if status and rank:
            print(f"rank {rank} ended with status {status}: {said.strip().splitlines()[-1:]}", file=sys.stderr)
    return max(status for status, _ in results)


if __name__ == "__main__":
    sys.exit(main())
