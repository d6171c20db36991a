"""Network interfaces, and how ranks on other hosts would reach this one."""

import fcntl
import socket
import struct
from pathlib import Path

from ..check_api import CheckRequest, CheckResult

__all__ = ["ORDER", "examine"]

ORDER = 60
_SIOCGIFADDR, _SIOCGIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8915, 0x8913, 0x1, 0x40


def examine(request: CheckRequest) -> list[CheckResult]:
    """The host name, the interfaces that ranks could use, and the variables that select one."""
    usable = {name: address for _, name in socket.if_nameindex() if (address := _usable(name))}
    return [_host_name(), *_interfaces(usable), *_chosen(usable, request)]


def _host_name() -> CheckResult:
    """Without GLOO_SOCKET_IFNAME, gloo listens on the address that the host name resolves to."""
    name = socket.gethostname()
    do = f"add {name} to /etc/hosts or to DNS, or set GLOO_SOCKET_IFNAME to one of the interfaces below"
    try:
        address = str(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError):
        return CheckResult(level="warning", what="host name", do=do,
                           found=f"{name} does not resolve: gloo falls back to loopback")
    if not _binds(address):
        return CheckResult(level="error", what="host name", do=do,
                           found=f"{name} resolves to {address}, which no interface has")
    if address.startswith("127.") or address == "::1":
        return CheckResult(level="note", what="host name",
                           found=f"{name} resolves to loopback ({address}); remote ranks cannot connect",
                           do="for several hosts set GLOO_SOCKET_IFNAME and MASTER_ADDR")
    return CheckResult(level="ok", what="host name", found=f"{name} resolves to {address}", facts={"address": address})


def _interfaces(usable: dict[str, str]) -> list[CheckResult]:
    words = [f"{name} {address}{_rate(name)}" for name, address in usable.items()]
    others = [name for _, name in socket.if_nameindex() if name not in usable]
    said = ", ".join(words) + (f"; down or without an IPv4 address: {', '.join(others)}" if others else "")
    if not usable:
        return [CheckResult(level="error", what="interfaces", found=said or "none", do="ip link set lo up",
                            works={"torch": False})]
    alone = set(usable) == {"lo"}
    return [CheckResult(level="note" if alone else "ok", what="interfaces", facts={"usable": usable},
                        found=said + (": this host is not reachable from others" if alone else ""))]


def _chosen(usable: dict[str, str], request: CheckRequest) -> list[CheckResult]:
    """Check variables that select interfaces. For nccl a name may be a prefix, `^` excludes, `=` matches exactly."""
    findings = []
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "HCCL_SOCKET_IFNAME"):
        value = request.environment.get(variable)
        if not value or value.startswith("^"):
            continue
        lost = [name for name in value.removeprefix("=").split(",")
                if not any(there == name or (variable[0] != "G" and there.startswith(name)) for there in usable)]
        if lost:
            works = {"torch": False} if variable[0] == "G" else {}
            findings.append(CheckResult(level="error", what="interfaces", works=works,
                                        found=f"{variable}={value}: {', '.join(lost)} is not a usable interface here",
                                        do=f"unset it, or name one of: {', '.join(usable) or 'none is usable'}"))
    return findings


def _usable(name: str) -> str | None:
    """The IPv4 address of an interface that is up; None if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        request = struct.pack("256s", name.encode()[:15])
        try:
            flags = struct.unpack_from("H", fcntl.ioctl(asking, _SIOCGIFFLAGS, request), 16)[0]
            address = socket.inet_ntoa(fcntl.ioctl(asking, _SIOCGIFADDR, request)[20:24])
        except OSError:
            return None
    return address if flags & _IFF_UP and flags & _IFF_RUNNING and _binds(address) else None


def _binds(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.bind((address, 0))
    except OSError:
        return False
    return True


def _rate(name: str) -> str:
    try:
        speed = int(Path(f"/sys/class/net/{name}/speed").read_text())
    except (OSError, ValueError):
        return ""
    return f" ({speed / 1000:g} Gbit/s)" if speed > 0 else ""
