"""Connections that a site takes over."""

from __future__ import annotations

import socket
import struct
import threading

from vdsm_http import Channel, Front, Limits, Request, Response, Site


def test_takeover_of_a_broken_connection() -> None:
    """A site gets the connection even if the head cannot be sent: it has to free what it holds for it."""
    gone, taken = threading.Event(), threading.Event()
    outcome: list[str] = []

    def take(channel: Channel) -> None:
        try:
            channel.send(b"x")
        except OSError:
            outcome.append("broken")
        channel.close()
        taken.set()

    def answer(_request: Request) -> Response:
        assert gone.wait(10)
        return Response(200, takeover=take)

    attachment = Front().attach(Site("streams", answer, Limits()), [("127.0.0.1", 0)])
    try:
        port = int(attachment.urls[0].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            # Closing resets the connection at once.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.set()
        assert taken.wait(10)
        assert outcome == ["broken"]
    finally:
        attachment.close(1.0)
