"""Ports for servers that a test starts as processes of their own."""

from __future__ import annotations

import contextlib
import random
import socket
from typing import Final

__all__ = ["free_ports"]

#: Below the ports that Linux chooses for clients (ip_local_port_range: 32768 and up): no client takes such a
#: port in the seconds until the server listens.
_PORTS: Final = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Return different TCP ports of the loopback address that nothing uses now.

    For a server whose configuration needs a number. Where it accepts port 0, use that instead.
    """
    # The choices of two processes with the same seed must differ.
    chance = random.SystemRandom()
    with contextlib.ExitStack() as held:
        found: list[int] = []
        while len(found) < count:
            port = chance.choice(_PORTS)
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
        return found
