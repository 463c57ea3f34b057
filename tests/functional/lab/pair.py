"""Two hosts on a network of their own, for live migration."""

from __future__ import annotations

import contextlib
import subprocess
from typing import Self

from tests.functional.lab.host import LabHost, Unusable
from vdsm_bridge.tool.pki_authority import Authority

#: Addresses kept for examples (RFC 5737), on a cable between two namespaces.
ADDRESSES = ("192.0.2.1", "192.0.2.2")
#: Further addresses of each host, for other ways to reach it.
MORE = (("192.0.2.11",), ("192.0.2.12", "192.0.2.22", "192.0.2.32"))
CABLE = "cable0"


class LabPair:
    """Two `LabHost`s with a cable between them, each with a name and an address of its own.

    Use it as a context manager. The cable ends with the namespaces.
    """

    def __init__(self, first: LabHost, second: LabHost) -> None:
        self.first = first
        self.second = second

    @classmethod
    def open(cls) -> Self:
        """Make two hosts, connect them, and start libvirtd on both.

        :raises Unusable: this machine does not allow it
        """
        with contextlib.ExitStack() as opened:
            authority = Authority.create("lab", days=2)
            hosts = [
                opened.enter_context(LabHost.prepare(f"lab-{number}", (address, *more), authority))
                for number, (address, more) in enumerate(zip(ADDRESSES, MORE, strict=True), 1)
            ]
            _connect(*hosts)
            for host in hosts:
                host.start()
            opened.pop_all()
        return cls(*hosts)

    def cut(self) -> None:
        """Cut the cable between the hosts."""
        _ip(f"link set {CABLE} down", self.second.namespaces)

    def mend(self) -> None:
        """Mend the cable."""
        _ip(f"link set {CABLE} up", self.second.namespaces)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.first.close()
        finally:
            self.second.close()


def _connect(first: LabHost, second: LabHost) -> None:
    one, other = first.namespaces, second.namespaces
    _ip(f"link add {CABLE} netns {one} type veth peer name {CABLE} netns {other}")
    for process, address, more in zip((one, other), ADDRESSES, MORE, strict=True):
        for each in (address, *more):
            _ip(f"address add {each}/24 dev {CABLE}", process)
        _ip(f"link set {CABLE} up", process)


def _ip(command: str, process: int | None = None) -> None:
    inside = ["nsenter", f"--net=/proc/{process}/ns/net"] if process else []
    answer = subprocess.run([*inside, "ip", *command.split()], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise Unusable(f"ip {command}: {answer.stderr.strip()}")
