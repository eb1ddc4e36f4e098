"""The sockets on which processes listen, as Linux lists them."""

import socket
import struct
from contextlib import suppress
from pathlib import Path

_LISTENS = "0A"  # the state in /proc/net/tcp


def family(pid: int) -> set[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
        children.setdefault(parent, []).append(int(entry.parent.name))
    found, new = set(), [pid]
    while new:
        found.update(new)
        new = [child for parent in new for child in children.get(parent, [])]
    return found


def listening(pid: int) -> set[tuple[str, int]]:
    """Address and port of every TCP socket on which a process or one of its descendants listens."""
    inodes = set()
    for member in family(pid):
        with suppress(OSError):  # the process has just ended
            for entry in Path(f"/proc/{member}/fd").iterdir():
                with suppress(OSError):  # it has just closed this file
                    inodes.add(str(entry.readlink()))
    sockets = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            local, _, state, *rest = line.split()[1:]
            if state == _LISTENS and f"socket:[{rest[5]}]" in inodes:
                host, _, port = local.partition(":")
                sockets.add((_readable(host), int(port, 16)))
    return sockets


def _readable(host: str) -> str:
    """An address from its hexadecimal words of four bytes, each in the machine's own order."""
    words = [struct.pack("=I", int(host[first : first + 8], 16)) for first in range(0, len(host), 8)]
    return socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, b"".join(words))
