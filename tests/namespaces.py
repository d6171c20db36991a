"""Ranks on hosts that are network namespaces of this machine, joined by a bridge, with shaped links. Not a test.

    python namespaces.py PLAN -- OPTION...

PLAN is JSON: `hosts`, how many ranks each has; `rates`, what one host sends to another at in Mbit/s, as a matrix; or
`left` and `shared`: how many hosts, the first ones, are on the near side of a link that all others are beyond, and its
rate in Mbit/s, of which each host of a side has an equal share, and all of it while the others send nothing. Each rank
is `python -m collbench.rank OPTION...`. All is gone when this process is: the namespaces have no names, and live as
long as their processes. Exit status 77: this machine does not let us.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys

CLONE_NEWUTS, CLONE_NEWNET, PR_SET_PDEATHSIG = 0x04000000, 0x40000000, 1
CANNOT = 77
LIBC = ctypes.CDLL(None, use_errno=True)


def separate(flags):
    if LIBC.unshare(flags):
        print(f"namespaces: unshare: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        os._exit(CANNOT)


def command(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"namespaces: {' '.join(map(str, words))}: {done.stderr.strip()}", file=sys.stderr)
        os._exit(CANNOT)


def address(host):
    return f"10.77.0.{host + 1}"


def shape(device, rates):
    """What leaves `device` for each address goes at its own rate; `rates` in Mbit/s by host."""
    command("tc", "qdisc", "add", "dev", device, "root", "handle", "1:", "htb", "default", "1")
    command("tc", "class", "add", "dev", device, "parent", "1:", "classid", "1:1", "htb", "rate", "1000mbit",
            "quantum", 60000)
    for host, rate in rates.items():
        command("tc", "class", "add", "dev", device, "parent", "1:", "classid", f"1:{host + 2:x}", "htb",
                "rate", f"{rate}mbit", "burst", "8k", "cburst", "8k", "quantum", 60000)
        command("tc", "filter", "add", "dev", device, "protocol", "ip", "parent", "1:", "prio", 1, "u32", "match", "ip",
                "dst", f"{address(host)}/32", "flowid", f"1:{host + 2:x}")


def share(device, hosts, rate):
    """What leaves `device` goes at `rate` altogether; each of `hosts` is sure of an equal share."""
    command("tc", "qdisc", "add", "dev", device, "root", "handle", "1:", "htb", "default", "2")
    small = ("burst", "4k", "cburst", "4k", "quantum", 3000)
    command("tc", "class", "add", "dev", device, "parent", "1:", "classid", "1:1", "htb", "rate", f"{rate}mbit", *small)
    for host in hosts:
        command("tc", "class", "add", "dev", device, "parent", "1:1", "classid", f"1:{host + 2:x}", "htb", "rate",
                f"{rate / len(hosts):g}mbit", "ceil", f"{rate}mbit", *small)
        command("tc", "filter", "add", "dev", device, "protocol", "ip", "parent", "1:", "prio", 1, "u32", "match", "ip",
                "src", f"{address(host)}/32", "flowid", f"1:{host + 2:x}")


def join(left, count, rate):
    """Two switches with a shared link between them; the names of the switch of each host."""
    command("ip", "link", "add", "beyond", "type", "bridge")
    command("ip", "link", "set", "beyond", "up")
    command("ip", "link", "add", "near0", "type", "veth", "peer", "name", "far0")
    for end, switch in (("near0", "switch"), ("far0", "beyond")):
        command("ip", "link", "set", end, "master", switch, "up")
    share("near0", range(left), rate)
    share("far0", range(left, count), rate)
    return ["switch"] * left + ["beyond"] * (count - left)


def be_host(host, plan, options, ready):
    """A host: its own network and name; starts its ranks when the wire is there."""
    separate(CLONE_NEWNET | CLONE_NEWUTS)
    socket.sethostname(f"h{host}")
    ready.send(b"1")
    ready.recv(1)
    command("ip", "link", "set", "lo", "up")
    command("ip", "link", "set", f"host{host}", "name", "eth0")
    command("ip", "addr", "add", f"{address(host)}/24", "dev", "eth0")
    command("ip", "link", "set", "eth0", "up")
    if "rates" in plan:
        shape("eth0", {other: plan["rates"][host][other] for other in range(len(plan["hosts"])) if other != host})
    os.environ.update(GLOO_SOCKET_IFNAME="eth0", MASTER_ADDR=address(0), MASTER_PORT="29555",
                      WORLD_SIZE=str(sum(plan["hosts"])), LOCAL_WORLD_SIZE=str(plan["hosts"][host]))
    ready.send(b"1")
    ready.recv(1)       # all hosts have their addresses
    children = [start(be_rank, sum(plan["hosts"][:host]) + local, local, options)
                for local in range(plan["hosts"][host])]
    return wait_for(children)


def be_rank(rank, local, options):
    from collbench.collectives.program.rank import main
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(local))
    sys.argv[1:] = options
    main(options, prog_name="python -m collbench.rank")
    return 0


def start(program, *arguments):
    pid = os.fork()
    if pid:
        return pid
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    status = 1
    try:
        status = program(*arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        os._exit(status or 0)


def wait_for(children):
    worst = 0
    for pid in children:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        worst = worst or abs(status)
    return worst


def main():
    plan, options = json.loads(sys.argv[1]), sys.argv[3:]
    from collbench.collectives.transports import torch_dist  # noqa: F401  (imported once, for all ranks)
    separate(CLONE_NEWNET)
    command("ip", "link", "set", "lo", "up")
    command("ip", "link", "add", "switch", "type", "bridge")
    command("ip", "link", "set", "switch", "up")
    wires, pids = [], []
    count = len(plan["hosts"])
    switches = join(plan["left"], count, plan["shared"]) if "shared" in plan else ["switch"] * count
    for host in range(len(plan["hosts"])):
        here, there = socket.socketpair()
        pids.append(start(be_host, host, plan, options, there))
        there.close()
        if here.recv(1) != b"1":
            sys.exit(CANNOT)
        command("ip", "link", "add", f"port{host}", "type", "veth", "peer", "name", f"host{host}")
        command("ip", "link", "set", f"host{host}", "netns", pids[-1])
        command("ip", "link", "set", f"port{host}", "master", switches[host], "up")
        here.send(b"1")
        wires.append(here)
    for word in (here.recv(1) for here in wires):
        if word != b"1":
            sys.exit(CANNOT)
    for here in wires:
        here.send(b"1")
    sys.exit(wait_for(pids))


if __name__ == "__main__":
    main()
