"""A network of hosts on this machine: each is a network namespace, and a bridge in another one connects them.

Nothing outside is touched. All hosts share the file system. It needs Linux, root and iproute2.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_CLONE_NEWNET, _CLONE_NEWNS = 0x40000000, 0x00020000
_NAMES = Path("/run/netns")
_NAME = "mmer"  # then the number of the process that made it
_PREFIX = "10.203.7"


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def remove_left() -> None:
    """Remove the namespaces of processes that were killed before they could do it themselves."""
    for path in _NAMES.glob(f"{_NAME}*-*"):
        owner = path.name.removeprefix(_NAME).partition("-")[0]
        if owner.isdecimal() and not Path("/proc", owner).exists():
            with suppress(subprocess.CalledProcessError):
                _run("ip", "netns", "delete", path.name)


def why_not() -> str | None:
    """Why no network can be made here; None: it can."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    try:
        with Network([1]):
            remove_left()
            return None
    except subprocess.CalledProcessError as error:
        return f"network namespaces need root: {error.stderr.decode().strip()}"


def address(host: int) -> str:
    """The IP address of a host."""
    return f"{_PREFIX}.{host}"


def _system_call(name: str, *arguments: int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def hide(directory: Path) -> None:
    """Let this process, and those that it will start, see an empty directory there."""
    _system_call("unshare", _CLONE_NEWNS)
    _run("mount", "--make-rprivate", "/")
    _run("mount", "-t", "tmpfs", "none", str(directory))
    if Path.cwd() == directory:
        os.chdir(directory)


class Network:
    """Hosts, numbered from 1 to 254, that reach one another and nothing else."""

    def __init__(self, hosts: Sequence[int]) -> None:
        self.hosts, self._prefix = hosts, f"{_NAME}{os.getpid()}"

    def _name(self, host: int | str) -> str:
        return f"{self._prefix}-{host}"

    def __enter__(self) -> "Network":
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self) -> None:
        hub = self._name("hub")
        _run("ip", "netns", "add", hub)
        _run("ip", "-n", hub, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", hub, "link", "set", "bridge", "up")
        for host in self.hosts:
            name, port = self._name(host), f"port{host}"
            _run("ip", "netns", "add", name)
            _run("ip", "-n", hub, "link", "add", port, "type", "veth", "peer", "name", "net", "netns", name)
            _run("ip", "-n", hub, "link", "set", port, "master", "bridge", "up")
            _run("ip", "-n", name, "address", "add", f"{address(host)}/24", "dev", "net")
            for device in ("net", "lo"):
                _run("ip", "-n", name, "link", "set", device, "up")

    def __exit__(self, *_: object) -> None:
        for host in ("hub", *self.hosts):
            with suppress(subprocess.CalledProcessError):
                _run("ip", "netns", "delete", self._name(host))

    def plug(self, host: int, state: str) -> None:
        """Connect a host with the others ("up"), or cut it off ("down")."""
        _run("ip", "-n", self._name("hub"), "link", "set", f"port{host}", state)

    def enter(self, host: int) -> None:
        """Move this process, which has one thread, to a host."""
        descriptor = os.open(_NAMES / self._name(host), os.O_RDONLY)
        try:
            _system_call("setns", descriptor, _CLONE_NEWNET)
        finally:
            os.close(descriptor)
